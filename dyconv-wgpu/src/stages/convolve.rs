//! Step 4, with bias, batch norm of fixed statistics, residual and activation in its epilogue.

use std::ops::Range;

use dyconv_core::{Activation, CheckedCall, Layout, Prepared, Result};

use super::outputs::{self, Means, Units};
use super::{pool, winograd};
use crate::kernel::{Convolution, Gather, Kernel, Narrow, Outputs, Source};
use crate::layer::WgpuLayer;
use crate::limits::{index, steps};
use crate::memory::Allocation;
use crate::narrow::PIXELS;
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
        (Kernel::Convolve(convolution), None) => {
            tiled(stream, layer, (convolution, plan.slices), params, bindings, means)
        }
        (Kernel::Narrow(narrow), _) => {
            let kernel = |outputs| Kernel::Narrow(Narrow { outputs, ..narrow });
            let rows = narrow.block.rows();
            by_windows(stream, layer, (kernel, rows), plan.slices, params, bindings, means)
        }
        _ => {
            let kernel = |outputs| Kernel::Depthwise(outputs, layer.values);
            by_windows(stream, layer, (kernel, 1), plan.slices, params, bindings, means)
        }
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

/// Tile by tile. A tile's workgroup finishes its outputs, and emits their channel sums, unless sums are in slices.
fn tiled(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    (convolution, slices): (Convolution, Option<u32>),
    mut params: ConvolveParams,
    bindings: Bindings,
    means: Option<Means<'_>>,
) -> Result<()> {
    let workgroups = tile(&mut params, convolution);
    let total = plan::steps(layer.config(), convolution.tile, convolution.gather);
    let kernel = Kernel::Convolve(convolution);
    if let Some(slices) = slices {
        params.slices = slices;
        let parts = Parts { kernel, total, at_once: plan::steps_at_once(convolution.tile) };
        return in_parts(stream, layer, parts, params, bindings, workgroups * u64::from(slices), means);
    }
    (params.slices, params.slice_steps, params.end) = (1, total, total);
    let Some(means) = means else {
        let unused = stream.bind(&stream.take(1)?, 0, 1)?;
        return bindings.dispatch(stream, kernel, &params, unused, workgroups);
    };
    params.flags |= EMITS;
    let extents = [params.groups * params.rows, params.column_tiles, params.pixels].map(|e| e as usize);
    let len = params.kernels as usize * extents[0] * extents[1];
    let sums = stream.take(len)?;
    let target = stream.bind(&sums, 0, len)?;
    bindings.dispatch(stream, kernel, &params, target, workgroups)?;
    pool::mean_of_sums(stream, &sums, extents, means)
}

/// Unit by unit, over windows, by a kernel with so many rows to a block; in one slice, whole rows of taps at a time, if there
/// are too many.
fn by_windows(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    (kernel, rows): (impl Fn(Outputs) -> Kernel, u32),
    slices: Option<u32>,
    mut params: ConvolveParams,
    bindings: Bindings,
    means: Option<Means<'_>>,
) -> Result<()> {
    let taps = index("taps of a kernel", layer.config().taps())?;
    // Those of all taps, and of finishing each output.
    let steps =
        u64::from(params.kernel_height) * plan::row_steps(layer.config()) + u64::from(rows * (PIXELS + 1));
    let steps = u32::try_from(steps).unwrap_or(u32::MAX);
    let units = Units { rows, count: params.pixels.div_ceil(PIXELS), steps };
    if let Some(slices) = slices {
        (params.slices, params.units) = (slices, units.count);
        let at_once = plan::taps_at_once(layer.config());
        let parts = Parts { kernel: kernel(Outputs::Each), total: taps, at_once };
        return in_parts(stream, layer, parts, params, bindings, units.workgroups(&params), means);
    }
    params.end = taps;
    outputs::record(stream, kernel, params, &bindings, units, means)
}

/// What adds parts of sums, the steps of a sum, and those that a slice takes in one dispatch.
struct Parts {
    kernel: Kernel,
    total: u32,
    at_once: u32,
}

/// Every output's sum in slices, in as many dispatches as they take; another kernel joins and finishes them.
fn in_parts(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    Parts { kernel, total, at_once }: Parts,
    mut params: ConvolveParams,
    mut bindings: Bindings,
    workgroups: u64,
    means: Option<Means<'_>>,
) -> Result<()> {
    let (outputs, slices) = (outputs_of(&params), params.slices);
    params.slice_stride = outputs as u32;
    let len = outputs * slices as usize;
    let held = stream.take(len)?;
    let parts = stream.bind(&held, 0, len)?;
    for range in steps(total, at_once.saturating_mul(slices)) {
        let params = ConvolveParams {
            flags: IS_PART | if range.start > 0 { CONTINUES } else { 0 },
            first: range.start,
            end: range.end,
            slice_steps: (range.end - range.start).div_ceil(slices),
            ..params
        };
        bindings.dispatch(stream, kernel, &params, parts.clone(), workgroups)?;
    }
    bindings.input = parts;
    let source = if bindings.attention.is_some() { Source::Experts } else { Source::Kernels };
    let join = |outputs| Kernel::Join(source, outputs, layer.values);
    let units = Units { rows: 1, count: params.pixels, steps: slices + 2 };
    outputs::record(stream, join, params, &bindings, units, means)
}

/// Outputs of a part of the batch.
fn outputs_of(params: &ConvolveParams) -> usize {
    [params.kernels, params.samples, params.groups, params.rows, params.pixels]
        .map(|extent| extent as usize)
        .iter()
        .product()
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
