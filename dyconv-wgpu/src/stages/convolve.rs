//! Step 4, with bias, batch norm of fixed statistics, residual and activation in its epilogue.

use std::ops::Range;

use dyconv_core::{Activation, CheckedCall, Config, Geometry, Layout, Prepared, Result, Shape};

use super::elementwise;
use crate::kernel::{Kernel, Tile};
use crate::layer::WgpuLayer;
use crate::limits::{LOOP_STEPS, Limits, Split, exceeded, index, steps};
use crate::memory::Allocation;
use crate::params::{ConvolveParams, HAS_BIAS, HAS_NORM, HAS_RESIDUAL, activation_code};
use crate::stream::WgpuStream;

/// The kernel for one layer and input shape, and the parts of the batch that it runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) kernel: Kernel,
    pub(crate) split: Split,
}

/// Chooses from configuration, shape and limits alone.
pub(crate) fn plan(limits: &Limits, layer: &WgpuLayer, input: Shape) -> Result<Plan> {
    let config = layer.config();
    let output = config.output_shape(input)?;
    check_extents(config, &config.geometry(input.height(), input.width())?)?;
    let width = config.kernel_size()[1] as u64;
    if config.is_depthwise() && width > u64::from(LOOP_STEPS) {
        return Err(exceeded("width of a depthwise kernel", width, u64::from(LOOP_STEPS)));
    }
    let lens = [("input", input.sample_len()), ("output", output.sample_len())];
    let is_static = config.attention().is_none();
    let split = if is_static {
        limits.split(input.batch(), &lens)?
    } else {
        limits.split_with_kernels(input.batch(), &lens, layer.packing.stride)?
    };
    let kernel = if config.is_depthwise() {
        Kernel::Depthwise
    } else {
        let sharing = if is_static { split.largest().max(1) } else { 1 };
        Kernel::Convolve(Tile::choose(config.out_channels_per_group(), sharing * output.pixels()))
    };
    Ok(Plan { kernel, split })
}

/// Kernels compute positions in the padded input with signed 32 bits.
fn check_extents(config: &Config, geometry: &Geometry) -> Result<()> {
    for axis in 0..2 {
        let padded = geometry.input[axis].saturating_add(geometry.before[axis] + geometry.after[axis]);
        index("extent of the padded input", padded)?;
        index("extent of the dilated kernel", config.reach()[axis])?;
    }
    Ok(())
}

/// What a convolution reads and writes.
pub(super) struct Tensors<'a> {
    pub(super) input: &'a Allocation,
    pub(super) output: &'a Allocation,
    pub(super) residual: Option<&'a Allocation>,
    /// The function that is applied last.
    pub(super) activation: Activation,
}

/// Convolves a part of the batch, with `kernels` [part] or, without, with the layer's one expert.
pub(super) fn record(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    plan: &Plan,
    checked: &CheckedCall,
    tensors: &Tensors<'_>,
    kernels: Option<&Allocation>,
    part: Range<usize>,
) -> Result<()> {
    let (input_len, output_len) = (checked.input.sample_len(), checked.output.sample_len());
    let stride = layer.packing.stride;
    let input = stream.bind(tensors.input, part.start * input_len, part.len() * input_len)?;
    let output = stream.bind(tensors.output, part.start * output_len, part.len() * output_len)?;
    let kernel_count = if kernels.is_some() { part.len() } else { 1 };
    let weights = stream.bind(kernels.unwrap_or(&layer.experts), 0, kernel_count * stride)?;
    let (norm, residual) = (layer.norm.as_ref(), tensors.residual);
    // A binding that isn't used is any that may be read.
    let norm_binding = match norm {
        Some(norm) => stream.bind(norm, 0, 2 * checked.output.channels())?,
        None => weights.clone(),
    };
    let residual_binding = match residual {
        Some(residual) => stream.bind(residual, part.start * output_len, part.len() * output_len)?,
        None => input.clone(),
    };

    let mut params = geometry_params(layer, checked);
    params.kernels = kernel_count as u32;
    params.samples = (part.len() / kernel_count) as u32;
    params.kernel_base = weights.base;
    params.input_base = input.base;
    params.output_base = output.base;
    params.residual_base = residual_binding.base;
    params.flags = if layer.config().bias() { HAS_BIAS } else { 0 }
        | if norm.is_some() { HAS_NORM } else { 0 }
        | if residual.is_some() { HAS_RESIDUAL } else { 0 };
    (params.activation, params.slope) = activation_code(tensors.activation);
    let workgroups = tile(&mut params, plan.kernel);
    let storage = [input, weights, norm_binding, residual_binding, output];
    let products = index("products of one output", layer.config().reduction_len())?;
    for range in steps(products, products_per_dispatch(&params, plan.kernel)) {
        (params.first, params.end) = (range.start, range.end);
        stream.dispatch(plan.kernel, &params, storage.clone(), workgroups)?;
    }
    Ok(())
}

/// Whole steps through workgroup memory, or whole rows of the kernel.
fn products_per_dispatch(params: &ConvolveParams, kernel: Kernel) -> u32 {
    match kernel {
        Kernel::Depthwise => (LOOP_STEPS / params.kernel_width).max(1) * params.kernel_width,
        _ => LOOP_STEPS,
    }
}

/// What follows from the layer and the shapes.
fn geometry_params(layer: &WgpuLayer, checked: &CheckedCall) -> ConvolveParams {
    let (config, geometry) = (layer.config(), &checked.geometry);
    // All of these were found to fit 31 bits, by the configuration, the extents or a binding's size.
    let pair = |pair: [usize; 2]| pair.map(|extent| extent as u32);
    let [input_height, input_width] = pair(geometry.input);
    let [kernel_height, kernel_width] = pair(config.kernel_size());
    let [stride_height, stride_width] = pair(config.stride());
    let [dilation_height, dilation_width] = pair(config.dilation());
    let [padding_top, padding_left] = geometry.before.map(|extent| extent as i32);
    let [_, input_channel, _, input_pixel] = checked.input.strides(config.layout());
    let [_, output_channel, _, output_pixel] = checked.output.strides(config.layout());
    ConvolveParams {
        input_height,
        input_width,
        output_width: geometry.output[1] as u32,
        pixels: checked.output.pixels() as u32,
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
        kernel_stride: layer.packing.stride as u32,
        bias_offset: layer.packing.bias as u32,
        input_channel: input_channel as u32,
        input_pixel: input_pixel as u32,
        output_channel: output_channel as u32,
        output_pixel: output_pixel as u32,
        channels_last: u32::from(config.layout() == Layout::Nhwc),
        ..ConvolveParams::default()
    }
}

/// Fills in the grid and returns its workgroups.
fn tile(params: &mut ConvolveParams, kernel: Kernel) -> u64 {
    let samples = u64::from(params.kernels) * u64::from(params.samples);
    let Kernel::Convolve(tile) = kernel else {
        return elementwise(
            (samples * u64::from(params.groups * params.rows) * u64::from(params.pixels)) as usize,
        );
    };
    params.row_tiles = params.rows.div_ceil(tile.rows);
    params.column_tiles = (params.samples * params.pixels).div_ceil(tile.columns);
    [params.row_tiles, params.column_tiles, params.groups, params.kernels].map(u64::from).iter().product()
}
