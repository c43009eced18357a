//! The comparison, workload by workload.

use std::collections::BTreeMap;

use super::keys::{Keys, lines, sorted};
use super::{micros, percent, table};
use crate::precision::Storage;
use crate::record::{Row, Skipped};

/// Every row's times, a table for each storage of experts and activations, and for each number of threads where a backend ran with
/// several; then the peaks that shares were taken of.
#[must_use]
pub fn comparison(rows: &[Row]) -> String {
    let several = rows.iter().any(|a| rows.iter().any(|b| a.backend == b.backend && a.threads != b.threads));
    let key = |row: &Row| (if several { row.threads } else { 0 }, row.precision, row.activations);
    let mut parts: Vec<(usize, Storage, Storage)> = rows.iter().map(key).collect();
    parts.sort_unstable();
    parts.dedup();
    let part = |&part| sorted(rows.iter().filter(move |row| key(row) == part));
    let tables: Vec<_> = parts.iter().map(|key| times(&part(key))).collect();
    format!("{}\n{}", tables.join("\n\n"), peaks(rows))
}

fn times(rows: &[&Row]) -> String {
    let keys = Keys::of(rows, &[]);
    let mut header = keys.header();
    header.push("plan");
    let names = header.len();
    header.extend([
        "median µs",
        "min µs",
        "runs",
        "GFLOP/s",
        "% peak",
        "static µs",
        "% peak",
        "÷ static",
        "of tolerance",
    ]);
    let figures = |row: &Row| {
        vec![
            row.plan.clone(),
            micros(row.median_us),
            micros(row.min_us),
            row.runs.to_string(),
            format!("{:.1}", row.effective_gflops),
            percent(row.share_of_peak()),
            micros(row.static_median_us),
            percent(row.static_share_of_peak()),
            format!("{:.2}", row.ratio_to_static()),
            format!("{:.3}", row.worst_error / row.tolerance),
        ]
    };
    format!("{}{}", keys.common, table(&header, names, lines(&keys, rows, figures)))
}

/// The range of the peaks beside the rows, by backend and threads.
fn peaks(rows: &[Row]) -> String {
    let mut ranges: BTreeMap<(&str, usize), [f64; 2]> = BTreeMap::new();
    for row in rows {
        let Some(peak) = row.peak_gflops else { continue };
        let [low, high] = ranges.entry((&row.backend, row.threads)).or_insert([peak; 2]);
        (*low, *high) = (low.min(peak), high.max(peak));
    }
    let range = |((backend, threads), [low, high]): (&(&str, usize), &[f64; 2])| {
        let threads = if *threads == 1 { "1 thread".into() } else { format!("{threads} threads") };
        format!("{backend}, {threads}: {low:.0} to {high:.0}")
    };
    match ranges.is_empty() {
        true => String::new(),
        false => {
            let ranges: Vec<_> = ranges.iter().map(range).collect();
            format!("multiply-add peak beside the rows, GFLOP/s: {}\n", ranges.join("; "))
        }
    }
}

/// What wasn't measured, one line per backend and reason.
#[must_use]
pub fn skipped(skipped: &[Skipped]) -> String {
    let mut groups: Vec<(&str, &str, Vec<String>)> = Vec::new();
    for skip in skipped {
        let what = match skip.batch {
            1 => skip.workload.to_string(),
            batch => format!("{} batch {batch}", skip.workload),
        };
        match groups
            .iter_mut()
            .find(|(backend, reason, _)| (*backend, *reason) == (&skip.backend, &skip.reason))
        {
            Some((_, _, names)) if names.contains(&what) => {}
            Some((_, _, names)) => names.push(what),
            None => groups.push((&skip.backend, &skip.reason, vec![what])),
        }
    }
    let line = |(backend, reason, names): &(&str, &str, Vec<String>)| {
        format!("not measured on {backend} ({reason}): {}", names.join(", "))
    };
    groups.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use dyconv_core::Layout;

    use super::*;
    use crate::workloads::WORKLOADS;

    fn row(backend: &str, threads: usize) -> Row {
        Row {
            workload: WORKLOADS[0].name,
            backend: backend.into(),
            threads,
            batch: 1,
            median_us: 1234.5,
            static_median_us: 617.25,
            effective_gflops: 50.0,
            peak_gflops: backend.starts_with("simd").then_some(200.0),
            ..Row::default()
        }
    }

    #[test]
    fn a_workload_is_named_once_and_its_shares_of_the_peak_stand_beside_its_times() {
        let text = comparison(&[row("reference", 1), row("simd-avx2", 1)]);
        assert_eq!(text.matches(WORKLOADS[0].name).count(), 1, "{text}");
        let simd = text.lines().find(|line| line.contains("simd-avx2")).unwrap();
        let cells: Vec<_> = simd.split_whitespace().collect();
        // Half the time is twice the share.
        assert!(["25", "50", "2.00", "1234"].iter().all(|cell| cells.contains(cell)), "{simd}");
        assert!(text.ends_with("GFLOP/s: simd-avx2, 1 thread: 200 to 200\n"), "{text}");
    }

    #[test]
    fn what_is_the_same_in_every_row_is_said_once() {
        let text = comparison(&[row("simd-avx2", 1), row("simd-avx512", 1)]);
        assert!(text.starts_with("every row: batch 1, nchw, 1 thread, f32\n"), "{text}");
        let header = text.lines().nth(1).unwrap();
        assert!(header.contains("backend") && !header.contains("layout") && !header.contains("threads"));
        assert_eq!(comparison(&[]), "\n");
    }

    #[test]
    fn threads_and_storage_have_tables_of_their_own() {
        let reduced = Row { precision: Storage::Bf16, ..row("simd-avx2", 1) };
        let text = comparison(&[row("simd-avx2", 2), row("simd-avx2", 1), reduced]);
        let common: Vec<_> = text.lines().filter(|line| line.contains("batch 1, nchw")).collect();
        let with = |rest: &str| format!("batch 1, nchw, simd-avx2, {rest}");
        assert_eq!(common, ["1 thread, f32", "1 thread, bf16", "2 threads, f32"].map(with), "{text}");
        assert_eq!(text.matches(WORKLOADS[0].name).count(), 3, "{text}");
        // Backends that each chose for themselves are compared with each other.
        let text = comparison(&[row("simd-avx2", 2), row("reference", 1)]);
        assert_eq!(text.matches(WORKLOADS[0].name).count(), 1, "{text}");
    }

    #[test]
    fn what_was_skipped_is_grouped_by_backend_and_reason() {
        let skip = |workload, backend: &str, batch| Skipped {
            workload,
            backend: backend.into(),
            batch,
            layout: Layout::Nchw,
            precision: Storage::F32,
            activations: Storage::F32,
            reason: "slow".into(),
        };
        let all = [skip("a", "x", 1), skip("b", "x", 8), skip("a", "x", 1), skip("a", "y", 1)];
        assert_eq!(skipped(&all), "not measured on x (slow): a, b batch 8\nnot measured on y (slow): a");
    }
}
