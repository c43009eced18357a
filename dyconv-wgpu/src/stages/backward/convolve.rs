//! Convolve, backwards: for the kernels, dW~ of each sample, and for the input.

use std::ops::Range;

use dyconv_core::{CheckedCall, Prepared, Result, Shape};

use super::aggregate::MOST_KERNELS;
use super::reduce::{ChannelSums, Rows, channel_sums, reduce};
use crate::kernel::{Kernel, THREADS, TrainKernel};
use crate::layer::WgpuLayer;
use crate::limits::{ELEMENT, LOOP_STEPS, Limits, Split, exceeded, index, steps};
use crate::memory::Allocation;
use crate::pack::PANEL;
use crate::params::train::ConvolveBackwardParams;
use crate::stages::{elementwise, pool};
use crate::stream::{Binding, WgpuStream};

/// The tile of products.wgsl: `ROWS`, `COLUMNS` there.
pub(crate) const TILE: [usize; 2] = [64, 64];

/// Bits of [`ConvolveBackwardParams::flags`].
pub(crate) const HAS_SHARE: u32 = 1;
pub(crate) const HAS_OTHER: u32 = 2;

/// A device is full with so many workgroups of a tile each; fewer are divided into sections of their products, but
/// not into sections of so few.
const FULL: usize = 1024;
const SECTION: usize = 256;
const MOST_SECTIONS: usize = 16;

/// The parts of the batch that a backward takes, so that each part's kernels and their gradients stay within a budget.
pub(crate) fn split(limits: &Limits, layer: &WgpuLayer, input: Shape, output: Shape) -> Result<Split> {
    let lens = [("input", input.sample_len()), ("output", output.sample_len())];
    if layer.config().attention().is_none() {
        return limits.split(input.batch(), &lens);
    }
    let split = limits.split_with_kernels(input.batch(), &lens, layer.packing.stride)?;
    Ok(Split { batch: split.batch, size: split.size.min(MOST_KERNELS) })
}

/// Gradients of kernels, in the kernels' order, biases included: each in so many sections that are to be added.
pub(crate) struct Kernels {
    pub(crate) sums: Allocation,
    pub(crate) count: usize,
    pub(crate) sections: usize,
}

/// Kernels of a part of the batch, and samples that share one: a dynamic layer's each have their own.
fn sharing(layer: &WgpuLayer, part: usize) -> (usize, usize) {
    if layer.config().attention().is_some() { (part, 1) } else { (1, part) }
}

/// In how many sections the gradients of a part's kernels are summed, and products of each.
fn sections(limits: &Limits, layer: &WgpuLayer, output: Shape, part: usize) -> (usize, usize) {
    let (config, (kernels, samples)) = (layer.config(), sharing(layer, part));
    let tiles = if config.is_depthwise() {
        config.taps() * config.out_channels().div_ceil(THREADS as usize)
    } else {
        let [rows, columns] = [config.out_channels_per_group(), config.reduction_len()];
        config.groups() * rows.div_ceil(TILE[0]) * columns.div_ceil(TILE[1])
    };
    let products = samples * output.pixels();
    let fit = limits.binding_bytes / ((kernels * layer.packing.stride) as u64 * ELEMENT).max(1);
    let most =
        (products / SECTION).min(usize::try_from(fit).unwrap_or(MOST_SECTIONS)).clamp(1, MOST_SECTIONS);
    let wanted = FULL.div_ceil((tiles * kernels).max(1)).min(most);
    // Whole steps through workgroup memory.
    let section = products.div_ceil(wanted).next_multiple_of(16);
    (products.div_ceil(section.max(1)).max(1), section)
}

/// Kernels' gradients that are kept at once for a part of this many samples, sections included.
pub(crate) fn kernels_at_once(limits: &Limits, layer: &WgpuLayer, output: Shape, part: usize) -> usize {
    sharing(layer, part).0 * sections(limits, layer, output, part).0
}

/// dW~ of a part of the batch.
pub(crate) fn kernels(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    checked: &CheckedCall,
    [input, gradient]: [&Allocation; 2],
    part: Range<usize>,
) -> Result<Kernels> {
    let (config, packing) = (layer.config(), &layer.packing);
    let (count, samples) = sharing(layer, part.len());
    let (sections, section) = sections(&stream.context().limits, layer, checked.output, part.len());
    let len = count * sections * packing.stride;
    let sums = stream.take(len)?;
    if config.is_depthwise() || (config.bias() && sections > 1) {
        // Not every element is written: the gap behind depthwise kernels isn't, nor the biases but of one section.
        stream.clear(&sums, len);
    }
    let storage = [
        bind_part(stream, gradient, checked.output, &part)?,
        bind_part(stream, input, checked.input, &part)?,
        stream.bind(&sums, 0, len)?,
    ];
    let mut params = geometry(layer, checked, &part, samples);
    (params.gradient_base, params.input_base) = (storage[0].base, storage[1].base);
    (params.sections, params.section) = (sections as u32, index("products of a section", section)?);
    let (kernel, workgroups, at_once) = if config.is_depthwise() {
        let lanes = pool::lanes(checked.output, config.layout());
        params.row_tiles = lanes as u32;
        params.column_tiles = config.out_channels().div_ceil(lanes) as u32;
        let workgroups = params.column_tiles as usize * config.taps() * count * sections;
        (TrainKernel::DepthwiseKernels, workgroups, LOOP_STEPS * (THREADS / lanes as u32))
    } else {
        let tiles = tile(&mut params, [config.out_channels_per_group(), config.reduction_len()]);
        (TrainKernel::ConvolveKernels, tiles * config.groups() * count * sections, LOOP_STEPS)
    };
    for range in steps(params.section, at_once) {
        (params.first, params.end) = (range.start, range.end);
        stream.dispatch(Kernel::Train(kernel), &params, storage.clone(), workgroups as u64)?;
    }
    let kernels = Kernels { sums, count, sections };
    if config.bias() {
        biases(stream, layer, checked, gradient, part, &kernels)?;
    }
    Ok(kernels)
}

/// The biases behind the kernels' gradients, in the first section of each.
fn biases(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    checked: &CheckedCall,
    gradient: &Allocation,
    part: Range<usize>,
    kernels: &Kernels,
) -> Result<()> {
    let packing = &layer.packing;
    let padded = packing.stride - packing.bias;
    let (samples, output) = (part.len(), &kernels.sums);
    let of =
        ChannelSums { shape: checked.output, layout: layer.config().layout(), gradient, part, norm: None };
    if kernels.count == samples {
        let stride = kernels.sections * packing.stride;
        return channel_sums(stream, &of, &Rows { output, first: packing.bias, stride, padded });
    }
    let rows = stream.take(samples * padded)?;
    channel_sums(stream, &of, &Rows { output: &rows, first: 0, stride: padded, padded })?;
    reduce(stream, &rows, [samples, padded], (output, packing.bias), false)
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
        let phases = phases(&mut params);
        let pixels = checked.input.height().div_ceil(phases[0]) * checked.input.width().div_ceil(phases[1]);
        let columns = params.samples as usize * pixels;
        let tiles = tile(&mut params, [config.in_channels_per_group(), columns]);
        let products = config.taps() * rows.next_multiple_of(PANEL);
        let workgroups = tiles * phases[0] * phases[1] * config.groups() * count;
        (TrainKernel::ConvolveInput, products, workgroups as u64, LOOP_STEPS)
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
fn tile(params: &mut ConvolveBackwardParams, [rows, columns]: [usize; 2]) -> usize {
    let tiles = [rows.div_ceil(TILE[0]), columns.div_ceil(TILE[1])];
    [params.row_tiles, params.column_tiles] = tiles.map(|tiles| tiles as u32);
    tiles[0] * tiles[1]
}

/// Fills in the phases of the input's pixels, and returns how many there are along each axis: as many as the stride,
/// or as there are pixels. Taps reach the same phase again after stride/gcd(stride, dilation), and are then of outputs
/// that are dilation/gcd apart.
fn phases(params: &mut ConvolveBackwardParams) -> [usize; 2] {
    fn common(a: u32, b: u32) -> u32 {
        if b == 0 { a } else { common(b, a % b) }
    }
    let steps = |stride: u32, dilation: u32| {
        let common = common(stride, dilation);
        (stride / common, dilation / common)
    };
    (params.tap_step_height, params.output_step_height) = steps(params.stride_height, params.dilation_height);
    (params.tap_step_width, params.output_step_width) = steps(params.stride_width, params.dilation_width);
    params.phases_height = params.stride_height.min(params.input_height);
    params.phases_width = params.stride_width.min(params.input_width);
    [params.phases_height, params.phases_width].map(|phases| phases as usize)
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
