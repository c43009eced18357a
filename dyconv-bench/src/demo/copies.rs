//! A photograph and what may happen to it: the batch of the demonstration.

use image::{Rgb, RgbImage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A picture with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// How it came about.
    pub name: &'static str,
    /// The same, as part of a file name.
    pub slug: &'static str,
    /// The picture.
    pub picture: RgbImage,
}

/// How much light a darkened copy keeps.
const DARKNESS: f32 = 0.4;
/// Speckles multiply a pixel by up to 1 plus this.
const NOISE: f32 = 2.0;

/// The original, and darkened, noisy, blue and green copies.
#[must_use]
pub fn copies(original: &RgbImage, seed: u64) -> Vec<Copy> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let copy = |name, slug, picture| Copy { name, slug, picture };
    // Two tints as the eye sees them: one channel up, the others down, about as bright as before.
    let tint = |factors: [f32; 3]| map(original, |rgb| [0, 1, 2].map(|c| rgb[c] * factors[c]));
    vec![
        copy("original", "original", original.clone()),
        copy("darkened", "darkened", map(original, |rgb| rgb.map(|value| value * DARKNESS))),
        copy("noisy (specks of light)", "noisy", map(original, |rgb| speckle(rgb, &mut rng))),
        copy("tinted blue", "blue", tint([0.7, 0.9, 2.0])),
        copy("tinted green", "green", tint([0.7, 1.6, 0.7])),
    ]
}

/// Noise that only ever adds light, in proportion to the pixel's own, so that a picture's mean brightness rises
/// and its mean colour stays.
fn speckle(rgb: [f32; 3], rng: &mut ChaCha8Rng) -> [f32; 3] {
    let strength: f32 = rng.random_range(0.0..=1.0);
    rgb.map(|value| value * (1.0 + NOISE * strength * strength * strength))
}

fn map(picture: &RgbImage, mut f: impl FnMut([f32; 3]) -> [f32; 3]) -> RgbImage {
    let mut picture = picture.clone();
    for Rgb(pixel) in picture.pixels_mut() {
        *pixel = f(pixel.map(f32::from)).map(|value| value.clamp(0.0, 255.0).round() as u8);
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_copies() {
        let picture = RgbImage::from_pixel(4, 4, Rgb([90, 60, 30]));
        assert_eq!(copies(&picture, 1), copies(&picture, 1));
        assert_ne!(copies(&picture, 1), copies(&picture, 2));
        assert_eq!(copies(&picture, 1)[1].picture.get_pixel(0, 0), &Rgb([36, 24, 12]));
    }
}
