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
    /// Which rows decided it, or why there is no figure.
    pub note: String,
}

impl Target {
    /// Whether the goal is reached; unknown without a figure or without a goal.
    #[must_use]
    pub fn reached(&self) -> Option<bool> {
        let got = self.got?;
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

fn mean(name: &str, wanted: Bound, values: &[Named]) -> Target {
    let figures: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
    let note = match values.len() {
        0 => not_measured(),
        len => format!("{len} rows"),
    };
    Target { name: name.into(), wanted, got: geometric_mean(&figures), note }
}

fn least(name: &str, wanted: Bound, values: &[Named]) -> Target {
    extreme(name, wanted, values.iter().min_by(|a, b| a.1.total_cmp(&b.1)), values)
}

fn most(name: &str, wanted: Bound, values: &[Named]) -> Target {
    extreme(name, wanted, values.iter().max_by(|a, b| a.1.total_cmp(&b.1)), values)
}

/// The row that decides, and the others that miss the goal.
fn extreme(name: &str, wanted: Bound, deciding: Option<&Named>, values: &[Named]) -> Target {
    let Some((decider, got)) = deciding else {
        return Target { name: name.into(), wanted, got: None, note: not_measured() };
    };
    let misses = |(_, value): &&Named| match wanted {
        Bound::AtLeast(bound) => *value < bound,
        Bound::AtMost(bound) => *value > bound,
        Bound::Report => false,
    };
    let missed = values.iter().filter(misses).count();
    let note = match missed {
        0 | 1 => format!("{decider}, of {}", values.len()),
        _ => format!("{decider}; {missed} of {} miss it", values.len()),
    };
    Target { name: name.into(), wanted, got: Some(*got), note }
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
}
