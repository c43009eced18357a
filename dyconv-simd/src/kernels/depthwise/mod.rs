//! Depthwise convolution, where every output channel reads one input channel, with any multiplier.
//!
//! There is no reduction over channels to broadcast along, so each layout has the vector where its memory is
//! contiguous: over channels in `channels_last`, over pixels in `channels_first`.

pub(crate) mod channels_first;
mod channels_last;

use dyconv_core::Layout;

use super::aggregate::aggregate;
use super::convolve::{Sample, channel_offsets};
use super::output::Target;
use crate::lanes::Lanes;
use crate::pack::{Block, Packed};
use crate::plan::Plan;
use crate::stream::Scratch;

/// What both kernels need: a block's aggregated weights and offsets, and where to put the outputs.
struct Work<'a, 't> {
    plan: &'a Plan,
    block: &'a Block,
    sample: &'a Sample<'a>,
    /// `[tap][lane]`
    weights: &'a [f32],
    /// b~ + shift, `[lane]`
    offset: &'a [f32],
    target: &'a mut Target<'t>,
}

/// Computes a block of one vector of output channels.
pub(crate) fn depthwise<L: Lanes>(
    lanes: L,
    plan: &Plan,
    packed: &Packed,
    block: &Block,
    sample: &Sample<'_>,
    target: &mut Target<'_>,
    scratch: &mut Scratch,
) {
    let Scratch { panel, offset, plane, .. } = scratch;
    let weights = packed.weights(block, 0, 1);
    let weights = match sample.pi {
        None => weights,
        Some(pi) => {
            let panel = panel.scratch(weights.len() / pi.len());
            aggregate(lanes, weights, pi, panel);
            panel
        }
    };
    let offset = channel_offsets(lanes, packed, block, sample.pi, offset.scratch(L::WIDTH));
    let work = Work { plan, block, sample, weights, offset, target };
    match plan.config.layout() {
        Layout::Nchw => channels_first::run(lanes, work, plane),
        Layout::Nhwc => channels_last::run(lanes, work, plane),
    }
}
