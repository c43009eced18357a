//! Normalize, backwards.

use std::sync::Arc;

use dyconv_core::{CheckedCall, Prepared, Result};

use super::reduce::{ChannelSums, Rows, channel_sums, reduce};
use crate::kernel::{Kernel, TrainKernel};
use crate::layer::{Unfolded, WgpuLayer};
use crate::memory::Allocation;
use crate::params::train::NormalizeBackwardParams;
use crate::stages::{elementwise, normalize};
use crate::stream::WgpuStream;

/// What batch norm took, by which mean and variance it normalized, and the gradient of what it gave.
pub(crate) struct Tensors<'a> {
    pub(crate) convolved: &'a Allocation,
    pub(crate) by: &'a [Arc<Allocation>; 2],
    pub(crate) gradient: &'a Allocation,
}

/// The gradient of what batch norm took; those of gamma and beta go into `gamma_beta`, or onto what is there.
pub(crate) fn record(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    norm: &Unfolded,
    checked: &CheckedCall,
    tensors: &Tensors<'_>,
    (gamma_beta, add): (&Allocation, bool),
) -> Result<Allocation> {
    let (shape, channels) = (checked.output, checked.output.channels());
    let epsilon = normalize::epsilon(layer)?;
    let per_sample = stream.take(shape.batch() * 2 * channels)?;
    let row = 2 * channels;
    let split =
        stream.context().limits.split(shape.batch(), &[("output", shape.sample_len()), ("sums", row)])?;
    for part in split.parts() {
        let sums = ChannelSums {
            shape,
            layout: layer.config().layout(),
            gradient: tensors.gradient,
            part: part.clone(),
            norm: Some((tensors.convolved, tensors.by, epsilon)),
        };
        let rows = Rows { output: &per_sample, first: part.start * row, stride: row, padded: channels };
        channel_sums(stream, &sums, &rows)?;
    }
    let totals = stream.take(row)?;
    reduce(stream, &per_sample, [shape.batch(), row], (&totals, 0), false)?;
    reduce(stream, &totals, [1, row], (gamma_beta, 0), add)?;
    through(stream, layer, norm, checked, tensors, &totals)
}

/// The last pass: what is left of g.
fn through(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    norm: &Unfolded,
    checked: &CheckedCall,
    tensors: &Tensors<'_>,
    totals: &Allocation,
) -> Result<Allocation> {
    let (shape, channels) = (checked.output, checked.output.channels());
    let len = shape.sample_len();
    let result = stream.take(shape.len())?;
    for part in stream.context().limits.split(shape.batch(), &[("output", len)])?.parts() {
        let (start, count) = (part.start * len, part.len() * len);
        let gradient = stream.bind(tensors.gradient, start, count)?;
        let convolved = stream.bind(tensors.convolved, start, count)?;
        let output = stream.bind(&result, start, count)?;
        let params = NormalizeBackwardParams {
            count: count as u32,
            channels: channels as u32,
            channel_stride: shape.strides(layer.config().layout())[1] as u32,
            gradient_base: gradient.base,
            convolved_base: convolved.base,
            output_base: output.base,
            is_batch: u32::from(checked.batch_statistics),
            values: (shape.batch() * shape.pixels()) as f32,
            epsilon: normalize::epsilon(layer)?,
        };
        let storage = [
            gradient,
            convolved,
            stream.bind(&tensors.by[0], 0, channels)?,
            stream.bind(&tensors.by[1], 0, channels)?,
            stream.bind(&norm.gamma_beta, 0, 2 * channels)?,
            stream.bind(totals, 0, 2 * channels)?,
            output,
        ];
        let kernel = Kernel::Train(TrainKernel::NormalizeBackward);
        stream.dispatch(kernel, &params, storage, elementwise(count))?;
    }
    Ok(result)
}
