//! Sums: over the rows of a matrix; over the pixels of a tensor's channels.

use std::ops::Range;
use std::sync::Arc;

use dyconv_core::{Layout, Result, Shape};

use crate::kernel::{Kernel, THREADS, TrainKernel};
use crate::limits::{ELEMENT, LOOP_STEPS, index, steps};
use crate::memory::Allocation;
use crate::params::train::{ReduceParams, SumsParams};
use crate::stages::pool;
use crate::stream::{Binding, WgpuStream};

/// Sums the rows of a matrix `[rows][columns]`, into `output` from element `start` on, or onto what is there.
pub(crate) fn reduce(
    stream: &mut WgpuStream,
    input: &Allocation,
    [rows, columns]: [usize; 2],
    (output, start): (&Allocation, usize),
    add: bool,
) -> Result<()> {
    let lanes = reduce_lanes(rows, columns);
    let limits = stream.context().limits;
    let bound = (limits.binding_bytes - limits.storage_alignment) / (columns as u64 * ELEMENT);
    let at_once = u64::from(LOOP_STEPS * (THREADS / lanes)).min(bound.max(1)) as u32;
    for range in steps(index("rows of a sum", rows)?, at_once) {
        let rows = range.len() * columns;
        let input = stream.bind(input, range.start as usize * columns, rows)?;
        let output = stream.bind(output, start, columns)?;
        let params = ReduceParams {
            columns: index("columns of a sum", columns)?,
            lanes,
            rows: range.len() as u32,
            input_base: input.base,
            output_base: output.base,
            add: u32::from(add || range.start > 0),
        };
        let workgroups = (columns as u64).div_ceil(u64::from(lanes));
        stream.dispatch(Kernel::Train(TrainKernel::Reduce), &params, [input, output], workgroups)?;
    }
    Ok(())
}

/// Columns per workgroup: a whole one's, unless there are so many rows that threads had better share them; eight at
/// least, if there are, since neighbours come from memory together.
fn reduce_lanes(rows: usize, columns: usize) -> u32 {
    const ROWS_PER_THREAD: usize = 32;
    let sharers = rows.div_ceil(ROWS_PER_THREAD).next_power_of_two().min(8) as u32;
    (THREADS / sharers).min(columns.next_power_of_two().min(THREADS as usize) as u32)
}

/// What [`channel_sums`] adds.
pub(super) struct ChannelSums<'a> {
    /// Of the whole batch.
    pub(super) shape: Shape,
    pub(super) layout: Layout,
    pub(super) gradient: &'a Allocation,
    /// The samples, a row for each.
    pub(super) part: Range<usize>,
    /// Batch norm's input, mean, variance and ε: then a row is `[Σ g·ŷ][Σ g]`, otherwise `[Σ g]`.
    pub(super) norm: Option<(&'a Allocation, &'a [Arc<Allocation>; 2], f32)>,
}

/// Where rows go: the first one's element, and the distance between rows.
pub(super) struct Rows<'a> {
    pub(super) output: &'a Allocation,
    pub(super) first: usize,
    pub(super) stride: usize,
    /// Channels that are written; those that there aren't get 0.
    pub(super) padded: usize,
}

/// Sums a tensor over its pixels, channel by channel.
pub(super) fn channel_sums(stream: &mut WgpuStream, of: &ChannelSums<'_>, rows: &Rows<'_>) -> Result<()> {
    let ChannelSums { shape, layout, ref part, .. } = *of;
    let (len, channels, count) = (shape.sample_len(), shape.channels(), part.len());
    let gradient = stream.bind(of.gradient, part.start * len, part.len() * len)?;
    let last = (count - 1) * rows.stride + rows.padded * if of.norm.is_some() { 2 } else { 1 };
    let output = stream.bind(rows.output, rows.first, last)?;
    // A binding that isn't used is any that may be read.
    let unused = || -> [Binding; 3] { std::array::from_fn(|_| gradient.clone()) };
    let [convolved, mean, variance] = match of.norm {
        Some((convolved, [mean, variance], _)) => [
            stream.bind(convolved, part.start * len, part.len() * len)?,
            stream.bind(mean, 0, channels)?,
            stream.bind(variance, 0, channels)?,
        ],
        None => unused(),
    };
    let lanes = pool::lanes(shape, layout);
    let blocks = rows.padded.div_ceil(lanes);
    let [_, channel_stride, _, pixel_stride] = shape.strides(layout);
    let pixels = index("pixels", shape.pixels())?;
    let mut params = SumsParams {
        samples: count as u32,
        channels: channels as u32,
        padded: rows.padded as u32,
        pixels,
        lanes: lanes as u32,
        blocks: blocks as u32,
        channels_last: u32::from(layout == Layout::Nhwc),
        channel_stride: channel_stride as u32,
        pixel_stride: pixel_stride as u32,
        gradient_base: gradient.base,
        convolved_base: convolved.base,
        output_base: output.base,
        output_row: rows.stride as u32,
        first_pixel: 0,
        end_pixel: pixels,
        has_norm: u32::from(of.norm.is_some()),
        epsilon: of.norm.map_or(0.0, |(_, _, epsilon)| epsilon),
    };
    let at_once = LOOP_STEPS * (THREADS / lanes as u32);
    for range in steps(pixels, at_once) {
        (params.first_pixel, params.end_pixel) = (range.start, range.end);
        let storage = [gradient.clone(), convolved.clone(), mean.clone(), variance.clone(), output.clone()];
        stream.dispatch(Kernel::Train(TrainKernel::Sums), &params, storage, count as u64 * blocks as u64)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rows_are_shared() {
        assert_eq!(reduce_lanes(1, 1000), 64);
        assert_eq!(reduce_lanes(33, 1000), 32);
        assert_eq!(reduce_lanes(10_000, 128), 8);
        assert_eq!(reduce_lanes(10_000, 3), 4);
        assert_eq!(reduce_lanes(0, 1), 1);
    }
}
