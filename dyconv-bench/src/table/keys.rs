//! What tells rows apart: the columns in which they differ, and one line for those in which they don't.

use crate::precision::Storage;
use crate::record::Row;
use crate::workloads::position;

/// A property that rows may differ in.
struct Key {
    head: &'static str,
    value: fn(&Row) -> String,
    /// With its word, for the line above the table; empty where it goes without saying.
    said: fn(&Row) -> String,
}

const KEYS: [Key; 6] = [
    Key { head: "batch", value: |row| row.batch.to_string(), said: |row| format!("batch {}", row.batch) },
    Key { head: "layout", value: |row| row.layout.to_string(), said: |row| row.layout.to_string() },
    Key { head: "backend", value: |row| row.backend.clone(), said: |row| row.backend.clone() },
    Key { head: "threads", value: |row| row.threads.to_string(), said: threads_said },
    Key { head: "experts", value: |row| row.precision.to_string(), said: |row| row.precision.to_string() },
    Key { head: "activations", value: |row| row.activations.to_string(), said: activations_said },
];

fn activations_said(row: &Row) -> String {
    match row.activations {
        Storage::F32 => String::new(),
        stored => format!("activations {stored}"),
    }
}

fn threads_said(row: &Row) -> String {
    if row.threads == 1 { "1 thread".into() } else { format!("{} threads", row.threads) }
}

/// The columns that some rows need.
pub(super) struct Keys {
    varying: Vec<&'static Key>,
    /// What holds for every row.
    pub(super) common: String,
}

impl Keys {
    /// Those of these rows, without the columns that `except` names.
    pub(super) fn of(rows: &[&Row], except: &[&str]) -> Self {
        let varies = |key: &&Key| rows.windows(2).any(|pair| (key.value)(pair[0]) != (key.value)(pair[1]));
        let wanted = || KEYS.iter().filter(|key| !except.contains(&key.head));
        let same = rows.first().map(|row| {
            let said = wanted().filter(|key| !varies(key)).map(|key| (key.said)(row));
            said.filter(|said| !said.is_empty()).collect::<Vec<_>>().join(", ")
        });
        let common = match same {
            Some(same) if !same.is_empty() && rows.len() > 1 => format!("every row: {same}\n"),
            Some(same) if !same.is_empty() => format!("{same}\n"),
            _ => String::new(),
        };
        Self { varying: wanted().filter(varies).collect(), common }
    }

    /// Headings, the workload's first.
    pub(super) fn header(&self) -> Vec<&'static str> {
        [vec!["workload"], self.varying.iter().map(|key| key.head).collect()].concat()
    }

    /// A row's cells; a workload is named once, where its rows follow each other.
    pub(super) fn cells(&self, row: &Row, previous: Option<&Row>) -> Vec<String> {
        let again = previous.is_some_and(|previous| previous.workload == row.workload);
        let name = match (again, row.extra) {
            (true, _) => String::new(),
            (false, true) => format!("{} (extra)", row.workload),
            (false, false) => row.workload.to_string(),
        };
        [vec![name], self.varying.iter().map(|key| (key.value)(row)).collect()].concat()
    }
}

/// In the order of the workloads, then by what tells rows apart.
pub(super) fn sorted<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Vec<&'a Row> {
    let mut rows: Vec<&Row> = rows.into_iter().collect();
    rows.sort_by_key(|row| (position(row.workload), row.batch, row.layout as u8));
    rows
}

/// Lines for rows in this order, each with its keys and what `figures` adds.
pub(super) fn lines<'a>(
    keys: &'a Keys,
    rows: &'a [&'a Row],
    figures: impl Fn(&Row) -> Vec<String> + 'a,
) -> impl Iterator<Item = Vec<String>> + 'a {
    let previous = std::iter::once(None).chain(rows.iter().map(|row| Some(*row)));
    rows.iter().zip(previous).map(move |(row, previous)| [keys.cells(row, previous), figures(row)].concat())
}
