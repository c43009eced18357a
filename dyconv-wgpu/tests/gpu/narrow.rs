//! Blocks of narrow groups: all numbers of channels around them, and planes that don't divide by four.

use dyconv_core::{Activation, Backend, BatchNorm, Layout, Options, Padding, Prepare, Shape};
use dyconv_wgpu::{Choice, WgpuBackend};

use crate::support::{agrees, image, layer, options, with_backend};

fn narrow(backend: &WgpuBackend, options: Options, extents: [usize; 2], seed: usize) {
    let shape = Shape::new(3, options.in_channels, extents[0], extents[1]).unwrap();
    let layer = layer(options);
    let prepared = backend.prepare(&layer, &Prepare::default()).unwrap();
    let name = backend.plan(&prepared, shape).unwrap().name;
    assert!(name.starts_with("narrow"), "{name}");
    println!("{options:?}");
    agrees(backend, &layer, &image(shape, options.layout, seed));
}

/// Groups of 1 to 9 channels, of which a block takes some and the next one the rest; samples with kernels of their own, and
/// with a shared one.
#[test]
fn every_number_of_channels_is_right() {
    for choice in [Choice::NarrowQuad, Choice::NarrowPanel] {
        with_backend(
            |builder| builder.force(choice),
            |backend| {
                for case in 0..36 {
                    // Every output count with several input counts, and the other way round.
                    let [inputs, outputs] = [2 + case * 5 % 8, 1 + case % 9];
                    let groups = 1 + case * 3 % 8;
                    let given = options(groups * inputs, groups * outputs).groups(groups);
                    let given = given.layout(Layout::ALL[case % 2]).batch_norm(BatchNorm::KERAS);
                    let one = Options { experts: 1, attention: None, ..given };
                    let given = [given, one][case / 2 % 2].activation(Activation::Silu);
                    narrow(&backend, given, [1 + case % 6, 1 + case * 7 % 11], case);
                }
            },
        );
    }
}

/// Strides, dilations, padding beyond the kernel, kernels that are no squares.
#[test]
fn every_geometry_is_right() {
    let wide = Padding::Explicit { top: 4, bottom: 1, left: 0, right: 6 };
    for choice in [Choice::NarrowQuad, Choice::NarrowPanel] {
        with_backend(
            |builder| builder.force(choice),
            |backend| {
                for layout in Layout::ALL {
                    let given = options(6, 10).groups(2).layout(layout);
                    narrow(&backend, given.stride([2, 3]), [9, 8], 1);
                    narrow(&backend, given.dilation([3, 2]), [7, 9], 2);
                    narrow(&backend, given.padding(wide).kernel_size([2, 5]), [5, 6], 3);
                    narrow(&backend, given.padding(Padding::Valid).kernel_size([1, 4]), [3, 4], 4);
                }
            },
        );
    }
}
