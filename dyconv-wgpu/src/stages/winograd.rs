//! Step 4 by Winograd: experts aggregated and transformed, input transformed, their products as a 1×1 convolution of
//! a kernel for every point, and the outputs transformed back.

use std::ops::Range;

use dyconv_core::{CheckedCall, Prepared, Result};

use super::convolve::{Bindings, tile};
use super::elementwise;
use super::outputs::{self, Means, Units};
use crate::kernel::{Convolution, Kernel, Source};
use crate::layer::WgpuLayer;
use crate::limits::index;
use crate::memory::Allocation;
use crate::pack::PANEL;
use crate::params::{ConvolveParams, WinogradInputParams, WinogradKernelsParams};
use crate::stream::WgpuStream;
use crate::winograd::Tiles;

/// Convolves a part of the batch. `finishing` and `bindings` are those of the kernel that finishes outputs.
pub(super) fn record(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    (tiles, products): (Tiles, Convolution),
    checked: &CheckedCall,
    mut finishing: ConvolveParams,
    mut bindings: Bindings,
    (part, means): (Range<usize>, Option<Means<'_>>),
) -> Result<()> {
    let samples = part.len();
    let points = tiles.size.points();
    let [inputs, outputs] = [checked.input.channels(), checked.output.channels()];
    finishing.tiles_across = tiles.across as u32;
    finishing.tiles = tiles.count as u32;
    finishing.tile_pixels = tiles.pixels as u32;
    // Products lie channel by channel, whatever the layout.
    finishing.channels_last = 0;
    let kernels = kernels(stream, layer, tiles, &finishing, &bindings, part)?;
    let images = input(stream, layer, tiles, checked, &finishing, &bindings, samples)?;

    let len = samples * tiles.image_len(outputs);
    let summed = stream.take(len)?;
    let unused = stream.take(1)?;
    let sums = stream.bind(&unused, 0, 1)?;
    // Only what it needs of the epilogue's: none of it applies.
    let mut params = pointwise(&finishing, tiles, products, kernel_len(layer));
    let workgroups = tile(&mut params, products);
    let count = finishing.kernels as usize * points;
    let kernels = stream.bind(&kernels, 0, count * kernel_len(layer))?;
    let images = stream.bind(&images, 0, samples * tiles.image_len(inputs))?;
    let summed = stream.bind(&summed, 0, len)?;
    let multiplying = Bindings {
        input: images,
        kernels: [kernels.clone(), kernels.clone()],
        norm: kernels.clone(),
        residual: kernels,
        output: summed.clone(),
        attention: None,
    };
    multiplying.dispatch(stream, Kernel::Convolve(products), &params, sums, workgroups)?;

    bindings.input = summed;
    let source = if bindings.attention.is_some() { Source::Experts } else { Source::Kernels };
    let output = |outputs| Kernel::WinogradOutput(tiles.size, source, outputs, layer.values);
    // Each point once, each output once, and the loops around them.
    let units = Units { rows: 1, count: finishing.tiles, steps: 3 * points as u32 };
    outputs::record(stream, output, finishing, &bindings, units, means)
}

/// Elements of the kernel of one point.
fn kernel_len(layer: &WgpuLayer) -> usize {
    let config = layer.config();
    let rows = config.out_channels_per_group().next_multiple_of(PANEL);
    config.groups() * rows * config.in_channels_per_group()
}

/// The transformed kernels, `[kernel][point][group][panel][input channel][8]`.
fn kernels(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    tiles: Tiles,
    finishing: &ConvolveParams,
    bindings: &Bindings,
    part: Range<usize>,
) -> Result<Allocation> {
    stream.context().limits.check_loop_steps("experts", 10 * layer.config().experts() as u64)?;
    let len = kernel_len(layer);
    let total = finishing.kernels as usize * tiles.size.points() * len;
    let kernels = stream.take(total)?;
    let blocks = elementwise(len / 4);
    let params = WinogradKernelsParams {
        length: index("elements of one kernel", len / 4)?,
        depth: finishing.depth,
        expert_stride: layer.stored.stride(&layer.packing) as u32,
        experts: finishing.experts,
        samples: finishing.kernels,
        blocks: blocks as u32,
        first_sample: index("batch", part.start)?,
        is_static: u32::from(bindings.attention.is_none()),
    };
    let [experts, _] = bindings.kernels.clone();
    let attention = bindings.attention.clone().unwrap_or_else(|| experts.clone());
    let storage = [experts, attention, stream.bind(&kernels, 0, total)?];
    let kernel = Kernel::WinogradKernels(tiles.size, layer.stored);
    stream.dispatch(kernel, &params, storage, blocks * u64::from(finishing.kernels))?;
    Ok(kernels)
}

/// The transformed input, `[sample][point][channel][tile]`, or with the point first where samples share a kernel.
fn input(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    tiles: Tiles,
    checked: &CheckedCall,
    finishing: &ConvolveParams,
    bindings: &Bindings,
    samples: usize,
) -> Result<Allocation> {
    let channels = checked.input.channels();
    let len = samples * tiles.image_len(channels);
    let images = stream.take(len)?;
    let params = WinogradInputParams {
        samples: samples as u32,
        channels: channels as u32,
        input_height: finishing.input_height,
        input_width: finishing.input_width,
        padding_top: finishing.padding_top,
        padding_left: finishing.padding_left,
        tiles_across: finishing.tiles_across,
        tiles: finishing.tiles,
        tile_pixels: finishing.tile_pixels,
        input_base: finishing.input_base,
        input_channel: finishing.input_channel,
        input_pixel: finishing.input_pixel,
        shares_kernels: u32::from(finishing.samples > 1),
    };
    let storage = [bindings.input.clone(), stream.bind(&images, 0, len)?];
    let threads = elementwise(samples * channels * tiles.pixels);
    stream.dispatch(Kernel::WinogradInput(tiles.size, layer.values), &params, storage, threads)?;
    Ok(images)
}

/// The products: a 1×1 convolution, channels first, whose pixels are tiles, with a kernel for every point.
fn pointwise(
    finishing: &ConvolveParams,
    tiles: Tiles,
    products: Convolution,
    kernel_len: usize,
) -> ConvolveParams {
    let pixels = tiles.pixels as u32;
    let steps = finishing.depth.div_ceil(products.tile.depth);
    ConvolveParams {
        input_height: 1,
        input_width: pixels,
        output_width: pixels,
        pixels,
        depth: finishing.depth,
        rows: finishing.rows,
        groups: finishing.groups,
        kernel_height: 1,
        kernel_width: 1,
        stride_height: 1,
        stride_width: 1,
        dilation_height: 1,
        dilation_width: 1,
        kernels: finishing.kernels * tiles.size.points() as u32,
        samples: finishing.samples,
        kernel_stride: kernel_len as u32,
        input_channel: pixels,
        input_pixel: 1,
        output_channel: pixels,
        output_pixel: 1,
        end: steps,
        slices: 1,
        slice_steps: steps,
        ..ConvolveParams::default()
    }
}
