//! Step 7 on its own, where a backward needs what the activation takes.

use dyconv_core::{Activation, Result, Shape};

use super::elementwise;
use crate::kernel::{Kernel, TrainKernel};
use crate::memory::Allocation;
use crate::params::activation_code;
use crate::params::train::ApplyParams;
use crate::stream::WgpuStream;

/// Whether an activation's output says all that its derivative depends on: it is then its own preactivation.
pub(super) fn output_tells_derivative(activation: Activation) -> bool {
    matches!(activation, Activation::None | Activation::Relu | Activation::Relu6)
}

/// Applies an activation to every element.
pub(super) fn record(
    stream: &mut WgpuStream,
    shape: Shape,
    activation: Activation,
    from: &Allocation,
    to: &Allocation,
) -> Result<()> {
    let (activation, slope) = activation_code(activation);
    let len = shape.sample_len();
    for part in stream.context().limits.split(shape.batch(), &[("output", len)])?.parts() {
        let (start, count) = (part.start * len, part.len() * len);
        let (input, output) = (stream.bind(from, start, count)?, stream.bind(to, start, count)?);
        let (input_base, output_base) = (input.base, output.base);
        let params = ApplyParams { count: count as u32, input_base, output_base, activation, slope };
        stream.dispatch(Kernel::Train(TrainKernel::Apply), &params, [input, output], elementwise(count))?;
    }
    Ok(())
}
