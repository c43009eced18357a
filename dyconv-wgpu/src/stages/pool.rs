//! Step 1: means over the pixels; and the maximum over windows.

use std::sync::Arc;

use dyconv_core::{Handle, Layout, Pool, Result, Shape, Tensor, reference};

use super::elementwise;
use super::outputs::Means;
use crate::kernel::{Kernel, THREADS};
use crate::limits::{LOOP_STEPS, index, steps};
use crate::memory::Allocation;
use crate::params::{PoolMaxParams, PoolParams};
use crate::stream::{Binding, WgpuStream};
use crate::tensor::WgpuTensor;
use crate::values::Values;

/// Channel means [N, C] of a tensor.
pub(super) fn means(stream: &mut WgpuStream, x: &WgpuTensor, data: &Allocation) -> Result<Allocation> {
    per_sample(stream, x.shape(), x.layout(), (data, x.values), None)
}

/// [N, C] of the mean over the pixels, or of the mean squared distance from `center` [C].
pub(super) fn per_sample(
    stream: &mut WgpuStream,
    shape: Shape,
    layout: Layout,
    (data, values): (&Allocation, Values),
    center: Option<&Allocation>,
) -> Result<Allocation> {
    let channels = shape.channels();
    let output = stream.take(Shape::new(shape.batch(), channels, 1, 1)?.len())?;
    let split = stream
        .context()
        .limits
        .split(shape.batch(), &[("input", shape.sample_len()), ("means", channels)])?;
    for part in split.parts() {
        let len = shape.sample_len();
        let input = stream.bind_values(values, data, part.start * len, part.len() * len)?;
        let middle = center.map(|center| stream.bind(center, 0, channels)).transpose()?;
        let target = stream.bind(&output, part.start * channels, part.len() * channels)?;
        let divisor = index("pixels", shape.pixels())?;
        let bindings = ([input, target], values);
        sum_pixels(stream, shape.with_batch(part.len())?, layout, divisor, bindings, middle)?;
    }
    Ok(output)
}

/// Channel means of a part of a batch from the channel sums that a convolution emitted, [part][C][sums].
pub(super) fn mean_of_sums(
    stream: &mut WgpuStream,
    sums: &Allocation,
    [channels, count, pixels]: [usize; 3],
    (means, part): Means<'_>,
) -> Result<()> {
    let shape = Shape::new(part.len(), channels, 1, count)?;
    let input = stream.bind(sums, 0, shape.len())?;
    let target = stream.bind(means, part.start * channels, part.len() * channels)?;
    let bindings = ([input, target], Values::F32);
    sum_pixels(stream, shape, Layout::Nchw, index("pixels", pixels)?, bindings, None)
}

/// [N, C] of the sum over the pixels, or of squared distances from `center` [C], divided.
fn sum_pixels(
    stream: &mut WgpuStream,
    shape: Shape,
    layout: Layout,
    divisor: u32,
    ([input, target], values): ([Binding; 2], Values),
    center: Option<Binding>,
) -> Result<()> {
    let [_, input_channel, _, input_pixel] = shape.strides(layout);
    let lanes = lanes(shape, layout);
    let blocks = shape.channels().div_ceil(lanes);
    let pixels = index("pixels", shape.pixels())?;
    let mut params = PoolParams {
        samples: shape.batch() as u32,
        channels: shape.channels() as u32,
        divisor,
        lanes: lanes as u32,
        channels_last: u32::from(layout == Layout::Nhwc),
        blocks: blocks as u32,
        squared: u32::from(center.is_some()),
        input_base: input.base,
        input_sample: shape.sample_len() as u32,
        input_channel: input_channel as u32,
        input_pixel: input_pixel as u32,
        output_base: target.base,
        first_pixel: 0,
        end_pixel: pixels,
        is_last: 0,
    };
    let center = center.unwrap_or_else(|| input.clone());
    let workgroups = shape.batch() as u64 * blocks as u64;
    let kernel = Kernel::Pool(stream.context().limits.across, values);
    for range in steps(pixels, LOOP_STEPS * (THREADS / lanes as u32)) {
        (params.first_pixel, params.end_pixel) = (range.start, range.end);
        params.is_last = u32::from(range.end == pixels);
        let storage = [input.clone(), center.clone(), target.clone()];
        stream.dispatch(kernel, &params, storage, workgroups)?;
    }
    Ok(())
}

/// Pixels that a thread adds before it meets the others.
pub(super) const PIXELS_PER_THREAD: usize = 16;

/// Channels per workgroup, a power of two.
pub(super) fn lanes(shape: Shape, layout: Layout) -> usize {
    let [channels, pixels] = [shape.channels(), shape.pixels()];
    lanes_for(channels, pixels, PIXELS_PER_THREAD, layout == Layout::Nhwc)
}

/// Channels per workgroup: as many as are neighbours in memory, or so many that each thread has `each` pixels of its own
/// to add before it meets the others.
pub(super) fn lanes_for(channels: usize, pixels: usize, each: usize, are_neighbours: bool) -> usize {
    let threads = THREADS as usize;
    let wanted = if are_neighbours {
        threads
    } else {
        threads / pixels.div_ceil(each).min(threads).next_power_of_two()
    };
    channels.next_power_of_two().min(wanted)
}

/// The mean over all pixels as a tensor N×C×1×1.
pub(crate) fn global_mean(stream: &mut WgpuStream, x: &WgpuTensor) -> Result<WgpuTensor> {
    let shape = Shape::new(x.shape().batch(), x.shape().channels(), 1, 1)?;
    let data = match (&x.means, &x.data) {
        (Some(means), _) => Some(Arc::clone(means)),
        (None, Some(data)) => Some(Arc::new(means(stream, x, data)?)),
        (None, None) => None,
    };
    Ok(WgpuTensor::from_parts(stream, shape, x.layout(), data))
}

/// The maximum over windows.
pub(crate) fn max(
    stream: &mut WgpuStream,
    x: &WgpuTensor,
    window: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
) -> Result<WgpuTensor> {
    let (input, layout) = (x.shape(), x.layout());
    let shape = pooled(input, layout, &Pool::Max { window, stride, padding })?;
    let output = WgpuTensor::stored(stream, shape, layout, x.values)?;
    let (Some(from), Some(to)) = (&x.data, &output.data) else {
        return Ok(output);
    };
    // A window takes a step for each pixel and each row.
    let window_steps = (window[0] as u64).saturating_mul(window[1] as u64 + 1);
    stream.context().limits.check_loop_steps("loop steps of a pooling window", window_steps)?;
    let lens = [("input", input.sample_len()), ("output", shape.sample_len())];
    for part in stream.context().limits.split(input.batch(), &lens)?.parts() {
        let bind = |data, len| stream.bind_values(x.values, data, part.start * len, part.len() * len);
        let (source, target) = (bind(from, input.sample_len())?, bind(to, shape.sample_len())?);
        let count = part.len() * shape.sample_len();
        let params = PoolMaxParams {
            count: count as u32,
            channels: input.channels() as u32,
            input_height: input.height() as u32,
            input_width: input.width() as u32,
            output_height: shape.height() as u32,
            output_width: shape.width() as u32,
            window_height: index("window", window[0])?,
            window_width: index("window", window[1])?,
            stride_height: index("stride", stride[0])?,
            stride_width: index("stride", stride[1])?,
            padding_top: index("padding", padding[0])?,
            padding_left: index("padding", padding[1])?,
            channels_last: u32::from(layout == Layout::Nhwc),
            input_base: source.base,
            output_base: target.base,
        };
        let kernel = Kernel::PoolMax(x.values.in_bits());
        stream.dispatch(kernel, &params, [source, target], elementwise(count))?;
    }
    Ok(output)
}

/// The output's shape. The reference says which windows are legal: on an empty batch it does nothing else.
fn pooled(input: Shape, layout: Layout, kind: &Pool) -> Result<Shape> {
    let empty = Tensor::zeros(input.with_batch(0)?, layout);
    reference::pool(empty.view(), kind)?.shape().with_batch(input.batch())
}
