//! Bounded: on real numbers no result is further from the reference's than its roundings explain.
//!
//! Stages are held apart: where a law speaks of the convolution, π is computed by the reference and
//! given, so that the error of `exp` can't hide one of the convolution.

use crate::config::Squash;
use crate::testing::estimate::{Estimate, Expected, in_range};
use crate::testing::fill::Fill;
use crate::testing::instance::Ran;
use crate::testing::problem::Data;
use crate::testing::verdict::within;
use crate::testing::{Failure, Instance, Problem, Verdict};
use crate::{Activation, Attention, Backend, BatchNorm, DyConv2d, Options, Precision, Tensor};

/// Aggregate and convolve, with batch norm's running statistics and a residual, but no activation. What is stored in f16
/// also beyond its range.
///
/// # Errors
/// The worst element beyond its bound.
pub fn convolution_is_bounded<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    let problem = Problem { batch_statistics: false, ..real(problem).activation(Activation::None) };
    holds(backend, &with_reference_attention(&problem.build()?)?)?;
    if problem.activations == Precision::F32 {
        return Ok(());
    }
    // Experts themselves, at most 2¹⁴ without a scale of batch norm, stay in range.
    let instance = with_reference_attention(&problem.without_batch_norm().build()?)?;
    let large = instance.on(scale_experts(&instance.layer, 16384.0)?);
    holds(backend, &large).map_err(|failure| failure.context("experts times 2¹⁴"))
}

/// Pool and attention: π as a head computes it.
///
/// # Errors
/// The worst element beyond its bound.
pub fn attention_is_bounded<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    let instance = with_head(real(problem)).build()?.returning_attention();
    let ran = instance.run(backend)?;
    attention_holds(&ran, &Expected::attention_alone(&instance, ran.accuracy)?)
}

/// Batch norm with the batch's statistics, which come back with the output.
///
/// # Errors
/// The worst element beyond its bound.
pub fn batch_statistics_are_bounded<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    let norm = problem.config.batch_norm().unwrap_or(BatchNorm::KERAS);
    let problem = real(problem).activation(Activation::None).with(|options| options.batch_norm(norm));
    let instance = Problem { batch_statistics: true, ..problem }.build()?;
    holds(backend, &with_reference_attention(&instance)?)
}

/// Every activation of the same layer, with given attention.
///
/// # Errors
/// The worst element beyond its bound.
pub fn activation_is_bounded<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    // One activation per problem; over a run all come up many times.
    let activation = Activation::ALL[Fill::new(problem.seed, "activation").below(Activation::ALL.len())];
    let problem = Problem { batch_statistics: false, ..real(problem).activation(activation) };
    let instance = with_reference_attention(&problem.build()?)?;
    holds(backend, &instance).map_err(|failure| failure.context(activation.name()))
}

/// The whole layer, as the problem has it: the π that the head computes is the π that is used.
///
/// # Errors
/// The worst element beyond its bound.
pub fn layer_is_bounded<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    let instance = Problem { data: Data::Reals, ..problem.clone() }.build()?;
    holds(backend, &instance)
}

/// Softmax with logits and temperatures from tiny to huge: no NaN, and still within its bound.
///
/// # Errors
/// The worst element beyond its bound.
pub fn softmax_survives_extremes<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    let problem = with_head(real(problem)).with(|options| {
        let attention = match options.attention {
            Some(Attention::Mlp { hidden, .. }) => Attention::Mlp { hidden, squash: Squash::SOFTMAX },
            _ => Attention::Linear { squash: Squash::SOFTMAX },
        };
        options.attention(attention)
    });
    let tiny = f64::from(f32::MIN_POSITIVE);
    for (factor, temperature) in [(1e3, 1.0), (1e30, 1.0), (1.0, tiny), (1.0, 1e-3), (1.0, 1e30)] {
        let problem = Problem { temperature: Some(temperature), ..problem.clone() };
        let mut instance = problem.build()?.returning_attention();
        instance.layer = scale_logits(&instance.layer, factor)?;
        let ran = instance.run(backend)?;
        attention_holds(&ran, &Expected::attention_alone(&instance, ran.accuracy)?)
            .map_err(|failure| failure.context(format!("logits times {factor:e}, T = {temperature:e}")))?;
    }
    Ok(())
}

/// Runs, and holds everything that came back against what was expected.
pub(super) fn holds<B: Backend>(backend: &B, instance: &Instance) -> Verdict {
    matches(&instance.run(backend)?, instance)
}

/// Holds everything that came back against what was expected.
pub(super) fn matches(ran: &Ran, instance: &Instance) -> Verdict {
    let expected = Expected::new(instance, ran.accuracy)?;
    if instance.return_attention {
        attention_holds(ran, &expected.attention)?;
    }
    match (&ran.statistics, &expected.statistics) {
        (Some([mean, variance]), Some([mean_estimate, variance_estimate])) => {
            estimated("mean", mean, mean_estimate)?;
            estimated("variance", variance, variance_estimate)?;
        }
        (None, None) => {}
        (got, _) => {
            let (got, want) = if got.is_some() { ("some", "none") } else { ("none", "some") };
            return Err(Failure::new(format!("statistics: {got} came back, {want} were expected")));
        }
    }
    let shape = instance.config().output_shape(instance.input.shape())?;
    let blank = Tensor::zeros(shape, instance.config().layout());
    crate::testing::verdict::shaped("output", &ran.output, &blank)?;
    estimated("output", &in_range(&ran.output, instance.activations), &expected.output)
}

fn attention_holds(ran: &Ran, expected: &Estimate) -> Verdict {
    let attention = ran.attention.as_ref();
    let attention = attention.ok_or_else(|| Failure::new("π was asked for, but didn't come back"))?;
    estimated("π", attention, expected)
}

fn estimated(what: &str, got: &Tensor, expected: &Estimate) -> Verdict {
    within(what, got, &expected.value, &expected.error)
}

pub(super) fn real(problem: &Problem) -> Problem {
    Problem { data: Data::Reals, ..problem.clone() }
}

/// The problem with a head that computes π: its own, or one that its seed chooses.
pub(super) fn with_head(problem: Problem) -> Problem {
    let has_one = problem.config.attention().and_then(Attention::squash).is_some();
    let problem = Problem { given: false, ..problem };
    if has_one {
        return problem;
    }
    let mut fill = Fill::new(problem.seed, "head");
    let squash = if fill.below(4) == 0 { Squash::Sigmoid } else { Squash::SOFTMAX };
    let attention = match fill.below(2) {
        0 => Attention::Linear { squash },
        _ => Attention::Mlp { hidden: 1 + fill.below(9), squash },
    };
    problem.with(|options: Options| options.attention(attention))
}

/// The call with the reference's π in place of a head's.
pub(super) fn with_reference_attention(instance: &Instance) -> crate::Result<Instance> {
    if instance.config().attention().is_none() || instance.attention.is_some() {
        return Ok(instance.clone());
    }
    let layer = crate::reference::F64Layer::new(&instance.layer, &instance.how);
    let weights = instance.as_stored().with_f64_call(|call| layer.evaluate(call))?.attention;
    let weights = weights.iter().map(|&pi| pi as f32).collect();
    let attention = Tensor::attention(instance.input.shape().batch(), instance.config().experts(), weights)?;
    Ok(Instance { attention: Some(attention), temperature: None, ..instance.clone() })
}

fn scale_experts(layer: &DyConv2d, factor: f32) -> crate::Result<DyConv2d> {
    let (config, mut params) = layer.clone().into_parts();
    params.weight.iter_mut().for_each(|weight| *weight *= factor);
    DyConv2d::new(config, params)
}

fn scale_logits(layer: &DyConv2d, factor: f32) -> crate::Result<DyConv2d> {
    let (config, mut params) = layer.clone().into_parts();
    if let Some(head) = &mut params.attention {
        for weight in head.fc2.weight.iter_mut().chain(head.fc2.bias.iter_mut().flatten()) {
            *weight *= factor;
        }
    }
    DyConv2d::new(config, params)
}
