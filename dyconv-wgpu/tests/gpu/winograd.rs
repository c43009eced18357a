//! Winograd's transforms, constant by constant. The error contract allows for what roundings can grow to, which is
//! more than a constant that is off by a little: so here outputs are exact but for a few roundings.

use dyconv_core::{Backend, DyConv2d, Layout, Options, Params, Prepare, Shape, Tensor};
use dyconv_wgpu::Choice;

use crate::support::with_backend;

/// A tile is linear in its input and in its kernel. So it is right if it is right for every pixel of the input and every
/// tap of the kernel that are 1 where all others are 0: which makes one output 1, or none.
#[test]
fn every_pixel_meets_every_tap_in_one_output() {
    for (choice, extent, most) in [(Choice::WinogradF2, 2, 0.0), (Choice::WinogradF4, 4, 8e-6)] {
        with_backend(
            |builder| builder.force(choice),
            |backend| {
                let layer = layer_of_taps();
                let read = extent + 2;
                let shape = Shape::new(read * read, 2, read, read).unwrap();
                let input =
                    Tensor::from_fn(shape, Layout::Nchw, |[n, c, y, x]| one_if(c == 0 && n == read * y + x));
                let prepared = backend.prepare(&layer, &Prepare::default()).unwrap();
                let plan = backend.plan(&prepared, shape).unwrap().name;
                assert!(plan.contains(&format!("winograd {extent}×{extent}")), "{plan}");

                let got = backend.run(&layer, &input).unwrap();
                let want = Tensor::from_fn(got.shape(), Layout::Nchw, |[n, tap, y, x]| {
                    one_if(n == read * (y + tap / 3) + x + tap % 3)
                });
                let off = got.data().iter().zip(want.data()).map(|(got, want)| (got - want).abs());
                let off = off.fold(0.0, f32::max);
                assert!(off <= most, "{choice:?} is off by {off}");
            },
        );
    }
}

/// A static layer with an output channel for each tap of a 3×3 kernel; its second input channel is there since one would
/// make it depthwise.
fn layer_of_taps() -> DyConv2d {
    let config = Options::new(2, 9).kernel_size([3, 3]).build().unwrap();
    let weight = (0..9 * 2 * 9).map(|i| one_if(i / 18 == i % 9)).collect();
    DyConv2d::new(config, Params { weight, bias: None, attention: None, batch_norm: None }).unwrap()
}

fn one_if(condition: bool) -> f32 {
    f32::from(u8::from(condition))
}
