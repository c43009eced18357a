//! Tables for the terminal.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

use crate::record::{Row, Skipped};
use crate::workloads::WORKLOADS;

/// A table with left-aligned names in the first `names` columns and right-aligned figures in the others.
#[must_use]
pub fn table(header: &[&str], names: usize, rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    let style = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
    table.load_style(style).set_header(header.to_vec());
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(names) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The comparison, workload by workload: a workload is named once, its backends follow.
#[must_use]
pub fn comparison(rows: &[Row], peaks: &BTreeMap<String, f64>) -> String {
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by_key(|row| (position(row), row.batch, row.layout as u8));
    let header = [
        "workload",
        "batch",
        "layout",
        "backend",
        "plan",
        "threads",
        "median µs",
        "min µs",
        "runs",
        "÷ static",
        "GFLOP/s",
        "% peak",
        "worst error",
        "of tolerance",
    ];
    let mut previous = None;
    let lines = rows.into_iter().map(|row| {
        let key = (row.workload, row.batch, row.layout as u8);
        let first = previous.replace(key) != Some(key);
        line(row, first, peaks)
    });
    table(&header, 5, lines).to_string()
}

fn position(row: &Row) -> usize {
    WORKLOADS.iter().position(|workload| workload.name == row.workload).unwrap_or(WORKLOADS.len())
}

fn line(row: &Row, first: bool, peaks: &BTreeMap<String, f64>) -> Vec<String> {
    let once = |text: String| if first { text } else { String::new() };
    let isa = row.backend.strip_prefix("simd-");
    let peak = isa.and_then(|isa| peaks.get(isa)).map(|peak| peak * row.threads as f64);
    vec![
        once(row.workload.to_string()),
        once(row.batch.to_string()),
        once(row.layout.to_string()),
        row.backend.clone(),
        row.plan.clone(),
        row.threads.to_string(),
        micros(row.median_us),
        micros(row.min_us),
        row.runs.to_string(),
        format!("{:.2}", row.ratio_to_static()),
        format!("{:.1}", row.gflops),
        peak.map_or("–".into(), |peak| format!("{:.0}", 100.0 * row.gflops / peak)),
        format!("{:.1e}", row.worst_error),
        format!("{:.3}", row.worst_error / row.tolerance),
    ]
}

/// Three digits, and whole numbers from 100 on.
fn micros(us: f64) -> String {
    let digits = if us < 10.0 { 2 } else { usize::from(us < 100.0) };
    format!("{us:.digits$}")
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

    #[test]
    fn a_workload_is_named_once_and_its_share_of_the_peak_counts_threads() {
        let row = |backend: &str, threads| Row {
            workload: WORKLOADS[0].name,
            backend: backend.into(),
            threads,
            median_us: 1234.5,
            static_median_us: 617.25,
            gflops: 50.0,
            ..Row::default()
        };
        let rows = [row("reference", 1), row("simd-avx2", 2)];
        let text = comparison(&rows, &BTreeMap::from([("avx2".to_string(), 100.0)]));
        assert_eq!(text.matches(WORKLOADS[0].name).count(), 1, "{text}");
        let simd = text.lines().find(|line| line.contains("simd-avx2")).unwrap();
        let cells: Vec<_> = simd.split_whitespace().collect();
        assert!(cells.contains(&"25") && cells.contains(&"2.00") && cells.contains(&"1234"), "{simd}");
    }

    #[test]
    fn what_was_skipped_is_grouped_by_backend_and_reason() {
        let skip = |workload, backend: &str, batch| Skipped {
            workload,
            backend: backend.into(),
            batch,
            layout: Layout::Nchw,
            reason: "slow".into(),
        };
        let all = [skip("a", "x", 1), skip("b", "x", 8), skip("a", "x", 1), skip("a", "y", 1)];
        assert_eq!(skipped(&all), "not measured on x (slow): a, b batch 8\nnot measured on y (slow): a");
    }
}
