//! Convolve, backwards: for the kernels, dW~ of each sample, and for the input.

use std::ops::Range;

use dyconv_core::{CheckedCall, Prepared, Result, Shape};

use super::aggregate::MOST_KERNELS;
use super::reduce::{ChannelSums, Rows, channel_sums};
use crate::kernel::{Kernel, THREADS, TrainKernel};
use crate::layer::WgpuLayer;
use crate::limits::{LOOP_STEPS, Limits, Split, exceeded, index, steps};
use crate::memory::Allocation;
use crate::pack::PANEL;
use crate::params::train::ConvolveBackwardParams;
use crate::stages::{elementwise, pool};
use crate::stream::{Binding, WgpuStream};

/// The tile of products.wgsl: `ROWS`, `COLUMNS` there.
pub(crate) const TILE: [usize; 2] = [64, 32];

/// Bits of [`ConvolveBackwardParams::flags`].
pub(crate) const HAS_SHARE: u32 = 1;
pub(crate) const HAS_OTHER: u32 = 2;

/// Kernels' gradients that a static layer's batch is summed in: enough to fill a device, few enough to keep.
const STATIC_KERNELS: usize = 8;

/// The parts of the batch that a backward takes, so that each part's kernels and their gradients stay within a budget.
pub(crate) fn split(limits: &Limits, layer: &WgpuLayer, input: Shape, output: Shape) -> Result<Split> {
    let lens = [("input", input.sample_len()), ("output", output.sample_len())];
    let split = limits.split_with_kernels(input.batch(), &lens, layer.packing.stride)?;
    Ok(Split { batch: split.batch, size: split.size.min(MOST_KERNELS) })
}

/// Samples that share a kernel's gradient: a dynamic layer's each have their own.
pub(crate) fn samples_per_kernel(layer: &WgpuLayer, part: usize) -> usize {
    if layer.config().attention().is_some() { 1 } else { part.div_ceil(STATIC_KERNELS) }
}

/// dW~ of a part of the batch, in the kernels' order, biases included: so many kernels.
pub(crate) fn kernels(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    checked: &CheckedCall,
    [input, gradient]: [&Allocation; 2],
    part: Range<usize>,
) -> Result<(Allocation, usize)> {
    let (config, packing) = (layer.config(), &layer.packing);
    let samples = samples_per_kernel(layer, part.len());
    let count = part.len().div_ceil(samples);
    let len = count * packing.stride;
    let sums = stream.take(len)?;
    let storage = [
        bind_part(stream, gradient, checked.output, &part)?,
        bind_part(stream, input, checked.input, &part)?,
        stream.bind(&sums, 0, len)?,
    ];
    let mut params = geometry(layer, checked, &part, samples);
    (params.gradient_base, params.input_base) = (storage[0].base, storage[1].base);
    let products = index("products of one weight's gradient", samples * checked.output.pixels())?;
    let grid = [config.groups(), count].iter().product::<usize>() as u64;
    let (kernel, workgroups, at_once) = if config.is_depthwise() {
        // Not every element is written: panels have none, and rows of vec4s may end in a gap.
        stream.clear(&sums, len);
        let lanes = pool::lanes(checked.output, config.layout());
        params.row_tiles = lanes as u32;
        params.column_tiles = config.out_channels().div_ceil(lanes) as u32;
        let workgroups = u64::from(params.column_tiles) * (config.taps() * count) as u64;
        (TrainKernel::DepthwiseKernels, workgroups, LOOP_STEPS * (THREADS / lanes as u32))
    } else {
        let tiles = tile(&mut params, [config.out_channels_per_group(), config.reduction_len()]);
        (TrainKernel::ConvolveKernels, tiles * grid, LOOP_STEPS)
    };
    for range in steps(products, at_once) {
        (params.first, params.end) = (range.start, range.end);
        stream.dispatch(Kernel::Train(kernel), &params, storage.clone(), workgroups)?;
    }
    if config.bias() {
        let (shape, layout) = (checked.output, config.layout());
        let of = ChannelSums { shape, layout, gradient, part, samples, norm: None };
        let padded = packing.stride - packing.bias;
        let rows = Rows { output: &sums, first: packing.bias, stride: packing.stride, padded };
        channel_sums(stream, &of, &rows)?;
    }
    Ok((sums, count))
}

/// What the input's gradient is made of, and where it goes.
pub(crate) struct ToInput<'a> {
    pub(crate) gradient: &'a Allocation,
    /// The part's kernels; without, the layer's one expert.
    pub(crate) kernels: Option<&'a Allocation>,
    /// dz [N, Cin] by way of the attention, of which every pixel gets its share.
    pub(crate) share: Option<&'a Allocation>,
    pub(crate) other: Option<&'a Allocation>,
    pub(crate) output: &'a Allocation,
}

/// dx of a part of the batch.
pub(crate) fn input(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    checked: &CheckedCall,
    tensors: &ToInput<'_>,
    part: Range<usize>,
) -> Result<()> {
    let (config, packing) = (layer.config(), &layer.packing);
    let count = if tensors.kernels.is_some() { part.len() } else { 1 };
    let gradient = bind_part(stream, tensors.gradient, checked.output, &part)?;
    let kernels = stream.bind(tensors.kernels.unwrap_or(&layer.experts), 0, count * packing.stride)?;
    let output = bind_part(stream, tensors.output, checked.input, &part)?;
    let channels = config.in_channels();
    // A binding that isn't used is any that may be read.
    let share = match tensors.share {
        Some(share) => stream.bind(share, part.start * channels, part.len() * channels)?,
        None => gradient.clone(),
    };
    let other = match tensors.other {
        Some(other) => bind_part(stream, other, checked.input, &part)?,
        None => gradient.clone(),
    };
    let mut params = geometry(layer, checked, &part, part.len() / count);
    params.gradient_base = gradient.base;
    params.input_base = output.base;
    params.share_base = share.base;
    params.other_base = other.base;
    params.flags = if tensors.share.is_some() { HAS_SHARE } else { 0 }
        | if tensors.other.is_some() { HAS_OTHER } else { 0 };
    let rows = config.out_channels_per_group();
    let (kernel, products, workgroups, at_once) = if config.is_depthwise() {
        let row = config.kernel_size()[1] * rows;
        let workgroups = elementwise(part.len() * checked.input.sample_len());
        let at_once = depthwise_products(row)?;
        (TrainKernel::DepthwiseInput, config.taps() * rows, workgroups, at_once)
    } else {
        let columns = params.samples as usize * checked.input.pixels();
        let tiles = tile(&mut params, [config.in_channels_per_group(), columns]);
        let products = config.taps() * rows.next_multiple_of(PANEL);
        (TrainKernel::ConvolveInput, products, tiles * (config.groups() * count) as u64, LOOP_STEPS)
    };
    for range in steps(index("products of one input's gradient", products)?, at_once) {
        (params.first, params.end) = (range.start, range.end);
        let storage = [gradient.clone(), kernels.clone(), share.clone(), other.clone(), output.clone()];
        stream.dispatch(Kernel::Train(kernel), &params, storage, workgroups)?;
    }
    Ok(())
}

/// Products of one dispatch for a depthwise input: whole rows of the kernel, each product a few loop steps.
fn depthwise_products(row: usize) -> Result<u32> {
    let most = LOOP_STEPS / 4;
    let row = index("products of a depthwise kernel's row", row)?;
    if row > most {
        return Err(exceeded("products of a depthwise kernel's row", u64::from(row), u64::from(most)));
    }
    Ok(most / row * row)
}

fn bind_part(stream: &WgpuStream, data: &Allocation, shape: Shape, part: &Range<usize>) -> Result<Binding> {
    stream.bind(data, part.start * shape.sample_len(), part.len() * shape.sample_len())
}

/// Fills in the grid of tiles for a matrix of rows and columns, and returns how many there are.
fn tile(params: &mut ConvolveBackwardParams, [rows, columns]: [usize; 2]) -> u64 {
    params.row_tiles = rows.div_ceil(TILE[0]) as u32;
    params.column_tiles = columns.div_ceil(TILE[1]) as u32;
    u64::from(params.row_tiles) * u64::from(params.column_tiles)
}

/// What follows from the layer, the shapes and the part of the batch.
fn geometry(
    layer: &WgpuLayer,
    checked: &CheckedCall,
    part: &Range<usize>,
    samples: usize,
) -> ConvolveBackwardParams {
    let (config, geometry) = (layer.config(), &checked.geometry);
    // All of these were found to fit 31 bits when the forward was planned.
    let pair = |pair: [usize; 2]| pair.map(|extent| extent as u32);
    let [input_height, input_width] = pair(geometry.input);
    let [output_height, output_width] = pair(geometry.output);
    let [kernel_height, kernel_width] = pair(config.kernel_size());
    let [stride_height, stride_width] = pair(config.stride());
    let [dilation_height, dilation_width] = pair(config.dilation());
    let [padding_top, padding_left] = geometry.before.map(|extent| extent as i32);
    let [_, input_channel, _, input_pixel] = checked.input.strides(config.layout());
    let [_, gradient_channel, _, gradient_pixel] = checked.output.strides(config.layout());
    ConvolveBackwardParams {
        input_height,
        input_width,
        output_height,
        output_width,
        depth: config.in_channels_per_group() as u32,
        rows: config.out_channels_per_group() as u32,
        groups: config.groups() as u32,
        kernel_height,
        kernel_width,
        stride_height,
        stride_width,
        dilation_height,
        dilation_width,
        padding_top,
        padding_left,
        batch: part.len() as u32,
        kernels: part.len().div_ceil(samples) as u32,
        samples: samples as u32,
        kernel_stride: layer.packing.stride as u32,
        input_channel: input_channel as u32,
        input_pixel: input_pixel as u32,
        gradient_channel: gradient_channel as u32,
        gradient_pixel: gradient_pixel as u32,
        ..ConvolveBackwardParams::default()
    }
}
