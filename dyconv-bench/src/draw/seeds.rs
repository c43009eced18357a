//! Variants of a network over several seeds: how they learn, and where each seed ends.

use image::RgbImage;

use super::chart::{Chart, Scale, epochs, legend};
use super::text::{Align, Weight};
use super::{Area, Canvas, Colour, FAINT, INK};
use crate::training::Outcome;

const COLOURS: [Colour; 3] = [[95, 99, 104], [66, 133, 244], [234, 120, 20]];
const LEFT: i32 = 92;
const CURVES: i32 = 560;
const BETWEEN: i32 = 96;
const ENDS: i32 = 340;
const TOP: i32 = 150;
const HEIGHT: i32 = 380;
const LIGHT: (Weight, Colour) = (Weight::Light, FAINT);

/// Draws held-out accuracy by the epoch, mean and standard deviation over seeds, and every seed's last one.
#[must_use]
pub fn seeds_plot(outcomes: &[Outcome]) -> RgbImage {
    let mut canvas = Canvas::new(LEFT + CURVES + BETWEEN + ENDS + 32, TOP + HEIGHT + 64);
    let title = "Static and dynamic networks of equal width read handwritten digits";
    canvas.text([32, 32], Align::Left, 24.0, (Weight::Bold, INK), title);
    let seeds = outcomes.first().map_or(0, |outcome| outcome.runs.len());
    let about =
        format!("{seeds} seeds each; lines are means, bands and bars one standard deviation to either side");
    canvas.text([32, 62], Align::Left, 16.0, LIGHT, &about);
    let names: Vec<(Colour, &str)> =
        COLOURS.into_iter().zip(outcomes).map(|(colour, outcome)| (colour, outcome.name.as_str())).collect();
    legend(&mut canvas, [32, 96], &names);
    curves(&mut canvas, outcomes);
    ends(&mut canvas, outcomes);
    canvas.into_picture()
}

fn curves(canvas: &mut Canvas, outcomes: &[Outcome]) {
    let area = Area { x: LEFT, y: TOP, width: CURVES, height: HEIGHT };
    let length = outcomes.iter().flat_map(|o| &o.runs).map(|run| run.curve.len()).max().unwrap_or(1);
    let means: Vec<Vec<[f64; 3]>> = outcomes.iter().map(|outcome| by_epoch(outcome, length)).collect();
    let lowest = means.iter().flatten().map(|[_, low, _]| *low).fold(0.9, f64::min).max(0.0);
    let chart = Chart { area, x: epochs(length), y: [lowest, 1.0], scale: Scale::NearOne };
    chart.rows(canvas);
    chart.columns(canvas, "epoch");
    chart.title(canvas, "held-out accuracy by the epoch (finer towards 100 %)");
    for (colour, points) in COLOURS.into_iter().zip(&means) {
        chart.band(canvas, points, colour);
    }
    for (colour, points) in COLOURS.into_iter().zip(&means) {
        let line: Vec<[f64; 2]> =
            points.iter().enumerate().map(|(i, [mean, ..])| [i as f64 + 1.0, *mean]).collect();
        chart.line(canvas, &line, 2.5, colour);
    }
}

/// Mean, and a standard deviation below and above, after every epoch.
fn by_epoch(outcome: &Outcome, length: usize) -> Vec<[f64; 3]> {
    let at = |epoch: usize| {
        let all: Vec<f64> = outcome.runs.iter().filter_map(|run| run.curve.get(epoch).copied()).collect();
        let spread = crate::training::Spread::of(&all);
        let std = spread.std.unwrap_or(0.0);
        (!all.is_empty()).then_some([spread.mean, spread.mean - std, spread.mean + std])
    };
    (0..length).filter_map(at).collect()
}

/// A column per variant: a dot per seed, the mean, a standard deviation to either side; a line joins a seed's dots.
fn ends(canvas: &mut Canvas, outcomes: &[Outcome]) {
    let area = Area { x: LEFT + CURVES + BETWEEN, y: TOP, width: ENDS, height: HEIGHT };
    let all = || outcomes.iter().flat_map(|outcome| &outcome.runs).map(|run| 100.0 * run.held_out.accuracy);
    let (low, high) = all().fold((100.0f64, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
    let room = 0.15 * (high - low).max(0.4);
    let y = [low - room, (high + room).min(100.0)];
    let chart = Chart { area, x: [0.5, outcomes.len() as f64 + 0.5], y, scale: Scale::Linear };
    chart.rows(canvas);
    chart.title(canvas, "after the last epoch, in percent");
    let seeds = outcomes.first().map_or(0, |outcome| outcome.runs.len());
    for seed in 0..seeds {
        let accuracy =
            |outcome: &Outcome| outcome.runs.get(seed).map_or(0.0, |run| 100.0 * run.held_out.accuracy);
        let line: Vec<[f64; 2]> =
            outcomes.iter().enumerate().map(|(i, outcome)| [i as f64 + 1.0, accuracy(outcome)]).collect();
        chart.line(canvas, &line, 1.0, [214, 217, 222]);
    }
    for (i, (colour, outcome)) in COLOURS.into_iter().zip(outcomes).enumerate() {
        let x = i as f64 + 1.0;
        for run in &outcome.runs {
            canvas.dot(chart.at([x, 100.0 * run.held_out.accuracy]), 5.0, colour, true);
        }
        let spread = outcome.accuracy.times(100.0);
        let std = spread.std.unwrap_or(0.0);
        let beside = x + 0.2;
        chart.line(canvas, &[[beside, spread.mean - std], [beside, spread.mean + std]], 2.0, colour);
        canvas.dot(chart.at([beside, spread.mean]), 6.0, colour, false);
        let below = [chart.at([x, y[0]])[0] as i32, TOP + HEIGHT + 20];
        canvas.text(below, Align::Middle, 15.0, (Weight::Light, INK), &format!("{spread:.2}"));
    }
}
