//! The end of step 4 in kernels that finish outputs unit by unit, a unit being some pixels of a block of channels; and the
//! channel means of what they finish.

use std::ops::Range;

use dyconv_core::Result;

use super::convolve::Bindings;
use super::{elementwise, pool};
use crate::kernel::{Kernel, Outputs, THREADS};
use crate::limits::{LOOP_STEPS, Limits};
use crate::memory::Allocation;
use crate::params::ConvolveParams;
use crate::stream::WgpuStream;

/// Where a part of the batch has its channel means, in those of all.
pub(super) type Means<'a> = (&'a Allocation, Range<usize>);

/// The units of a layer: the channels of a block, as many as `ROWS` in the kernel, how many units each block of a sample
/// has, and the loop steps that one takes.
#[derive(Clone, Copy)]
pub(super) struct Units {
    pub(super) rows: u32,
    pub(super) count: u32,
    pub(super) steps: u32,
}

impl Units {
    /// Blocks of a sample's channels.
    fn blocks(self, params: &ConvolveParams) -> u32 {
        params.groups * params.rows.div_ceil(self.rows)
    }

    /// Workgroups that finish each unit by a thread of its own.
    pub(super) fn workgroups(self, params: &ConvolveParams) -> u64 {
        let extents = [params.kernels, params.samples, self.blocks(params), self.count];
        elementwise(extents.map(|extent| extent as usize).iter().product())
    }
}

/// Runs a kernel that finishes units; and makes their channel means, if it is told where.
pub(super) fn record(
    stream: &mut WgpuStream,
    kernel: impl Fn(Outputs) -> Kernel,
    mut params: ConvolveParams,
    bindings: &Bindings,
    units: Units,
    means: Option<Means<'_>>,
) -> Result<()> {
    params.units = units.count;
    let Some(means) = means else {
        let sums = stream.bind(&stream.take(1)?, 0, 1)?;
        let workgroups = units.workgroups(&params);
        return bindings.dispatch(stream, kernel(Outputs::Each), &params, sums, workgroups);
    };
    let limits = stream.context().limits;
    let [samples, blocks] = [params.kernels * params.samples, units.blocks(&params)];
    let each = per_thread(&limits, units, u64::from(samples) * u64::from(blocks));
    let are_neighbours = params.channels_last != 0;
    params.lanes = pool::lanes_for(blocks as usize, units.count as usize, each, are_neighbours) as u32;
    params.row_tiles = blocks.div_ceil(params.lanes);
    params.column_tiles = units.count.div_ceil(each as u32 * (THREADS / params.lanes));
    let extents =
        [params.groups * params.rows, params.column_tiles, params.pixels].map(|extent| extent as usize);
    let len = samples as usize * extents[0] * extents[1];
    let sums = stream.take(len)?;
    let target = stream.bind(&sums, 0, len)?;
    let workgroups = [samples, params.row_tiles, params.column_tiles].map(u64::from).iter().product();
    bindings.dispatch(stream, kernel(Outputs::Summed(limits.across)), &params, target, workgroups)?;
    pool::mean_of_sums(stream, &sums, extents, means)
}

/// Units of a thread that adds their sums: many, so that sums are few, but not so many that the device is idle.
fn per_thread(limits: &Limits, units: Units, blocks: u64) -> usize {
    const FEWEST: u64 = 4;
    let all = blocks.saturating_mul(u64::from(units.count));
    let wanted = (all / u64::from(limits.busy_threads)).clamp(FEWEST, pool::PIXELS_PER_THREAD as u64);
    (wanted as u32).min(LOOP_STEPS / units.steps.max(1)).max(1) as usize
}
