//! How tiles find their input: each way by itself, in layers that it alone serves (`plan.rs` says which), where tiles
//! are whole and where they aren't, so that what is wrong in one of them is found under its name.

use dyconv_core::{Layout, Options, Padding, Shape};
use dyconv_wgpu::Choice;

use crate::support::{agrees, image, layer, options, with_backend};

/// Layers and input extents, in every shape of tile; with a kernel for each sample, and with one that they share.
fn serves(cases: &[(Options, [usize; 2])]) {
    for choice in [Choice::Huge, Choice::Large, Choice::Small] {
        with_backend(
            |builder| builder.force(choice),
            |backend| {
                for &(dynamic, [height, width]) in cases {
                    let shape = Shape::new(2, dynamic.in_channels, height, width).unwrap();
                    let input = image(shape, dynamic.layout, 1);
                    for options in [dynamic, Options { experts: 1, attention: None, ..dynamic }] {
                        agrees(&backend, &layer(options), &input);
                    }
                }
            },
        );
    }
}

#[test]
fn points_take_four_pixels_to_a_load() {
    let pointwise = |inputs, outputs| options(inputs, outputs).kernel_size([1, 1]);
    serves(&[
        (pointwise(32, 20), [8, 18]),
        (pointwise(19, 20), [8, 18]),
        (pointwise(32, 9), [2, 6]),
        (pointwise(20, 18).groups(2), [4, 4]),
    ]);
}

#[test]
fn taps_take_a_step_within_one() {
    serves(&[
        // The first tiles read no padding.
        (options(32, 20).padding(Padding::Valid), [14, 16]),
        (options(32, 20), [5, 7]),
        // A step and a part of one to each tap.
        (options(29, 9).kernel_size([2, 3]), [9, 6]),
        (options(26, 6).groups(2).stride([2, 1]).dilation([1, 2]), [9, 11]),
    ]);
}

#[test]
fn quads_take_four_channels_to_a_load() {
    let last = |inputs, outputs| options(inputs, outputs).layout(Layout::Nhwc);
    serves(&[
        (last(32, 20).padding(Padding::Valid), [14, 16]),
        // A step goes on in the next tap, and over several of them.
        (last(12, 20), [5, 7]),
        (last(4, 9).kernel_size([5, 3]), [9, 6]),
        (last(24, 6).groups(2).stride([2, 1]).dilation([1, 2]), [9, 11]),
    ]);
}

#[test]
fn any_products_are_found_one_by_one() {
    serves(&[
        (options(3, 20).kernel_size([5, 3]), [9, 7]),
        (options(1, 9).kernel_size([3, 2]), [9, 7]),
        // More channels than a step has products, and not a whole number of steps.
        (options(17, 9).kernel_size([2, 3]), [5, 6]),
        (options(18, 6).layout(Layout::Nhwc).groups(2).stride([2, 1]).dilation([1, 2]), [9, 11]),
    ]);
}
