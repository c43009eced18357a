//! The vector over channels: weights and input are both vectors, and the input is read where it lies. Taps outside
//! the image are left out, so there is no padded copy.
//!
//! A block's channels are the outermost loop, so that its weights stay in registers. Squares of three and five taps
//! have a kernel that slides ([`slide`]); any other geometry has one that looks for its taps ([`any`]).

mod any;
mod slide;

use std::ops::Range;

use self::any::AnyTaps;
use self::slide::Slide;
use super::Work;
use crate::buffer::Buffer;
use crate::kernels::activate::bounds;
use crate::kernels::output::Columns;
use crate::lanes::Lanes;
use crate::plan::Plan;

/// A block's input, channels last.
#[derive(Clone, Copy)]
struct Input<'a> {
    x: &'a [f32],
    /// From one pixel to the next.
    pixel: usize,
    /// Of the block.
    channels: usize,
}

/// Rows of outputs of a block, and what they are made of.
struct Outputs<'a, 't> {
    plan: &'a Plan,
    input: Input<'a>,
    rows: Range<usize>,
    /// `[tap][lane]`
    weights: &'a [f32],
    offset: &'a [f32],
    /// The least and the greatest output.
    clamp: [f32; 2],
    /// From the block's first channel on.
    residual: Option<&'a [f32]>,
    out: &'a mut Columns<'t>,
    /// Their channel sums, as many as are asked for.
    sums: &'a mut [f32],
}

pub(super) fn run<L: Lanes>(lanes: L, work: Work<'_, '_>, plane: &mut Buffer) {
    let Work { plan, block, sample, weights, offset, target: out, sums } = work;
    let config = &plan.config;
    let (in_channels, multiplier) = (config.in_channels(), config.out_channels_per_group());
    let channels = block.channels;
    let input = if multiplier == 1 {
        Input { x: &sample.x[block.first..], pixel: in_channels, channels }
    } else {
        // With a multiplier the lanes read input channels more than once: spread them out first.
        let spread = plane.scratch(plan.geometry.input[0] * plan.geometry.input[1] * L::WIDTH);
        for (out, x) in spread.chunks_exact_mut(L::WIDTH).zip(sample.x.chunks_exact(in_channels)) {
            for (lane, out) in out.iter_mut().enumerate().take(channels) {
                *out = x[(block.first + lane) / multiplier];
            }
        }
        Input { x: spread, pixel: L::WIDTH, channels }
    };
    let outputs = Outputs {
        plan,
        input,
        rows: 0..plan.geometry.output[0],
        weights,
        offset,
        clamp: bounds(sample.activation).unwrap_or([f32::NEG_INFINITY, f32::INFINITY]),
        residual: sample.residual.map(|residual| &residual[block.first..]),
        out,
        sums,
    };
    match (config.kernel_size(), config.stride(), config.dilation()) {
        ([3, 3], [1, 1], [1, 1]) => lanes.vectorize(Slide::<3, 1>(outputs)),
        ([3, 3], [2, 2], [1, 1]) => lanes.vectorize(Slide::<3, 2>(outputs)),
        ([5, 5], [1, 1], [1, 1]) => lanes.vectorize(Slide::<5, 1>(outputs)),
        ([5, 5], [2, 2], [1, 1]) => lanes.vectorize(Slide::<5, 2>(outputs)),
        _ => lanes.vectorize(AnyTaps(outputs)),
    }
}
