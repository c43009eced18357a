//! A backend of one's own, from nothing to conformance: copy this file, run its tests, and replace
//! its loops by yours.
//!
//! `cargo test --example own_backend` runs the suite on it; `cargo run --example own_backend` a layer.
//! Everything here is f32 on one thread. `pool` and `relayout` are the provided ones, `plan` is the
//! provided one, and `emit_sums` may be ignored: it saves time and changes no result. It runs layers and trains none; a
//! backend that is `Train`, too, gets the laws of training by a second line, `dyconv_core::training_tests!`.

use std::future::{Future, ready};

use dyconv_core::{
    Accuracy, AttentionSource, Backend, Call, CheckedCall, Config, Dense, DyConv2d, Error, Info, Layout,
    MaybeSend, Output, Precision, Prepare, Prepared, Result, Shape, Squash, Tensor, TensorView, reference,
};

/// The backend. `dyconv_core::Tensor` is its handle, since it computes where the host does.
#[derive(Debug)]
pub struct Own {
    info: Info,
}

/// A prepared layer. This backend prepares nothing; yours will pack or upload here.
#[derive(Debug)]
pub struct OwnLayer {
    layer: DyConv2d,
    how: Prepare,
}

impl Default for Own {
    fn default() -> Self {
        Self { info: Info::new("own", "one thread in f32", 1, Accuracy::Cpu) }
    }
}

impl Prepared for OwnLayer {
    fn config(&self) -> &Config {
        self.layer.config()
    }

    fn how(&self) -> &Prepare {
        &self.how
    }
}

impl Backend for Own {
    type Tensor = Tensor;
    type Layer = OwnLayer;
    type Stream = ();

    fn info(&self) -> &Info {
        &self.info
    }

    fn stream(&self) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, layer: &DyConv2d, how: &Prepare) -> Result<OwnLayer> {
        if how.precision != Precision::F32 {
            let what = format!("experts in precision {:?}", how.precision);
            return Err(Error::Unsupported { backend: self.info.id.clone(), what });
        }
        Ok(OwnLayer { layer: layer.clone(), how: *how })
    }

    fn upload(&self, (): &mut (), host: TensorView<'_>) -> Result<Tensor> {
        Ok(host.to_layout(host.layout()))
    }

    fn forward(&self, (): &mut (), layer: &OwnLayer, call: &Call<'_, Tensor>) -> Result<Output<Tensor>> {
        let fits = call.check(layer)?; // first: every backend refuses the same calls
        let pi = attention(&layer.layer, &fits, call);
        let mut y = convolve(&layer.layer, &fits, &pi, call.input);
        let statistics = normalize(&layer.layer, &fits, &mut y)?;
        for (y, r) in y.data_mut().iter_mut().zip(call.residual.map(Tensor::data).unwrap_or_default()) {
            *y += r;
        }
        for y in y.data_mut() {
            *y = reference::activate(layer.config().activation(), f64::from(*y)) as f32;
        }
        let pi = Tensor::attention(fits.input.batch(), layer.config().experts(), pi)?;
        Ok(Output::new(y).attention(call.return_attention.then_some(pi)).statistics(statistics))
    }

    fn finish(&self, (): &mut ()) -> Result<()> {
        Ok(())
    }

    fn download_async<'a>(
        &'a self,
        (): &'a mut (),
        tensor: &'a Tensor,
    ) -> impl Future<Output = Result<Tensor>> + MaybeSend + 'a {
        ready(Ok(tensor.clone()))
    }
}

/// π `[N, K]`, row-major.
fn attention(layer: &DyConv2d, fits: &CheckedCall, call: &Call<'_, Tensor>) -> Vec<f32> {
    let given = call.attention.map(|pi| pi.data().to_vec());
    match (fits.attention, given, &layer.params().attention) {
        (AttentionSource::Given, Some(pi), _) => pi,
        (AttentionSource::Head { temperature }, _, Some(head)) => {
            let mut pi = Vec::new();
            for n in 0..fits.input.batch() {
                let mut row = means(call.input, n);
                if let Some(fc1) = &head.fc1 {
                    row = dense(fc1, &row);
                    // Not `f32::max`, which would swallow NaN.
                    row.iter_mut().filter(|u| **u < 0.0).for_each(|u| *u = 0.0);
                }
                pi.extend(squash(layer, dense(&head.fc2, &row), temperature as f32));
            }
            pi
        }
        _ => vec![1.0; fits.input.batch()],
    }
}

fn means(x: &Tensor, n: usize) -> Vec<f32> {
    let shape = x.shape();
    let sum = |c| pixels(shape).map(|[row, column]| x.view().at([n, c, row, column])).sum::<f32>();
    (0..shape.channels()).map(|c| sum(c) / shape.pixels() as f32).collect()
}

fn pixels(shape: Shape) -> impl Iterator<Item = [usize; 2]> {
    (0..shape.height()).flat_map(move |row| (0..shape.width()).map(move |column| [row, column]))
}

fn dense(matrix: &Dense, x: &[f32]) -> Vec<f32> {
    let rows = matrix.weight.chunks_exact(x.len()).enumerate();
    rows.map(|(o, row)| {
        let bias = matrix.bias.as_ref().map_or(0.0, |bias| bias[o]);
        row.iter().zip(x).fold(bias, |sum, (w, x)| sum + w * x)
    })
    .collect()
}

fn squash(layer: &DyConv2d, mut logits: Vec<f32>, temperature: f32) -> Vec<f32> {
    if layer.config().attention().and_then(|attention| attention.squash()) == Some(Squash::Sigmoid) {
        return logits.iter().map(|l| 1.0 / (1.0 + (-l).exp())).collect();
    }
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter_mut().for_each(|l| *l = ((*l - max) / temperature).exp());
    let sum: f32 = logits.iter().sum();
    logits.iter().map(|power| power / sum).collect()
}

/// Σ π_k · `experts[k]`
fn aggregate(pi: &[f32], experts: &[f32]) -> Vec<f32> {
    let mut mixed = vec![0.0; experts.len() / pi.len()];
    for (p, expert) in pi.iter().zip(experts.chunks_exact(mixed.len())) {
        mixed.iter_mut().zip(expert).for_each(|(sum, w)| *sum += p * w);
    }
    mixed
}

fn convolve(layer: &DyConv2d, fits: &CheckedCall, pi: &[f32], x: &Tensor) -> Tensor {
    let (config, params) = (layer.config(), layer.params());
    let rows = || pi.chunks_exact(config.experts());
    let kernels: Vec<_> = rows().map(|pi| aggregate(pi, &params.weight)).collect();
    let biases: Vec<_> = rows().map(|pi| params.bias.as_ref().map(|bias| aggregate(pi, bias))).collect();
    let ([_, kw], inputs) = (config.kernel_size(), config.in_channels_per_group());
    Tensor::from_fn(fits.output, config.layout(), |[n, o, oy, ox]| {
        let mut sum = biases[n].as_ref().map_or(0.0, |bias| bias[o]);
        let first = o / config.out_channels_per_group() * inputs;
        for tap in 0..config.taps() {
            let at = |axis: usize, o: usize, k: usize| {
                let padded = o * config.stride()[axis] + k * config.dilation()[axis];
                padded.checked_sub(fits.geometry.before[axis]).filter(|i| *i < fits.geometry.input[axis])
            };
            let (Some(row), Some(column)) = (at(0, oy, tap / kw), at(1, ox, tap % kw)) else { continue };
            for c in 0..inputs {
                let w = kernels[n][(o * inputs + c) * config.taps() + tap];
                sum += w * x.view().at([n, first + c, row, column]);
            }
        }
        sum
    })
}

/// Batch norm in place; the batch's mean and biased variance where the call wants them.
fn normalize(layer: &DyConv2d, fits: &CheckedCall, y: &mut Tensor) -> Result<Option<[Tensor; 2]>> {
    let (Some(norm), Some(bn)) = (layer.config().batch_norm(), &layer.params().batch_norm) else {
        return Ok(None);
    };
    let channels = y.shape().channels();
    let (mut mean, mut variance) = (bn.running_mean.clone(), bn.running_var.clone());
    if fits.batch_statistics {
        mean = averages(y, |_, y| y);
        variance = averages(y, |c, y| (y - mean[c]) * (y - mean[c]));
    }
    *y = Tensor::from_fn(y.shape(), y.layout(), |[n, c, row, column]| {
        let scale = bn.weight[c] / (variance[c] + norm.epsilon as f32).sqrt();
        (y.view().at([n, c, row, column]) - mean[c]) * scale + bn.bias[c]
    });
    let shape = Shape::new(1, channels, 1, 1)?;
    let tensors = [Tensor::new(shape, Layout::Nchw, mean)?, Tensor::new(shape, Layout::Nchw, variance)?];
    Ok(fits.batch_statistics.then_some(tensors))
}

/// One number per channel.
fn averages(y: &Tensor, of: impl Fn(usize, f32) -> f32) -> Vec<f32> {
    let shape = y.shape();
    let mut sums = vec![0.0; shape.channels()];
    for n in 0..shape.batch() {
        for (c, sum) in sums.iter_mut().enumerate() {
            *sum += pixels(shape).map(|[row, column]| of(c, y.view().at([n, c, row, column]))).sum::<f32>();
        }
    }
    sums.iter().map(|sum| sum / (shape.batch() * shape.pixels()) as f32).collect()
}

fn main() -> Result<()> {
    use dyconv_core::testing::cases;

    let problem = cases::paper_layer().build()?;
    let ran = problem.run(&Own::default())?;
    println!("{} gave {}", Own::default().info().id, ran.output.shape());
    Ok(())
}

// The whole suite. Run it with more cases by `DYCONV_CASES=2000`.
#[cfg(test)]
dyconv_core::conformance_tests!(own, Ok(Own::default()));

#[cfg(test)]
mod tests {
    use dyconv_core::{AnyBackend, Reference};

    use super::*;

    #[test]
    fn any_backend_refuses_another_backends_tensor() {
        let (own, other) = (AnyBackend::new(Own::default()), AnyBackend::new(Reference::default()));
        let problem = dyconv_core::testing::cases::static_stem().build().unwrap();
        let mut stream = own.stream().unwrap();
        let layer = own.prepare(&problem.layer, &problem.how).unwrap();
        let foreign = other.upload(&mut other.stream().unwrap(), problem.input.view()).unwrap();
        let error = own.forward(&mut stream, &layer, &Call::new(&foreign)).unwrap_err();
        assert_eq!(error.to_string(), "tensor is another backend's; expected one made by own");
        let own_tensor = own.upload(&mut stream, problem.input.view()).unwrap();
        let error = other.forward(&mut other.stream().unwrap(), &layer, &Call::new(&own_tensor)).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
}
