//! What the project has set itself, one line per goal: wanted, got, reached or not.

use dyconv_core::Layout;
use serde::Serialize;

use super::geometric_mean;
use super::lines::{Lines, PeerLine};
use super::prototype::Chip;
use crate::precision::Storage;
use crate::record::Row;
use crate::workloads::{by_name, select};

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
pub fn targets(chip: Chip, cache_bytes: u64, lines: &Lines, rows: &[Row]) -> Vec<Target> {
    let rows = Rows(rows);
    let mut targets = against_dynamic(chip, lines);
    targets.extend(against_static(chip, lines));
    targets.extend(shares_of_peak(chip, rows));
    targets.extend(layouts(rows));
    targets.extend(threads(rows, cache_bytes));
    targets.extend(reports(rows));
    targets
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

fn against_dynamic(chip: Chip, lines: &Lines) -> Vec<Target> {
    let ratios = |names: &[&str]| of_lines(lines, names, |line| line.over_dynamic_peer);
    let one = |name: &str, batch, storage, wanted| {
        let line = lines.get(name, batch, storage);
        let got = line.and_then(|line| line.over_dynamic_peer);
        let peer = line.and_then(|line| line.dynamic_peer.as_ref());
        let times = if batch == 1 { String::new() } else { format!(" × {batch}") };
        Target {
            name: format!("best dynamic peer, {name}{times}, {storage}"),
            wanted: Bound::AtLeast(wanted),
            got,
            note: peer.map_or_else(not_measured, |peer| peer.who.clone()),
        }
    };
    let (all, depthwise) = (ratios(&counted()), ratios(&names(&["mbv2-dw"])));
    let mut targets = vec![
        mean("best dynamic peer, batch 1, geometric mean", Bound::AtLeast(2.0), &all),
        least("best dynamic peer, batch 1, least", Bound::AtLeast(1.1), &all),
        one("resnet18-64x56", 1, Storage::F32, 1.6),
        one("resnet18-128x28", 1, Storage::F32, 3.0),
        one("resnet18-256x14", 1, Storage::F32, chip.goal(2.2, 3.0)),
        one("resnet18-512x7", 1, Storage::F32, 1.8),
        one("resnet18-512x7", 1, Storage::Bf16, chip.goal(2.3, 3.0)),
        least("best dynamic peer, depthwise, least", Bound::AtLeast(2.0), &depthwise),
    ];
    for name in ["resnet18-128x28", "resnet18-512x7"] {
        targets.extend([8, 32].map(|batch| one(name, batch, Storage::F32, 1.5)));
    }
    targets
}

fn against_static(chip: Chip, lines: &Lines) -> Vec<Target> {
    let ratios = of_lines(lines, &counted(), |line| line.over_static_peer);
    let wanted = Bound::AtLeast(chip.goal(1.0, 1.1));
    vec![
        mean("best static peer, batch 1, geometric mean", wanted, &ratios),
        least("best static peer, batch 1, least", Bound::Report, &ratios),
    ]
}

fn of_lines(lines: &Lines, names: &[&str], ratio: impl Fn(&PeerLine) -> Option<f64>) -> Vec<Named> {
    let of = |name: &&str| Some(((*name).to_string(), ratio(lines.get(name, 1, Storage::F32)?)?));
    names.iter().filter_map(of).collect()
}

/// This run's rows.
#[derive(Clone, Copy)]
struct Rows<'a>(&'a [Row]);

impl<'a> Rows<'a> {
    /// Batch 1, experts in 32 bits.
    fn single(self, backend: &str, threads: usize) -> impl Iterator<Item = &'a Row> {
        self.0.iter().filter(move |row| {
            (row.backend == backend, row.threads, row.batch, row.precision)
                == (true, threads, 1, Storage::F32)
        })
    }

    /// The best of these instruction sets that was measured.
    fn best_isa(self) -> &'static str {
        let measured = |id: &&&str| self.0.iter().any(|row| row.backend == ***id);
        ["simd-avx512", "simd-avx2", "simd-portable"].iter().find(measured).unwrap_or(&"simd-avx512")
    }

    /// The largest figure of each of these workloads, over layouts.
    fn best(self, backend: &str, names: &[&str], figure: impl Fn(&Row) -> Option<f64>) -> Vec<Named> {
        let of = |name: &&str| {
            let rows = self.single(backend, 1).filter(|row| row.workload == *name);
            Some(((*name).to_string(), rows.filter_map(&figure).reduce(f64::max)?))
        };
        names.iter().filter_map(of).collect()
    }

    /// How many times as fast a row of one thread is with two.
    fn speed_ups(self, time: impl Fn(&Row) -> Option<f64>) -> Vec<(&'a Row, f64)> {
        let pair = |row: &'a Row| {
            let same = |other: &&Row| {
                other.threads == 2
                    && (&other.backend, other.workload, other.batch, other.layout, other.precision)
                        == (&row.backend, row.workload, row.batch, row.layout, row.precision)
            };
            let two = self.0.iter().find(same)?;
            Some((row, time(row)? / time(two)?))
        };
        self.0.iter().filter(|row| row.threads == 1).filter_map(pair).collect()
    }
}

/// Pointwise layers with at least as much work as 384→96@14.
const LARGE_POINTWISE: [&str; 3] =
    ["mbv2-project-384-96x14", "mbv2-project-960-320x7", "mbv2-last-320-1280x7"];

fn shares_of_peak(chip: Chip, rows: Rows<'_>) -> Vec<Target> {
    let best = rows.best_isa();
    let percent = |named: Vec<Named>| named.into_iter().map(|(name, share)| (name, 100.0 * share)).collect();
    let spatial = names(&["resnet18"]);
    let direct = |isa| -> Vec<Named> { percent(rows.best(isa, &spatial, Row::direct_share_of_peak)) };
    let pointwise: Vec<_> = percent(rows.best(best, &LARGE_POINTWISE, Row::static_share_of_peak));
    let winograd: Vec<_> =
        percent(rows.best(best, &["resnet18-64x56", "resnet18-128x28"], Row::share_of_peak));
    let mut targets = Vec::new();
    let prototypes = chip.prototypes();
    if !prototypes.is_empty() {
        let of = |dynamic: bool| -> Vec<Named> {
            let part = |prototype: &super::Prototype| {
                let share = if dynamic { Row::share_of_peak } else { Row::static_share_of_peak };
                let (name, got) = rows.best(best, &[prototype.workload], share).pop()?;
                Some((name, 100.0 * got / if dynamic { prototype.dynamic } else { prototype.static_ }))
            };
            prototypes.iter().filter_map(part).collect()
        };
        for (form, dynamic) in [("dynamic", true), ("static", false)] {
            let name = format!("% of the prototype's share of the peak, {form}, least");
            targets.push(least(&name, Bound::AtLeast(90.0), &of(dynamic)));
        }
    }
    targets.extend([
        least(
            "% of peak, direct 3×3, static, simd-avx512, least",
            Bound::AtLeast(92.0),
            &direct("simd-avx512"),
        ),
        least("% of peak, direct 3×3, static, simd-avx2, least", Bound::AtLeast(80.0), &direct("simd-avx2")),
        least("% of peak, large pointwise, static, least", Bound::AtLeast(93.0), &pointwise),
        least(
            "% of peak, 3×3 64@56 and 128@28, dynamic, least",
            Bound::AtLeast(chip.goal(260.0, 300.0)),
            &winograd,
        ),
    ]);
    targets
}

fn layouts(rows: Rows<'_>) -> Vec<Target> {
    let backend = rows.best_isa();
    let ratios = |wanted: fn(usize) -> bool| -> Vec<Named> {
        let time = |row: &Row, layout| {
            let same = |other: &&Row| (other.workload, other.layout) == (row.workload, layout);
            rows.single(backend, 1).find(same).map(|row| row.median_us)
        };
        let ratio = |row: &Row| {
            let workload = by_name(row.workload).ok().filter(|workload| wanted(workload.groups))?;
            Some((workload.name.to_string(), row.median_us / time(row, Layout::Nhwc)?))
        };
        rows.single(backend, 1)
            .filter(|row| row.layout == Layout::Nchw && !row.extra)
            .filter_map(ratio)
            .collect()
    };
    vec![
        most("NCHW ÷ NHWC, 3×3 and pointwise, most", Bound::AtMost(1.1), &ratios(|groups| groups == 1)),
        most("NCHW ÷ NHWC, depthwise, most", Bound::AtMost(1.5), &ratios(|groups| groups > 1)),
    ]
}

fn threads(rows: Rows<'_>, cache_bytes: u64) -> Vec<Target> {
    let named = |pairs: Vec<(&Row, f64)>| -> Vec<Named> {
        let name = |row: &Row| {
            let times = if row.batch == 1 { String::new() } else { format!(" × {}", row.batch) };
            format!("{}{times} {} {}", row.workload, row.layout, row.backend)
        };
        pairs.into_iter().map(|(row, speed_up)| (name(row), speed_up)).collect()
    };
    let median = |row: &Row| Some(row.median_us);
    let fits = |row: &Row| by_name(row.workload).is_ok_and(|w| w.expert_bytes(row.precision) <= cache_bytes);
    let plan = |start: &'static str| move |(row, _): &(&Row, f64)| row.plan.starts_with(start);
    let direct = rows.speed_ups(median).into_iter().filter(plan("direct")).filter(|(row, _)| fits(row));
    // Where Winograd is chosen, the direct kernel was timed beside it.
    let forced = rows.speed_ups(|row| row.direct_static_median_us);
    let direct: Vec<_> = direct.chain(forced).collect();
    let winograd = rows.speed_ups(median).into_iter().filter(plan("winograd")).collect();
    vec![
        least(
            "two threads ÷ one, direct 3×3 whose experts fit the cache, least",
            Bound::AtLeast(1.7),
            &named(direct),
        ),
        least("two threads ÷ one, Winograd, least", Bound::AtLeast(1.4), &named(winograd)),
        // A twentieth is what medians of the same code differ by.
        least("two threads ÷ one, every layer, least", Bound::AtLeast(0.95), &named(rows.speed_ups(median))),
    ]
}

fn reports(rows: Rows<'_>) -> Vec<Target> {
    let backend = rows.best_isa();
    let least_of = |time: fn(&Row) -> Option<f64>| -> Vec<Named> {
        let of = |name: &&str| {
            let rows = rows.single(backend, 1).filter(|row| row.workload == *name);
            Some(((*name).to_string(), rows.filter_map(time).reduce(f64::min)?))
        };
        counted().iter().filter_map(of).collect()
    };
    let ratio = |a: Vec<Named>, b: Vec<Named>| -> Vec<Named> {
        a.into_iter().zip(b).map(|((name, a), (_, b))| (name, a / b)).collect()
    };
    let warm = least_of(|row| Some(row.median_us));
    let static_ = least_of(|row| Some(row.static_median_us));
    let mut targets = vec![mean(
        "dynamic ÷ own static, batch 1, geometric mean",
        Bound::Report,
        &ratio(warm.clone(), static_),
    )];
    let cold = least_of(|row| row.cold_median_us);
    if cold.len() == warm.len() && !cold.is_empty() {
        targets.push(mean("cold experts ÷ warm, batch 1, geometric mean", Bound::Report, &ratio(cold, warm)));
    }
    targets
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
