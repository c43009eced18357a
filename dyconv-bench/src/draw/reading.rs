//! Every held-out digit with the class that the network says it is of, and the attention it was looked at with.

use dyconv_nn::{Dataset, Images};
use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};

use super::text::{Align, Weight};
use super::{Area, Canvas, Colour, FAINT, INK, WHITE};
use crate::reading::Answers;

const MARGIN: i32 = 32;
const LABELS: i32 = 44;
const TOP: i32 = 176;
const IMAGE: i32 = 32;
const CELL: i32 = 50;
const BAR: i32 = 5;
const WRONG: Colour = [217, 48, 37];
/// An expert's colour in every layer; beyond as many, they are used again.
const EXPERTS: [Colour; 8] = [
    [66, 133, 244],
    [244, 160, 0],
    [15, 157, 88],
    [171, 71, 188],
    [0, 172, 193],
    [219, 68, 55],
    [121, 85, 72],
    [158, 157, 36],
];
/// Bands of a class: its images in so many rows.
const ROWS: usize = 2;

/// Draws all images, class by class.
#[must_use]
pub fn reading_sheet(images: &Images, answers: &Answers, title: &str, notes: &[String]) -> RgbImage {
    let classes: Vec<Vec<usize>> = (0..images.classes())
        .map(|class| (0..images.len()).filter(|&i| images.label(i) == class).collect())
        .collect();
    let columns = classes.iter().map(|class| class.len().div_ceil(ROWS)).max().unwrap_or(1).max(1);
    let row = IMAGE + BAR * answers.attention.len() as i32 + 16;
    let band = row * ROWS as i32 + 14;
    let width = MARGIN + LABELS + CELL * columns as i32 + MARGIN - (CELL - IMAGE);
    let mut canvas = Canvas::new(width.max(900), TOP + band * classes.len() as i32 + 14);
    heading(&mut canvas, answers, title, notes);
    for (class, of_class) in classes.iter().enumerate() {
        let y = TOP + band * class as i32;
        let middle = [MARGIN, y + row - 8];
        canvas.text(middle, Align::Left, 40.0, (Weight::Bold, FAINT), &class.to_string());
        for (place, &image) in of_class.iter().enumerate() {
            let (line, column) = (place / columns, place % columns);
            let corner = [MARGIN + LABELS + CELL * column as i32, y + row * line as i32];
            cell(&mut canvas, corner, images, answers, image);
        }
    }
    canvas.into_picture()
}

fn heading(canvas: &mut Canvas, answers: &Answers, title: &str, notes: &[String]) {
    canvas.text([MARGIN, 34], Align::Left, 28.0, (Weight::Bold, INK), title);
    for (i, note) in notes.iter().enumerate() {
        canvas.text([MARGIN, 68 + 23 * i as i32], Align::Left, 16.0, (Weight::Light, FAINT), note);
    }
    let y = TOP - 32;
    let names: Vec<&str> = answers.attention.iter().map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        return;
    }
    let text = format!("bars, from above: π of {}; expert", names.join(", "));
    canvas.text([MARGIN, y], Align::Left, 16.0, (Weight::Light, INK), &text);
    let mut x = MARGIN + Canvas::text_width(&text, 16.0) + 14;
    let experts = answers.attention.iter().map(|(_, pi)| pi.shape().channels()).max().unwrap_or_default();
    for (expert, colour) in EXPERTS.into_iter().enumerate().take(experts) {
        canvas.fill(Area { x, y: y - 7, width: 14, height: 14 }, colour);
        canvas.text([x + 20, y], Align::Left, 16.0, (Weight::Light, INK), &(expert + 1).to_string());
        x += 46;
    }
}

fn cell(canvas: &mut Canvas, [x, y]: [i32; 2], images: &Images, answers: &Answers, image: usize) {
    let wrong = answers.class(image) != images.label(image);
    if wrong {
        canvas.fill(Area { x: x - 2, y: y - 2, width: IMAGE + 4, height: IMAGE + 4 }, WRONG);
    }
    canvas.picture(x, y, &enlarged(images, image));
    let colour = if wrong { WRONG } else { FAINT };
    let weight = if wrong { Weight::Bold } else { Weight::Light };
    let label = [x + IMAGE + 8, y + IMAGE / 2];
    canvas.text(label, Align::Middle, 15.0, (weight, colour), &answers.class(image).to_string());
    for (layer, weights) in answers.weights(image).enumerate() {
        bar(canvas, [x, y + IMAGE + 4 + BAR * layer as i32], weights);
    }
}

/// Shares side by side; the last takes what rounding leaves.
fn bar(canvas: &mut Canvas, [x, y]: [i32; 2], weights: &[f32]) {
    let total: f32 = weights.iter().sum();
    let mut sum = 0.0;
    let mut left = 0;
    for (expert, weight) in weights.iter().enumerate() {
        sum += weight;
        let right = (IMAGE as f32 * sum / total.max(f32::MIN_POSITIVE)).round() as i32;
        let area = Area { x: x + left, y, width: right - left, height: BAR - 1 };
        canvas.fill(area, EXPERTS[expert % EXPERTS.len()]);
        left = right;
    }
}

/// Dark on white.
fn enlarged(images: &Images, image: usize) -> RgbImage {
    let [_, height, width] = images.shape();
    let pixels = images.image(image);
    let small = RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let ink = pixels[y as usize * width + x as usize].clamp(0.0, 1.0);
        Rgb(WHITE.map(|white| (f32::from(white) * (1.0 - 0.94 * ink)).round() as u8 - 8))
    });
    resize(&small, IMAGE as u32, IMAGE as u32, FilterType::Nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fill_their_width_by_shares() {
        let mut canvas = Canvas::new(IMAGE, BAR);
        bar(&mut canvas, [0, 0], &[0.25, 0.5, 0.25]);
        let picture = canvas.into_picture();
        let count = |expert: usize| {
            (0..IMAGE as u32).filter(|&x| picture.get_pixel(x, 0).0 == EXPERTS[expert]).count()
        };
        assert_eq!([0, 1, 2].map(count), [8, 16, 8]);
    }
}
