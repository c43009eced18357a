//! Pictures and tensors: sRGB values from 0 to 1, channels first.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use dyconv_core::{Error, Layout, Result, Shape, Tensor, TensorView};
use image::error::{LimitError, LimitErrorKind};
use image::imageops::{self, FilterType};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits, Rgb, RgbImage};

/// Largest width and height that is read; a header may claim anything.
const MAX_EXTENT: u32 = 16_384;
/// Largest file that is read.
const MAX_FILE: u64 = 256 << 20;
/// Largest memory that decoding may take.
const MAX_BYTES: u64 = 512 << 20;

/// Reads a PNG or JPEG.
///
/// # Errors
/// Where the file can't be read, isn't a picture or claims to be too large.
pub fn open(path: &Path) -> Result<RgbImage> {
    let bytes = read(path).map_err(|error| Error::file(path.display(), error))?;
    if bytes.is_empty() {
        return Err(Error::file(path.display(), "the file is empty; expected a PNG or JPEG picture"));
    }
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::file(
            path.display(),
            format!("larger than {} MiB; expected a picture", MAX_FILE >> 20),
        ));
    }
    decode(&bytes).map_err(|error| {
        let expected =
            format!("expected a PNG or JPEG picture of at most {MAX_EXTENT} × {MAX_EXTENT} pixels");
        Error::file(path.display(), format!("{error}; {expected}"))
    })
}

/// A file's bytes, but no more than one beyond the limit: a device may never end.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Decodes a PNG or JPEG, whatever its name, and turns it upright where it says how it was taken.
///
/// # Errors
/// Where the bytes aren't a picture or claim to be too large.
pub fn decode(bytes: &[u8]) -> image::ImageResult<RgbImage> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_EXTENT);
    limits.max_image_height = Some(MAX_EXTENT);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    // What a decoder doesn't count against its limit: the picture itself.
    if decoder.total_bytes() > MAX_BYTES {
        return Err(ImageError::Limits(LimitError::from_kind(LimitErrorKind::InsufficientMemory)));
    }
    // Broken notes on how to hold a picture don't make it unusable.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture.to_rgb8())
}

/// Pictures of one size as a batch N×3×H×W.
///
/// # Errors
/// Where there is none, or the sizes differ.
pub fn to_batch(pictures: &[RgbImage]) -> Result<Tensor> {
    let size = |picture: &RgbImage| [picture.width(), picture.height()];
    let first = pictures.first().map(size).unwrap_or_default();
    if let Some(other) = pictures.iter().map(size).find(|other| *other != first) {
        return Err(Error::invalid(
            "picture",
            format!("{other:?} pixels"),
            format!("{first:?}, like the first"),
        ));
    }
    let shape = Shape::new(pictures.len(), 3, first[1] as usize, first[0] as usize)?;
    let mut data = Vec::with_capacity(shape.len());
    for picture in pictures {
        for channel in 0..3 {
            data.extend(picture.pixels().map(|pixel| f32::from(pixel.0[channel]) / 255.0));
        }
    }
    Tensor::new(shape, Layout::Nchw, data)
}

/// A picture's luminance as 1×1×H×W.
///
/// # Errors
/// Where the picture is empty.
pub fn to_grey(picture: &RgbImage) -> Result<Tensor> {
    let shape = Shape::new(1, 1, picture.height() as usize, picture.width() as usize)?;
    let luminance = |Rgb([r, g, b]): &Rgb<u8>| {
        (0.2126 * f32::from(*r) + 0.7152 * f32::from(*g) + 0.0722 * f32::from(*b)) / 255.0
    };
    Tensor::new(shape, Layout::Nchw, picture.pixels().map(luminance).collect())
}

/// Three channels of one sample as a picture, clipped to 0 … 1.
///
/// # Panics
/// Where the sample or a channel doesn't exist.
#[must_use]
pub fn from_channels(tensor: TensorView<'_>, sample: usize, channels: [usize; 3]) -> RgbImage {
    let shape = tensor.shape();
    RgbImage::from_fn(shape.width() as u32, shape.height() as u32, |x, y| {
        Rgb(channels.map(|c| to_byte(tensor.at([sample, c, y as usize, x as usize]))))
    })
}

/// 0 … 1 to 0 … 255, clipped; NaN becomes 0.
fn to_byte(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}

/// A picture at another size.
#[must_use]
pub fn resize(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    imageops::resize(picture, width.max(1), height.max(1), FilterType::CatmullRom)
}

/// A picture no larger than `longest` on either side; one that is smaller stays as it is.
#[must_use]
pub fn fit(picture: &RgbImage, longest: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let largest = width.max(height);
    if largest <= longest {
        return picture.clone();
    }
    let scaled = |extent: u32| (u64::from(extent) * u64::from(longest) / u64::from(largest)) as u32;
    resize(picture, scaled(width), scaled(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_survives_the_way_through_a_tensor() {
        let picture = RgbImage::from_fn(3, 2, |x, y| Rgb([x as u8 * 80, y as u8 * 200, 7]));
        let batch = to_batch(&[picture.clone(), picture.clone()]).unwrap();
        assert_eq!(batch.shape(), Shape::new(2, 3, 2, 3).unwrap());
        assert_eq!(from_channels(batch.view(), 1, [0, 1, 2]), picture);
    }

    #[test]
    fn a_picture_taken_sideways_is_turned_upright() {
        let mut jpeg = Vec::new();
        RgbImage::new(4, 2).write_to(&mut Cursor::new(&mut jpeg), image::ImageFormat::Jpeg).unwrap();
        assert_eq!(decode(&jpeg).unwrap().dimensions(), (4, 2));
        // After the start marker: an APP1 segment with one TIFF entry, orientation (0x112) 6.
        let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let length = (2 + 6 + tiff.len() as u16).to_be_bytes();
        let exif = [&[0xff, 0xe1], &length[..], b"Exif\0\0", tiff].concat();
        jpeg.splice(2..2, exif);
        assert_eq!(decode(&jpeg).unwrap().dimensions(), (2, 4));
    }

    #[test]
    fn values_beyond_black_and_white_are_clipped() {
        assert_eq!([-3.0, 0.5, 9.0, f32::NAN].map(to_byte), [0, 128, 255, 0]);
    }

    #[test]
    fn pictures_of_different_sizes_are_no_batch() {
        let error = to_batch(&[RgbImage::new(2, 2), RgbImage::new(3, 2)]).unwrap_err();
        assert!(error.to_string().contains("[3, 2]"), "{error}");
        assert!(to_batch(&[]).is_err());
    }

    #[test]
    fn fitting_keeps_the_proportions_and_never_enlarges() {
        assert_eq!(fit(&RgbImage::new(400, 100), 200).dimensions(), (200, 50));
        assert_eq!(fit(&RgbImage::new(20, 10), 200).dimensions(), (20, 10));
        assert_eq!(fit(&RgbImage::new(5000, 1), 50).dimensions(), (50, 1));
    }
}
