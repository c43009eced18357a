//! What stands beside the warm times of one thread: cold experts, more threads.

use super::keys::{Keys, lines, sorted};
use super::{micros, ratio, table};
use crate::record::Row;

/// The same rows with experts that no cache holds; nothing where that wasn't asked for.
#[must_use]
pub fn cold(rows: &[Row]) -> Option<String> {
    let rows = sorted(rows.iter().filter(|row| row.cold_median_us.is_some()));
    let keys = Keys::of(&rows, &[]);
    let mut header = keys.header();
    let names = header.len();
    header.extend([
        "warm µs",
        "cold µs",
        "cold ÷ warm",
        "static µs",
        "cold µs",
        "cold ÷ warm",
        "cold ÷ static",
    ]);
    let over = |a: Option<f64>, b: Option<f64>| ratio(a.zip(b).map(|(a, b)| a / b));
    let cell = |us: Option<f64>| us.map_or_else(super::dash, micros);
    let figures = |row: &Row| {
        let (warm, static_) = (Some(row.median_us), Some(row.static_median_us));
        let (cold, static_cold) = (row.cold_median_us, row.static_cold_median_us);
        vec![
            cell(warm),
            cell(cold),
            over(cold, warm),
            cell(static_),
            cell(static_cold),
            over(static_cold, static_),
            over(cold, static_cold),
        ]
    };
    let text = format!("{}{}", keys.common, table(&header, names, lines(&keys, &rows, figures)));
    (!rows.is_empty()).then_some(text)
}

/// Rows of more than one thread beside the same row of one; nothing where there are none.
#[must_use]
pub fn threads(rows: &[Row]) -> Option<String> {
    let single = |row: &Row| {
        let same = |other: &&Row| {
            other.threads == 1
                && (&other.backend, other.workload, other.batch, other.layout, other.precision)
                    == (&row.backend, row.workload, row.batch, row.layout, row.precision)
        };
        rows.iter().find(same)
    };
    let many = sorted(rows.iter().filter(|row| row.threads > 1 && single(row).is_some()));
    let keys = Keys::of(&many, &[]);
    let mut header = keys.header();
    header.push("plan");
    let names = header.len();
    header.extend(["1 thread µs", "more µs", "speed-up", "static, 1 thread µs", "more µs", "speed-up"]);
    header.push("core to core ns");
    let figures = |row: &Row| {
        let of = |time: fn(&Row) -> f64| {
            let one = single(row).map(time);
            [one.map_or_else(super::dash, micros), micros(time(row)), ratio(one.map(|one| one / time(row)))]
        };
        let times = [of(|row| row.median_us), of(|row| row.static_median_us)].concat();
        let handoff = row.handoff_ns.map_or_else(super::dash, |ns| format!("{ns:.0}"));
        [vec![row.plan.clone()], times, vec![handoff]].concat()
    };
    let text = format!("{}{}", keys.common, table(&header, names, lines(&keys, &many, figures)));
    (!many.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::WORKLOADS;

    fn row(threads: usize, median_us: f64) -> Row {
        Row {
            workload: WORKLOADS[0].name,
            backend: "simd-avx2".into(),
            threads,
            batch: 1,
            median_us,
            static_median_us: median_us / 2.0,
            ..Row::default()
        }
    }

    fn cells(text: &str, line: usize) -> Vec<String> {
        text.lines().nth(line).unwrap().split_whitespace().map(str::to_string).collect()
    }

    #[test]
    fn cold_times_stand_beside_the_warm_ones() {
        assert_eq!(cold(&[row(1, 100.0)]), None);
        let row = Row { cold_median_us: Some(150.0), static_cold_median_us: Some(60.0), ..row(1, 100.0) };
        let text = cold(&[row]).unwrap();
        let figures = ["100", "150", "1.50", "50.0", "60.0", "1.20", "2.50"];
        assert_eq!(cells(&text, 3)[1..], figures, "{text}");
    }

    #[test]
    fn a_speed_up_is_over_the_same_row_of_one_thread() {
        assert_eq!(threads(&[row(1, 100.0)]), None);
        assert_eq!(threads(&[row(2, 100.0)]), None);
        let other_batch = Row { batch: 8, ..row(1, 1.0) };
        let two = Row { handoff_ns: Some(31.6), ..row(2, 80.0) };
        let text = threads(&[other_batch, row(1, 100.0), two]).unwrap();
        assert_eq!(cells(&text, 3)[1..], ["100", "80.0", "1.25", "50.0", "40.0", "1.25", "32"], "{text}");
    }
}
