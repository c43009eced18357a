//! Tables for the terminal.

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
pub fn comparison(rows: &[Row], peaks: &std::collections::BTreeMap<String, f64>) -> String {
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by_key(|row| (position(row), row.batch, row.layout as u8));
    let header = [
        "workload",
        "batch",
        "layout",
        "backend",
        "threads",
        "median µs",
        "min µs",
        "÷ static",
        "GFLOP/s",
        "% peak",
        "worst error",
        "of tolerance",
        "runs",
        "plan",
    ];
    let mut previous = None;
    let lines: Vec<_> = rows
        .into_iter()
        .map(|row| {
            let key = (row.workload, row.batch, row.layout as u8);
            let first = previous.replace(key) != Some(key);
            line(row, first, peaks)
        })
        .collect();
    table(&header, 1, lines).to_string()
}

fn position(row: &Row) -> usize {
    WORKLOADS.iter().position(|workload| workload.name == row.workload).unwrap_or(WORKLOADS.len())
}

fn line(row: &Row, first: bool, peaks: &std::collections::BTreeMap<String, f64>) -> Vec<String> {
    let once = |text: String| if first { text } else { String::new() };
    let isa = row.backend.strip_prefix("simd-");
    let peak = isa.and_then(|isa| peaks.get(isa)).map(|peak| peak * row.threads as f64);
    vec![
        once(row.workload.to_string()),
        once(row.batch.to_string()),
        once(row.layout.to_string()),
        row.backend.clone(),
        row.threads.to_string(),
        micros(row.median_us),
        micros(row.min_us),
        format!("{:.2}", row.ratio_to_static()),
        format!("{:.1}", row.gflops),
        peak.map_or("–".into(), |peak| format!("{:.0}", 100.0 * row.gflops / peak)),
        format!("{:.1e}", row.worst_error),
        format!("{:.3}", row.worst_error / row.tolerance),
        row.runs.to_string(),
        row.plan.clone(),
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
