//! Tables for the terminal: each at most some 150 signs wide, a fact that holds for every row once above it.

mod against;
mod keys;
mod more;
mod profile;
mod reading;
mod time;
mod training;

pub use against::{goals, markdown, peers, prototypes};
pub use more::{cold, threads};
pub use profile::profile;
pub use reading::{agreement, one_of_each};
pub use time::{comparison, skipped};
pub use training::{findings, network, variants};

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

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

/// Three digits, and whole numbers from 100 on.
fn micros(us: f64) -> String {
    let digits = if us < 10.0 { 2 } else { usize::from(us < 100.0) };
    format!("{us:.digits$}")
}

/// A share in percent, or a dash.
fn percent(share: Option<f64>) -> String {
    share.map_or_else(dash, |share| format!("{:.0}", 100.0 * share))
}

/// A ratio with two digits, or a dash.
fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(dash, |ratio| format!("{ratio:.2}"))
}

fn dash() -> String {
    "–".into()
}
