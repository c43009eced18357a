//! Activate, backwards.

use dyconv_core::{Activation, Config, Prepared, Regularizer, Result, Shape};

use crate::kernel::{Kernel, TrainKernel};
use crate::layer::WgpuLayer;
use crate::memory::Allocation;
use crate::params::activation_code;
use crate::params::train::ActivateBackwardParams;
use crate::stages::elementwise;
use crate::stream::WgpuStream;

/// Whether [`record`] would do anything.
pub(crate) fn is_needed(config: &Config, activity: Option<Regularizer>) -> bool {
    config.activation() != Activation::None || activity.is_some()
}

/// The gradient of what the activation took, from that of the output and a penalty on it.
pub(crate) fn record(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    shape: Shape,
    preactivation: &Allocation,
    gradient: &Allocation,
    activity: Option<Regularizer>,
) -> Result<Allocation> {
    let result = stream.take(shape.len())?;
    let (activation, slope) = activation_code(layer.config().activation());
    let penalty = activity.unwrap_or_default();
    let len = shape.sample_len();
    for part in stream.context().limits.split(shape.batch(), &[("output", len)])?.parts() {
        let (start, count) = (part.start * len, part.len() * len);
        let preactivation = stream.bind(preactivation, start, count)?;
        let gradient = stream.bind(gradient, start, count)?;
        let output = stream.bind(&result, start, count)?;
        let params = ActivateBackwardParams {
            count: count as u32,
            preactivation_base: preactivation.base,
            gradient_base: gradient.base,
            output_base: output.base,
            activation,
            slope,
            l1: penalty.l1 as f32,
            l2: penalty.l2 as f32,
        };
        let kernel = Kernel::Train(TrainKernel::ActivateBackward);
        stream.dispatch(kernel, &params, [preactivation, gradient, output], elementwise(count))?;
    }
    Ok(result)
}
