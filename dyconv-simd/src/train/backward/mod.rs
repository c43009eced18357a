//! One backward over slices: the stages in reverse, and what is divided among threads. As in the forward, no sum is.

mod attention;
mod experts;
mod input;

use dyconv_core::{Activation, CheckedCall, Config, Gradients, Layout, Prepared, Regularizer, Result, Shape};

use super::numbers::{Numbers, SimdGradients};
use super::tape::SimdTape;
use super::training::Training;
use crate::isa::OnLanes;
use crate::kernels::backward::activate::{Derive, Point};
use crate::kernels::backward::normalize::{self, Channel, Through, normalize_backward};
use crate::lanes::Lanes;
use crate::layer::SimdLayer;
use crate::plan::Correlation;
use crate::stream::SimdStream;
use crate::tensor::SimdTensor;
use crate::threads::Threads;

/// A backward that fits its layer and tape.
pub(crate) struct BackwardRun<'a> {
    pub(crate) layer: &'a SimdLayer,
    pub(crate) training: &'a Training,
    pub(crate) correlation: &'a Correlation,
    pub(crate) tape: &'a SimdTape,
    pub(crate) threads: &'a Threads,
    pub(crate) stream: &'a mut SimdStream,
    pub(crate) gradient: &'a SimdTensor,
    pub(crate) activity: Option<Regularizer>,
    pub(crate) add: Option<&'a SimdTensor>,
    /// Whether the input's gradient is wanted.
    pub(crate) input: bool,
    /// What the parameters' gradients are added to.
    pub(crate) params: Numbers,
    /// Whether there are none yet: the experts' are unspecified, the others 0.
    pub(crate) fresh: bool,
}

impl OnLanes for BackwardRun<'_> {
    type Output = Result<Gradients<SimdTensor, SimdGradients>>;

    fn run<L: Lanes>(mut self, lanes: L) -> Self::Output {
        let g = self.activate(lanes);
        let convolved = self.normalize(lanes, &g);
        let mut dpi = vec![0.0; self.tape.pi.len()];
        self.mix(lanes, convolved.data(), &mut dpi);
        self.add_bias(lanes, convolved.data(), &mut dpi);
        let dz = self.attend(lanes, &dpi);
        let input = if self.input { Some(self.convolve(lanes, &convolved, dz.as_deref())?) } else { None };
        let attention = match self.config().attention() {
            Some(_) => Some(self.attention_tensor(&dpi)?),
            None => None,
        };
        let Self { tape, params, .. } = self;
        Ok(Gradients::new(SimdGradients(params))
            .input(input)
            .residual(tape.recorded.residual.then_some(g))
            .attention(attention))
    }
}

impl BackwardRun<'_> {
    fn config(&self) -> &Config {
        self.layer.config()
    }

    fn call(&self) -> &CheckedCall {
        &self.tape.recorded.call
    }

    /// A tensor of the output's shape, which `write` writes a piece at a time.
    fn written(&mut self, write: impl Fn(usize, &mut [f32]) + Send + Sync) -> SimdTensor {
        let shape = self.call().output;
        let len = shape.sample_len();
        let threads = self.threads;
        let data = self.stream.recycled.fill(shape.len(), |data| {
            threads.for_each(data.chunks_exact_mut(len).enumerate(), |(n, sample)| write(n, sample));
        });
        SimdTensor::new(shape, self.config().layout(), data)
    }

    /// Step 7: the gradient of what was activated, which is the residual's.
    fn activate<L: Lanes>(&mut self, lanes: L) -> SimdTensor {
        let (activation, activity) = (self.config().activation(), self.activity);
        if activation == Activation::None && activity.is_none() {
            return self.gradient.relabel(self.config().layout());
        }
        let (g, tape) = (self.gradient, self.tape);
        let point = match Point::of(activation) {
            Point::Output => tape.output.data(),
            Point::Preactivation => tape.preactivation.as_ref().map_or(&[][..], |data| data.as_slice()),
        };
        let len = self.call().output.sample_len();
        self.written(move |n, out| {
            let piece = |of: &'_ [f32]| n * len..((n + 1) * len).min(of.len());
            let [g, output, point] = [g.data(), tape.output.data(), point].map(|of| &of[piece(of)]);
            lanes.vectorize(Derive { activation, activity, g, output, point, out });
        })
    }

    /// Step 5: the gradient of the convolution's output; gamma's and beta's on the way.
    fn normalize<L: Lanes>(&mut self, lanes: L, g: &SimdTensor) -> SimdTensor {
        let (Some(norm), Some([mean, variance]), Some(y)) =
            (&self.layer.norm, &self.tape.normalized_by, &self.tape.convolved)
        else {
            return g.clone();
        };
        let epsilon = self.config().batch_norm().map_or(0.0, |norm| norm.epsilon);
        let (shape, layout) = (self.call().output, self.config().layout());
        let channel = |c: usize| Channel {
            mean: mean[c],
            rate: 1.0 / (variance[c] + epsilon).sqrt(),
            gamma: f64::from(norm.weight[c]),
            ..Channel::default()
        };
        let mut channels: Vec<Channel> = (0..shape.channels()).map(channel).collect();
        normalize::sums(lanes, self.threads, &mut channels, [y.as_slice(), g.data()], (shape, layout));
        for (i, name) in ["bn.weight", "bn.bias"].into_iter().enumerate() {
            let sums = channels.iter().map(|channel| [channel.product, channel.sum][i]);
            let into = self.params.get_mut(name).iter_mut();
            into.zip(sums).for_each(|(into, sum)| *into = (f64::from(*into) + sum) as f32);
        }
        let values = self.call().batch_statistics.then(|| (shape.batch() * shape.pixels()) as f64);
        let through = Through::new(&channels, values);
        let (y, g, len) = (y.as_slice(), g.data(), shape.sample_len());
        self.written(move |n, out| {
            let pieces = [y, g].map(|of| &of[n * len..][..len]);
            normalize_backward(lanes, &through, pieces, (out, shape, layout));
        })
    }

    /// dπ as a tensor.
    fn attention_tensor(&mut self, dpi: &[f32]) -> Result<SimdTensor> {
        let shape = Shape::new(self.call().input.batch(), self.config().experts(), 1, 1)?;
        let data = self.stream.recycled.fill(dpi.len(), |data| data.copy_from_slice(dpi));
        Ok(SimdTensor::new(shape, Layout::Nchw, data))
    }
}
