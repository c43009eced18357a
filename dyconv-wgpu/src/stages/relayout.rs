//! The same tensor in the other layout.

use dyconv_core::{Handle, Layout, Result};

use super::elementwise;
use crate::kernel::Kernel;
use crate::params::RelayoutParams;
use crate::stream::WgpuStream;
use crate::tensor::WgpuTensor;

pub(crate) fn relayout(stream: &mut WgpuStream, x: &WgpuTensor, to: Layout) -> Result<WgpuTensor> {
    let shape = x.shape();
    // With one pixel, or one channel, both layouts are the same bytes.
    if x.layout() == to || shape.pixels() == 1 || shape.channels() == 1 {
        return Ok(x.relabelled(to));
    }
    let mut output = WgpuTensor::stored(stream, shape, to, x.values)?;
    output.means.clone_from(&x.means);
    let (Some(from), Some(target)) = (&x.data, &output.data) else {
        return Ok(output);
    };
    let len = shape.sample_len();
    let (inner, outer) = match to {
        Layout::Nchw => (shape.pixels(), shape.channels()),
        Layout::Nhwc => (shape.channels(), shape.pixels()),
    };
    for part in stream.context().limits.split(shape.batch(), &[("input", len)])?.parts() {
        let count = part.len() * len;
        let source = stream.bind_values(x.values, from, part.start * len, count)?;
        let target = stream.bind_values(x.values, target, part.start * len, count)?;
        let params = RelayoutParams {
            count: count as u32,
            inner: inner as u32,
            outer: outer as u32,
            input_base: source.base,
            output_base: target.base,
        };
        let kernel = Kernel::Relayout(x.values.in_bits());
        stream.dispatch(kernel, &params, [source, target], elementwise(count))?;
    }
    Ok(output)
}
