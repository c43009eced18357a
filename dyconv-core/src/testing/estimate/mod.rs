//! What a backend may give: the reference's values and the error that f32 arithmetic may have made.
//!
//! Every bound is derived, none is tuned. With u = slack · ε (ε = 2⁻²³, twice the rounding error of
//! one operation; [`Accuracy::slack`] is the only table) a sum of n products is off by at most n·u
//! times the sum of their magnitudes, which a second run of the reference on absolute values gives.
//! Errors then travel through the stages as calculus says: times the weights through a linear map,
//! times the Lipschitz constant through an activation, as an interval through softmax and the
//! inverse root of a variance. Winograd's transforms make roundings larger and spread them over a tile
//! ([`Spread`]). Experts that are stored in fewer bits are rounded once more,
//! and so are outputs; uploaded tensors are rounded before the reference sees them.

mod attention;
mod backward;
mod spread;
mod step;
mod stored;

pub use backward::ExpectedLesson;
pub(super) use step::{Moved, moved};
pub(super) use stored::{beyond, in_range, stored};

use super::instance::Instance;
use crate::reference::{Evaluation, F64Layer, F64Tensor};
use crate::{Accuracy, Activation, Call, Handle, Layout, Padding, Result, Shape, Spread};

/// Values in a tensor's own order, and how far from each a backend's may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// In f64.
    pub value: Vec<f64>,
    /// Absolute.
    pub error: Vec<f64>,
}

/// What a backend with this error contract may give for one call.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Expected {
    /// The reference's evaluation.
    pub evaluation: Evaluation,
    /// π `[N, K]`.
    pub attention: Estimate,
    /// y before batch norm, in the layer's layout.
    pub convolved: Estimate,
    /// The batch's mean and biased variance.
    pub statistics: Option<[Estimate; 2]>,
    /// What the activation takes, in the layer's layout.
    pub preactivation: Estimate,
    /// The output as it is stored, in the layer's layout; 2¹⁶ where it's infinite in f16.
    pub output: Estimate,
}

impl Expected {
    /// Evaluates the call, and bounds the error of every stage.
    ///
    /// # Errors
    /// Where the call doesn't fit the layer.
    pub fn new(instance: &Instance, accuracy: Accuracy) -> Result<Self> {
        let (layer, instance) = (F64Layer::new(&instance.layer, &instance.how), &instance.as_stored());
        let evaluation = instance.with_f64_call(|call| layer.evaluate(call))?;
        let attention = attention::error(&layer, instance, evaluation.head.as_ref(), accuracy)?;
        let stages = Stages {
            u: unit(accuracy),
            spread: accuracy.spread(),
            absolute: absolute(&layer),
            layer: &layer,
            instance,
            evaluation: &evaluation,
        };
        let mut convolved = stages.convolved(&attention)?;
        stages.add_stored(&attention, &mut convolved)?;
        let (mut preactivation, statistics) = stages.normalized(&convolved);
        stages.add_subnormal(&attention, &mut preactivation)?;
        stages.add_residual(&mut preactivation);
        let output = stages.stored_output(stages.activated(&preactivation));
        let estimate = |value: &F64Tensor, error| Estimate { value: value.data().to_vec(), error };
        Ok(Self {
            attention: Estimate { value: evaluation.attention.clone(), error: attention },
            convolved: estimate(&evaluation.convolved, convolved),
            statistics,
            preactivation: estimate(&evaluation.preactivation, preactivation),
            output,
            evaluation,
        })
    }

    /// π `[N, K]` alone.
    ///
    /// # Errors
    /// Where the call doesn't fit the layer.
    pub fn attention_alone(instance: &Instance, accuracy: Accuracy) -> Result<Estimate> {
        let (layer, instance) = (F64Layer::new(&instance.layer, &instance.how), &instance.as_stored());
        let (value, head) = instance.with_f64_call(|call| layer.attention(call))?;
        Ok(Estimate { error: attention::error(&layer, instance, head.as_ref(), accuracy)?, value })
    }
}

/// u = slack · ε.
fn unit(accuracy: Accuracy) -> f64 {
    accuracy.slack() * f64::from(f32::EPSILON)
}

/// The error of each stage, in the order in which it grows.
struct Stages<'a> {
    u: f64,
    spread: Option<Spread>,
    layer: &'a F64Layer,
    absolute: F64Layer,
    instance: &'a Instance,
    evaluation: &'a Evaluation,
}

impl Stages<'_> {
    /// Error of y before batch norm, which is folded into the experts or not.
    fn convolved(&self, attention: &[f64]) -> Result<Vec<f64>> {
        let config = self.layer.config();
        let folding = if config.batch_norm().is_some() { 8 } else { 0 };
        // By Winograd a tap's product is a sum in each of three transforms, of at most 3, 6 and 6 along each axis.
        let (products, growth) = match self.spread {
            Some(Spread { growth, .. }) => (config.in_channels_per_group() + 2 * (3 + 6 + 6), growth),
            None => (config.reduction_len(), 1.0),
        };
        let terms = growth * (products + config.experts() + 2 + folding) as f64;
        let weights: Vec<f64> = self.evaluation.attention.iter().map(|pi| pi.abs()).collect();
        let magnitude = self.magnitude(&weights)?;
        if attention.iter().all(|&error| error == 0.0) {
            return Ok(magnitude.iter().map(|m| terms * self.u * m).collect());
        }
        let misled = self.magnitude(attention)?;
        let sum = |(m, misled): (&f64, &f64)| terms * self.u * (m + misled) + misled;
        Ok(magnitude.iter().zip(&misled).map(sum).collect())
    }

    /// Σ π·(|W| ⋆ |x| + |b|), where tiles share inputs of the largest |x| around.
    fn magnitude(&self, attention: &[f64]) -> Result<Vec<f64>> {
        let input = F64Tensor::from(self.instance.input.view()).map(|_, x| x.abs());
        let config = self.layer.config();
        let shape = Shape::new(input.shape().batch(), config.experts(), 1, 1)?;
        let pi = F64Tensor::new(shape, Layout::Nchw, attention.to_vec())?;
        let given = config.attention().map(|_| &pi);
        let Some(Spread { reach, .. }) = self.spread else {
            return Ok(self
                .absolute
                .evaluate(&Call::new(&input).attention(given))?
                .convolved
                .data()
                .to_vec());
        };
        let geometry = config.geometry(input.shape().height(), input.shape().width())?;
        let around = spread::largest_around(&input, &geometry, reach)?;
        let unpadded = self.absolute.with_config(config.options().padding(Padding::Valid).build()?);
        Ok(unpadded.evaluate(&Call::new(&around).attention(given))?.convolved.data().to_vec())
    }

    fn normalized(&self, convolved: &[f64]) -> (Vec<f64>, Option<[Estimate; 2]>) {
        let tensor = |name| self.layer.tensor(name).unwrap_or_default();
        let (gamma, beta) = (tensor("bn.weight"), tensor("bn.bias"));
        let Some(norm) = self.layer.config().batch_norm() else {
            return (convolved.to_vec(), None);
        };
        let y = &self.evaluation.convolved;
        if let Some([mean, variance]) = &self.evaluation.statistics {
            let [mean_error, variance_error] = self.statistics(convolved, mean);
            let error = self.by_channel(|c, i| {
                let spread = |v: f64| 1.0 / (v.max(0.0) + norm.epsilon).sqrt();
                let most = spread(variance[c] - variance_error[c]);
                let least = spread(variance[c] + variance_error[c]);
                let deviation = (y.data()[i] - mean[c]).abs();
                let moved = (convolved[i] + mean_error[c]) * most + deviation * (most - least);
                let rounded = 8.0 * self.u * most * (y.data()[i].abs() + mean[c].abs());
                gamma[c].abs() * (moved + rounded) + 8.0 * self.u * beta[c].abs()
            });
            let estimate = |value: &[f64], error| Estimate { value: value.to_vec(), error };
            let statistics = [estimate(mean, mean_error), estimate(variance, variance_error)];
            return (error, Some(statistics));
        }
        let (mean, variance) = (tensor("bn.running_mean"), tensor("bn.running_var"));
        let error = self.by_channel(|c, i| {
            let scale = gamma[c].abs() / (variance[c] + norm.epsilon).sqrt();
            scale * convolved[i] + 8.0 * self.u * (scale * mean[c].abs() + beta[c].abs())
        });
        (error, None)
    }

    /// Errors of the batch's mean and of its variance, as the mean square of deviations.
    fn statistics(&self, convolved: &[f64], mean: &[f64]) -> [Vec<f64>; 2] {
        let y = &self.evaluation.convolved;
        let values = (y.shape().batch() * y.shape().pixels()) as f64;
        let average = |of: Vec<f64>| {
            let mut sums = vec![0.0; mean.len()];
            self.by_channel(|c, i| {
                sums[c] += of[i];
                0.0
            });
            sums.into_iter().map(move |sum| sum / values)
        };
        let mean_error: Vec<f64> = average(convolved.to_vec())
            .zip(average(y.map(|_, y| y.abs()).data().to_vec()))
            .map(|(moved, magnitude)| moved + (values + 2.0) * self.u * magnitude)
            .collect();
        let moved = self.by_channel(|c, i| {
            let (deviation, error) = ((y.data()[i] - mean[c]).abs(), convolved[i] + mean_error[c]);
            let rounded = (values + 4.0) * self.u * (deviation + error) * (deviation + error);
            2.0 * deviation * error + error * error + rounded
        });
        let variance_error = average(moved).collect();
        [mean_error, variance_error]
    }

    /// Calls `f` with channel and index of every element of the output.
    fn by_channel(&self, mut f: impl FnMut(usize, usize) -> f64) -> Vec<f64> {
        let mut i = 0;
        let mapped = self.evaluation.convolved.map(|c, _| {
            let value = f(c, i);
            i += 1;
            value
        });
        mapped.data().to_vec()
    }

    fn add_residual(&self, preactivation: &mut [f64]) {
        let Some(residual) = &self.instance.residual else { return };
        for (error, r) in preactivation.iter_mut().zip(residual.data()) {
            *error += 3.0 * self.u * f64::from(r.abs());
        }
    }

    fn activated(&self, preactivation: &[f64]) -> Vec<f64> {
        let activation = self.layer.config().activation();
        let values = self.evaluation.preactivation.data().iter().zip(self.evaluation.output.data());
        let error = |((x, y), error): ((&f64, &f64), &f64)| {
            let evaluated = match scale(activation, *x) {
                Some(scale) => 4.0 * self.u * (y.abs() + scale),
                None => 0.0,
            };
            lipschitz(activation) * error + evaluated
        };
        values.zip(preactivation).map(error).collect()
    }
}

/// The layer with all parameters replaced by their magnitudes.
fn absolute(layer: &F64Layer) -> F64Layer {
    let mut layer = layer.clone();
    let names = ["weight", "bias", "attention.fc1.weight", "attention.fc1.bias"];
    for name in names.into_iter().chain(["attention.fc2.weight", "attention.fc2.bias"]) {
        for value in layer.tensor_mut(name).into_iter().flatten() {
            *value = value.abs();
        }
    }
    layer
}

/// The largest slope, rounded up.
fn lipschitz(activation: Activation) -> f64 {
    match activation {
        Activation::None | Activation::Relu | Activation::Relu6 | Activation::Tanh | Activation::Elu => 1.0,
        Activation::LeakyRelu { slope } => slope.abs().max(1.0),
        Activation::Sigmoid => 0.25,
        Activation::HardSigmoid => 1.0 / 6.0,
        Activation::KerasHardSigmoid => 0.2,
        Activation::HardSwish => 1.5,
        Activation::Silu => 1.1,
        Activation::Gelu => 1.13,
    }
}

/// The magnitude, beside the result's, that an activation's own roundings are relative to: that of
/// the largest intermediate result of its formula. `None` where it rounds nothing.
fn scale(activation: Activation, x: f64) -> Option<f64> {
    match activation {
        Activation::None | Activation::Relu | Activation::Relu6 => None,
        Activation::LeakyRelu { .. } => Some(0.0),
        Activation::Sigmoid
        | Activation::Tanh
        | Activation::HardSigmoid
        | Activation::KerasHardSigmoid
        | Activation::Elu => Some(1.0),
        Activation::HardSwish | Activation::Silu | Activation::Gelu => Some(x.abs()),
    }
}
