//! One forward: which stages run for a call, and in what parts.

use std::sync::Arc;

use dyconv_core::{Activation, AttentionSource, Call, CheckedCall, Layout, Output, Prepared, Result, Shape};

use super::attention::HeadRun;
use super::convert::stored_as;
use super::convolve::Kernels;
use super::{activate, aggregate, attention, convolve, normalize, pool};
use crate::kernel::Kernel;
use crate::layer::{Unfolded, WgpuLayer};
use crate::memory::Allocation;
use crate::plan::{Plan, plan};
use crate::stored::Stored;
use crate::stream::WgpuStream;
use crate::tensor::WgpuTensor;
use crate::values::Values;

/// What a run leaves for its backward.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) checked: CheckedCall,
    /// π [N, K]; nothing for a static layer or an empty batch.
    pub(crate) weights: Option<Arc<Allocation>>,
    /// Where a head computed it.
    pub(crate) head: Option<HeadRun>,
    /// The convolution's output and the mean and variance that it was normalized by, where batch norm isn't folded.
    pub(crate) normalized: Option<(Arc<Allocation>, [Arc<Allocation>; 2])>,
    /// What the activation took, or what it gave where that says the same of its derivative.
    pub(crate) preactivation: Option<Arc<Allocation>>,
}

pub(crate) fn forward(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    call: &Call<'_, WgpuTensor>,
) -> Result<Output<WgpuTensor>> {
    run(stream, layer, call, false).map(|(output, _)| output)
}

/// Runs a layer. Where `keeps`, what the activation takes is kept apart, if its derivative needs it.
pub(crate) fn run(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    call: &Call<'_, WgpuTensor>,
    keeps: bool,
) -> Result<(Output<WgpuTensor>, Trace)> {
    let checked = call.check(layer)?;
    call.input.check("input", stream)?;
    for (name, tensor) in [("attention", call.attention), ("residual", call.residual)] {
        tensor.map_or(Ok(()), |tensor| tensor.check(name, stream))?;
    }
    let activation = layer.config().activation();
    let apart = keeps && !activate::output_tells_derivative(activation);
    // Tiles emit what they store, if that is the output.
    let emits = call.emit_sums && !apart && layer.unfolded().is_none();
    let plan = plan(&stream.context().limits, layer, checked.input, emits)?;
    let head = head(stream, layer, call, &checked)?;
    let weights = match (&head, checked.attention) {
        (Some(head), _) => Some(Arc::clone(&head.weights)),
        (None, AttentionSource::Given) => match call.attention {
            Some(pi) => stored_as(stream, pi, Values::F32)?,
            None => None,
        },
        (None, _) => None,
    };
    let mut trace = Trace { checked, weights, head, normalized: None, preactivation: None };
    let mut output = WgpuTensor::new(stream, checked.output, layer.config().layout())?;
    let input = stored_as(stream, call.input, layer.values)?;
    let residual =
        call.residual.map(|residual| stored_as(stream, residual, layer.values)).transpose()?.flatten();
    if let (Some(input), Some(data)) = (&input, output.data.clone()) {
        let preactivation =
            if apart { Arc::new(stream.take(checked.output.len())?) } else { Arc::clone(&data) };
        let means = plan.emits.then(|| stream.take(checked.input.batch() * checked.output.channels()));
        let means = means.transpose()?;
        let last = Last {
            output: &preactivation,
            residual: residual.as_deref(),
            activation: if apart { Activation::None } else { activation },
            means: means.as_ref(),
        };
        match layer.unfolded() {
            None => convolve_parts(stream, layer, &plan, &trace, input, &last)?,
            Some(norm) => {
                trace.normalized = Some(normalized(stream, layer, norm, &plan, &trace, input, &last)?);
            }
        }
        if apart {
            activate::record(stream, checked.output, activation, &preactivation, &data)?;
        }
        output.means = means.map(Arc::new);
        if call.emit_sums && output.means.is_none() {
            output.means = Some(Arc::new(pool::means(stream, &output, &data)?));
        }
        trace.preactivation = Some(preactivation);
    }
    let statistics = trace.normalized.as_ref().filter(|_| checked.batch_statistics);
    let statistics = statistics.map(|(_, by)| per_channel(stream, checked.output, by)).transpose()?;
    let attention = call.return_attention.then(|| handed_back(stream, layer, call, &trace));
    Ok((Output::new(output).attention(attention.transpose()?).statistics(statistics), trace))
}

/// The last stage's output, and what becomes of a sum on its way there.
struct Last<'a> {
    output: &'a Allocation,
    residual: Option<&'a Allocation>,
    activation: Activation,
    /// Channel means, where tiles emit them.
    means: Option<&'a Allocation>,
}

/// Aggregates, if that is a step of its own, and convolves, part by part of the batch.
fn convolve_parts(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    plan: &Plan,
    trace: &Trace,
    input: &Allocation,
    last: &Last<'_>,
) -> Result<()> {
    let &Last { output, residual, activation, means } = last;
    let tensors = convolve::Tensors { input, output, residual, activation, means };
    let weights = trace.weights.as_deref();
    for part in plan.split.parts() {
        let ready = match weights {
            Some(_) if !plan.aggregates() => None,
            Some(_) => Some(aggregate::record(stream, layer, weights, part.clone())?),
            // The depthwise kernel reads floats.
            None if matches!(plan.kernel, Kernel::Depthwise(..)) && layer.stored != Stored::F32 => {
                Some(aggregate::record(stream, layer, None, 0..1)?)
            }
            None => None,
        };
        let kernels = match (&ready, weights) {
            (Some(ready), _) => Kernels::Ready(ready),
            (None, Some(weights)) => Kernels::Fused(weights),
            (None, None) => Kernels::Expert,
        };
        convolve::record(stream, layer, plan, &trace.checked, &tensors, kernels, part)?;
    }
    Ok(())
}

/// Convolves, and normalizes by the batch's statistics or by the running ones; gives the convolution's output and those.
fn normalized(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    norm: &Unfolded,
    plan: &Plan,
    trace: &Trace,
    input: &Allocation,
    last: &Last<'_>,
) -> Result<(Arc<Allocation>, [Arc<Allocation>; 2])> {
    let shape = trace.checked.output;
    let convolved = Arc::new(stream.take(shape.len())?);
    let bare = Last { output: &convolved, residual: None, activation: Activation::None, means: None };
    convolve_parts(stream, layer, plan, trace, input, &bare)?;
    let by = if trace.checked.batch_statistics {
        normalize::statistics(stream, layer, shape, &convolved)?
    } else {
        norm.running.clone()
    };
    let tensors =
        normalize::Tensors { input: &convolved, output: last.output, residual: last.residual, by: &by };
    normalize::record(stream, layer, norm, shape, &tensors, last.activation)?;
    Ok((convolved, by))
}

/// The head's run; `None` where π is given, or 1, or nobody's.
fn head(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    call: &Call<'_, WgpuTensor>,
    checked: &CheckedCall,
) -> Result<Option<HeadRun>> {
    let (AttentionSource::Head { temperature }, Some(data)) = (checked.attention, &call.input.data) else {
        return Ok(None);
    };
    let means = match &call.input.means {
        Some(means) => Arc::clone(means),
        None => Arc::new(pool::means(stream, call.input, data)?),
    };
    attention::record(stream, layer, means, checked.input.batch(), temperature).map(Some)
}

/// Mean and variance as tensors, each 1×C×1×1.
fn per_channel(stream: &WgpuStream, shape: Shape, by: &[Arc<Allocation>; 2]) -> Result<[WgpuTensor; 2]> {
    let shape = Shape::new(1, shape.channels(), 1, 1)?;
    Ok(by.clone().map(|data| WgpuTensor::from_parts(stream, shape, Layout::Nchw, Some(data))))
}

/// π as a tensor: the call's own, the head's, or ones.
fn handed_back(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    call: &Call<'_, WgpuTensor>,
    trace: &Trace,
) -> Result<WgpuTensor> {
    if let Some(given) = call.attention {
        return Ok(given.clone());
    }
    let shape = Shape::new(trace.checked.input.batch(), layer.config().experts(), 1, 1)?;
    if trace.weights.is_some() || shape.is_empty() {
        return Ok(WgpuTensor::from_parts(stream, shape, Layout::Nchw, trace.weights.clone()));
    }
    let ones = WgpuTensor::stored(stream, shape, Layout::Nchw, Values::F32)?;
    if let Some(data) = &ones.data {
        stream.upload(&vec![1.0; shape.len()], ones.values, data)?;
    }
    Ok(ones)
}
