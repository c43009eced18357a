//! Metamorphic: what must hold between a backend's own results, whatever the right ones are.
//!
//! Equal on integers; on real numbers within the bounds of both sides.

use crate::testing::estimate::{Expected, beyond, in_range};
use crate::testing::fill::Fill;
use crate::testing::instance::Ran;
use crate::testing::problem::Data;
use crate::testing::verdict::{equal, within};
use crate::testing::{Instance, Problem, Verdict};
use crate::{Activation, Backend, Config, DyConv2d, Precision, Result, Shape, Tensor};

/// Attention that picks one expert per sample gives what the static convolution with that expert gives.
///
/// # Errors
/// The first or worst element that differs.
pub fn one_hot_attention_equals_static_convolution<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    both_kinds(problem, |problem| {
        let (batch, experts) = (problem.batch, problem.config.experts());
        let mut instance = problem.clone().given().build()?;
        let Some(attention) = &mut instance.attention else { return Ok(()) };
        let mut fill = Fill::new(problem.seed, "one-hot");
        let chosen: Vec<usize> = (0..batch).map(|_| fill.below(experts)).collect();
        let weights = chosen.iter().flat_map(|&k| one_hot(experts, k)).collect();
        *attention = Tensor::attention(batch, experts, weights)?;
        if instance.batch_statistics {
            return Ok(());
        }
        let dynamic = Measured::new(backend, &instance)?;
        for k in 0..experts {
            if !chosen.contains(&k) {
                continue;
            }
            let frozen = instance.layer.freeze(&one_hot(experts, k))?;
            let mut frozen = instance.on(frozen);
            frozen.attention = None;
            let frozen = Measured::new(backend, &frozen)?;
            for n in (0..batch).filter(|&n| chosen[n] == k) {
                dynamic.sample(n)?.agrees_with(&frozen.sample(n)?, problem.data)?;
            }
        }
        Ok(())
    })
}

/// With no activation, shift or residual, y(2π − π′) = 2·y(π) − y(π′).
///
/// # Errors
/// The first or worst element that differs.
pub fn attention_is_linear<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    both_kinds(problem, |problem| {
        let problem = problem.clone().given().without_batch_norm().activation(Activation::None);
        let instance = Problem { residual: false, ..problem.clone() }.build()?;
        if instance.attention.is_none() {
            return Ok(());
        }
        // In quarters for both kinds of data, so that the combination is rounded nowhere.
        let quarters = Problem { data: Data::Integers, ..problem.clone() };
        let (one, other) = (quarters.attention("one")?, quarters.attention("other")?);
        let combined = one.data().iter().zip(other.data()).map(|(one, other)| 2.0 * one - other).collect();
        let combined = Tensor::attention(problem.batch, problem.config.experts(), combined)?;
        let measure = |attention: Tensor| {
            Measured::new(backend, &Instance { attention: Some(attention), ..instance.clone() })
        };
        let (one, other, combined) = (measure(one)?, measure(other)?, measure(combined)?);
        let limit = beyond(problem.activations);
        let values = || one.output.data().iter().zip(other.output.data());
        let combine = |(&one, &other): (&f32, &f32)| 2.0 * f64::from(one) - f64::from(other);
        let want: Vec<f64> = values().map(|both| combine(both).clamp(-limit, limit)).collect();
        // What is stored in fewer bits was rounded after it was summed, and what is infinite there has nothing linear.
        let is_exact = exact(&combined, problem.data) && problem.activations == Precision::F32;
        let is_lost = values().map(|(one, other)| f64::from(one.abs().max(other.abs())) >= limit);
        let errors = one.error.iter().zip(&other.error).zip(&combined.error).zip(is_lost);
        let bound = |(((one, other), combined), is_lost): (((&f64, &f64), &f64), bool)| match is_lost {
            true => f64::INFINITY,
            false => 2.0 * one + other + combined,
        };
        let error: Vec<f64> = if is_exact { vec![0.0; want.len()] } else { errors.map(bound).collect() };
        within("output", &combined.output, &want, &error)
    })
}

/// At inference a sample's result doesn't depend on the rest of its batch.
///
/// # Errors
/// The first or worst element that differs.
pub fn sample_alone_equals_sample_in_batch<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    both_kinds(problem, |problem| {
        let instance = Problem { batch_statistics: false, ..problem.clone() }.build()?;
        if problem.batch < 2 {
            return Ok(());
        }
        let batch = Measured::new(backend, &instance)?;
        for n in [0, problem.batch - 1] {
            let mut alone = instance.clone();
            alone.input = sample(&instance.input, n)?;
            alone.attention = instance.attention.as_ref().map(|pi| sample(pi, n)).transpose()?;
            alone.residual = instance.residual.as_ref().map(|r| sample(r, n)).transpose()?;
            Measured::new(backend, &alone)?
                .agrees_with(&batch.sample(n)?, problem.data)
                .map_err(|failure| failure.context(format!("sample {n} alone")))?;
        }
        Ok(())
    })
}

/// The other layout gives the same output in the other layout.
///
/// # Errors
/// The first or worst element that differs.
pub fn layouts_agree<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    both_kinds(problem, |problem| {
        let instance = problem.build()?;
        let here = problem.config.layout();
        let there = super::opposite(here);
        let config = problem.config.options().layout(there).build()?;
        let (_, params) = instance.layer.clone().into_parts();
        let mut other = instance.on(DyConv2d::new(config, params)?);
        other.input = instance.input.to_layout(there);
        other.residual = instance.residual.as_ref().map(|residual| residual.to_layout(there));
        let mut other = Measured::new(backend, &other)?;
        // The errors are a tensor like the values.
        let errors = other.error.iter().map(|&error| error as f32).collect();
        let errors = Tensor::new(other.output.shape(), there, errors)?.to_layout(here);
        other.error = errors.data().iter().map(|&error| f64::from(error)).collect();
        other.output = other.output.to_layout(here);
        Measured::new(backend, &instance)?.agrees_with(&other, problem.data)
    })
}

/// K equal experts are one, where a sample's attention sums to 1.
///
/// # Errors
/// The first or worst element that differs.
pub fn equal_experts_equal_one<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    both_kinds(problem, |problem| {
        let experts = problem.config.experts();
        let mut instance = problem.clone().given().build()?;
        if instance.attention.is_none() {
            return Ok(());
        }
        let mut fill = Fill::new(problem.seed, "partition");
        let weights = (0..problem.batch).flat_map(|_| partition(&mut fill, experts)).collect();
        instance.attention = Some(Tensor::attention(problem.batch, experts, weights)?);
        instance.layer = with_equal_experts(&instance.layer)?;
        let mut single = instance.on(instance.layer.freeze(&one_hot(experts, 0))?);
        single.attention = None;
        let single = Measured::new(backend, &single)?;
        Measured::new(backend, &instance)?.agrees_with(&single, problem.data)
    })
}

/// On integers, where results are exact, and on reals as the problem has them.
fn both_kinds(problem: &Problem, law: impl Fn(&Problem) -> Verdict) -> Verdict {
    law(&problem.clone().exact()).map_err(|failure| failure.context("integers"))?;
    law(&Problem { data: Data::Reals, ..problem.clone() }).map_err(|failure| failure.context("reals"))
}

/// A backend's output and how far it may be from the truth.
struct Measured {
    output: Tensor,
    error: Vec<f64>,
    exact: bool,
}

impl Measured {
    fn new<B: Backend>(backend: &B, instance: &Instance) -> Result<Self> {
        let Ran { output, accuracy, .. } = instance.run(backend)?;
        let output = in_range(&output, instance.activations);
        let error = Expected::new(instance, accuracy)?.output.error;
        Ok(Self { output, error, exact: accuracy.is_exact() })
    }

    fn sample(&self, n: usize) -> Result<Self> {
        let len = self.output.shape().sample_len();
        let error = self.error[n * len..(n + 1) * len].to_vec();
        Ok(Self { output: sample(&self.output, n)?, error, exact: self.exact })
    }

    fn agrees_with(&self, other: &Self, data: Data) -> Verdict {
        if exact(self, data) && other.exact {
            return equal("output", &self.output, &other.output);
        }
        let want: Vec<f64> = other.output.data().iter().map(|&value| f64::from(value)).collect();
        let error: Vec<f64> = self.error.iter().zip(&other.error).map(|(one, other)| one + other).collect();
        within("output", &self.output, &want, &error)
    }
}

fn exact(measured: &Measured, data: Data) -> bool {
    measured.exact && data == Data::Integers
}

fn one_hot(experts: usize, k: usize) -> Vec<f32> {
    (0..experts).map(|i| if i == k { 1.0 } else { 0.0 }).collect()
}

/// Four quarters and two pairs that cancel, dealt at random.
fn partition(fill: &mut Fill, experts: usize) -> Vec<f32> {
    let mut weights = vec![0.0; experts];
    for quarter in [0.25, 0.25, 0.25, 0.25, 0.5, -0.5] {
        weights[fill.below(experts)] += quarter;
    }
    weights
}

fn with_equal_experts(layer: &DyConv2d) -> Result<DyConv2d> {
    let (config, mut params): (Config, _) = layer.clone().into_parts();
    let repeat = |data: &mut Vec<f32>| {
        let one = data.len() / config.experts();
        let first = data[..one].to_vec();
        data.chunks_exact_mut(one).for_each(|expert| expert.copy_from_slice(&first));
    };
    repeat(&mut params.weight);
    params.bias.as_mut().map(repeat);
    DyConv2d::new(config, params)
}

fn sample(tensor: &Tensor, n: usize) -> Result<Tensor> {
    let shape = tensor.shape();
    let alone: Shape = shape.with_batch(1)?;
    let len = shape.sample_len();
    Tensor::new(alone, tensor.layout(), tensor.data()[n * len..(n + 1) * len].to_vec())
}
