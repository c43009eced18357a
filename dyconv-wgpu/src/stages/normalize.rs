//! Step 5 with the batch's own statistics, and what follows it.

use std::sync::Arc;

use dyconv_core::{Layout, Prepared, Result, Shape};

use super::{elementwise, pool};
use crate::kernel::Kernel;
use crate::layer::WgpuLayer;
use crate::limits::index;
use crate::memory::{Allocation, device_error};
use crate::params::{MomentsParams, NormalizeParams, activation_code};
use crate::stream::WgpuStream;
use crate::tensor::WgpuTensor;

/// Normalizes `data` in place; mean and biased variance, each 1×C×1×1.
///
/// Two passes, as the definition has it: the mean, then the mean squared distance from it.
pub(super) fn record(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    shape: Shape,
    data: &Allocation,
    residual: Option<&Allocation>,
) -> Result<[WgpuTensor; 2]> {
    let mean = moment(stream, layer, shape, data, None)?;
    let variance = moment(stream, layer, shape, data, Some(&mean))?;
    apply(stream, layer, shape, data, residual, [&mean, &variance])?;
    let moments = Shape::new(1, shape.channels(), 1, 1)?;
    Ok([mean, variance]
        .map(|data| WgpuTensor::from_parts(stream, moments, Layout::Nchw, Some(Arc::new(data)))))
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
    let per_sample = pool::per_sample(stream, shape, layer.config().layout(), data, center)?;
    let moment = stream.take(channels)?;
    let params = MomentsParams { samples: index("batch", batch)?, channels: channels as u32 };
    let storage = [stream.bind(&per_sample, 0, batch * channels)?, stream.bind(&moment, 0, channels)?];
    stream.dispatch(Kernel::Moments, &params, storage, elementwise(channels))?;
    Ok(moment)
}

fn apply(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    shape: Shape,
    data: &Allocation,
    residual: Option<&Allocation>,
    [mean, variance]: [&Allocation; 2],
) -> Result<()> {
    let config = layer.config();
    let (channels, len) = (shape.channels(), shape.sample_len());
    // A checked layer whose statistics are the batch's has them.
    let missing = || device_error("normalize", &"the layer has no batch norm");
    let gamma_beta = layer.gamma_beta.as_ref().ok_or_else(missing)?;
    let epsilon = config.batch_norm().ok_or_else(missing)?.epsilon;
    let (activation, slope) = activation_code(config.activation());
    for part in stream.context().limits.split(shape.batch(), &[("output", len)])?.parts() {
        let count = part.len() * len;
        let output = stream.bind(data, part.start * len, count)?;
        let gamma_beta = stream.bind(gamma_beta, 0, 2 * channels)?;
        let residual_binding = match residual {
            Some(residual) => stream.bind(residual, part.start * len, count)?,
            None => gamma_beta.clone(),
        };
        let params = NormalizeParams {
            count: count as u32,
            channels: channels as u32,
            channel_stride: shape.strides(config.layout())[1] as u32,
            output_base: output.base,
            residual_base: residual_binding.base,
            has_residual: u32::from(residual.is_some()),
            activation,
            slope,
            epsilon: epsilon as f32,
        };
        let mean = stream.bind(mean, 0, channels)?;
        let variance = stream.bind(variance, 0, channels)?;
        let storage = [gamma_beta, mean, variance, residual_binding, output];
        stream.dispatch(Kernel::Normalize, &params, storage, elementwise(count))?;
    }
    Ok(())
}
