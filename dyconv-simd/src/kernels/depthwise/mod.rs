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
use super::convolve::{self, Sample, channel_offsets};
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
    /// The outputs' channel sums, as many as are asked for: all or none.
    sums: &'a mut [f32],
}

/// Computes some blocks, each one vector of output channels, and, where asked for, their sums.
pub(crate) fn depthwise<L: Lanes>(
    lanes: L,
    plan: &Plan,
    packed: &Packed,
    blocks: &[Block],
    work: &mut [Option<convolve::Work<'_>>],
    scratch: &mut Scratch,
) {
    let first = blocks.first().map_or(0, |block| block.first);
    for convolve::Work { sample, target, sums } in work.iter_mut().flatten() {
        for block in blocks {
            let own = block.first - first;
            let sums = if sums.is_empty() { &mut [] } else { &mut sums[own..][..block.channels] };
            let mut target = target.channels(plan.config.layout(), own, block.channels);
            one(lanes, plan, packed, block, sample, (&mut target, sums), scratch);
        }
    }
}

/// Computes a block.
fn one<L: Lanes>(
    lanes: L,
    plan: &Plan,
    packed: &Packed,
    block: &Block,
    sample: &Sample<'_>,
    (target, sums): (&mut Columns<'_>, &mut [f32]),
    scratch: &mut Scratch,
) {
    let Scratch { panel, offset, plane, .. } = scratch;
    let weights = aggregate::panel(lanes, packed.weights(block, 0, 1), sample.pi, panel);
    let offset = channel_offsets(lanes, packed, block, sample, offset.scratch(L::WIDTH));
    let layout = plan.config.layout();
    let bounded = bounds(sample.activation).is_some();
    let (sums, later) = if bounded { (sums, Default::default()) } else { (Default::default(), sums) };
    let work = Work { plan, block, sample, weights, offset, target: &mut *target, sums };
    match layout {
        Layout::Nchw => channels_first::run(lanes, work, plane),
        Layout::Nhwc => channels_last::run(lanes, work, plane),
    }
    if !bounded {
        lanes.vectorize(Activate { activation: sample.activation, layout, target, sums: later });
    }
}

/// Stores channel sums where they are asked for. To store no lane to nowhere is allowed, too, but takes hundreds of cycles.
#[inline(always)]
fn store_sums<L: Lanes>(lanes: L, total: L::V, sums: &mut [f32]) {
    if !sums.is_empty() {
        lanes.store_partial(total, sums);
    }
}

/// Step 7 for a block that has just been written, where it is more than two bounds: the kernels keep their registers.
struct Activate<'a, 't> {
    activation: Activation,
    layout: Layout,
    target: &'a mut Columns<'t>,
    sums: &'a mut [f32],
}

impl Task for Activate<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { activation, layout, target, sums } = self;
        let mut total = lanes.splat(0.0);
        for row in 0..target.rows() {
            let mut vectors = target.row_mut(row).chunks_exact_mut(L::WIDTH);
            for out in vectors.by_ref() {
                let y = activate(lanes, activation, lanes.load(out));
                lanes.store(y, out);
                total = lanes.add(total, y);
            }
            let out = vectors.into_remainder();
            if !out.is_empty() {
                let y = activate(lanes, activation, lanes.load_partial(out));
                lanes.store_partial(y, out);
                total = lanes.add(total, lanes.keep(y, out.len()));
            }
            if layout == Layout::Nchw {
                if let Some(sum) = sums.get_mut(row) {
                    *sum = lanes.reduce_add(total);
                }
                total = lanes.splat(0.0);
            }
        }
        if layout == Layout::Nhwc {
            store_sums(lanes, total, sums);
        }
    }
}
