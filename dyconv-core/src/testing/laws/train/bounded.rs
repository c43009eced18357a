//! Bounded: on real numbers no gradient is further from the reference's than roundings, its own and the forward's,
//! explain. Stages are held apart as those of the forward are.

use super::compare::{estimated, holds};
use crate::testing::estimate::ExpectedLesson;
use crate::testing::fill::Fill;
use crate::testing::laws::bounded::{real, with_head, with_reference_attention};
use crate::testing::{Failure, Lesson, Problem, Trainee, Verdict};
use crate::{Activation, Attention, BatchNorm, Regularizer, Train};

/// Aggregate and convolve with given attention, batch norm's running statistics and a residual, but no activation.
///
/// # Errors
/// The worst element beyond its bound.
pub fn convolution_gradients_are_bounded<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let problem = real(problem).activation(Activation::None);
    holds(backend, &stage(Problem { batch_statistics: false, ..problem })?)
}

/// Squash, head and pool: π's gradient goes on to the head's matrices and, by the pooled channels, to the input.
///
/// # Errors
/// The worst element beyond its bound.
pub fn attention_gradients_are_bounded<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let problem = with_head(real(problem)).without_batch_norm().activation(Activation::None);
    let lesson = problem.lesson()?;
    match computes_attention(&lesson) {
        true => holds(backend, &lesson),
        false => Err(Failure::new("a problem without a head")),
    }
}

/// Batch norm by the batch's statistics, which depend on every value of their channel.
///
/// # Errors
/// The worst element beyond its bound.
pub fn batch_norm_gradients_are_bounded<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    holds(backend, &stage(normalized(problem))?)
}

/// The running statistics move towards the batch's, with the variance that the configuration asks for; without the
/// batch's statistics, and by a forward that is no training, they stay.
///
/// # Errors
/// The worst element beyond its bound.
pub fn running_statistics_move<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let lesson = stage(normalized(problem))?;
    let mut trainee = Trainee::new(backend, &lesson.instance)?;
    lesson.instance.forward(backend, &mut trainee.stream, &trainee.layer)?;
    let before = trainee.params()?;
    if before != *lesson.instance.layer.params() {
        return Err(Failure::new("a forward that is no training moved the layer's numbers"));
    }
    trainee.forward(&lesson)?;
    let after = trainee.params()?;
    let contracts = trainee.contracts(lesson.instance.input.shape())?;
    match (ExpectedLesson::new(&lesson, contracts)?.running, &after.batch_norm) {
        (Some([mean, variance]), Some(norm)) => {
            estimated("bn.running_mean", &norm.running_mean, &mean)?;
            estimated("bn.running_var", &norm.running_var, &variance)
        }
        _ if after == before => Ok(()),
        _ => Err(Failure::new("running statistics moved without the batch's")),
    }
}

/// Every activation's derivative, and the slope of a penalty on the output.
///
/// # Errors
/// The worst element beyond its bound.
pub fn activation_gradients_are_bounded<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let mut fill = Fill::new(problem.seed, "derivative");
    let activation = Activation::ALL[fill.below(Activation::ALL.len())];
    let problem = real(problem).without_batch_norm().activation(activation);
    let mut lesson = stage(problem)?;
    lesson.activity = penalty(&mut fill);
    holds(backend, &lesson).map_err(|failure| failure.context(activation.name()))
}

/// The whole layer, as the problem has it.
///
/// # Errors
/// The worst element beyond its bound.
pub fn layer_gradients_are_bounded<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let mut lesson = real(problem).lesson()?;
    lesson.activity = penalty(&mut Fill::new(problem.seed, "penalty"));
    holds(backend, &lesson)
}

fn penalty(fill: &mut Fill) -> Option<Regularizer> {
    [None, Some(Regularizer { l1: 0.25, l2: 0.0 }), Some(Regularizer { l1: 0.1, l2: 0.3 })][fill.below(3)]
}

/// The lesson with the reference's π in place of a head's.
fn stage(problem: Problem) -> crate::Result<Lesson> {
    let lesson = problem.lesson()?;
    Ok(Lesson { instance: with_reference_attention(&lesson.instance)?, ..lesson })
}

fn normalized(problem: &Problem) -> Problem {
    let norm = problem.config.batch_norm().unwrap_or(BatchNorm::KERAS);
    let problem = real(problem).activation(Activation::None).with(|options| options.batch_norm(norm));
    Problem { batch_statistics: true, ..problem }
}

/// Whether a head computes this call's π.
fn computes_attention(lesson: &Lesson) -> bool {
    let squash = lesson.instance.config().attention().and_then(Attention::squash);
    squash.is_some() && lesson.instance.attention.is_none()
}
