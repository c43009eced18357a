//! The same values in another form: where a kernel takes activations otherwise than they are stored.

use std::sync::Arc;

use dyconv_core::{Handle, Result};

use super::elementwise;
use crate::kernel::Kernel;
use crate::memory::Allocation;
use crate::params::ConvertParams;
use crate::stream::WgpuStream;
use crate::tensor::WgpuTensor;
use crate::values::Values;

/// A tensor's values in this form: its own memory where they are; nothing for an empty batch.
pub(super) fn stored_as(
    stream: &mut WgpuStream,
    x: &WgpuTensor,
    values: Values,
) -> Result<Option<Arc<Allocation>>> {
    let Some(data) = x.data.as_ref().filter(|_| x.values != values) else {
        return Ok(x.data.clone());
    };
    let len = x.shape().sample_len();
    let converted = stream.take_values(values, x.shape().len())?;
    for part in stream.context().limits.split(x.shape().batch(), &[("tensor", len)])?.parts() {
        let (start, count) = (part.start * len, part.len() * len);
        let from = stream.bind_values(x.values, data, start, count)?;
        let to = stream.bind_values(values, &converted, start, count)?;
        let params = ConvertParams { count: count as u32, input_base: from.base, output_base: to.base };
        stream.dispatch(Kernel::Convert(x.values, values), &params, [from, to], elementwise(count))?;
    }
    Ok(Some(Arc::new(converted)))
}
