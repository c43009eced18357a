//! What the project has set itself, one line per goal: wanted, got, reached or not.

mod own;
mod peers;

pub use own::beside_prototypes;

use serde::Serialize;

use super::geometric_mean;
use super::lines::Lines;
use super::prototype::{Beside, Chip};
use crate::record::Row;
use crate::workloads::select;

/// Which way a goal lies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
    /// To be reported, whatever it is.
    Report,
}

/// A goal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// What is measured.
    pub name: String,
    /// What is wanted.
    pub wanted: Bound,
    /// What was got; `null` where rows are missing.
    pub got: Option<f64>,
    /// Whether every row that the goal speaks of was measured.
    pub complete: bool,
    /// Which rows decided it, or why there is no figure.
    pub note: String,
}

impl Target {
    /// Whether the goal is reached; unknown without a goal or without all of its rows.
    #[must_use]
    pub fn reached(&self) -> Option<bool> {
        let got = self.got.filter(|_| self.complete)?;
        match self.wanted {
            Bound::AtLeast(wanted) => Some(got >= wanted),
            Bound::AtMost(wanted) => Some(got <= wanted),
            Bound::Report => None,
        }
    }
}

/// A figure with the name of the row that it is from.
type Named = (String, f64);

/// Every goal, from the comparison with peers and this run's rows.
#[must_use]
pub fn targets(
    chip: Chip,
    cache_bytes: u64,
    lines: &Lines,
    prototypes: &[Beside],
    rows: &[Row],
) -> Vec<Target> {
    [peers::targets(chip, lines), own::targets(chip, cache_bytes, prototypes, rows)].concat()
}

/// The batch-1 rows that means and minima run over.
fn counted() -> Vec<&'static str> {
    names(&["resnet18", "mbv2-project", "mbv2-dw"])
}

/// Names of the workloads of some groups.
fn names(groups: &[&str]) -> Vec<&'static str> {
    let groups: Vec<_> = groups.iter().map(ToString::to_string).collect();
    select(&groups).unwrap_or_default().iter().map(|workload| workload.name).collect()
}

fn not_measured() -> String {
    "not measured".into()
}

/// The geometric mean of figures of `of` rows.
fn mean(name: &str, wanted: Bound, values: &[Named], of: usize) -> Target {
    let figures: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
    let note = match values.len() {
        0 => not_measured(),
        len if len == of => format!("{len} rows"),
        len => format!("only {len} of {of} rows"),
    };
    let (got, complete) = (geometric_mean(&figures), values.len() == of);
    Target { name: name.into(), wanted, got, complete, note }
}

/// The least figure of `of` rows.
fn least(name: &str, wanted: Bound, values: &[Named], of: usize) -> Target {
    extreme(name, wanted, values.iter().min_by(|a, b| a.1.total_cmp(&b.1)), values, of)
}

/// The largest figure of `of` rows.
fn most(name: &str, wanted: Bound, values: &[Named], of: usize) -> Target {
    extreme(name, wanted, values.iter().max_by(|a, b| a.1.total_cmp(&b.1)), values, of)
}

/// The row that decides, and how many others miss the goal.
fn extreme(name: &str, wanted: Bound, deciding: Option<&Named>, values: &[Named], of: usize) -> Target {
    let Some((decider, got)) = deciding else {
        return Target { name: name.into(), wanted, got: None, complete: false, note: not_measured() };
    };
    let misses = |(_, value): &&Named| match wanted {
        Bound::AtLeast(bound) => *value < bound,
        Bound::AtMost(bound) => *value > bound,
        Bound::Report => false,
    };
    let (len, missed) = (values.len(), values.iter().filter(misses).count());
    let mut note = decider.clone();
    if missed > 1 {
        note += &format!("; {missed} of {len} miss it");
    }
    if len < of {
        note += &format!("; only {len} of {of} rows");
    }
    Target { name: name.into(), wanted, got: Some(*got), complete: len >= of, note }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn find<'a>(targets: &'a [Target], name: &str) -> &'a Target {
        targets.iter().find(|target| target.name.contains(name)).unwrap_or_else(|| panic!("{name}"))
    }

    pub(super) fn close(got: Option<f64>, want: f64) -> bool {
        got.is_some_and(|got| (got - want).abs() < 1e-9)
    }

    #[test]
    fn without_rows_nothing_is_reached_and_nothing_is_missed() {
        let all = targets(Chip::Zen4, 1, &Lines::default(), &[], &[]);
        assert!(all.len() > 20);
        for target in all {
            assert_eq!((target.got, target.reached()), (None, None), "{target:?}");
            assert_eq!(target.note, "not measured");
        }
    }

    #[test]
    fn a_goal_without_all_of_its_rows_is_neither_reached_nor_missed() {
        let rows = [("a".to_string(), 4.0), ("b".to_string(), 1.0)];
        let whole = least("g", Bound::AtLeast(2.0), &rows, 2);
        assert_eq!((whole.got, whole.reached(), whole.note.as_str()), (Some(1.0), Some(false), "b"));
        let part = mean("g", Bound::AtLeast(2.0), &rows, 3);
        assert_eq!((part.got, part.reached()), (Some(2.0), None));
        assert_eq!(part.note, "only 2 of 3 rows");
        let part = most("g", Bound::AtMost(0.5), &rows, 3);
        assert_eq!((part.reached(), part.note.as_str()), (None, "a; 2 of 2 miss it; only 2 of 3 rows"));
    }
}
