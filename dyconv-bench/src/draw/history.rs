//! A training as curves: loss and accuracy by the epoch; below, temperature and learning rate.

use dyconv_nn::{EpochRecord, Metrics};
use image::RgbImage;

use super::chart::{Chart, Scale, epochs, legend};
use super::text::{Align, Weight};
use super::{Area, Canvas, Colour, FAINT, INK};

const TRAINING: Colour = [66, 133, 244];
const HELD_OUT: Colour = [234, 120, 20];
const SCHEDULE: Colour = [95, 99, 104];
const LEFT: i32 = 84;
const WIDTH: i32 = 480;
const BETWEEN: i32 = 90;
const TOP: i32 = 132;
const HEIGHT: i32 = 320;
const STRIP: i32 = 72;

/// Draws a training's history.
#[must_use]
pub fn history_plot(history: &[EpochRecord]) -> RgbImage {
    let strip_top = TOP + HEIGHT + 82;
    let mut canvas = Canvas::new(LEFT + 2 * WIDTH + BETWEEN + 32, strip_top + STRIP + 50);
    canvas.text(
        [32, 32],
        Align::Left,
        24.0,
        (Weight::Bold, INK),
        "A network learns to read handwritten digits",
    );
    canvas.text([32, 62], Align::Left, 16.0, (Weight::Light, FAINT), &summary(history));
    legend(&mut canvas, [LEFT + WIDTH + BETWEEN, 62], &[(TRAINING, "training"), (HELD_OUT, "held out")]);
    let x = epochs(history.len());
    let panel = |column: i32, y: i32, height: i32| Area {
        x: LEFT + column * (WIDTH + BETWEEN),
        y,
        width: WIDTH,
        height,
    };
    let loss = Chart { area: panel(0, TOP, HEIGHT), x, y: range(history, |m| m.loss), scale: Scale::Log };
    let [low, _] = range(history, |m| m.accuracy);
    let accuracy = Chart { area: panel(1, TOP, HEIGHT), x, y: [low, 1.0], scale: Scale::NearOne };
    metrics(&mut canvas, &loss, "loss (cross-entropy, logarithmic)", history, |m| m.loss);
    metrics(&mut canvas, &accuracy, "accuracy (finer towards 100 %)", history, |m| m.accuracy);
    let strip = |column: i32, name: &str, of: fn(&EpochRecord) -> f64| {
        let points = points(history, |record| Some(of(record)));
        let top = points.iter().map(|p| p[1]).fold(0.0, f64::max);
        let chart =
            Chart { area: panel(column, strip_top, STRIP), x, y: [0.0, top.max(1e-6)], scale: Scale::Linear };
        (chart, name.to_string(), points)
    };
    let strips = [
        strip(0, "temperature of the attention", |record| record.temperature),
        strip(1, "learning rate", |record| record.rate),
    ];
    for (chart, name, points) in strips {
        chart.rows(&mut canvas);
        chart.columns(&mut canvas, "epoch");
        chart.title(&mut canvas, &name);
        chart.line(&mut canvas, &points, 2.0, SCHEDULE);
    }
    canvas.into_picture()
}

fn summary(history: &[EpochRecord]) -> String {
    let Some(last) = history.last() else { return "no epoch is over yet".into() };
    let part =
        |name: &str, m: &Metrics| format!("{name} loss {:.3}, accuracy {:.2} %", m.loss, 100.0 * m.accuracy);
    let held_out = last.held_out.map_or_else(String::new, |m| part("; held out", &m));
    format!("after epoch {}: {}{held_out}", last.epoch + 1, part("training", &last.train))
}

fn metrics(
    canvas: &mut Canvas,
    chart: &Chart,
    title: &str,
    history: &[EpochRecord],
    of: fn(&Metrics) -> f64,
) {
    chart.rows(canvas);
    chart.columns(canvas, "");
    chart.title(canvas, title);
    chart.line(canvas, &points(history, |record| Some(of(&record.train))), 2.5, TRAINING);
    chart.line(canvas, &points(history, |record| record.held_out.as_ref().map(of)), 2.5, HELD_OUT);
}

fn points(history: &[EpochRecord], of: impl Fn(&EpochRecord) -> Option<f64>) -> Vec<[f64; 2]> {
    history.iter().filter_map(|record| Some([record.epoch as f64 + 1.0, of(record)?])).collect()
}

/// The least and the largest value of both curves.
fn range(history: &[EpochRecord], of: fn(&Metrics) -> f64) -> [f64; 2] {
    let values = history.iter().flat_map(|record| [Some(record.train), record.held_out]).flatten();
    let found = values.map(|m| of(&m)).fold([f64::MAX, f64::MIN], |[low, high], v| [low.min(v), high.max(v)]);
    if found[0] <= found[1] { found } else { [0.1, 1.0] }
}
