//! The stages in f32, each with the places where a fault may be planted.

use dyconv_core::{
    Activation, AttentionSource, Call, CheckedCall, Config, Dense, DyConv2d, Layout, Padding, Prepared,
    Result, Shape, Squash, Tensor, reference,
};

use crate::backend::{Faulty, FaultyLayer, FaultyTensor};
use crate::backward::HeadValues;
use crate::fault::Fault;

/// π `[N, K]`, and what the head computed on its way.
pub(crate) fn attention(
    backend: &Faulty,
    layer: &FaultyLayer,
    fits: &CheckedCall,
    call: &Call<'_, FaultyTensor>,
) -> (Vec<f32>, Option<HeadValues>) {
    let given = call.attention.map(|pi| pi.host.data().to_vec());
    match (fits.attention, given, &layer.layer.params().attention) {
        (AttentionSource::Given, Some(pi), _) => (pi, None),
        (AttentionSource::Head { temperature }, _, Some(head)) => {
            let temperature =
                match (backend.has(Fault::TemperatureMissing), backend.has(Fault::TemperatureSticks)) {
                    (true, _) => 1.0,
                    (_, true) => *layer.first_temperature.get_or_init(|| temperature),
                    _ => temperature,
                };
            let pooled = pool(backend, layer, call.input);
            let rows = || pooled.chunks_exact(fits.input.channels());
            let hidden = head.fc1.as_ref().map(|fc1| {
                let mut hidden: Vec<f32> = rows().flat_map(|row| dense(fc1, row)).collect();
                if !backend.has(Fault::HiddenReluMissing) {
                    hidden.iter_mut().filter(|u| **u < 0.0).for_each(|u| *u = 0.0);
                }
                hidden
            });
            let logits =
                |row: &[f32]| squash(backend, layer.config(), dense(&head.fc2, row), temperature as f32);
            let units = head.fc2.weight.len() / layer.config().experts();
            let pi = match &hidden {
                Some(hidden) => hidden.chunks_exact(units).flat_map(logits).collect(),
                None => rows().flat_map(logits).collect(),
            };
            (pi, Some(HeadValues { pooled, hidden }))
        }
        _ => (vec![1.0; fits.input.batch()], None),
    }
}

fn pool(backend: &Faulty, layer: &FaultyLayer, x: &FaultyTensor) -> Vec<f32> {
    let hinted = layer.how().input.filter(|_| backend.has(Fault::PoolOfTheHintedShape));
    let pixels = hinted.unwrap_or(x.host.shape()).pixels() as f32;
    let sums = x.sums.clone().unwrap_or_else(|| sums(&x.host));
    sums.iter().map(|sum| sum / pixels).collect()
}

/// Channel sums `[N, C]`.
pub(crate) fn sums(x: &Tensor) -> Vec<f32> {
    let shape = x.shape();
    let mut sums = vec![0.0; shape.batch() * shape.channels()];
    each(shape, |[n, c, row, column]| sums[n * shape.channels() + c] += x.view().at([n, c, row, column]));
    sums
}

pub(crate) fn each(shape: Shape, mut f: impl FnMut([usize; 4])) {
    for n in 0..shape.batch() {
        for c in 0..shape.channels() {
            for row in 0..shape.height() {
                for column in 0..shape.width() {
                    f([n, c, row, column]);
                }
            }
        }
    }
}

fn dense(matrix: &Dense, x: &[f32]) -> Vec<f32> {
    let row = |(o, row): (usize, &[f32])| {
        let bias = matrix.bias.as_ref().map_or(0.0, |bias| bias[o]);
        row.iter().zip(x).fold(bias, |sum, (w, x)| sum + w * x)
    };
    matrix.weight.chunks_exact(x.len()).enumerate().map(row).collect()
}

fn squash(backend: &Faulty, config: &Config, logits: Vec<f32>, temperature: f32) -> Vec<f32> {
    if config.attention().and_then(|attention| attention.squash()) == Some(Squash::Sigmoid) {
        return logits.iter().map(|l| 1.0 / (1.0 + (-l).exp())).collect();
    }
    let max = match backend.has(Fault::SoftmaxWithoutMaximum) {
        true => 0.0,
        false => logits.iter().copied().fold(f32::NEG_INFINITY, f32::max),
    };
    let powers: Vec<f32> = logits.iter().map(|l| ((l - max) / temperature).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

pub(crate) fn aggregate(pi: &[f32], experts: &[f32], shift: usize, round: impl Fn(f32) -> f32) -> Vec<f32> {
    let len = experts.len() / pi.len();
    let mut mixed = vec![0.0; len];
    for (k, p) in pi.iter().enumerate() {
        let expert = &experts[(k + shift) % pi.len() * len..][..len];
        mixed.iter_mut().zip(expert).for_each(|(sum, w)| *sum += p * round(*w));
    }
    mixed
}

pub(crate) fn convolve(
    backend: &Faulty,
    layer: &DyConv2d,
    fits: &CheckedCall,
    pi: &[f32],
    x: &Tensor,
) -> Tensor {
    let (config, params) = (layer.config(), layer.params());
    let shift = |fault| usize::from(backend.has(fault));
    let round = |w: f32| match backend.has(Fault::ExpertsRoundedToBf16) {
        true => f32::from_bits((w.to_bits() + 0x8000) & 0xffff_0000),
        false => w,
    };
    let rows = || pi.chunks_exact(config.experts());
    let kernels: Vec<_> =
        rows().map(|pi| aggregate(pi, &params.weight, shift(Fault::WrongExpert), round)).collect();
    let bias = |pi| params.bias.as_ref().map(|b| aggregate(pi, b, shift(Fault::WrongExpertsBias), |b| b));
    let biases: Vec<_> = rows().map(bias).collect();
    let x = match backend.has(Fault::SwappedLayout) {
        true => &relabelled(x),
        false => x,
    };
    let backwards = backend.backwards(Fault::OrderChangesBetweenRuns);
    let taps = Taps::new(backend, config, fits);
    Tensor::from_fn(fits.output, config.layout(), |[n, o, oy, ox]| {
        let whole = |extent: usize, tile: usize| if extent > tile { extent / tile * tile } else { extent };
        if backend.has(Fault::PartialChannelTileDropped) && o >= whole(config.out_channels(), 16)
            || backend.has(Fault::PartialColumnTileDropped) && ox >= whole(fits.output.width(), 8)
        {
            return 0.0;
        }
        let n_kernel = if backend.has(Fault::FirstSamplesKernelForAll) { 0 } else { n };
        let bias = biases[n_kernel].as_ref().map_or(0.0, |bias| bias[o]);
        let inputs = config.in_channels_per_group();
        let group = match backend.has(Fault::GroupsMisindexed) {
            true => o % config.groups(),
            false => o / config.out_channels_per_group(),
        };
        let products = taps.under([oy, ox]).flat_map(|(tap, [row, column])| {
            let kernel = &kernels[n_kernel];
            (0..inputs).map(move |c| {
                let w = kernel[(o * inputs + c) * config.taps() + tap];
                w * x.view().at([n, group * inputs + c, row, column])
            })
        });
        if backwards {
            let products: Vec<f32> = products.collect();
            return products.iter().rev().fold(bias, |sum, p| sum + p);
        }
        products.fold(bias, |sum, p| sum + p)
    })
}

fn relabelled(x: &Tensor) -> Tensor {
    let other = match x.layout() {
        Layout::Nchw => Layout::Nhwc,
        Layout::Nhwc => Layout::Nchw,
    };
    Tensor::new(x.shape(), other, x.data().to_vec()).expect("the same elements")
}

/// Where the kernel stands.
pub(crate) struct Taps {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    before: [usize; 2],
    input: [usize; 2],
}

impl Taps {
    pub(crate) fn new(backend: &Faulty, config: &Config, fits: &CheckedCall) -> Self {
        let (kernel, stride) = (config.kernel_size(), config.stride());
        let mut before = fits.geometry.before;
        if backend.has(Fault::PaddingOffByOne) {
            before[1] += 1;
        }
        if backend.has(Fault::SameIgnoresDilation) && config.padding() == Padding::Same {
            let total = |axis: usize| {
                let needed = (fits.geometry.output[axis] - 1) * stride[axis] + kernel[axis];
                needed.saturating_sub(fits.geometry.input[axis])
            };
            before = [total(0) / 2, total(1) / 2];
        }
        let swapped = [stride[1], stride[0]];
        Self {
            kernel,
            stride: if backend.has(Fault::SwappedStrides) { swapped } else { stride },
            dilation: config.dilation(),
            before,
            input: fits.geometry.input,
        }
    }

    /// Taps of an output that stand inside the input, and where.
    pub(crate) fn under(&self, output: [usize; 2]) -> impl Iterator<Item = (usize, [usize; 2])> {
        let at = move |axis: usize, k: usize| {
            let padded = output[axis] * self.stride[axis] + k * self.dilation[axis];
            padded.checked_sub(self.before[axis]).filter(|position| *position < self.input[axis])
        };
        (0..self.kernel[0] * self.kernel[1])
            .filter_map(move |tap| Some((tap, [at(0, tap / self.kernel[1])?, at(1, tap % self.kernel[1])?])))
    }
}

/// Batch norm in place; the statistics where the call wants the batch's.
pub(crate) fn normalize(
    backend: &Faulty,
    layer: &DyConv2d,
    fits: &CheckedCall,
    y: &mut Tensor,
) -> Result<Option<[Tensor; 2]>> {
    let (Some(norm), Some(bn)) = (layer.config().batch_norm(), &layer.params().batch_norm) else {
        return Ok(None);
    };
    let (mut mean, mut variance) = (bn.running_mean.clone(), bn.running_var.clone());
    let mut correction = 1.0;
    if fits.batch_statistics {
        let samples = if backend.has(Fault::MeanOfFirstSample) { 1 } else { y.shape().batch() };
        mean = averages(y, samples, |_, y| y);
        variance = averages(y, y.shape().batch(), |c, y| (y - mean[c]) * (y - mean[c]));
        let values = (y.shape().batch() * y.shape().pixels()) as f32;
        if backend.has(Fault::UnbiasedBatchVariance) {
            correction = values / (values - 1.0);
        }
    }
    let epsilon = if backend.has(Fault::EpsilonForgotten) { 0.0 } else { norm.epsilon as f32 };
    *y = Tensor::from_fn(y.shape(), y.layout(), |[n, c, row, column]| {
        let scale = bn.weight[c] / (variance[c] * correction + epsilon).sqrt();
        (y.view().at([n, c, row, column]) - mean[c]) * scale + bn.bias[c]
    });
    let shape = Shape::new(1, mean.len(), 1, 1)?;
    let tensors = [Tensor::new(shape, Layout::Nchw, mean)?, Tensor::new(shape, Layout::Nchw, variance)?];
    Ok(fits.batch_statistics.then_some(tensors))
}

fn averages(y: &Tensor, samples: usize, of: impl Fn(usize, f32) -> f32) -> Vec<f32> {
    let shape = y.shape();
    let mut sums = vec![0.0; shape.channels()];
    each(shape, |[n, c, row, column]| {
        if n < samples {
            sums[c] += of(c, y.view().at([n, c, row, column]));
        }
    });
    sums.iter().map(|sum| sum / (samples * shape.pixels()) as f32).collect()
}

pub(crate) fn activate(backend: &Faulty, activation: Activation, y: &mut Tensor) {
    for y in y.data_mut() {
        *y = match activation {
            Activation::Relu if backend.has(Fault::ReluSwallowsNan) => y.max(0.0),
            Activation::Gelu if backend.has(Fault::GeluByTanh) => {
                let inner = 0.797_884_6 * (*y + 0.044_715 * *y * *y * *y);
                0.5 * *y * (1.0 + inner.tanh())
            }
            Activation::KerasHardSigmoid if backend.has(Fault::KerasHardSigmoidAsHardSigmoid) => {
                reference::activate(Activation::HardSigmoid, f64::from(*y)) as f32
            }
            activation => reference::activate(activation, f64::from(*y)) as f32,
        };
    }
}

/// The tensor with a frame of zeros.
pub(crate) fn padded(x: &Tensor, [rows, columns]: [usize; 2]) -> Result<Tensor> {
    let shape = x.shape();
    let (height, width) = (shape.height() + 2 * rows, shape.width() + 2 * columns);
    let framed = Shape::new(shape.batch(), shape.channels(), height, width)?;
    Ok(Tensor::from_fn(framed, x.layout(), |[n, c, row, column]| {
        match (row.checked_sub(rows), column.checked_sub(columns)) {
            (Some(row), Some(column)) if row < shape.height() && column < shape.width() => {
                x.view().at([n, c, row, column])
            }
            _ => 0.0,
        }
    }))
}
