//! The vector over channels: weights and input are both vectors, and the input is read where it lies. Taps outside
//! the image are left out, so there is no padded copy.
//!
//! A block's channels are the outermost loop, so that its weights stay in registers. Squares of three and five taps
//! have a kernel that slides ([`slide`]); any other geometry has one that looks for its taps ([`any`]).

mod any;
mod slide;

use std::ops::Range;

use self::any::AnyTaps;
use self::slide::slide;
use super::Work;
use crate::buffer::Buffer;
use crate::kernels::activate::bounds;
use crate::kernels::output::Columns;
use crate::lanes::Lanes;
use crate::plan::Plan;

/// A block's input or residual, channels last, from its first channel on.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) x: &'a [f32],
    /// From one pixel to the next.
    pub(super) pixel: usize,
    /// Of the block.
    pub(super) channels: usize,
}

/// Rows of outputs of a block, and what they are made of.
pub(super) struct Outputs<'a, 't> {
    pub(super) plan: &'a Plan,
    pub(super) input: Input<'a>,
    pub(super) rows: Range<usize>,
    /// `[tap][lane]`
    pub(super) weights: &'a [f32],
    pub(super) offset: &'a [f32],
    /// The least and the greatest output.
    pub(super) clamp: [f32; 2],
    /// A reference, since kernels have no registers to spare for one that is seldom there.
    pub(super) residual: Option<&'a Input<'a>>,
    pub(super) out: &'a mut Columns<'t>,
    /// Their channel sums, as many as are asked for.
    pub(super) sums: &'a mut [f32],
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
    let residual =
        sample.residual.map(|x| Input { x: &x[block.first..], pixel: plan.out_channels, channels });
    let outputs = Outputs {
        plan,
        input,
        rows: 0..plan.geometry.output[0],
        weights,
        offset,
        clamp: bounds(sample.activation).unwrap_or([f32::NEG_INFINITY, f32::INFINITY]),
        residual: residual.as_ref(),
        out,
        sums,
    };
    convolve(lanes, outputs);
}

/// Computes outputs with the kernel of their taps.
pub(super) fn convolve<L: Lanes>(lanes: L, outputs: Outputs<'_, '_>) {
    let config = &outputs.plan.config;
    match (config.kernel_size(), config.stride(), config.dilation()) {
        ([3, 3], [1, 1], [1, 1]) => slide::<L, 3, 1>(lanes, outputs),
        ([3, 3], [2, 2], [1, 1]) => slide::<L, 3, 2>(lanes, outputs),
        ([5, 5], [1, 1], [1, 1]) => slide::<L, 5, 1>(lanes, outputs),
        ([5, 5], [2, 2], [1, 1]) => slide::<L, 5, 2>(lanes, outputs),
        _ => lanes.vectorize(AnyTaps(outputs)),
    }
}
