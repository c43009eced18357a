//! Our dynamic layer against the best peers as a picture: two bars per layer along a logarithmic axis, from "as fast".

use image::RgbImage;

use super::text::{Align, Weight};
use super::{Area, Canvas, Colour, FAINT, INK, RULE};
use crate::against::PeerLine;
use crate::machine::Machine;
use crate::precision::Storage;
use crate::record::Against;

const DYNAMIC: Colour = [66, 133, 244];
const STATIC: Colour = [244, 160, 0];
const LABELS: i32 = 240;
const FIGURES: i32 = 300;
const PLOT: i32 = 620;
const LINE: i32 = 40;
const BAR: i32 = 14;
const TOP: i32 = 118;
const MARGIN: i32 = 24;
const LIGHT: (Weight, Colour) = (Weight::Light, INK);
const QUIET: (Weight, Colour) = (Weight::Light, FAINT);

/// Draws every line that has a ratio.
#[must_use]
pub fn ratio_plot(against: &Against, machine: &Machine) -> RgbImage {
    let has_ratio = |line: &&PeerLine| line.over_dynamic_peer.or(line.over_static_peer).is_some();
    let lines: Vec<&PeerLine> = against.lines.iter().filter(has_ratio).collect();
    let height = TOP + LINE * lines.len() as i32 + 64;
    let mut canvas = Canvas::new(MARGIN + LABELS + PLOT + FIGURES + MARGIN, height);
    let title = "The dynamic layer against the best of the other engines";
    canvas.text([MARGIN, 28], Align::Left, 24.0, (Weight::Bold, INK), title);
    let threads =
        if against.threads == 1 { "one thread".into() } else { format!("{} threads", against.threads) };
    canvas.text([MARGIN, 56], Align::Left, 16.0, QUIET, &format!("{}, {threads}", machine.title()));
    legend(&mut canvas);
    let axis = Axis::new(&lines);
    axis.draw(&mut canvas, TOP, height - 56);
    for (i, line) in lines.iter().enumerate() {
        let y = TOP + LINE * i as i32 + LINE / 2;
        canvas.text([MARGIN, y], Align::Left, 16.0, LIGHT, &label(line));
        draw_line(&mut canvas, &axis, y, line);
    }
    canvas.into_picture()
}

fn label(line: &PeerLine) -> String {
    let mut label = line.workload.to_string();
    if line.batch != 1 {
        label += &format!(" × {}", line.batch);
    }
    if line.precision != Storage::F32 {
        label += &format!(" {}", line.precision);
    }
    label
}

fn legend(canvas: &mut Canvas) {
    let mut x = MARGIN;
    for (colour, name) in [(DYNAMIC, "over the best dynamic peer"), (STATIC, "over the best static peer")] {
        canvas.fill(Area { x, y: 83, width: 14, height: 10 }, colour);
        canvas.text([x + 22, 88], Align::Left, 16.0, LIGHT, name);
        x += 22 + Canvas::text_width(name, 16.0) + 26;
    }
}

fn draw_line(canvas: &mut Canvas, axis: &Axis, y: i32, line: &PeerLine) {
    let bars = [
        (y - BAR, DYNAMIC, line.over_dynamic_peer, &line.dynamic_peer),
        (y, STATIC, line.over_static_peer, &line.static_peer),
    ];
    for (top, colour, ratio, peer) in bars {
        let (Some(ratio), Some(peer)) = (ratio, peer) else { continue };
        let (one, end) = (axis.at(1.0), axis.at(ratio));
        canvas
            .fill(Area { x: one.min(end), y: top, width: (end - one).abs().max(2), height: BAR - 2 }, colour);
        let figures = MARGIN + LABELS + PLOT + 12;
        let middle = top + BAR / 2;
        canvas.text([figures + 44, middle], Align::Right, 14.0, LIGHT, &format!("{ratio:.2} ×"));
        canvas.text([figures + 54, middle], Align::Left, 14.0, QUIET, &peer.who);
    }
}

/// A logarithmic axis of ratios, in octaves.
#[derive(Debug, PartialEq)]
struct Axis {
    octaves: [i32; 2],
}

impl Axis {
    fn new(lines: &[&PeerLine]) -> Self {
        let ratios = lines.iter().flat_map(|line| [line.over_dynamic_peer, line.over_static_peer]).flatten();
        let (low, high) = ratios
            .map(f64::log2)
            .fold((0.0, 1.0), |(low, high), octave| (f64::min(low, octave), f64::max(high, octave)));
        Self { octaves: [low.floor() as i32, high.ceil() as i32] }
    }

    fn at(&self, ratio: f64) -> i32 {
        let [low, high] = self.octaves.map(f64::from);
        MARGIN + LABELS + ((ratio.log2() - low) / (high - low) * f64::from(PLOT)).round() as i32
    }

    fn draw(&self, canvas: &mut Canvas, top: i32, bottom: i32) {
        for octave in self.octaves[0]..=self.octaves[1] {
            let ratio = 2f64.powi(octave);
            let x = self.at(ratio);
            let colour = if octave == 0 { FAINT } else { RULE };
            canvas.fill(Area { x, y: top, width: 2, height: bottom - top }, colour);
            canvas.text([x, bottom + 16], Align::Middle, 16.0, LIGHT, &format!("{ratio} ×"));
        }
        let caption = "times as fast (logarithmic; right of 1 × the dynamic layer wins)";
        let middle = MARGIN + LABELS + PLOT / 2;
        canvas.text([middle, bottom + 40], Align::Middle, 16.0, QUIET, caption);
    }
}

#[cfg(test)]
mod tests {
    use dyconv_core::Layout;

    use super::*;
    use crate::against::Best;

    fn line(dynamic: Option<f64>, static_: Option<f64>) -> PeerLine {
        let best = |ratio: Option<f64>| {
            ratio.map(|_| Best { who: "a peer".into(), layout: Layout::Nchw, median_us: 1.0 })
        };
        PeerLine {
            workload: "resnet18-64x56",
            batch: 1,
            precision: Storage::F32,
            interleaved: true,
            dynamic: None,
            static_: None,
            dynamic_peer: best(dynamic),
            static_peer: best(static_),
            over_dynamic_peer: dynamic,
            over_static_peer: static_,
        }
    }

    #[test]
    fn the_axis_has_one_and_every_ratio_on_it() {
        let lines = [line(Some(3.0), Some(0.3)), line(None, None)];
        let axis = Axis::new(&lines.iter().collect::<Vec<_>>());
        assert_eq!(axis, Axis { octaves: [-2, 2] });
        assert!(axis.at(0.3) < axis.at(1.0) && axis.at(1.0) < axis.at(3.0));
        assert_eq!(Axis::new(&[]), Axis { octaves: [0, 1] });
    }

    #[test]
    fn bars_are_as_long_as_ratios_are_far_from_one() {
        let mut canvas = Canvas::new(MARGIN + LABELS + PLOT + FIGURES, 60);
        let line = line(Some(4.0), Some(0.5));
        let axis = Axis::new(&[&line]);
        draw_line(&mut canvas, &axis, 30, &line);
        let picture = canvas.into_picture();
        let pixels = |colour| picture.pixels().filter(|pixel| pixel.0 == colour).count() as i32;
        assert_eq!(pixels(DYNAMIC), (BAR - 2) * (axis.at(4.0) - axis.at(1.0)));
        assert_eq!(pixels(STATIC), (BAR - 2) * (axis.at(1.0) - axis.at(0.5)));
    }
}
