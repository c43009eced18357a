//! Step 4, with bias, batch norm of fixed statistics, residual and activation in its epilogue.

use std::ops::Range;

use dyconv_core::{Activation, CheckedCall, Layout, Prepared, Result};

use super::outputs::{self, Means, Sums, Units};
use super::{pool, winograd};
use crate::kernel::{Convolution, Gather, Kernel};
use crate::layer::WgpuLayer;
use crate::limits::{LOOP_STEPS, index, steps};
use crate::memory::Allocation;
use crate::params::{
    CONTINUES, ConvolveParams, EMITS, HAS_BIAS, HAS_NORM, HAS_RESIDUAL, IS_PART, activation_code,
};
use crate::plan::{self, Plan};
use crate::stream::{Binding, WgpuStream};

/// What a convolution reads and writes.
pub(super) struct Tensors<'a> {
    pub(super) input: &'a Allocation,
    pub(super) output: &'a Allocation,
    pub(super) residual: Option<&'a Allocation>,
    /// The function that is applied last.
    pub(super) activation: Activation,
    /// Channel means of the output [N, C], if the convolution is to emit what they are made of.
    pub(super) means: Option<&'a Allocation>,
}

/// Where a part's kernels come from.
#[derive(Clone, Copy)]
pub(super) enum Kernels<'a> {
    /// The layer's one expert, as it is stored.
    Expert,
    /// Aggregated (or only widened) ones.
    Ready(&'a Allocation),
    /// The layer's experts and π.
    Fused(&'a Allocation),
}

/// Convolves a part of the batch.
pub(super) fn record(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    plan: &Plan,
    checked: &CheckedCall,
    tensors: &Tensors<'_>,
    kernels: Kernels<'_>,
    part: Range<usize>,
) -> Result<()> {
    let (input_len, output_len) = (checked.input.sample_len(), checked.output.sample_len());
    let mut params = geometry_params(layer, checked);
    (params.kernels, params.samples) =
        if plan.shares { (1, part.len() as u32) } else { (part.len() as u32, 1) };
    params.first_sample = index("batch", part.start)?;
    let bind = |data, len| stream.bind_values(layer.values, data, part.start * len, part.len() * len);
    let (input, output) = (bind(tensors.input, input_len)?, bind(tensors.output, output_len)?);
    let [weights, floats] = bind_kernels(stream, layer, kernels, &mut params)?;
    let (norm, residual) = (layer.norm.as_ref(), tensors.residual);
    // A binding that isn't used is any that may be read.
    let norm_binding = match norm {
        Some(norm) => stream.bind(norm, 0, 2 * checked.output.channels())?,
        None => floats.clone(),
    };
    let residual_binding = match residual {
        Some(residual) => bind(residual, output_len)?,
        None => input.clone(),
    };
    params.input_base = input.base;
    params.output_base = output.base;
    params.residual_base = residual_binding.base;
    params.flags = if layer.config().bias() { HAS_BIAS } else { 0 }
        | if norm.is_some() { HAS_NORM } else { 0 }
        | if residual.is_some() { HAS_RESIDUAL } else { 0 };
    (params.activation, params.slope) = activation_code(tensors.activation);

    let attention = match kernels {
        Kernels::Fused(attention) => Some(stream.bind(attention, 0, part.end * layer.config().experts())?),
        Kernels::Expert | Kernels::Ready(_) => None,
    };
    let bindings = Bindings {
        input,
        kernels: [weights, floats],
        norm: norm_binding,
        residual: residual_binding,
        output,
        attention,
    };
    let means = tensors.means.map(|means| (means, part.clone()));
    match (plan.kernel, plan.winograd) {
        (Kernel::Convolve(products), Some(tiles)) => {
            winograd::record(stream, layer, (tiles, products), checked, params, bindings, (part, means))
        }
        (Kernel::Convolve(convolution), None) if plan.slices > 1 => {
            sliced(stream, layer, plan, convolution, params, bindings, means)
        }
        (Kernel::Convolve(convolution), None) => tiled(stream, layer, convolution, params, &bindings, means),
        _ => depthwise(stream, layer, params, &bindings, means),
    }
}

/// The storage buffers of every kernel that ends in the epilogue.
pub(super) struct Bindings {
    pub(super) input: Binding,
    /// As they are stored, and as floats.
    pub(super) kernels: [Binding; 2],
    pub(super) norm: Binding,
    pub(super) residual: Binding,
    pub(super) output: Binding,
    /// π, where experts are aggregated as they are loaded.
    pub(super) attention: Option<Binding>,
}

impl Bindings {
    pub(super) fn dispatch(
        &self,
        stream: &mut WgpuStream,
        kernel: Kernel,
        params: &ConvolveParams,
        sums: Binding,
        workgroups: u64,
    ) -> Result<()> {
        let [kernels, floats] = self.kernels.clone();
        let [input, norm] = [self.input.clone(), self.norm.clone()];
        let [residual, output] = [self.residual.clone(), self.output.clone()];
        match self.attention.clone() {
            None => {
                let storage = [input, kernels, floats, norm, residual, output, sums];
                stream.dispatch(kernel, params, storage, workgroups)
            }
            Some(attention) => {
                let storage = [input, kernels, floats, norm, residual, output, sums, attention];
                stream.dispatch(kernel, params, storage, workgroups)
            }
        }
    }
}

/// The kernels twice, as they are stored and as floats, and how they lie.
fn bind_kernels(
    stream: &WgpuStream,
    layer: &WgpuLayer,
    kernels: Kernels<'_>,
    params: &mut ConvolveParams,
) -> Result<[Binding; 2]> {
    let (packing, stored) = (&layer.packing, layer.stored);
    let (data, count) = match kernels {
        Kernels::Ready(data) => (data, params.kernels as usize),
        Kernels::Expert => (&layer.experts, 1),
        Kernels::Fused(_) => (&layer.experts, layer.config().experts()),
    };
    let [stride, bias] = match kernels {
        Kernels::Ready(_) => [packing.stride, packing.bias],
        Kernels::Expert | Kernels::Fused(_) => [stored.stride(packing), stored.bias(packing)],
    };
    // Samples that are apart in a static layer still have one kernel.
    params.kernel_stride = if matches!(kernels, Kernels::Expert) { 0 } else { stride as u32 };
    params.bias_offset = bias as u32;
    params.experts = count as u32;
    let binding = stream.bind(data, 0, count * stride)?;
    Ok([binding.clone(), binding])
}

/// Every output by one workgroup, in as many dispatches as its sum takes; channel means, for a part, from
/// what tiles emit.
fn tiled(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    convolution: Convolution,
    mut params: ConvolveParams,
    bindings: &Bindings,
    means: Option<Means<'_>>,
) -> Result<()> {
    let workgroups = tile(&mut params, convolution);
    let channels = params.groups * params.rows;
    let total = plan::steps(layer.config(), convolution.tile, convolution.gather);
    let at_once = LOOP_STEPS / convolution.tile.depth;
    // Between dispatches parts of sums are where channel sums would be: a plan that emits those needs one.
    let sums_len = match means {
        Some(_) => (params.kernels * channels * params.column_tiles) as usize,
        None if total > at_once => outputs_of(&params),
        None => 1,
    };
    let sums = stream.take(sums_len)?;
    for range in steps(total, at_once) {
        let params = ConvolveParams {
            flags: params.flags | part_flags(&range, total) | if means.is_some() { EMITS } else { 0 },
            first: range.start,
            end: range.end,
            slice_steps: range.end - range.start,
            slices: 1,
            ..params
        };
        let sums = stream.bind(&sums, 0, sums_len)?;
        bindings.dispatch(stream, Kernel::Convolve(convolution), &params, sums, workgroups)?;
    }
    match means {
        Some(means) => {
            let extents = [channels, params.column_tiles, params.pixels].map(|extent| extent as usize);
            pool::mean_of_sums(stream, &sums, extents, means)
        }
        None => Ok(()),
    }
}

/// Every output by several workgroups, whose sums another kernel adds and finishes.
fn sliced(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    plan: &Plan,
    convolution: Convolution,
    mut params: ConvolveParams,
    mut bindings: Bindings,
    means: Option<Means<'_>>,
) -> Result<()> {
    let outputs = outputs_of(&params);
    let total = plan::steps(layer.config(), convolution.tile, convolution.gather);
    params.slice_steps = total.div_ceil(plan.slices);
    params.slices = total.div_ceil(params.slice_steps);
    params.slice_stride = outputs as u32;
    let workgroups = tile(&mut params, convolution) * u64::from(params.slices);
    let slices = stream.take(outputs * params.slices as usize)?;
    let slices = stream.bind(&slices, 0, outputs * params.slices as usize)?;
    let first = ConvolveParams { flags: IS_PART, end: total, ..params };
    bindings.dispatch(stream, Kernel::Convolve(convolution), &first, slices.clone(), workgroups)?;
    bindings.input = slices;
    let join = |outputs| Kernel::Join(convolution.source, outputs, layer.values);
    let units = Units { count: params.pixels, steps: params.slices + 2 };
    outputs::record(stream, join, params, &bindings, units, Sums { parts: None, means })
}

/// Output by output, in as many dispatches as its sum takes.
fn depthwise(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    params: ConvolveParams,
    bindings: &Bindings,
    means: Option<Means<'_>>,
) -> Result<()> {
    let taps = index("products of one output", layer.config().reduction_len())?;
    // Whole rows of the kernel.
    let most = (LOOP_STEPS / params.kernel_width).max(1) * params.kernel_width;
    let kernel = |outputs| Kernel::Depthwise(outputs, layer.values);
    let held = (taps > most).then(|| stream.take(outputs_of(&params))).transpose()?;
    let parts = held.as_ref().map(|held| stream.bind(held, 0, outputs_of(&params))).transpose()?;
    for range in steps(taps, most) {
        let flags = params.flags | part_flags(&range, taps);
        let params = ConvolveParams { flags, first: range.start, end: range.end, ..params };
        // A tap each, and the loops around them.
        let taps_here = range.end - range.start;
        let units = Units { count: params.pixels, steps: taps_here + taps_here / params.kernel_width + 2 };
        let sums = Sums { parts: parts.as_ref(), means: means.clone() };
        outputs::record(stream, kernel, params, bindings, units, sums)?;
    }
    Ok(())
}

/// Outputs of a part of the batch.
fn outputs_of(params: &ConvolveParams) -> usize {
    [params.kernels, params.samples, params.groups, params.rows, params.pixels]
        .map(|extent| extent as usize)
        .iter()
        .product()
}

fn part_flags(range: &Range<u32>, total: u32) -> u32 {
    (if range.start > 0 { CONTINUES } else { 0 }) | if range.end < total { IS_PART } else { 0 }
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
        input_channel: input_channel as u32,
        input_pixel: input_pixel as u32,
        output_channel: output_channel as u32,
        output_pixel: output_pixel as u32,
        channels_last: u32::from(config.layout() == Layout::Nhwc),
        ..ConvolveParams::default()
    }
}

/// Fills in the grid and returns its workgroups.
pub(super) fn tile(params: &mut ConvolveParams, convolution: Convolution) -> u64 {
    let Convolution { tile, gather, .. } = convolution;
    match gather {
        Gather::Taps => params.chunks = params.depth.div_ceil(tile.depth),
        Gather::Any | Gather::Quads => {
            let taps = tile.depth / params.depth;
            params.hop_channel = tile.depth % params.depth;
            [params.hop_y, params.hop_x] = [taps / params.kernel_width, taps % params.kernel_width];
        }
        Gather::Points => {}
    }
    params.row_tiles = params.rows.div_ceil(tile.rows);
    params.column_tiles = (params.samples * params.pixels).div_ceil(tile.columns);
    [params.row_tiles, params.column_tiles, params.groups, params.kernels].map(u64::from).iter().product()
}
