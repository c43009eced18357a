//! A picture to draw on: pictures, bars, dots and text.

use image::{Rgb, RgbImage, imageops};

use super::text::{self, Align, Weight};

/// A colour: red, green, blue.
pub type Colour = [u8; 3];

/// Paper.
pub const WHITE: Colour = [255, 255, 255];
/// Text.
pub const INK: Colour = [32, 33, 36];
/// Less important text.
pub const FAINT: Colour = [100, 103, 108];
/// Lines and empty bars.
pub const RULE: Colour = [226, 228, 232];

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Left edge.
    pub x: i32,
    /// Upper edge.
    pub y: i32,
    /// Columns.
    pub width: i32,
    /// Rows.
    pub height: i32,
}

/// A picture that is being drawn. What stands over its edges is cut off.
#[derive(Debug)]
pub struct Canvas(RgbImage);

impl Canvas {
    /// White paper.
    #[must_use]
    pub fn new(width: i32, height: i32) -> Self {
        let extent = |extent: i32| u32::try_from(extent).unwrap_or(0).max(1);
        Self(RgbImage::from_pixel(extent(width), extent(height), Rgb(WHITE)))
    }

    /// The drawing.
    #[must_use]
    pub fn into_picture(self) -> RgbImage {
        self.0
    }

    /// Lays a picture down.
    pub fn picture(&mut self, x: i32, y: i32, picture: &RgbImage) {
        imageops::replace(&mut self.0, picture, i64::from(x), i64::from(y));
    }

    /// Fills an area.
    pub fn fill(&mut self, area: Area, colour: Colour) {
        self.tint(area, colour, 1.0);
    }

    /// Mixes a colour into an area: 0 leaves it as it is, 1 fills it.
    pub fn tint(&mut self, area: Area, colour: Colour, share: f32) {
        for y in area.y..area.y + area.height {
            for x in area.x..area.x + area.width {
                text::blend(&mut self.0, x, y, colour, share);
            }
        }
    }

    /// A line with round ends.
    pub fn line(&mut self, from: [f32; 2], to: [f32; 2], width: f32, colour: Colour) {
        let reach = width / 2.0 + 1.0;
        let bounds = |a: f32, b: f32| (a.min(b) - reach).floor() as i32..=(a.max(b) + reach).ceil() as i32;
        let [dx, dy] = [to[0] - from[0], to[1] - from[1]];
        let square = (dx * dx + dy * dy).max(f32::MIN_POSITIVE);
        for y in bounds(from[1], to[1]) {
            for x in bounds(from[0], to[0]) {
                let [px, py] = [x as f32 - from[0], y as f32 - from[1]];
                let along = ((px * dx + py * dy) / square).clamp(0.0, 1.0);
                let distance = (px - along * dx).hypot(py - along * dy);
                text::blend(&mut self.0, x, y, colour, (width + 1.0) / 2.0 - distance);
            }
        }
    }

    /// A dot; a hollow one has a white middle.
    pub fn dot(&mut self, [x, y]: [f32; 2], radius: f32, colour: Colour, hollow: bool) {
        let reach = radius.ceil() as i32 + 1;
        for dy in -reach..=reach {
            for dx in -reach..=reach {
                let (px, py) = (x.round() as i32 + dx, y.round() as i32 + dy);
                let distance = (px as f32 - x).hypot(py as f32 - y);
                text::blend(&mut self.0, px, py, colour, radius + 0.5 - distance);
                if hollow {
                    text::blend(&mut self.0, px, py, WHITE, radius - 1.3 - distance);
                }
            }
        }
    }

    /// A text whose middle line is at `y`.
    pub fn text(
        &mut self,
        [x, y]: [i32; 2],
        align: Align,
        size: f32,
        (weight, colour): (Weight, Colour),
        text: &str,
    ) {
        let shift = match align {
            Align::Left => 0.0,
            Align::Middle => text::width(text, size) / 2.0,
            Align::Right => text::width(text, size),
        };
        text::draw(&mut self.0, [x as f32 - shift, y as f32], size, weight, colour, text);
    }

    /// How wide a text is.
    #[must_use]
    pub fn text_width(text: &str, size: f32) -> i32 {
        text::width(text, size).ceil() as i32
    }

    /// A text in lines of at most this width; a longer word has a line of its own.
    #[must_use]
    pub fn wrapped(text: &str, size: f32, width: i32) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            match lines.last_mut() {
                Some(line) if Self::text_width(&format!("{line} {word}"), size) <= width => {
                    *line += " ";
                    *line += word;
                }
                _ => lines.push(word.into()),
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_wrapped_between_words() {
        let text = "one two three four";
        assert_eq!(Canvas::wrapped(text, 16.0, 1000), [text]);
        let narrow = Canvas::text_width("one two", 16.0);
        assert_eq!(Canvas::wrapped(text, 16.0, narrow), ["one two", "three", "four"]);
        assert_eq!(Canvas::wrapped(text, 16.0, 1), ["one", "two", "three", "four"]);
        assert!(Canvas::wrapped("", 16.0, 100).is_empty());
    }

    #[test]
    fn a_line_goes_from_end_to_end() {
        let mut canvas = Canvas::new(9, 9);
        canvas.line([1.0, 1.0], [7.0, 7.0], 1.0, INK);
        canvas.line([4.0, -9.0], [40.0, -9.0], 3.0, INK);
        let picture = canvas.into_picture();
        for x in 0..9 {
            let expected = if (1..8).contains(&x) { INK } else { WHITE };
            assert_eq!(picture.get_pixel(x, x), &Rgb(expected), "{x}");
        }
        assert_eq!(picture.get_pixel(6, 2), &Rgb(WHITE));
    }

    #[test]
    fn drawing_over_the_edges_is_cut_off() {
        let mut canvas = Canvas::new(4, 4);
        canvas.fill(Area { x: -2, y: 2, width: 100, height: 100 }, INK);
        canvas.dot([0.0, 0.0], 2.0, INK, true);
        canvas.picture(3, 3, &RgbImage::new(9, 9));
        let picture = canvas.into_picture();
        assert_eq!(picture.get_pixel(0, 2), &Rgb(INK));
        assert_eq!(picture.get_pixel(3, 0), &Rgb(WHITE));
        assert_eq!(picture.get_pixel(3, 3), &Rgb([0; 3]));
    }
}
