//! Goals of our own: shares of the multiply-add peak, layouts, threads.

use dyconv_core::Layout;

use super::super::prototype::{Beside, Chip, Prototype};
use super::{Bound, Named, Target, counted, least, mean, most, names};
use crate::precision::Storage;
use crate::record::Row;
use crate::workloads::by_name;

/// Every one, from a run's rows of the layers that goals are for.
pub(super) fn targets(chip: Chip, cache_bytes: u64, prototypes: &[Beside], rows: &[Row]) -> Vec<Target> {
    let all = names(&["all"]);
    let rows: Vec<Row> = rows.iter().filter(|row| all.contains(&row.workload)).cloned().collect();
    let rows = Rows(&rows);
    [shares_of_peak(chip, prototypes, rows), layouts(rows), threads(rows, cache_bytes), reports(rows)]
        .concat()
}

/// A run's shares of the peak beside those of the chip's prototype.
#[must_use]
pub fn beside_prototypes(chip: Chip, rows: &[Row]) -> Vec<Beside> {
    let rows = Rows(rows);
    let backend = rows.best_isa();
    let best = |name, share| rows.best(backend, &[name], share).pop().map(|(_, share)| share);
    let beside = |prototype: Prototype| Beside {
        workload: prototype.workload,
        dynamic: best(prototype.workload, Row::share_of_peak),
        dynamic_prototype: prototype.dynamic,
        static_: best(prototype.workload, Row::static_share_of_peak),
        static_prototype: prototype.static_,
    };
    chip.prototypes().into_iter().map(beside).collect()
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
    fn best(self, backend: &str, names: &[&str], figure: fn(&Row) -> Option<f64>) -> Vec<Named> {
        let of = |name: &&str| {
            let rows = self.single(backend, 1).filter(|row| row.workload == *name);
            Some(((*name).to_string(), rows.filter_map(figure).reduce(f64::max)?))
        };
        names.iter().filter_map(of).collect()
    }

    /// Those of one thread, and those of several whose cores shared a cache, or else didn't: a line took at most twice as
    /// long from core to core as in the best row. Two threads of one core, which share its multiply-adds, are neither.
    fn sharing(self, a_cache: bool) -> Vec<Row> {
        let handoffs = self.0.iter().filter_map(|row| row.handoff_ns).filter(|&ns| ns > ONE_CORE_NS);
        let near = 2.0 * handoffs.fold(f64::INFINITY, f64::min);
        let fits = |row: &&Row| match row.handoff_ns {
            Some(ns) if row.threads > 1 => ns > ONE_CORE_NS && (ns <= near) == a_cache,
            _ => row.threads == 1 || a_cache,
        };
        self.0.iter().filter(fits).cloned().collect()
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

/// Within a core a line is handed over in less than this, 13 to 14 ns on a Zen 4; from core to core in 30 and more.
const ONE_CORE_NS: f64 = 20.0;

/// Pointwise layers with at least as much work as 384→96@14.
const LARGE_POINTWISE: [&str; 3] =
    ["mbv2-project-384-96x14", "mbv2-project-960-320x7", "mbv2-last-320-1280x7"];

fn shares_of_peak(chip: Chip, prototypes: &[Beside], rows: Rows<'_>) -> Vec<Target> {
    let best = rows.best_isa();
    let percent = |named: Vec<Named>| named.into_iter().map(|(name, share)| (name, 100.0 * share)).collect();
    let spatial = names(&["resnet18"]);
    let direct = |isa| -> Vec<Named> { percent(rows.best(isa, &spatial, Row::direct_share_of_peak)) };
    let pointwise: Vec<_> = percent(rows.best(best, &LARGE_POINTWISE, Row::static_share_of_peak));
    let winograd: Vec<_> =
        percent(rows.best(best, &["resnet18-64x56", "resnet18-128x28"], Row::share_of_peak));
    let of = |ours: fn(&Beside) -> Option<f64>| -> Vec<Named> {
        let part = |beside: &Beside| Some((beside.workload.to_string(), 100.0 * ours(beside)?));
        prototypes.iter().filter_map(part).collect()
    };
    let dynamic = of(|beside| Some(beside.dynamic? / beside.dynamic_prototype));
    let static_ = of(|beside| Some(beside.static_? / beside.static_prototype));
    let mut targets = match prototypes {
        [] => Vec::new(),
        _ => vec![
            least(
                "% of the prototype's share of the peak, dynamic, least",
                Bound::AtLeast(90.0),
                &dynamic,
                prototypes.len(),
            ),
            least(
                "% of the prototype's share of the peak, static, least",
                Bound::AtLeast(90.0),
                &static_,
                prototypes.len(),
            ),
        ],
    };
    targets.extend([
        least(
            "% of peak, direct 3×3, static, simd-avx512, least",
            Bound::AtLeast(92.0),
            &direct("simd-avx512"),
            spatial.len(),
        ),
        least(
            "% of peak, direct 3×3, static, simd-avx2, least",
            Bound::AtLeast(80.0),
            &direct("simd-avx2"),
            spatial.len(),
        ),
        least(
            "% of peak, large pointwise, static, least",
            Bound::AtLeast(93.0),
            &pointwise,
            LARGE_POINTWISE.len(),
        ),
        least(
            "% of peak, 3×3 64@56 and 128@28, dynamic, least",
            Bound::AtLeast(chip.goal(260.0, 300.0)),
            &winograd,
            2,
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
    let (dense, depthwise) = (ratios(|groups| groups == 1), names(&["mbv2-dw"]).len());
    vec![
        most(
            "NCHW ÷ NHWC, 3×3 and pointwise, most",
            Bound::AtMost(1.1),
            &dense,
            names(&["paper"]).len() - depthwise,
        ),
        most("NCHW ÷ NHWC, depthwise, most", Bound::AtMost(1.5), &ratios(|groups| groups > 1), depthwise),
    ]
}

fn threads(rows: Rows<'_>, cache_bytes: u64) -> Vec<Target> {
    let [near, far] = [true, false].map(|a_cache| rows.sharing(a_cache));
    let (rows, far) = (Rows(&near), Rows(&far));
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
    let direct = named(direct.chain(forced).collect());
    let winograd = named(rows.speed_ups(median).into_iter().filter(plan("winograd")).collect());
    let every = named(rows.speed_ups(median));
    let apart = named(far.speed_ups(median));
    let mut targets = vec![
        least(
            "speed-up by two threads, direct 3×3 whose experts fit the cache, least",
            Bound::AtLeast(1.7),
            &direct,
            1,
        ),
        least("speed-up by two threads, Winograd, least", Bound::AtLeast(1.4), &winograd, 1),
        // A twentieth is what medians of the same code differ by.
        least("speed-up by two threads, every layer, least", Bound::AtLeast(0.95), &every, 1),
    ];
    if !apart.is_empty() {
        let name = "speed-up by two threads on cores that shared no cache, geometric mean";
        targets.push(mean(name, Bound::Report, &apart, apart.len()));
    }
    targets
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
        counted().len(),
    )];
    let cold = least_of(|row| row.cold_median_us);
    if cold.len() == warm.len() && !cold.is_empty() {
        let name = "cold experts ÷ warm, batch 1, geometric mean";
        targets.push(mean(name, Bound::Report, &ratio(cold, warm), counted().len()));
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::super::tests::{close, find};
    use super::*;

    fn row(workload: &str, layout: Layout, median_us: f64) -> Row {
        Row {
            workload: by_name(workload).unwrap().name,
            backend: "simd-avx512".into(),
            threads: 1,
            batch: 1,
            layout,
            median_us,
            static_median_us: median_us / 2.0,
            effective_gflops: 1000.0 / median_us,
            peak_gflops: Some(100.0),
            plan: "winograd".into(),
            ..Row::default()
        }
    }

    fn of_rows(rows: &[Row]) -> Vec<Target> {
        targets(Chip::Zen4, 32 << 20, &beside_prototypes(Chip::Zen4, rows), rows)
    }

    #[test]
    fn shares_of_the_peak_are_those_of_the_better_layout() {
        // 10 GFLOP/s in NCHW, 20 in NHWC; the static layer twice that, the direct kernel 80.
        let rows = [
            row("resnet18-64x56", Layout::Nchw, 100.0),
            Row { direct_static_median_us: Some(12.5), ..row("resnet18-64x56", Layout::Nhwc, 50.0) },
            row("mbv2-last-320-1280x7", Layout::Nhwc, 10.0),
        ];
        let targets = of_rows(&rows);
        let winograd = find(&targets, "64@56 and 128@28");
        assert!(close(winograd.got, 20.0) && winograd.reached().is_none(), "one of two rows: {winograd:?}");
        assert!(winograd.wanted == Bound::AtLeast(300.0), "{winograd:?}");
        assert!(beside_prototypes(Chip::Other, &rows).is_empty());
        let direct = find(&targets, "direct 3×3, static, simd-avx512");
        assert!(close(direct.got, 80.0) && direct.note.contains("only 1 of 4 rows"), "{direct:?}");
        assert_eq!(find(&targets, "direct 3×3, static, simd-avx2").got, None);
        let pointwise = find(&targets, "large pointwise");
        assert!(close(pointwise.got, 200.0), "{pointwise:?}");
        // The prototype reached 319 % on the one and 90 % on the other.
        let prototype = find(&targets, "prototype's share of the peak, dynamic");
        let share = Chip::Zen4.prototypes()[0].dynamic;
        assert!(close(prototype.got, 20.0 / share), "{prototype:?}");
        assert_eq!(prototype.note, "resnet18-64x56; only 2 of 10 rows");
    }

    #[test]
    fn a_slow_layout_is_a_ratio_above_one() {
        let rows = [
            row("resnet18-64x56", Layout::Nchw, 120.0),
            row("resnet18-64x56", Layout::Nhwc, 100.0),
            row("mbv2-dw-960x7", Layout::Nchw, 140.0),
            row("mbv2-dw-960x7", Layout::Nhwc, 100.0),
            // Without the other layout there is no ratio.
            row("resnet18-128x28", Layout::Nchw, 9000.0),
        ];
        let targets = of_rows(&rows);
        let dense = find(&targets, "NCHW ÷ NHWC, 3×3");
        assert!(close(dense.got, 1.2) && dense.note.contains("only 1 of 16"), "{dense:?}");
        let depthwise = find(&targets, "NCHW ÷ NHWC, depthwise");
        assert!(close(depthwise.got, 1.4) && depthwise.note.contains("only 1 of 5"), "{depthwise:?}");
    }

    #[test]
    fn speed_ups_go_by_plan_and_by_what_fits_the_cache() {
        let with = |threads, plan: &str, row: Row| Row { threads, plan: plan.into(), ..row };
        let pair = |name: &str, plan: &str, two: f64| {
            let rows = [row(name, Layout::Nhwc, 100.0), row(name, Layout::Nhwc, two)];
            let [a, b] = rows;
            [with(1, plan, a), with(2, plan, b)]
        };
        let mut rows = [
            pair("resnet18-64x56", "winograd F(4×4)", 80.0),
            pair("resnet18-128x28", "direct 14×32", 50.0),
            // 37.7 MB of experts: direct, but beyond the cache.
            pair("resnet18-512x7", "direct 14×32", 100.0),
            // No goal is for these.
            pair("resnext50-512x14", "direct 14×32", 1000.0),
        ]
        .concat();
        let targets = of_rows(&rows);
        assert!(close(find(&targets, "Winograd").got, 1.25));
        assert_eq!(find(&targets, "Winograd").reached(), Some(false));
        assert!(close(find(&targets, "direct 3×3 whose").got, 2.0));
        assert!(close(find(&targets, "every layer").got, 1.0));
        // The direct kernel beside Winograd counts too.
        rows[0].direct_static_median_us = Some(90.0);
        rows[1].direct_static_median_us = Some(60.0);
        assert!(close(find(&of_rows(&rows), "direct 3×3 whose").got, 1.5));
    }

    #[test]
    fn goals_of_several_threads_are_for_cores_that_share_a_cache() {
        let with = |name: &str, handoff_ns, two: f64| {
            let plan = || "winograd F(4×4)".to_string();
            let one = Row { plan: plan(), ..row(name, Layout::Nhwc, 100.0) };
            [one, Row { threads: 2, handoff_ns, plan: plan(), ..row(name, Layout::Nhwc, two) }]
        };
        let near = with("resnet18-64x56", Some(30.0), 50.0);
        let far = with("resnet18-128x28", Some(160.0), 80.0);
        // Two threads of one core count nowhere.
        let one_core = with("resnet18-256x14", Some(13.0), 100.0);
        let targets = of_rows(&[near.clone(), far, one_core].concat());
        assert!(close(find(&targets, "threads, Winograd").got, 2.0));
        assert!(close(find(&targets, "shared no cache").got, 1.25));
        // Without a measurement nobody knows: a row counts.
        let unknown = with("resnet18-128x28", None, 80.0);
        let targets = of_rows(&[near, unknown].concat());
        assert!(close(find(&targets, "threads, Winograd").got, 1.25));
        assert!(!targets.iter().any(|target| target.name.contains("shared no cache")));
    }

    #[test]
    fn what_has_no_goal_is_reported() {
        let rows = [
            Row { cold_median_us: Some(130.0), ..row("resnet18-64x56", Layout::Nhwc, 100.0) },
            Row { cold_median_us: Some(120.0), ..row("resnet18-64x56", Layout::Nchw, 110.0) },
        ];
        let targets = of_rows(&rows);
        let over_static = find(&targets, "dynamic ÷ own static");
        assert!(close(over_static.got, 2.0) && over_static.reached().is_none(), "{over_static:?}");
        assert!(close(find(&targets, "cold experts").got, 1.2));
    }
}
