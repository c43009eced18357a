//! The contact sheet: one row per copy; what came in, what each expert alone would do, and at each temperature
//! the attention as bars and the mixed result.

use dyconv_core::Tensor;
use image::RgbImage;

use super::{Copy, FILTERS, Filter, Mixed};
use crate::draw::{Align, Area, Canvas, Colour, FAINT, INK, RULE, Weight};
use crate::picture::{from_channels, resize};

/// Width of a picture on the sheet.
const THUMB: i32 = 168;
/// Width of a chart.
const CHART: i32 = 96;
const GAP: i32 = 10;
/// Between input, experts and temperatures.
const WIDE_GAP: i32 = 30;
const MARGIN: i32 = 28;
/// Height of a line of text, and where the first is.
const LINE: i32 = 26;
const FIRST_LINE: i32 = 70;
/// Longer lines are hard to read.
const LONGEST_LINE: i32 = 1240;
const CAPTION: i32 = 24;
const RGB: [usize; 3] = [0, 1, 2];

const HEADING: &str = "Dynamic convolution: each picture chooses its own mixture of known filters";
const INTRODUCTION: &str = "One batch, one layer. The attention head sees the mean red, green and blue of each picture and \
    gives every expert a weight; the experts' kernels are summed with these weights, and the picture is convolved once with \
    the sum. The temperature T divides the logits: at 30, where training begins, all experts share; at 1 each picture has \
    chosen.";

/// Size of running text.
const TEXT: f32 = 17.0;

const TITLE: (Weight, Colour) = (Weight::Bold, INK);
const BODY: (Weight, Colour) = (Weight::Light, INK);
const ASIDE: (Weight, Colour) = (Weight::Light, FAINT);

/// Draws the sheet. `notes` stand below it.
#[must_use]
pub fn sheet(copies: &[Copy], alone: &[Tensor], mixed: &[Mixed], notes: &[String]) -> RgbImage {
    let (width, height) = copies.first().map_or((3, 2), |copy| copy.picture.dimensions());
    let picture_height = (u64::from(height) * THUMB as u64 / u64::from(width.max(1))).clamp(24, 1200) as i32;
    let columns = Columns { experts: alone.len() as i32, temperatures: mixed.len() as i32 };
    let filters = &FILTERS[..alone.len().min(FILTERS.len())];
    let row_height = picture_height + CAPTION + GAP;
    let room = columns.width() - 2 * MARGIN;
    let introduction = Canvas::wrapped(INTRODUCTION, TEXT, room.min(LONGEST_LINE));
    let notes: Vec<String> = notes.iter().flat_map(|note| Canvas::wrapped(note, TEXT, room)).collect();
    let top = FIRST_LINE + LINE * introduction.len() as i32 + 64;
    let bottom = top + row_height * copies.len() as i32;
    let mut canvas = Canvas::new(columns.width(), bottom + LINE * notes.len() as i32 + MARGIN);
    canvas.text([MARGIN, 34], Align::Left, 30.0, TITLE, HEADING);
    paragraph(&mut canvas, FIRST_LINE, &introduction);
    titles(&mut canvas, &columns, top, filters, mixed);
    for (sample, copy) in copies.iter().enumerate() {
        let y = top + row_height * sample as i32;
        let mut show = |x: i32, picture: &RgbImage| {
            canvas.picture(x, y, &resize(picture, THUMB as u32, picture_height as u32));
        };
        show(MARGIN, &copy.picture);
        for (expert, output) in alone.iter().enumerate() {
            show(columns.expert(expert), &from_channels(output.view(), sample, RGB));
        }
        for (i, mixed) in mixed.iter().enumerate() {
            show(columns.temperature(i) + CHART + GAP, &from_channels(mixed.output.view(), sample, RGB));
        }
        for (i, mixed) in mixed.iter().enumerate() {
            let area = Area { x: columns.temperature(i), y, width: CHART, height: picture_height };
            bars(&mut canvas, area, mixed.weights(sample), filters);
        }
        let caption = [MARGIN, y + picture_height + CAPTION / 2];
        canvas.text(caption, Align::Left, TEXT, BODY, copy.name);
    }
    paragraph(&mut canvas, bottom + 14, &notes);
    canvas.into_picture()
}

/// Lines below each other from `y` on.
fn paragraph(canvas: &mut Canvas, y: i32, lines: &[String]) {
    for (line, y) in lines.iter().zip((y..).step_by(LINE as usize)) {
        canvas.text([MARGIN, y], Align::Left, TEXT, ASIDE, line);
    }
}

/// Where columns begin.
struct Columns {
    experts: i32,
    temperatures: i32,
}

impl Columns {
    fn expert(&self, expert: usize) -> i32 {
        MARGIN + THUMB + WIDE_GAP + (THUMB + GAP) * expert as i32
    }

    fn temperature(&self, i: usize) -> i32 {
        let experts_end = MARGIN + THUMB + WIDE_GAP + (THUMB + GAP) * self.experts - GAP;
        experts_end + WIDE_GAP + (CHART + GAP + THUMB + WIDE_GAP) * i as i32
    }

    fn width(&self) -> i32 {
        // The heading needs room even beside one expert and one temperature.
        (self.temperature(self.temperatures as usize) - WIDE_GAP + MARGIN).max(1080)
    }
}

/// What the columns are, above those that begin at `top`.
fn titles(canvas: &mut Canvas, columns: &Columns, top: i32, filters: &[Filter], mixed: &[Mixed]) {
    let (group, name) = (top - 56, top - 24);
    let mut title = |x: i32, text: &str| canvas.text([x, group], Align::Left, 20.0, TITLE, text);
    title(MARGIN, "input");
    title(columns.expert(0), if filters.len() == 1 { "the expert alone" } else { "each expert alone" });
    for (i, mixed) in mixed.iter().enumerate() {
        title(columns.temperature(i), &format!("mixed at T = {}", mixed.temperature));
    }
    for (expert, filter) in filters.iter().enumerate() {
        let x = columns.expert(expert);
        canvas.fill(Area { x, y: name - 7, width: 14, height: 14 }, filter.colour);
        canvas.text([x + 21, name], Align::Left, TEXT, BODY, filter.name);
    }
    for i in 0..mixed.len() {
        let x = columns.temperature(i);
        canvas.text([x, name], Align::Left, TEXT, BODY, "attention π");
        canvas.text([x + CHART + GAP, name], Align::Left, TEXT, BODY, "result");
    }
}

/// One bar per expert, in the expert's colour, with its weight.
fn bars(canvas: &mut Canvas, area: Area, weights: &[f32], filters: &[Filter]) {
    const FIGURE: i32 = 36;
    let slot = (area.height / weights.len().max(1) as i32).min(34);
    let top = area.y + (area.height - slot * weights.len() as i32) / 2;
    let bar = (slot - 4).clamp(4, 20);
    for (i, (weight, filter)) in weights.iter().zip(filters).enumerate() {
        let y = top + slot * i as i32 + (slot - bar) / 2;
        let full = area.width - FIGURE;
        let filled = (weight.clamp(0.0, 1.0) * full as f32).round() as i32;
        canvas.fill(Area { x: area.x, y, width: full, height: bar }, RULE);
        canvas.fill(Area { x: area.x, y, width: filled, height: bar }, filter.colour);
        let figure = [area.x + area.width, y + bar / 2];
        canvas.text(figure, Align::Right, 15.0, BODY, &format!("{weight:.2}"));
    }
}
