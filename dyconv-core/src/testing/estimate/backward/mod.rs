//! How far a backend's gradients may be from the reference's: the forward's errors, which the tape keeps, travel
//! backwards through the stages as calculus says, and every stage adds its own roundings.
//!
//! One file per stage, as in the reference. An error of a product is |a|·error(b) + |b|·error(a) + error(a)·error(b),
//! one of a sum is `terms·u` times the sum of magnitudes. Where a backward's plan has a [`Spread`](crate::Spread), its dx is
//! by Winograd, and only that.

mod activate;
mod attention;
mod mixed;
mod normalize;

use std::collections::BTreeMap;

use super::{Estimate, Expected, absolute, unit};
use crate::reference::{Evaluation, F64Gradients, F64Layer, F64Tensor};
use crate::testing::{Contracts, Lesson};
use crate::{Handle, Result, Spread};

/// What a backend with these error contracts may give for one lesson.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ExpectedLesson {
    /// The forward.
    pub forward: Expected,
    /// The reference's gradients, before anything is added to the input's.
    pub found: F64Gradients,
    /// Gradient of the input, in the layer's layout.
    pub input: Estimate,
    /// Gradient of the residual, in the layer's layout.
    pub residual: Estimate,
    /// Gradient of π `[N, K]`.
    pub attention: Estimate,
    /// Gradients of the learned parameters, by name.
    pub params: BTreeMap<&'static str, Estimate>,
    /// The running mean and variance afterwards, where the batch's statistics moved them.
    pub running: Option<[Estimate; 2]>,
}

impl ExpectedLesson {
    /// Differentiates the call, and bounds the error of every stage.
    ///
    /// # Errors
    /// Where the lesson doesn't fit its layer.
    pub fn new(lesson: &Lesson, contracts: Contracts) -> Result<Self> {
        let instance = &lesson.instance;
        let layer = F64Layer::new(&instance.layer, &instance.how);
        let input = F64Tensor::from(instance.input.view());
        let forward = Expected::new(instance, contracts.forward)?;
        let gradient = penalized(lesson, &forward);
        let found = layer.backward(&input, &forward.evaluation, &gradient)?;
        let mut stages = Stages {
            spread: contracts.backward.spread(),
            u: unit(contracts.forward).max(unit(contracts.backward)),
            absolute: absolute(&layer),
            layer: &layer,
            lesson,
            forward: &forward,
            gradient: &gradient,
            found: &found,
            params: BTreeMap::new(),
        };
        let residual = stages.activated();
        let convolved = stages.normalized(&residual);
        let mixed = stages.mixed(&convolved)?;
        let pooled = stages.head(&mixed.attention)?;
        let input = stages.input(mixed.input, &pooled);
        let running = stages.running();
        let errors = stages.params;
        let params = found.params.iter().map(|(name, value)| {
            // No error without a stage: a head that is overridden has gradients of exactly 0.
            let error = errors.get(name).cloned().unwrap_or_else(|| vec![0.0; value.len()]);
            (*name, Estimate { value: value.clone(), error })
        });
        Ok(Self {
            input: Estimate { value: input_value(lesson, &found), error: input },
            residual: Estimate { value: found.preactivation.data().to_vec(), error: residual },
            attention: Estimate { value: found.attention.clone(), error: mixed.attention },
            params: params.collect(),
            running,
            found,
            forward,
        })
    }
}

/// g and the penalty's slope.
fn penalized(lesson: &Lesson, forward: &Expected) -> F64Tensor {
    let mut gradient = F64Tensor::from(lesson.gradient.view());
    if let Some(activity) = lesson.activity {
        let outputs = forward.evaluation.output.data();
        gradient.data_mut().iter_mut().zip(outputs).for_each(|(g, &y)| *g += activity.slope(y));
    }
    gradient
}

fn input_value(lesson: &Lesson, found: &F64Gradients) -> Vec<f64> {
    let mut value = found.input.data().to_vec();
    if let Some(other) = &lesson.add_to_input {
        value.iter_mut().zip(other.data()).for_each(|(value, &other)| *value += f64::from(other));
    }
    value
}

/// The error of each stage's gradient, in the order in which it grows.
struct Stages<'a> {
    u: f64,
    /// Of the input's gradient.
    spread: Option<Spread>,
    layer: &'a F64Layer,
    absolute: F64Layer,
    lesson: &'a Lesson,
    forward: &'a Expected,
    /// g, with the penalty's slope.
    gradient: &'a F64Tensor,
    found: &'a F64Gradients,
    /// Errors of the parameters' gradients.
    params: BTreeMap<&'static str, Vec<f64>>,
}

impl Stages<'_> {
    fn evaluation(&self) -> &Evaluation {
        &self.forward.evaluation
    }

    /// Of the input's gradient: the convolution's, the pool's share, and what is added.
    fn input(&self, mut error: Vec<f64>, pooled: &Estimate) -> Vec<f64> {
        let shape = self.found.input.shape();
        let pixels = shape.pixels() as f64;
        if !pooled.value.is_empty() {
            for (error, i) in error.iter_mut().zip(places(&self.found.input)) {
                let magnitude = pooled.value[i].abs() + pooled.error[i];
                *error += (pooled.error[i] + 4.0 * self.u * magnitude) / pixels;
            }
        }
        let others = self.lesson.add_to_input.iter().flat_map(|other| other.data());
        error
            .iter_mut()
            .zip(others)
            .for_each(|(error, other)| *error += 2.0 * self.u * f64::from(other.abs()));
        error
    }

    /// keep·running + (1 − keep)·batch.
    fn running(&self) -> Option<[Estimate; 2]> {
        let norm = self.layer.config().batch_norm()?;
        let [mean, variance] = self.forward.statistics.as_ref()?;
        let shape = self.evaluation().convolved.shape();
        let values = (shape.batch() * shape.pixels()) as f64;
        let unbiased = if norm.unbiased { values / (values - 1.0) } else { 1.0 };
        let moved = |name, batch: &Estimate, factor: f64| {
            let running = self.layer.tensor(name).unwrap_or_default();
            let (taken, rows) = ((1.0 - norm.keep) * factor, batch.value.iter().zip(&batch.error));
            let rows = running.iter().zip(rows).map(|(running, (batch, error))| {
                let magnitude = norm.keep * running.abs() + taken * (batch.abs() + error);
                (norm.keep * running + taken * batch, taken * error + 5.0 * self.u * magnitude)
            });
            let (value, error) = rows.unzip();
            Estimate { value, error }
        };
        Some([moved("bn.running_mean", mean, 1.0), moved("bn.running_var", variance, unbiased)])
    }
}

/// The channel of every element, in the tensor's own order.
fn channels(tensor: &F64Tensor) -> Vec<usize> {
    tensor.map(|c, _| c as f64).data().iter().map(|&c| c as usize).collect()
}

/// For every element, in the tensor's own order, where its sample's channel is in `[N, C]`.
fn places(tensor: &F64Tensor) -> impl Iterator<Item = usize> {
    let shape = tensor.shape();
    let place = move |(i, c)| i / shape.sample_len() * shape.channels() + c;
    channels(tensor).into_iter().enumerate().map(place)
}
