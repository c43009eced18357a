//! Depthwise convolution, where every output channel reads one input channel, with any multiplier.
//!
//! There is no reduction over channels to broadcast along, so each layout has the vector where its memory is
//! contiguous: over channels in `channels_last`, over pixels in `channels_first`.

#[expect(clippy::needless_range_loop, reason = "taps go by number in several arrays at once")]
mod channels_first;
#[expect(clippy::needless_range_loop, reason = "taps go by number in several arrays at once")]
mod channels_last;

use dyconv_core::{Activation, Layout};

pub(crate) use self::channels_first::Way;
use super::activate::{activate, bounds};
use super::aggregate;
use super::convolve::{Sample, channel_offsets};
use super::output::Columns;
use crate::lanes::{Lanes, Task};
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
    target: &'a mut Columns<'t>,
}

/// Computes a block of one vector of output channels.
pub(crate) fn depthwise<L: Lanes>(
    lanes: L,
    plan: &Plan,
    packed: &Packed,
    block: &Block,
    sample: &Sample<'_>,
    target: &mut Columns<'_>,
    scratch: &mut Scratch,
) {
    let Scratch { panel, offset, plane, .. } = scratch;
    let weights = aggregate::panel(lanes, packed.weights(block, 0, 1), sample.pi, panel);
    let offset = channel_offsets(lanes, packed, block, sample.pi, offset.scratch(L::WIDTH));
    let work = Work { plan, block, sample, weights, offset, target };
    match plan.config.layout() {
        Layout::Nchw => channels_first::run(lanes, work, plane),
        Layout::Nhwc => channels_last::run(lanes, work, plane),
    }
    if bounds(sample.activation).is_none() {
        lanes.vectorize(Activate { activation: sample.activation, target });
    }
}

/// Step 7 for a block that has just been written, where it is more than two bounds: the kernels keep their registers.
struct Activate<'a, 't> {
    activation: Activation,
    target: &'a mut Columns<'t>,
}

impl Task for Activate<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        for row in 0..self.target.rows() {
            activate_in_place(lanes, self.activation, self.target.row_mut(row));
        }
    }
}

#[inline(always)]
fn activate_in_place<L: Lanes>(lanes: L, activation: Activation, out: &mut [f32]) {
    for out in out.chunks_mut(L::WIDTH) {
        lanes.store_partial(activate(lanes, activation, lanes.load_partial(out)), out);
    }
}
