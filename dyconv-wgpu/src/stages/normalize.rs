//! Step 5 where batch norm isn't folded, and what follows it: by the batch's own statistics, or by running ones.

use std::sync::Arc;

use dyconv_core::{Activation, Prepared, Result, Shape};

use super::{elementwise, pool};
use crate::kernel::{Kernel, TrainKernel};
use crate::layer::{Unfolded, WgpuLayer};
use crate::limits::index;
use crate::memory::{Allocation, device_error};
use crate::params::train::MoveRunningParams;
use crate::params::{MomentsParams, NormalizeParams, activation_code};
use crate::stream::WgpuStream;
use crate::values::Values;

/// The batch's mean and biased variance, [C] each.
///
/// Two passes, as the definition has it: the mean, then the mean squared distance from it.
pub(super) fn statistics(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    shape: Shape,
    data: &Allocation,
) -> Result<[Arc<Allocation>; 2]> {
    let mean = moment(stream, layer, shape, data, None)?;
    let variance = moment(stream, layer, shape, data, Some(&mean))?;
    Ok([mean, variance].map(Arc::new))
}

/// [C]: the mean over samples and pixels, or the mean squared distance from `center`.
fn moment(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    shape: Shape,
    data: &Allocation,
    center: Option<&Allocation>,
) -> Result<Allocation> {
    let (batch, channels) = (shape.batch(), shape.channels());
    stream.context().limits.check_loop_steps("samples for batch statistics", batch as u64)?;
    let per_sample = pool::per_sample(stream, shape, layer.config().layout(), (data, Values::F32), center)?;
    let moment = stream.take(channels)?;
    let params = MomentsParams { samples: index("batch", batch)?, channels: channels as u32 };
    let storage = [stream.bind(&per_sample, 0, batch * channels)?, stream.bind(&moment, 0, channels)?];
    stream.dispatch(Kernel::Moments, &params, storage, elementwise(channels))?;
    Ok(moment)
}

/// What is normalized, where to, and by which mean and variance.
pub(super) struct Tensors<'a> {
    pub(super) input: &'a Allocation,
    pub(super) output: &'a Allocation,
    pub(super) residual: Option<&'a Allocation>,
    pub(super) by: &'a [Arc<Allocation>; 2],
}

/// Normalizes, adds the residual and applies the activation.
pub(super) fn record(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    norm: &Unfolded,
    shape: Shape,
    tensors: &Tensors<'_>,
    activation: Activation,
) -> Result<()> {
    let (channels, len) = (shape.channels(), shape.sample_len());
    let (activation, slope) = activation_code(activation);
    for part in stream.context().limits.split(shape.batch(), &[("output", len)])?.parts() {
        let (start, count) = (part.start * len, part.len() * len);
        let input = stream.bind(tensors.input, start, count)?;
        let output = stream.bind(tensors.output, start, count)?;
        let gamma_beta = stream.bind(&norm.gamma_beta, 0, 2 * channels)?;
        let residual = match tensors.residual {
            Some(residual) => stream.bind(residual, start, count)?,
            None => gamma_beta.clone(),
        };
        let params = NormalizeParams {
            count: count as u32,
            channels: channels as u32,
            channel_stride: shape.strides(layer.config().layout())[1] as u32,
            input_base: input.base,
            output_base: output.base,
            residual_base: residual.base,
            has_residual: u32::from(tensors.residual.is_some()),
            activation,
            slope,
            epsilon: epsilon(layer)?,
        };
        let mean = stream.bind(&tensors.by[0], 0, channels)?;
        let variance = stream.bind(&tensors.by[1], 0, channels)?;
        let storage = [gamma_beta, mean, variance, residual, input, output];
        stream.dispatch(Kernel::Normalize, &params, storage, elementwise(count))?;
    }
    Ok(())
}

/// ε as kernels take it.
pub(super) fn epsilon(layer: &WgpuLayer) -> Result<f32> {
    // A layer whose batch norm isn't folded has one.
    let missing = || device_error("normalize", &"the layer has no batch norm");
    Ok(layer.config().batch_norm().ok_or_else(missing)?.epsilon as f32)
}

/// Running statistics, moved towards a batch's whose output has this shape: new ones.
pub(crate) fn move_running(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    running: &[Arc<Allocation>; 2],
    batch: &[Arc<Allocation>; 2],
    output: Shape,
) -> Result<[Arc<Allocation>; 2]> {
    let Some(norm) = layer.config().batch_norm() else { return Ok(running.clone()) };
    let channels = output.channels();
    let values = (output.batch() * output.pixels()) as f64;
    let correction = if norm.unbiased { values / (values - 1.0) } else { 1.0 };
    let moved = [Arc::new(stream.take(channels)?), Arc::new(stream.take(channels)?)];
    let params = MoveRunningParams {
        channels: channels as u32,
        keep: norm.keep as f32,
        taken_mean: (1.0 - norm.keep) as f32,
        taken_variance: ((1.0 - norm.keep) * correction) as f32,
    };
    let [batch_mean, batch_variance] = batch;
    let [old_mean, old_variance] = running;
    let [new_mean, new_variance] = &moved;
    let storage = [
        stream.bind(batch_mean, 0, channels)?,
        stream.bind(batch_variance, 0, channels)?,
        stream.bind(old_mean, 0, channels)?,
        stream.bind(old_variance, 0, channels)?,
        stream.bind(new_mean, 0, channels)?,
        stream.bind(new_variance, 0, channels)?,
    ];
    stream.dispatch(Kernel::Train(TrainKernel::MoveRunning), &params, storage, elementwise(channels))?;
    Ok(moved)
}
