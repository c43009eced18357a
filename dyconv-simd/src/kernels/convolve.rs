//! Step 4: one block of output channels of one sample, tile by tile, from aggregation to the stored output.

use dyconv_core::Activation;

use super::activate::activate;
use super::aggregate::{aggregate, panels};
use super::ahead::LINE;
use super::output::Target;
use super::tile::{Tile, strided, windows};
use crate::lanes::{Lanes, MAX_WIDTH, Task};
use crate::pack::{Block, Packed, Weights};
use crate::plan::{Patch, Plan, Reading};
use crate::stream::Scratch;

/// One sample as its blocks see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample<'a> {
    /// What the plan reads: the input as it lies, or its padded copy.
    pub(crate) x: &'a [f32],
    /// π, or `None` for a static layer.
    pub(crate) pi: Option<&'a [f32]>,
    /// A residual of the output's shape.
    pub(crate) residual: Option<&'a [f32]>,
    /// The activation.
    pub(crate) activation: Activation,
}

/// One sample's share of a block.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) sample: Sample<'a>,
    /// Where its outputs go.
    pub(crate) target: Target<'a>,
    /// Their channel sums, where they are asked for.
    pub(crate) sums: &'a mut [f32],
}

/// Computes a block, for samples that share its experts, with a plan of register tiles.
///
/// Input channels are taken in steps whose aggregated panels stay in cache; sums of earlier steps wait in scratch.
pub(crate) fn convolve<L: Lanes>(
    lanes: L,
    plan: &Plan,
    packed: &Packed,
    block: &Block,
    work: &mut [Option<Work<'_>>],
    scratch: &mut Scratch,
) {
    let lanes_per_pixel = block.vectors * L::WIDTH;
    let one_step = plan.step >= plan.reduction_channels;
    let waiting = lanes_per_pixel * if one_step { plan.patch_pixels() } else { plan.pixels() };
    let count = work.iter().flatten().count();
    let Scratch { panel, offset, sums, .. } = scratch;
    let offsets = offset.scratch(count * lanes_per_pixel);
    for (work, offset) in work.iter().flatten().zip(offsets.chunks_exact_mut(lanes_per_pixel)) {
        channel_offsets(lanes, packed, block, work.sample.pi, offset);
    }
    let sums = sums.scratch(count * waiting);
    for from in (0..plan.reduction_channels).step_by(plan.step) {
        let channels = plan.step.min(plan.reduction_channels - from);
        let samples = work.iter().flatten().map(|work| &work.sample);
        let panels = panels(lanes, packed.weights(block, from, channels), samples, panel);
        let len = channels * plan.config.taps() * lanes_per_pixel;
        // While these panels are used, the experts of the next come nearer.
        let ahead = packed.after(block, from, channels);
        let mut asked = 0;
        let mut done = 0;
        let last = from + channels == plan.reduction_channels;
        // A static layer has one for all samples.
        let each = panels.chunks_exact(len).cycle();
        let scratch = offsets.chunks_exact(lanes_per_pixel).zip(sums.chunks_exact_mut(waiting));
        for ((work, panel), (offset, sums)) in work.iter_mut().flatten().zip(each).zip(scratch) {
            let mut at = 0;
            for patch in plan.patches() {
                done += patch.pixels();
                let due = ahead.len() / LINE * done / (count * plan.pixels()) * LINE;
                let now = &ahead[asked..due];
                asked = due;
                let sums = &mut sums[at..][..patch.pixels() * lanes_per_pixel];
                accumulate(lanes, plan, block, work.sample.x, from, patch, panel, now, sums);
                if last {
                    finish(lanes, plan, block, &work.sample, patch, offset, sums, &mut work.target);
                }
                if !one_step {
                    at += sums.len();
                }
            }
        }
    }
}

/// b~ + shift, one per lane.
pub(crate) fn channel_offsets<'a, L: Lanes>(
    lanes: L,
    packed: &Packed,
    block: &Block,
    pi: Option<&[f32]>,
    out: &'a mut [f32],
) -> &'a [f32] {
    match (packed.bias(block), pi) {
        (None, _) => out.fill(0.0),
        (Some(bias), None) => out.copy_from_slice(bias),
        (Some(bias), Some(pi)) => aggregate(lanes, Weights::F32(bias), pi, out),
    }
    if let Some(shift) = packed.shift(block) {
        out.iter_mut().zip(shift).for_each(|(offset, shift)| *offset += shift);
    }
    out
}

#[expect(clippy::too_many_arguments, reason = "the state of the loop above, no thing of its own")]
fn accumulate<L: Lanes>(
    lanes: L,
    plan: &Plan,
    block: &Block,
    x: &[f32],
    from: usize,
    patch: Patch,
    panel: &[f32],
    ahead: &[f32],
    sums: &mut [f32],
) {
    let resume = from > 0;
    match &plan.reading {
        Reading::Windows { offsets, row, channel } => {
            let start = patch.y * row + patch.x + (block.input + from) * channel;
            let tile = Tile { x: &x[start..], step: *row, offsets, panel, ahead, sums, resume };
            windows::<L>(patch.rows, patch.columns, block.vectors)(lanes, tile);
        }
        Reading::Strided { pixel } => {
            let start = patch.x * pixel + block.input + from;
            let tile = Tile { x: &x[start..], step: *pixel, offsets: &[], panel, ahead, sums, resume };
            strided::<L>(patch.columns, block.vectors)(lanes, tile);
        }
        Reading::Planes(_) | Reading::Channels => unreachable!("depthwise plans have kernels of their own"),
    }
}

#[expect(clippy::too_many_arguments, reason = "the state of the loop above, no thing of its own")]
fn finish<L: Lanes>(
    lanes: L,
    plan: &Plan,
    block: &Block,
    sample: &Sample<'_>,
    patch: Patch,
    offset: &[f32],
    sums: &[f32],
    target: &mut Target<'_>,
) {
    let row = patch.columns * block.vectors * L::WIDTH;
    for (y, sums) in sums.chunks_exact(row).enumerate() {
        lanes.vectorize(Finish {
            sums,
            offset,
            block: *block,
            residual: sample.residual,
            activation: sample.activation,
            pixel: (patch.y + y) * plan.grid[1] + patch.x,
            columns: patch.columns,
            pixels: plan.pixels(),
            out_channels: plan.out_channels,
            target,
        });
    }
}

/// Steps 6 and 7 for neighbouring pixels of a block, and the store.
struct Finish<'a, 't> {
    /// `[pixel][vector][lane]`
    sums: &'a [f32],
    offset: &'a [f32],
    block: Block,
    /// The sample's.
    residual: Option<&'a [f32]>,
    activation: Activation,
    /// The first pixel.
    pixel: usize,
    /// How many.
    columns: usize,
    /// Pixels of a plane.
    pixels: usize,
    out_channels: usize,
    target: &'a mut Target<'t>,
}

impl Task for Finish<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        match self.target {
            Target::Columns(_) => self.rows(lanes),
            Target::Planes(_) => self.planes(lanes),
        }
    }
}

impl Finish<'_, '_> {
    /// Channels last: vectors are stored as they are.
    #[inline(always)]
    fn rows<L: Lanes>(self, lanes: L) {
        let Target::Columns(columns) = self.target else { return };
        for (p, sums) in self.sums.chunks_exact(self.block.vectors * L::WIDTH).enumerate() {
            let pixel = self.pixel + p;
            let residual = self
                .residual
                .map(|r| &r[pixel * self.out_channels + self.block.first..][..self.block.channels]);
            for (v, out) in columns.row_mut(pixel).chunks_mut(L::WIDTH).enumerate() {
                let at = v * L::WIDTH;
                let mut y = lanes.add(lanes.load(&sums[at..]), lanes.load(&self.offset[at..]));
                if let Some(residual) = residual {
                    y = lanes.add(y, lanes.load_partial(&residual[at..]));
                }
                lanes.store_partial(activate(lanes, self.activation, y), out);
            }
        }
    }

    /// Channels first: a tile's rows, at most a vector's width of them, are turned over.
    #[inline(always)]
    fn planes<L: Lanes>(self, lanes: L) {
        let Target::Planes(planes) = self.target else { return };
        for v in 0..self.block.vectors {
            let at = v * L::WIDTH;
            let offset = lanes.load(&self.offset[at..]);
            let mut square = [lanes.splat(0.0); MAX_WIDTH];
            for (p, row) in square.iter_mut().enumerate().take(L::WIDTH) {
                if p < self.columns {
                    let sums = &self.sums[p * self.block.vectors * L::WIDTH + at..];
                    *row = lanes.add(lanes.load(sums), offset);
                }
            }
            let square = lanes.transpose(square);
            for (lane, &column) in square.iter().enumerate().take(L::WIDTH) {
                let channel = at + lane;
                if channel < self.block.channels {
                    let mut y = column;
                    if let Some(residual) = self.residual {
                        let start = (self.block.first + channel) * self.pixels + self.pixel;
                        y = lanes.add(y, lanes.load_partial(&residual[start..][..self.columns]));
                    }
                    let out = &mut planes[channel * self.pixels + self.pixel..][..self.columns];
                    lanes.store_partial(activate(lanes, self.activation, y), out);
                }
            }
        }
    }
}
