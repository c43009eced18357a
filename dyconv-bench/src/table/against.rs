//! Ours beside the best of the others, and the goals, for the terminal and for a page.

use comfy_table::CellAlignment;

use super::{dash, micros, percent, ratio, table};
use crate::against::{Beside, Best, Bound, PeerLine, Target, geometric_mean};
use crate::precision::Storage;
use crate::record::Against;

const HEADER: [&str; 8] =
    ["workload", "batch", "dynamic µs", "best dynamic peer", "µs", "× as fast", "best static peer", "µs"];

/// A line per layer and batch: our dynamic layer in its better layout, and the best peers.
#[must_use]
pub fn peers(against: &Against) -> String {
    let lines = &against.lines;
    let mut table = table(&[&HEADER[..], &["× as fast"]].concat(), 1, lines.iter().map(cells));
    for (i, column) in table.column_iter_mut().enumerate() {
        if [3, 6].contains(&i) {
            column.set_cell_alignment(CellAlignment::Left);
        }
    }
    format!("{table}\n{}", means(lines))
}

fn cells(line: &PeerLine) -> Vec<String> {
    let who = |best: &Option<Best>| best.as_ref().map_or_else(dash, |best| best.who.clone());
    let time = |best: &Option<Best>| best.as_ref().map_or_else(dash, |best| micros(best.median_us));
    let ours = line.dynamic.as_ref().map_or_else(dash, |best| {
        format!("{} {}{}", best.layout, micros(best.median_us), if line.interleaved { "" } else { "*" })
    });
    let name = match line.precision {
        Storage::F32 => line.workload.to_string(),
        precision => format!("{} {precision}", line.workload),
    };
    vec![
        name,
        line.batch.to_string(),
        ours,
        who(&line.dynamic_peer),
        time(&line.dynamic_peer),
        ratio(line.over_dynamic_peer),
        who(&line.static_peer),
        time(&line.static_peer),
        ratio(line.over_static_peer),
    ]
}

/// Geometric means and minima over all lines of batch 1 in 32 bits, whichever layers were asked for.
fn means(lines: &[PeerLine]) -> String {
    let single = || lines.iter().filter(|line| (line.batch, line.precision) == (1, Storage::F32));
    let sum_up = |what: &str, ratios: Vec<f64>| match geometric_mean(&ratios) {
        Some(mean) => {
            let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            format!(
                "best {what} peer, {} rows of batch 1: geometric mean {mean:.2}, least {least:.2}\n",
                ratios.len()
            )
        }
        None => String::new(),
    };
    sum_up("dynamic", single().filter_map(|line| line.over_dynamic_peer).collect())
        + &sum_up("static", single().filter_map(|line| line.over_static_peer).collect())
}

/// Our shares of the peak beside the prototype's; nothing where there is none for this chip.
#[must_use]
pub fn prototypes(prototypes: &[Beside]) -> Option<String> {
    let header = ["workload", "dynamic", "prototype", "of it", "static", "prototype", "of it"];
    let line = |beside: &Beside| {
        let part = |ours: Option<f64>, theirs: f64| {
            [percent(ours), percent(Some(theirs)), ratio(ours.map(|ours| ours / theirs))]
        };
        let dynamic = part(beside.dynamic, beside.dynamic_prototype);
        let static_ = part(beside.static_, beside.static_prototype);
        [vec![beside.workload.to_string()], dynamic.to_vec(), static_.to_vec()].concat()
    };
    let measured = |beside: &&Beside| beside.dynamic.is_some();
    let lines: Vec<_> = prototypes.iter().filter(measured).map(line).collect();
    (!lines.is_empty()).then(|| table(&header, 1, lines).to_string())
}

/// The goals: wanted, got, reached or not.
#[must_use]
pub fn goals(targets: &[Target]) -> String {
    let line = |target: &Target| {
        vec![
            target.name.clone(),
            target.note.clone(),
            wanted(target.wanted),
            target.got.map_or_else(dash, figure),
            verdict(target).into(),
        ]
    };
    table(&["goal", "row", "wanted", "got", "reached"], 2, targets.iter().map(line)).to_string()
}

fn wanted(bound: Bound) -> String {
    match bound {
        Bound::AtLeast(bound) => format!("≥ {bound}"),
        Bound::AtMost(bound) => format!("≤ {bound}"),
        Bound::Report => String::new(),
    }
}

/// Percentages without digits behind the point, ratios with two.
fn figure(value: f64) -> String {
    if value >= 20.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn verdict(target: &Target) -> &'static str {
    match (target.reached(), target.wanted) {
        (Some(true), _) => "yes",
        (Some(false), _) => "NO",
        (None, Bound::Report) => "",
        (None, _) => "–",
    }
}

/// The comparison and the goals as Markdown, for a page.
#[must_use]
pub fn markdown(against: &Against) -> String {
    let mut text = String::from(
        "| layer | batch | dynamic µs | best dynamic peer, µs | × as fast | own static µs | best static peer, µs | × as fast |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let best = |best: &Option<Best>| {
        best.as_ref().map_or_else(dash, |best| format!("{} {}", best.who, micros(best.median_us)))
    };
    let time = |best: &Option<Best>| best.as_ref().map_or_else(dash, |best| micros(best.median_us));
    for line in &against.lines {
        let name = match line.precision {
            Storage::F32 => line.workload.to_string(),
            precision => format!("{}, {precision}", line.workload),
        };
        let cells = [
            name,
            line.batch.to_string(),
            time(&line.dynamic),
            best(&line.dynamic_peer),
            ratio(line.over_dynamic_peer),
            time(&line.static_),
            best(&line.static_peer),
            ratio(line.over_static_peer),
        ];
        text += &format!("| {} |\n", cells.join(" | "));
    }
    text += "\n| goal | wanted | got | row |\n| --- | --- | --- | --- |\n";
    for target in &against.targets {
        let got = target.got.map_or_else(dash, figure);
        let got = if target.reached() == Some(false) { format!("**{got}**") } else { got };
        text += &format!("| {} | {} | {got} | {} |\n", target.name, wanted(target.wanted), target.note);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_says_whether_it_is_reached_if_that_can_be_said() {
        let target =
            |wanted, got, complete| Target { name: "goal".into(), wanted, got, complete, note: "row".into() };
        let printed = goals(&[
            target(Bound::AtLeast(2.0), Some(2.5), true),
            target(Bound::AtLeast(92.0), Some(91.0), true),
            target(Bound::AtMost(1.1), Some(1.2), true),
            target(Bound::AtLeast(2.0), Some(3.0), false),
            target(Bound::AtLeast(2.0), None, false),
            target(Bound::Report, Some(1.25), true),
        ]);
        let lines = printed.lines().skip(2);
        let last: Vec<_> =
            lines.map(|line| line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ")).collect();
        let wanted = ["≥ 2 2.50 yes", "≥ 92 91 NO", "≤ 1.1 1.20 NO", "≥ 2 3.00 –", "≥ 2 – –", "1.25"];
        assert_eq!(last, wanted, "{printed}");
    }
}
