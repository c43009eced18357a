//! One backward: which stages run for a tape, and in what parts.

use std::sync::Arc;

use dyconv_core::{AttentionSource, Backward, Config, Gradients, Layout, Prepared, Result, Shape, Tape};

use super::order::{Array, Order, WgpuParamGradients};
use super::tape::WgpuTape;
use super::trainable;
use crate::layer::WgpuLayer;
use crate::limits::{ELEMENT, Limits};
use crate::memory::Allocation;
use crate::stages::aggregate;
use crate::stages::backward::{activate, aggregate as experts, attention, convolve, normalize};
use crate::stream::WgpuStream;
use crate::tensor::WgpuTensor;

pub(super) fn backward(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    tape: &WgpuTape,
    call: &Backward<'_, WgpuTensor>,
    onto: Option<WgpuParamGradients>,
) -> Result<Gradients<WgpuTensor, WgpuParamGradients>> {
    let training = trainable(layer)?;
    call.check(layer, training.generation, tape.recorded())?;
    tape.origin.check("tape", "a tape", stream)?;
    call.gradient.check("gradient", stream)?;
    call.add_to_input.map_or(Ok(()), |other| other.check("add_to_input", stream))?;
    let order = Order::new(layer, training);
    let add = onto.is_some();
    let params = match onto {
        Some(onto) => {
            onto.check("onto", &order, stream)?;
            onto.renewed(stream)
        }
        None => WgpuParamGradients::new(stream, order)?,
    };
    let run = Run { layer, tape, call, params: &params, add };
    let tensors = run.record(stream)?;
    Ok(tensors.gradients(params))
}

/// The gradients of tensors.
struct Tensors {
    input: Option<WgpuTensor>,
    residual: Option<WgpuTensor>,
    attention: Option<WgpuTensor>,
}

impl Tensors {
    fn gradients(self, params: WgpuParamGradients) -> Gradients<WgpuTensor, WgpuParamGradients> {
        Gradients::new(params).input(self.input).residual(self.residual).attention(self.attention)
    }
}

struct Run<'a> {
    layer: &'a WgpuLayer,
    tape: &'a WgpuTape,
    call: &'a Backward<'a, WgpuTensor>,
    params: &'a WgpuParamGradients,
    /// Whether gradients are there to be added to.
    add: bool,
}

impl Run<'_> {
    fn config(&self) -> &Config {
        self.layer.config()
    }

    fn record(&self, stream: &mut WgpuStream) -> Result<Tensors> {
        let checked = &self.tape.recorded().call;
        let layout = self.config().layout();
        let dx = match self.call.input {
            true => Some(WgpuTensor::new(stream, checked.input, layout)?),
            false => None,
        };
        let (Some(input), Some(gradient)) = (&self.tape.input.data, &self.call.gradient.data) else {
            return self.nothing(stream, dx);
        };
        let preactivation = self.activated(stream, gradient)?;
        let convolved = self.normalized(stream, &preactivation)?;
        let attention = self.mixed(stream, input, &convolved)?;
        let pooled = self.attended(stream, attention.as_ref())?;
        if let Some(WgpuTensor { data: Some(dx), .. }) = &dx {
            self.input(stream, &convolved, pooled.as_ref(), dx)?;
        }
        let residual = self.tape.recorded().residual;
        Ok(Tensors {
            input: dx,
            residual: residual
                .then(|| WgpuTensor::from_parts(stream, checked.output, layout, Some(preactivation))),
            attention: attention
                .map(|gradient| self.attention_tensor(stream, Some(Arc::new(gradient))))
                .transpose()?,
        })
    }

    /// Of an empty batch: gradients of 0 for parameters, empty ones for tensors.
    fn nothing(&self, stream: &mut WgpuStream, input: Option<WgpuTensor>) -> Result<Tensors> {
        if !self.add {
            [Array::Experts, Array::Head, Array::GammaBeta]
                .into_iter()
                .for_each(|array| self.params.clear(stream, array));
        }
        let recorded = self.tape.recorded();
        let residual =
            recorded.residual.then(|| WgpuTensor::new(stream, recorded.call.output, self.config().layout()));
        let attention = self.config().attention().map(|_| self.attention_tensor(stream, None));
        Ok(Tensors { input, residual: residual.transpose()?, attention: attention.transpose()? })
    }

    fn attention_tensor(&self, stream: &WgpuStream, data: Option<Arc<Allocation>>) -> Result<WgpuTensor> {
        let batch = self.tape.recorded().call.input.batch();
        let shape = Shape::new(batch, self.config().experts(), 1, 1)?;
        Ok(WgpuTensor::from_parts(stream, shape, Layout::Nchw, data))
    }

    /// The gradient of what the activation took: the output's own where nothing changes it.
    fn activated(&self, stream: &mut WgpuStream, gradient: &Arc<Allocation>) -> Result<Arc<Allocation>> {
        match &self.tape.trace.preactivation {
            Some(preactivation) if activate::is_needed(self.config(), self.call.activity) => {
                let shape = self.tape.recorded().call.output;
                let activity = self.call.activity;
                activate::record(stream, self.layer, shape, preactivation, gradient, activity).map(Arc::new)
            }
            _ => Ok(Arc::clone(gradient)),
        }
    }

    /// The gradient of the convolution's output.
    fn normalized(&self, stream: &mut WgpuStream, gradient: &Arc<Allocation>) -> Result<Arc<Allocation>> {
        let Self { layer, tape, params, add, .. } = *self;
        let (Some(norm), Some((convolved, by)), Some(gamma_beta)) =
            (layer.unfolded(), &tape.trace.normalized, &params.packed.gamma_beta)
        else {
            return Ok(Arc::clone(gradient));
        };
        let tensors = normalize::Tensors { convolved, by, gradient };
        let checked = &tape.recorded().call;
        normalize::record(stream, layer, norm, checked, &tensors, (gamma_beta, add)).map(Arc::new)
    }

    /// The gradients of experts and biases, and that of π [N, K], which a static layer hasn't.
    fn mixed(
        &self,
        stream: &mut WgpuStream,
        input: &Allocation,
        gradient: &Allocation,
    ) -> Result<Option<Allocation>> {
        let Self { layer, tape, params, add, .. } = *self;
        let checked = &tape.recorded().call;
        let weights = tape.trace.weights.as_deref();
        let of_weights = match weights {
            Some(_) => Some(stream.take(checked.input.batch() * self.config().experts())?),
            None => None,
        };
        let limits = stream.context().limits;
        for part in convolve::split(&limits, layer, checked.input, checked.output)?.parts() {
            let kernels = convolve::kernels(stream, layer, checked, [input, gradient], part.clone())?;
            let add = add || part.start > 0;
            let attention = weights.zip(of_weights.as_ref());
            let attention =
                attention.map(|(weights, gradient)| experts::Attention { weights, gradient, part });
            let onto = (&params.packed.experts, add);
            experts::record(stream, layer, &kernels, attention.as_ref(), onto)?;
        }
        Ok(of_weights)
    }

    /// The gradient of the channel means, where a head took them; the head's own go into the parameters'.
    fn attended(&self, stream: &mut WgpuStream, gradient: Option<&Allocation>) -> Result<Option<Allocation>> {
        let Some(head) = &self.params.packed.head else { return Ok(None) };
        let checked = &self.tape.recorded().call;
        let (Some(run), Some(gradient), AttentionSource::Head { temperature }) =
            (&self.tape.trace.head, gradient, checked.attention)
        else {
            // The call overrode it.
            if !self.add {
                self.params.clear(stream, Array::Head);
            }
            return Ok(None);
        };
        let of = (gradient, checked.input.batch());
        attention::record(stream, self.layer, run, of, temperature, (head, self.add)).map(Some)
    }

    /// The input's gradient: W~ is aggregated once more, part by part.
    fn input(
        &self,
        stream: &mut WgpuStream,
        gradient: &Allocation,
        share: Option<&Allocation>,
        output: &Allocation,
    ) -> Result<()> {
        let Self { layer, tape, call, .. } = *self;
        let checked = &tape.recorded().call;
        let other = call.add_to_input.and_then(|other| other.data.as_deref());
        let limits = stream.context().limits;
        for part in convolve::split(&limits, layer, checked.input, checked.output)?.parts() {
            let kernels = match &tape.trace.weights {
                Some(weights) => Some(aggregate::record(stream, layer, Some(weights), part.clone())?),
                None => None,
            };
            let kernels = kernels.as_ref();
            let tensors = convolve::ToInput { gradient, kernels, share, other, output };
            convolve::input(stream, layer, checked, &tensors, part)?;
        }
        Ok(())
    }
}

/// What a backward for an input of this shape is called, and its peak memory: tensors and their gradients, parameters
/// and theirs, and a part's kernels or their gradients.
pub(super) fn plan(limits: &Limits, layer: &WgpuLayer, input: Shape) -> Result<(String, u64)> {
    let config = layer.config();
    let output = config.output_shape(input)?;
    let split = convolve::split(limits, layer, input, output)?;
    let kernel = match config.is_depthwise() {
        true => "depthwise backward".to_owned(),
        false => format!("tiled {}×{} backward", convolve::TILE[0], convolve::TILE[1]),
    };
    let name = match split.parts().count() {
        0 | 1 => kernel,
        parts => format!("{kernel} in {parts} parts"),
    };
    let kernels = convolve::kernels_at_once(limits, layer, output, split.largest());
    let packed = layer.packing.stride * (2 * config.experts() + kernels);
    // What the tape keeps, the gradients at both ends, and one more of the output on its way.
    let tensors = 2 * input.len() + 4 * output.len();
    Ok((name, (packed + tensors) as u64 * ELEMENT))
}
