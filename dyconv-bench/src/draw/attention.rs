//! Attention over experts by class as heat maps, one for each dynamic layer: the paper's figure.

use dyconv_nn::{Dataset, LayerAttention};
use image::{Rgb, RgbImage};

use super::text::{Align, Weight};
use super::{Area, Canvas, Colour, FAINT, INK, WHITE};
use crate::picture::resize;

const MARGIN: i32 = 32;
const THUMB: i32 = 36;
const ROW: i32 = 40;
/// Between the classes and the line for all of them.
const GAP: i32 = 14;
const LABELS: i32 = THUMB + 40;
const BETWEEN: i32 = 42;
const TOP: i32 = 190;
/// A map is about this wide, whatever number of experts there is.
const MAP: i32 = 208;
const DEEP: Colour = [8, 48, 107];
const MIDDLE: Colour = [66, 146, 198];
const TITLE: (Weight, Colour) = (Weight::Bold, INK);
const ASIDE: (Weight, Colour) = (Weight::Light, FAINT);

/// Draws every layer's mean π over the images of each class, whose mean image stands beside it.
#[must_use]
pub fn attention_plot<D: Dataset + ?Sized>(layers: &[LayerAttention], images: &D) -> RgbImage {
    let widths: Vec<i32> = layers.iter().map(|layer| cell(layer) * layer.experts as i32).collect();
    let map = |i: usize| MARGIN + LABELS + widths[..i].iter().map(|width| width + BETWEEN).sum::<i32>();
    let classes = images.classes() as i32;
    let bottom = TOP + ROW * (classes + 1) + GAP;
    let mut canvas = Canvas::new((map(layers.len()) - BETWEEN + MARGIN).max(860), bottom + 40);
    heading(&mut canvas);
    for class in 0..images.classes() {
        let y = row(class);
        let thumb = mean_image(images, class);
        canvas.picture(MARGIN, y + 2, &resize(&thumb, THUMB as u32, THUMB as u32));
        let label = [MARGIN + THUMB + 16, y + ROW / 2];
        canvas.text(label, Align::Middle, 18.0, TITLE, &class.to_string());
    }
    let all = TOP + ROW * classes + GAP;
    canvas.text([MARGIN + THUMB + 16, all + ROW / 2], Align::Middle, 18.0, TITLE, "all");
    for (i, layer) in layers.iter().enumerate() {
        let (x, cell) = (map(i), cell(layer));
        canvas.text([x, TOP - 62], Align::Left, 18.0, TITLE, &layer.layer);
        let share = 100.0 * layer.entropy / (layer.experts as f64).ln();
        canvas.text([x, TOP - 40], Align::Left, 15.0, ASIDE, &format!("entropy {share:.0} %"));
        if cell >= 16 {
            for expert in 0..layer.experts {
                let name = [x + cell * expert as i32 + cell / 2, TOP - 14];
                canvas.text(name, Align::Middle, 15.0, ASIDE, &(expert + 1).to_string());
            }
        }
        for (class, weights) in layer.by_class.iter().enumerate() {
            cells(&mut canvas, [x, row(class)], cell, weights);
        }
        cells(&mut canvas, [x, all], cell, &layer.usage);
    }
    canvas.into_picture()
}

fn heading(canvas: &mut Canvas) {
    let title = "How much each expert weighs, by the digit that is read";
    canvas.text([MARGIN, 34], Align::Left, 26.0, TITLE, title);
    let lines = [
        "A row is a digit: the mean of its held-out images, and the mean of their attention weights π.",
        "A column is an expert of the layer. Entropy is a mean over images; 100 % is all alike.",
    ];
    for (i, line) in lines.into_iter().enumerate() {
        canvas.text([MARGIN, 64 + 22 * i as i32], Align::Left, 16.0, ASIDE, line);
    }
}

fn row(class: usize) -> i32 {
    TOP + ROW * class as i32
}

/// How wide an expert's column is.
fn cell(layer: &LayerAttention) -> i32 {
    (MAP / layer.experts.max(1) as i32).clamp(4, 52)
}

fn cells(canvas: &mut Canvas, [x, y]: [i32; 2], cell: i32, weights: &[f64]) {
    for (expert, &weight) in weights.iter().enumerate() {
        let left = x + cell * expert as i32;
        let gap = i32::from(cell > 8);
        canvas.fill(Area { x: left, y, width: cell - gap, height: ROW - 1 }, shade(weight));
        if cell >= 30 {
            let ink = if weight > 0.45 { WHITE } else { INK };
            let middle = [left + cell / 2, y + ROW / 2];
            canvas.text(middle, Align::Middle, 15.0, (Weight::Light, ink), &format!("{weight:.2}"));
        }
    }
}

/// White at 0, blue, dark blue at 1.
fn shade(weight: f64) -> Colour {
    let weight = weight.clamp(0.0, 1.0);
    let mix = |from: Colour, to: Colour, share: f64| {
        [0, 1, 2]
            .map(|c| (f64::from(from[c]) + (f64::from(to[c]) - f64::from(from[c])) * share).round() as u8)
    };
    match weight < 0.5 {
        true => mix([247, 249, 252], MIDDLE, 2.0 * weight),
        false => mix(MIDDLE, DEEP, 2.0 * weight - 1.0),
    }
}

/// The mean of a class's images, dark on white.
fn mean_image<D: Dataset + ?Sized>(images: &D, class: usize) -> RgbImage {
    let [_, height, width] = images.shape();
    let of_class: Vec<usize> = (0..images.len()).filter(|&i| images.label(i) == class).collect();
    let mean = |pixel: usize| {
        let sum: f32 = of_class.iter().map(|&i| images.image(i)[pixel]).sum();
        sum / of_class.len().max(1) as f32
    };
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let ink = mean(y as usize * width + x as usize).clamp(0.0, 1.0);
        Rgb([(255.0 * (1.0 - ink)).round() as u8; 3])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heavier_is_darker() {
        let brightness = |weight| shade(weight).map(u32::from).iter().sum::<u32>();
        let steps: Vec<u32> = (0..=20).map(|i| brightness(f64::from(i) / 20.0)).collect();
        assert!(steps.is_sorted_by(|a, b| a > b), "{steps:?}");
        assert_eq!((shade(1.0), shade(7.0), shade(-1.0)), (DEEP, DEEP, shade(0.0)));
    }
}
