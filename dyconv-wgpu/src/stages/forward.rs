//! One forward: which stages run for a call, and in what parts.

use std::sync::Arc;

use dyconv_core::{AttentionSource, Call, CheckedCall, Layout, Output, Prepared, Result, Shape};

use super::{aggregate, attention, convolve, normalize, pool};
use crate::layer::WgpuLayer;
use crate::memory::Allocation;
use crate::stream::WgpuStream;
use crate::tensor::WgpuTensor;

pub(crate) fn forward(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    call: &Call<'_, WgpuTensor>,
) -> Result<Output<WgpuTensor>> {
    let checked = call.check(layer)?;
    call.input.check("input", stream)?;
    for (name, tensor) in [("attention", call.attention), ("residual", call.residual)] {
        tensor.map_or(Ok(()), |tensor| tensor.check(name, stream))?;
    }
    let plan = convolve::plan(&stream.context().limits, layer, checked.input)?;
    let weights = attention_weights(stream, layer, call, &checked)?;
    let mut output = WgpuTensor::new(stream, checked.output, layer.config().layout())?;
    let mut statistics = None;
    if let (Some(input), Some(data)) = (&call.input.data, &output.data) {
        let residual = call.residual.and_then(|residual| residual.data.as_deref());
        let tensors = convolve::Tensors { input, output: data, residual };
        for part in plan.split.parts() {
            let kernels = match &weights {
                Some(weights) => Some(aggregate::record(stream, layer, weights, part.clone())?),
                None => None,
            };
            convolve::record(stream, layer, &plan, &checked, &tensors, kernels.as_ref(), part)?;
        }
        if checked.batch_statistics {
            statistics = Some(normalize::record(stream, layer, checked.output, data, residual)?);
        }
        if call.emit_sums {
            output.means = Some(Arc::new(pool::means(stream, &output, data)?));
        }
    }
    let attention = call.return_attention.then(|| handed_back(stream, layer, call, &checked, weights));
    Ok(Output::new(output).attention(attention.transpose()?).statistics(statistics))
}

/// π on the device; `None` for a static layer and for an empty batch.
fn attention_weights(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    call: &Call<'_, WgpuTensor>,
    checked: &CheckedCall,
) -> Result<Option<Arc<Allocation>>> {
    match (checked.attention, &call.input.data) {
        (AttentionSource::Head { temperature }, Some(data)) => {
            let means = match &call.input.means {
                Some(means) => Arc::clone(means),
                None => Arc::new(pool::means(stream, call.input, data)?),
            };
            let weights = attention::record(stream, layer, &means, checked.input.batch(), temperature)?;
            Ok(Some(Arc::new(weights)))
        }
        (AttentionSource::Given, _) => Ok(call.attention.and_then(|pi| pi.data.clone())),
        _ => Ok(None),
    }
}

/// π as a tensor: the call's own, the head's, or ones.
fn handed_back(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    call: &Call<'_, WgpuTensor>,
    checked: &CheckedCall,
    weights: Option<Arc<Allocation>>,
) -> Result<WgpuTensor> {
    if let Some(given) = call.attention {
        return Ok(given.clone());
    }
    let shape = Shape::new(checked.input.batch(), layer.config().experts(), 1, 1)?;
    if weights.is_some() || shape.is_empty() {
        return Ok(WgpuTensor::from_parts(stream, shape, Layout::Nchw, weights));
    }
    let ones = WgpuTensor::new(stream, shape, Layout::Nchw)?;
    if let Some(data) = &ones.data {
        stream.upload(&vec![1.0; shape.len()], data)?;
    }
    Ok(ones)
}
