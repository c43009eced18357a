//! The handwritten digits that ship with the program, and their division into images to train on and held-out ones.
//!
//! `data/digits.png` has them as tiles of 8 × 8 pixels, 48 in a row, in the order of the source; `data/digits.txt` has
//! their labels in the same rows. `data/README.md` says where they are from and what their licence is.

use dyconv_core::{Error, Layout, Result, Shape, Tensor};
use dyconv_nn::Images;
use image::RgbImage;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::picture::decode;

const SHEET: &[u8] = include_bytes!("../data/digits.png");
const LABELS: &str = include_str!("../data/digits.txt");

/// Height and width of an image.
pub const EXTENT: usize = 8;
/// Classes: the digits.
pub const CLASSES: usize = 10;
/// Tiles in a row of the sheet.
const COLUMNS: usize = 48;
/// Pixels of the source count from 0 to 16; the sheet has them times this.
const GREY: u8 = 15;
/// The division is always the same, whatever seed a training has: accuracies of all trainings can be compared.
const SPLIT_SEED: u64 = 1797;
/// One image of so many of each class is held out.
const HELD_OUT: usize = 3;

/// The data set, divided.
#[derive(Clone, Debug, PartialEq)]
pub struct Digits {
    /// Images to train on.
    pub training: Images,
    /// Images that no training sees.
    pub held_out: Images,
    /// The place of each held-out image in the source, counted from 0.
    pub held_out_places: Vec<usize>,
}

impl Digits {
    /// Reads what ships with the program: 1198 images to train on and 599 held out, a third of each class.
    ///
    /// # Errors
    /// None, unless the program was built from damaged files.
    pub fn load() -> Result<Self> {
        Self::read(SHEET, LABELS)
    }

    /// Reads a sheet and its labels.
    ///
    /// # Errors
    /// Where the sheet isn't a picture of the right size, a pixel isn't one of the 17 shades, or a label isn't a digit.
    pub fn read(sheet: &[u8], labels: &str) -> Result<Self> {
        let labels = read_labels(labels)?;
        let sheet = decode(sheet).map_err(|error| Error::file("digits.png", error))?;
        let rows = labels.len().div_ceil(COLUMNS);
        let expected = ((COLUMNS * EXTENT) as u32, (rows * EXTENT) as u32);
        if sheet.dimensions() != expected {
            let (found, expected) =
                (format!("{:?} pixels", sheet.dimensions()), format!("{expected:?}, as the labels say"));
            return Err(Error::invalid("digits.png", found, expected));
        }
        let held_out = held_out_places(&labels);
        let training: Vec<usize> = (0..labels.len()).filter(|i| held_out.binary_search(i).is_err()).collect();
        Ok(Self {
            training: images(&sheet, &labels, &training)?,
            held_out: images(&sheet, &labels, &held_out)?,
            held_out_places: held_out,
        })
    }
}

fn read_labels(text: &str) -> Result<Vec<usize>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut labels = Vec::with_capacity(lines.len() * COLUMNS);
    for (i, line) in lines.iter().enumerate() {
        let last = i + 1 == lines.len();
        let length = line.chars().count();
        if length > COLUMNS || length == 0 || (length < COLUMNS && !last) {
            let parameter = format!("line {} of digits.txt", i + 1);
            return Err(Error::invalid(parameter, format!("{length} signs"), format!("{COLUMNS} digits")));
        }
        for sign in line.chars() {
            let digit = sign.to_digit(CLASSES as u32).ok_or_else(|| {
                Error::invalid(format!("line {} of digits.txt", i + 1), format!("{line:?}"), "digits alone")
            })?;
            labels.push(digit as usize);
        }
    }
    match labels.is_empty() {
        true => Err(Error::invalid("digits.txt", "empty", "a digit for each image")),
        false => Ok(labels),
    }
}

/// A third of every class, by lot: every image draws a number, and the smallest of each class are held out.
fn held_out_places(labels: &[usize]) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(SPLIT_SEED);
    let mut lots: Vec<(usize, u64, usize)> =
        labels.iter().enumerate().map(|(i, &label)| (label, rng.next_u64(), i)).collect();
    lots.sort_unstable();
    let mut places: Vec<usize> = lots
        .chunk_by(|(a, ..), (b, ..)| a == b)
        .flat_map(|class| &class[..(class.len() + HELD_OUT / 2) / HELD_OUT])
        .map(|&(_, _, i)| i)
        .collect();
    places.sort_unstable();
    places
}

fn images(sheet: &RgbImage, labels: &[usize], places: &[usize]) -> Result<Images> {
    let shape = Shape::new(places.len(), 1, EXTENT, EXTENT)?;
    let mut pixels = Vec::with_capacity(shape.len());
    for &place in places {
        for y in 0..EXTENT {
            for x in 0..EXTENT {
                let (column, row) = (place % COLUMNS * EXTENT + x, place / COLUMNS * EXTENT + y);
                pixels.push(value(sheet.get_pixel(column as u32, row as u32).0, place)?);
            }
        }
    }
    let labels = places.iter().map(|&place| labels[place]).collect();
    Images::new(Tensor::new(shape, Layout::Nchw, pixels)?, labels, CLASSES)
}

/// A shade as a number from 0 to 1.
fn value(pixel: [u8; 3], place: usize) -> Result<f32> {
    match pixel {
        [r, g, b] if r == g && g == b && r % GREY == 0 && r / GREY <= 16 => Ok(f32::from(r / GREY) / 16.0),
        other => {
            let expected = format!("one of the 17 greys 0, {GREY} … {}", 16 * GREY);
            Err(Error::invalid(
                format!("a pixel of image {place} of digits.png"),
                format!("{other:?}"),
                expected,
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use dyconv_nn::Dataset;
    use image::{ImageFormat, Rgb};

    use super::*;

    fn of_class(images: &Images, class: usize) -> usize {
        (0..images.len()).filter(|&i| images.label(i) == class).count()
    }

    #[test]
    fn the_data_set_is_the_sources() {
        let digits = Digits::load().unwrap();
        assert_eq!((digits.training.len(), digits.held_out.len()), (1198, 599));
        // UCI's counts for this file.
        let counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180];
        for (class, count) in counts.into_iter().enumerate() {
            let held_out = of_class(&digits.held_out, class);
            assert_eq!(of_class(&digits.training, class) + held_out, count, "class {class}");
            assert!(held_out.abs_diff(count / 3) <= 1, "class {class}");
        }
        // What trainings, checkpoints and the weights that ship depend on: pixels, labels, division, order.
        assert_eq!(format!("{:016x}", digits.training.fingerprint()), "6da8dd4cbcee55a5");
        assert_eq!(format!("{:016x}", digits.held_out.fingerprint()), "4a0eca97274026fc");
        // The source's first image, a 0, whose first row is 0 0 5 13 9 1 0 0.
        let everything = read_labels(LABELS).unwrap();
        let sheet = decode(SHEET).unwrap();
        let first = images(&sheet, &everything, &[0]).unwrap();
        assert_eq!(first.label(0), 0);
        assert_eq!(first.image(0)[..8], [0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0].map(|v: f32| v / 16.0));
    }

    #[test]
    fn held_out_images_are_in_no_training() {
        let digits = Digits::load().unwrap();
        let seen: std::collections::BTreeSet<Vec<u32>> = (0..digits.training.len())
            .map(|i| digits.training.image(i).iter().map(|v| v.to_bits()).collect())
            .collect();
        let again = (0..digits.held_out.len()).filter(|&i| {
            seen.contains(&digits.held_out.image(i).iter().map(|v| v.to_bits()).collect::<Vec<_>>())
        });
        assert_eq!(again.count(), 0);
        assert!(digits.held_out_places.is_sorted() && digits.held_out_places.len() == digits.held_out.len());
    }

    fn sheet(columns: u32, rows: u32, pixel: [u8; 3]) -> Vec<u8> {
        let mut bytes = Vec::new();
        RgbImage::from_pixel(columns, rows, Rgb(pixel))
            .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
            .unwrap();
        bytes
    }

    #[test]
    fn damaged_files_are_refused_by_name() {
        let refused = |sheet: &[u8], labels: &str| Digits::read(sheet, labels).unwrap_err().to_string();
        let good = sheet(384, 8, [30; 3]);
        assert!(Digits::read(&good, "0123\n").is_ok());
        assert!(refused(b"no picture", "0123\n").starts_with("digits.png: "));
        assert!(refused(&good, "").starts_with("digits.txt is empty"));
        assert!(refused(&good, "01x3\n").contains("\"01x3\"; expected digits alone"));
        assert!(refused(&good, "01\n23\n").starts_with("line 1 of digits.txt is 2 signs"));
        assert!(refused(&good, &"1".repeat(49)).starts_with("line 1 of digits.txt is 49 signs"));
        assert!(refused(&sheet(384, 16, [0; 3]), "0123\n").starts_with("digits.png is (384, 16) pixels"));
        for pixel in [[31; 3], [255; 3], [15, 30, 15]] {
            let message = refused(&sheet(384, 8, pixel), "0123\n");
            assert!(message.contains("one of the 17 greys 0, 15 … 240"), "{message}");
        }
    }
}
