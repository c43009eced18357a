//! The demonstration shows what it claims.

use dyconv_bench::demo::{Demo, FILTERS, PHOTOGRAPH, TEMPERATURES, sheet};
use dyconv_bench::picture::{decode, from_channels};
use dyconv_core::{AnyBackend, Reference};
use image::{Rgb, RgbImage};

fn reference() -> AnyBackend {
    AnyBackend::new(Reference::default())
}

fn largest(weights: &[f32]) -> &'static str {
    let largest = weights.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap().0;
    FILTERS[largest].name
}

#[test]
fn every_copy_of_the_photograph_calls_for_its_own_expert_and_the_original_for_none() {
    let demo = Demo::new(&decode(PHOTOGRAPH).unwrap(), 4, 1).unwrap();
    let mixed = demo.mix(&reference(), &TEMPERATURES).unwrap();
    for mixed in &mixed {
        assert!(mixed.weights(0).iter().all(|weight| (weight - 0.25).abs() < 1e-4), "{:?}", mixed.weights(0));
        for (sample, expert) in [(1, "sharpen"), (2, "blur"), (3, "horizontal edges"), (4, "vertical edges")]
        {
            assert_eq!(largest(mixed.weights(sample)), expert, "{}", demo.copies[sample].name);
        }
    }
    // The lower the temperature, the more decided.
    for sample in 1..5 {
        let decided: Vec<f32> =
            mixed.iter().map(|m| m.weights(sample).iter().fold(0.0f32, |a, &b| a.max(b))).collect();
        assert!(decided[0] < 0.4 && decided[0] < decided[1] && decided[1] < decided[2], "{decided:?}");
        assert!(decided[2] > 0.8, "{decided:?}");
    }
}

#[test]
fn the_expert_that_changes_nothing_changes_nothing() {
    let picture = RgbImage::from_fn(9, 7, |x, y| Rgb([x as u8 * 20, y as u8 * 30, (x * y) as u8]));
    let demo = Demo::new(&picture, 5, 1).unwrap();
    let alone = demo.alone(&reference()).unwrap();
    assert_eq!((alone.len(), FILTERS[4].name), (5, "unchanged"));
    for (sample, copy) in demo.copies.iter().enumerate() {
        assert_eq!(from_channels(alone[4].view(), sample, [0, 1, 2]), copy.picture, "{}", copy.name);
    }
}

#[test]
fn edges_answer_to_their_own_direction() {
    // Left half black, right half white: a vertical edge in the middle, and nothing else.
    let picture = RgbImage::from_fn(12, 12, |x, _| Rgb([if x < 6 { 0 } else { 255 }; 3]));
    let alone = Demo::new(&picture, 4, 1).unwrap().alone(&reference()).unwrap();
    let pixel = |expert: usize| from_channels(alone[expert].view(), 0, [0, 1, 2]).get_pixel(6, 6).0[0];
    assert_eq!((FILTERS[2].name, FILTERS[3].name), ("horizontal edges", "vertical edges"));
    assert_eq!(pixel(2), 128);
    assert_eq!(pixel(3), 255);
}

#[test]
fn bars_are_as_long_as_weights_are_large() {
    let demo = Demo::new(&decode(PHOTOGRAPH).unwrap(), 4, 1).unwrap();
    let mixed = demo.mix(&reference(), &[5.0]).unwrap();
    let alone = demo.alone(&reference()).unwrap();
    let drawn = sheet(&demo.copies, &alone, &mixed, &["a note".into()]);
    let pixels =
        |expert: usize| drawn.pixels().filter(|pixel| pixel.0 == FILTERS[expert].colour).count() as f32;
    let legend = 14.0 * 14.0;
    let weight = |expert: usize| (0..5).map(|sample| mixed[0].weights(sample)[expert]).sum::<f32>();
    let (got, want) = ((pixels(0) - legend) / (pixels(1) - legend), weight(0) / weight(1));
    assert!((got / want - 1.0).abs() < 0.06, "bars stand {got}, weights {want}");
}

#[test]
fn pictures_of_any_shape_and_colour_can_be_shown() {
    for (width, height, colour) in
        [(1, 1, [0; 3]), (200, 1, [255; 3]), (1, 90, [255, 0, 0]), (7, 5, [0, 0, 1])]
    {
        let demo = Demo::new(&RgbImage::from_pixel(width, height, Rgb(colour)), 4, 1).unwrap();
        let mixed = demo.mix(&reference(), &[1.0]).unwrap();
        assert!(mixed[0].attention.data().iter().all(|weight| weight.is_finite()));
        let drawn = sheet(&demo.copies, &demo.alone(&reference()).unwrap(), &mixed, &[]);
        assert!(drawn.width() < 3000 && drawn.height() < 8000, "{:?}", drawn.dimensions());
    }
}
