//! Pools, backwards: a mean gives every pixel its share, a maximum gives its own pixel everything.

use dyconv_core::{Error, Handle, Layout, Pool, Result};

use crate::kernel::{Kernel, TrainKernel};
use crate::limits::index;
use crate::params::train::{PoolMaxBackwardParams, PoolMeanBackwardParams};
use crate::stages::elementwise;
use crate::stream::WgpuStream;
use crate::tensor::WgpuTensor;

/// The gradient of a pool's input from that of its output, in the input's layout.
pub(crate) fn record(
    stream: &mut WgpuStream,
    x: &WgpuTensor,
    kind: &Pool,
    gradient: &WgpuTensor,
) -> Result<WgpuTensor> {
    let output = kind.output_shape(x.shape())?;
    if gradient.shape() != output {
        return Err(Error::invalid("gradient", gradient.shape(), output.to_string()));
    }
    if gradient.layout() != x.layout() && output.pixels() > 1 && output.channels() > 1 {
        return Err(Error::invalid("layout of gradient", gradient.layout(), x.layout().to_string()));
    }
    let dx = WgpuTensor::new(stream, x.shape(), x.layout())?;
    match *kind {
        Pool::GlobalMean => mean(stream, gradient, &dx)?,
        Pool::Max { window, stride, padding } => {
            max(stream, x, gradient, &dx, [window, stride, padding])?;
        }
        ref other => {
            let what = format!("pooling by {other:?}, backwards");
            return Err(Error::Unsupported { backend: stream.context().backend.clone(), what });
        }
    }
    Ok(dx)
}

fn mean(stream: &mut WgpuStream, gradient: &WgpuTensor, dx: &WgpuTensor) -> Result<()> {
    let (shape, channels) = (dx.shape(), dx.shape().channels());
    let (Some(from), Some(to)) = (&gradient.data, &dx.data) else { return Ok(()) };
    let len = shape.sample_len();
    for part in stream.context().limits.split(shape.batch(), &[("input", len)])?.parts() {
        let count = part.len() * len;
        let gradient = stream.bind(from, part.start * channels, part.len() * channels)?;
        let output = stream.bind(to, part.start * len, count)?;
        let params = PoolMeanBackwardParams {
            count: count as u32,
            channels: channels as u32,
            channel_stride: shape.strides(dx.layout())[1] as u32,
            pixels: shape.pixels() as u32,
            gradient_base: gradient.base,
            output_base: output.base,
        };
        let kernel = Kernel::Train(TrainKernel::PoolMeanBackward);
        stream.dispatch(kernel, &params, [gradient, output], elementwise(count))?;
    }
    Ok(())
}

/// First which pixel of its window each maximum was, then for each pixel the gradients of the windows that chose it.
fn max(
    stream: &mut WgpuStream,
    x: &WgpuTensor,
    gradient: &WgpuTensor,
    dx: &WgpuTensor,
    [window, stride, padding]: [[usize; 2]; 3],
) -> Result<()> {
    let (input, output) = (x.shape(), gradient.shape());
    let (Some(from), Some(g), Some(to)) = (&x.data, &gradient.data, &dx.data) else { return Ok(()) };
    // A window takes a step for each pixel and each row; so do the windows that cover a pixel.
    let window_steps = (window[0] as u64).saturating_mul(window[1] as u64 + 1);
    stream.context().limits.check_loop_steps("loop steps of a pooling window", window_steps)?;
    let chosen = stream.take(output.len())?;
    let pair = |name: &str, [rows, columns]: [usize; 2]| Ok([index(name, rows)?, index(name, columns)?]);
    let [window_height, window_width] = pair("window", window)?;
    let [stride_height, stride_width] = pair("stride", stride)?;
    let [padding_top, padding_left] = pair("padding", padding)?;
    let mut params = PoolMaxBackwardParams {
        channels: input.channels() as u32,
        input_height: input.height() as u32,
        input_width: input.width() as u32,
        output_height: output.height() as u32,
        output_width: output.width() as u32,
        window_height,
        window_width,
        stride_height,
        stride_width,
        padding_top,
        padding_left,
        channels_last: u32::from(x.layout() == Layout::Nhwc),
        ..PoolMaxBackwardParams::default()
    };
    let lens = [("input", input.sample_len()), ("output", output.sample_len())];
    for part in stream.context().limits.split(input.batch(), &lens)?.parts() {
        let [inputs, outputs] = [input, output].map(|shape| shape.sample_len());
        let [input_range, output_range] = [inputs, outputs].map(|len| (part.start * len, part.len() * len));
        let source = stream.bind(from, input_range.0, input_range.1)?;
        let indices = stream.bind(&chosen, output_range.0, output_range.1)?;
        params.count = output_range.1 as u32;
        (params.input_base, params.output_base) = (source.base, indices.base);
        let kernel = Kernel::Train(TrainKernel::PoolChosen);
        stream.dispatch(kernel, &params, [source, indices.clone()], elementwise(output_range.1))?;

        let gradient = stream.bind(g, output_range.0, output_range.1)?;
        let target = stream.bind(to, input_range.0, input_range.1)?;
        params.count = input_range.1 as u32;
        (params.input_base, params.gradient_base) = (indices.base, gradient.base);
        params.output_base = target.base;
        let kernel = Kernel::Train(TrainKernel::PoolMaxBackward);
        stream.dispatch(kernel, &params, [indices, gradient, target], elementwise(input_range.1))?;
    }
    Ok(())
}
