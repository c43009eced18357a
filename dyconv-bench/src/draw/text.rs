//! Text in fonts that ship with the program, so that pictures look the same everywhere.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};
use image::{Rgb, RgbImage};

use super::Colour;

/// Where a text stands relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// The point is its left end.
    Left,
    /// The point is its middle.
    Middle,
    /// The point is its right end.
    Right,
}

/// Which font.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Running text.
    Light,
    /// Headings: the same strokes, drawn heavier.
    Bold,
}

/// Ubuntu Light first, Hack for signs that it lacks. An unreadable font would be a defect of the build, not of
/// anything a caller did: text is left out then.
static FONTS: LazyLock<Vec<FontRef<'static>>> = LazyLock::new(|| {
    let fonts = [epaint_default_fonts::UBUNTU_LIGHT, epaint_default_fonts::HACK_REGULAR];
    fonts.iter().filter_map(|bytes| FontRef::try_from_slice(bytes).ok()).collect()
});

/// The font that has a sign.
fn font_of(sign: char) -> Option<&'static FontRef<'static>> {
    FONTS.iter().find(|font| font.glyph_id(sign).0 != 0).or(FONTS.first())
}

/// The width of a text in pixels.
pub(super) fn width(text: &str, size: f32) -> f32 {
    text.chars().filter_map(|sign| font_of(sign).map(|font| advance(font, sign, size))).sum()
}

fn advance(font: &FontRef<'_>, sign: char, size: f32) -> f32 {
    font.as_scaled(PxScale::from(size)).h_advance(font.glyph_id(sign))
}

/// Draws a text whose first sign starts at `x` and whose middle line is `y`.
pub(super) fn draw(
    picture: &mut RgbImage,
    [x, y]: [f32; 2],
    size: f32,
    weight: Weight,
    colour: Colour,
    text: &str,
) {
    // Small letters are centred, not the box that could hold every accent.
    let baseline = y + 0.26 * size;
    let mut pen = x;
    for sign in text.chars() {
        let Some(font) = font_of(sign) else { continue };
        let strokes: &[f32] = match weight {
            Weight::Light => &[0.0],
            Weight::Bold => &[0.0, 0.5, 0.9],
        };
        for shift in strokes {
            let position = point(pen + shift, baseline);
            let glyph = font.glyph_id(sign).with_scale_and_position(PxScale::from(size), position);
            let Some(outline) = font.outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            outline.draw(|dx, dy, coverage| {
                blend(picture, corner.x as i32 + dx as i32, corner.y as i32 + dy as i32, colour, coverage);
            });
        }
        pen += advance(font, sign, size);
    }
}

/// Mixes a colour into a pixel; outside the picture nothing happens.
pub(super) fn blend(picture: &mut RgbImage, x: i32, y: i32, colour: Colour, coverage: f32) {
    let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
    let Some(Rgb(pixel)) = picture.get_pixel_mut_checked(x, y) else { return };
    for (below, above) in pixel.iter_mut().zip(colour) {
        let mixed = f32::from(*below) + (f32::from(above) - f32::from(*below)) * coverage.clamp(0.0, 1.0);
        *below = mixed.round() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_fonts_are_readable_and_have_the_signs_in_use() {
        assert_eq!(FONTS.len(), 2);
        for sign in "aZ09π→×÷µ·–Σ@=".chars() {
            assert!(FONTS.iter().any(|font| font.glyph_id(sign).0 != 0), "no font has {sign}");
        }
    }

    #[test]
    fn text_over_the_edge_is_cut_off() {
        let mut picture = RgbImage::new(8, 8);
        draw(&mut picture, [-20.0, 100.0], 16.0, Weight::Bold, [255; 3], "far away");
        draw(&mut picture, [-4.0, 4.0], 16.0, Weight::Light, [255; 3], "MMM");
        assert!(picture.pixels().any(|pixel| pixel.0[0] > 0));
    }
}
