//! Gradients in f32, stage by stage, each with the places where a fault may be planted.

use dyconv_core::{AttentionSource, Backward, Config, ParamMap, Params, Result, Squash, Tensor, reference};

use crate::backend::{Faulty, FaultyTensor};
use crate::fault::Fault;
use crate::stages::{self, Taps};
use crate::train::FaultyTape;

/// What one backward finds.
pub(crate) struct Found {
    pub(crate) input: Tensor,
    pub(crate) residual: Tensor,
    pub(crate) attention: Tensor,
    pub(crate) params: ParamMap,
}

pub(crate) fn backward(
    backend: &Faulty,
    (config, params): (&Config, &Params),
    tape: &FaultyTape,
    call: &Backward<'_, FaultyTensor>,
) -> Result<Found> {
    let mut found: ParamMap =
        params.learned(config).iter().map(|spec| (spec.name, vec![0.0; spec.len()])).collect();
    let g = penalized(backend, tape, call);
    let residual = activate(backend, config, tape, &g);
    let convolved = normalize(backend, (config, params), tape, &residual, &mut found);
    let mut mixed = Mixed {
        input: Tensor::zeros(tape.input.shape(), config.layout()),
        attention: vec![0.0; tape.pi.len()],
    };
    mixed.add(backend, (config, params), tape, &convolved, &mut found);
    if let (Some(head), AttentionSource::Head { temperature }) = (&tape.head, tape.fits().attention) {
        let logits = squash(backend, config, &tape.pi, &mixed.attention, temperature as f32);
        let pooled = head.backward(backend, params, &logits, (tape.input.shape().batch(), &mut found));
        add_pooled(backend, &pooled, &mut mixed.input);
    }
    if let Some(other) = call.add_to_input
        && !backend.has(Fault::AddedTensorIgnored)
    {
        add(&mut mixed.input, &other.host);
    }
    if backend.has(Fault::SamplesMixInGradients) {
        let nothing: f32 = g.data().iter().map(|g| 0.0 * g).sum();
        mixed.input.data_mut().iter_mut().for_each(|dx| *dx += nothing);
    }
    let attention = Tensor::attention(tape.input.shape().batch(), config.experts(), mixed.attention)?;
    let residual = if backend.has(Fault::ResidualBeforeDerivative) { g } else { residual };
    Ok(Found { input: mixed.input, residual, attention, params: found })
}

fn add(to: &mut Tensor, other: &Tensor) {
    to.data_mut().iter_mut().zip(other.data()).for_each(|(sum, other)| *sum += other);
}

fn penalized(backend: &Faulty, tape: &FaultyTape, call: &Backward<'_, FaultyTensor>) -> Tensor {
    let mut g = call.gradient.host.clone();
    if let Some(activity) = call.activity.filter(|_| !backend.has(Fault::PenaltyOfOutputForgotten)) {
        let outputs = tape.output.data().iter();
        g.data_mut().iter_mut().zip(outputs).for_each(|(g, &y)| *g += activity.slope(f64::from(y)) as f32);
    }
    g
}

fn activate(backend: &Faulty, config: &Config, tape: &FaultyTape, g: &Tensor) -> Tensor {
    let at = if backend.has(Fault::DerivativeAtTheOutput) { &tape.output } else { &tape.preactivation };
    let mut result = g.clone();
    for (g, &x) in result.data_mut().iter_mut().zip(at.data()) {
        *g *= reference::activate_backward(config.activation(), f64::from(x)) as f32;
    }
    result
}

fn normalize(
    backend: &Faulty,
    (config, params): (&Config, &Params),
    tape: &FaultyTape,
    g: &Tensor,
    found: &mut ParamMap,
) -> Tensor {
    let (Some(norm), Some(bn), Some([mean, variance])) =
        (config.batch_norm(), &params.batch_norm, &tape.normalized_by)
    else {
        return g.clone();
    };
    let spread: Vec<f32> = variance.iter().map(|v| 1.0 / (v + norm.epsilon as f32).sqrt()).collect();
    let (y, shape) = (&tape.convolved, g.shape());
    let standard = |[n, c, row, column]: [usize; 4]| (y.view().at([n, c, row, column]) - mean[c]) * spread[c];
    let (mut beta, mut gamma) = (vec![0.0; mean.len()], vec![0.0; mean.len()]);
    stages::each(shape, |at| {
        beta[at[1]] += g.view().at(at);
        gamma[at[1]] += match backend.has(Fault::GammaTakesTheRawOutput) {
            true => g.view().at(at) * y.view().at(at),
            false => g.view().at(at) * standard(at),
        };
    });
    let values = (shape.batch() * shape.pixels()) as f32;
    let taken = |lost| tape.fits().batch_statistics && !backend.has(lost);
    let (by_mean, by_variance) = (taken(Fault::MeanTermDropped), taken(Fault::VarianceTermDropped));
    let result = Tensor::from_fn(shape, g.layout(), |at| {
        let c = at[1];
        let mut through = g.view().at(at);
        if by_mean {
            through -= beta[c] / values;
        }
        if by_variance {
            through -= standard(at) * gamma[c] / values;
        }
        through * bn.weight[c] * spread[c]
    });
    found.insert("bn.weight", gamma);
    found.insert("bn.bias", beta);
    result
}

struct Mixed {
    input: Tensor,
    attention: Vec<f32>,
}

impl Mixed {
    fn add(
        &mut self,
        backend: &Faulty,
        (config, params): (&Config, &Params),
        tape: &FaultyTape,
        g: &Tensor,
        found: &mut ParamMap,
    ) {
        for (n, pi) in tape.pi.chunks_exact(config.experts()).enumerate() {
            let (weight, bias) = self.convolve(backend, (config, params), tape, g, n);
            let dpi = &mut self.attention[n * config.experts()..][..config.experts()];
            let experts = found.get_mut("weight").expect("every layer has experts");
            share(backend, pi, dpi, &weight, &params.weight, experts);
            let Some(experts) = &params.bias else { continue };
            let mut unused = vec![0.0; pi.len()];
            let dpi = if backend.has(Fault::BiasForgottenInAttention) { &mut unused[..] } else { dpi };
            let mut lost = vec![0.0; experts.len()];
            let gradients = match n > 0 && backend.has(Fault::BiasGradientOfFirstSample) {
                true => &mut lost,
                false => found.get_mut("bias").expect("this layer has biases"),
            };
            share(backend, pi, dpi, &bias, experts, gradients);
        }
    }

    /// dW~ and db~ of sample n; its dx goes where it belongs.
    fn convolve(
        &mut self,
        backend: &Faulty,
        (config, params): (&Config, &Params),
        tape: &FaultyTape,
        g: &Tensor,
        n: usize,
    ) -> (Vec<f32>, Vec<f32>) {
        let pi = &tape.pi[n * config.experts()..][..config.experts()];
        let kernel = stages::aggregate(pi, &params.weight, 0, |w| w);
        let (mut weight, mut bias) = (vec![0.0; kernel.len()], vec![0.0; config.out_channels()]);
        let taps = Taps::new(backend, config, tape.fits());
        let (strides, inputs) = (tape.input.shape().strides(config.layout()), config.in_channels_per_group());
        let mut pixels: Vec<[usize; 3]> = Vec::new();
        stages::each(g.shape().with_batch(1).expect("no larger"), |[_, o, oy, ox]| pixels.push([o, oy, ox]));
        if backend.learns_backwards() {
            pixels.reverse();
        }
        for [o, oy, ox] in pixels {
            let g = g.view().at([n, o, oy, ox]);
            bias[o] += g;
            let group = o / config.out_channels_per_group();
            for (tap, [row, column]) in taps.under([oy, ox]) {
                for c in 0..inputs {
                    let w = (o * inputs + c) * config.taps() + tap;
                    let flipped = (o * inputs + c) * config.taps() + config.taps() - 1 - tap;
                    let at = [n, group * inputs + c, row, column];
                    let i: usize = strides.iter().zip(at).map(|(stride, i)| stride * i).sum();
                    let seen = if backend.has(Fault::KernelTurnedTwice) { flipped } else { w };
                    self.input.data_mut()[i] += g * kernel[seen];
                    weight[w] += g * tape.input.view().at(at);
                }
            }
        }
        (weight, bias)
    }
}

/// One sample's share of every expert's gradient, and π's.
fn share(
    backend: &Faulty,
    pi: &[f32],
    dpi: &mut [f32],
    sums: &[f32],
    experts: &[f32],
    gradients: &mut [f32],
) {
    for (k, (p, dp)) in pi.iter().zip(dpi).enumerate() {
        let p = if backend.has(Fault::AttentionForgottenInExperts) { 1.0 } else { *p };
        let own = k * sums.len()..(k + 1) * sums.len();
        for ((sum, w), g) in sums.iter().zip(&experts[own.clone()]).zip(&mut gradients[own]) {
            *g += p * sum;
            *dp += sum * w;
        }
    }
}

fn squash(backend: &Faulty, config: &Config, pi: &[f32], dpi: &[f32], temperature: f32) -> Vec<f32> {
    if config.attention().and_then(|attention| attention.squash()) == Some(Squash::Sigmoid) {
        let slope = |p: f32| if backend.has(Fault::SigmoidSlopeForgotten) { p } else { p * (1.0 - p) };
        return pi.iter().zip(dpi).map(|(p, dp)| slope(*p) * dp).collect();
    }
    let temperature = if backend.has(Fault::TemperatureMissingBackwards) { 1.0 } else { temperature };
    let rows = pi.chunks_exact(config.experts()).zip(dpi.chunks_exact(config.experts()));
    rows.flat_map(|(pi, dpi)| {
        let inner: f32 = pi.iter().zip(dpi).map(|(p, dp)| p * dp).sum();
        let inner = if backend.has(Fault::JacobianSumDropped) { 0.0 } else { inner };
        pi.iter().zip(dpi).map(move |(p, dp)| p * (dp - inner) / temperature)
    })
    .collect()
}

/// What the head computed on its way, one row per sample.
#[derive(Debug)]
pub(crate) struct HeadValues {
    pub(crate) pooled: Vec<f32>,
    pub(crate) hidden: Option<Vec<f32>>,
}

impl HeadValues {
    /// The gradient of the pooled channels.
    fn backward(
        &self,
        backend: &Faulty,
        params: &Params,
        logits: &[f32],
        (batch, found): (usize, &mut ParamMap),
    ) -> Vec<f32> {
        let Some(head) = &params.attention else { return Vec::new() };
        let last = ["attention.fc2.weight", "attention.fc2.bias"];
        let (Some(fc1), Some(hidden)) = (&head.fc1, &self.hidden) else {
            return dense(&head.fc2.weight, &self.pooled, logits, last, (batch, found));
        };
        let mut gradient = dense(&head.fc2.weight, hidden, logits, last, (batch, found));
        if !backend.has(Fault::HiddenGateOpen) {
            gradient.iter_mut().zip(hidden).filter(|(_, unit)| **unit <= 0.0).for_each(|(g, _)| *g = 0.0);
        }
        let first = ["attention.fc1.weight", "attention.fc1.bias"];
        dense(&fc1.weight, &self.pooled, &gradient, first, (batch, found))
    }
}

/// The gradient of the inputs of `weight · row + bias`; weight's and bias's go into `found`.
fn dense(
    weight: &[f32],
    inputs: &[f32],
    gradient: &[f32],
    [matrix, vector]: [&'static str; 2],
    (batch, found): (usize, &mut ParamMap),
) -> Vec<f32> {
    let mut result = vec![0.0; inputs.len()];
    if batch == 0 {
        return result;
    }
    let (columns, outputs) = (inputs.len() / batch, gradient.len() / batch);
    for (at, g) in gradient.iter().enumerate() {
        let (n, o) = (at / outputs, at % outputs);
        if let Some(bias) = found.get_mut(vector) {
            bias[o] += g;
        }
        let own = o * columns..(o + 1) * columns;
        let row = n * columns..(n + 1) * columns;
        let weights = found.get_mut(matrix).expect("the head's matrix");
        weights[own.clone()].iter_mut().zip(&inputs[row.clone()]).for_each(|(dw, x)| *dw += g * x);
        result[row].iter_mut().zip(&weight[own]).for_each(|(dx, w)| *dx += g * w);
    }
    result
}

/// dz/(H·W) for every pixel.
fn add_pooled(backend: &Faulty, pooled: &[f32], dx: &mut Tensor) {
    let shape = dx.shape();
    let pixels = if backend.has(Fault::PooledShareNotDivided) { 1 } else { shape.pixels() };
    let share =
        Tensor::from_fn(shape, dx.layout(), |[n, c, ..]| pooled[n * shape.channels() + c] / pixels as f32);
    add(dx, &share);
}
