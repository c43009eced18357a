//! What a prepared layer owes its caller: other shapes, other temperatures, chains, plans, nothing at all.

use super::bounded::{matches, with_head};
use crate::testing::problem::Data;
use crate::testing::verdict::{same_bits, shaped};
use crate::testing::{Failure, Instance, Problem, Ran, Verdict};
use crate::{
    Accuracy, Attention, Backend, Call, Error, Options, Padding, Plan, Pool, Result, Shape, Squash, Tensor,
};

/// One prepared layer serves any input shape, whatever it was told to expect, and the first one again.
///
/// # Errors
/// The worst element beyond its bound.
pub fn prepared_layer_serves_other_shapes<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    let problem = Problem { data: Data::Reals, ..problem.clone() };
    let (batch, height, width) = (problem.batch + 1, problem.height + 1, problem.width + 2);
    let first = problem.build()?;
    let other = Problem { batch, height, width, ..problem }.build()?;
    // Only one of them may be too small for batch statistics.
    let batch_statistics = first.batch_statistics && other.batch_statistics;
    let mut stream = backend.stream()?;
    let layer = backend.prepare(&first.layer, &first.how)?;
    for (which, instance) in [("first", &first), ("other", &other), ("first again", &first)] {
        let instance = Instance { batch_statistics, ..instance.clone() };
        let ran = instance.run_prepared(backend, &mut stream, &layer)?;
        matches(&ran, &instance).map_err(|failure| failure.context(format!("the {which} shape")))?;
    }
    Ok(())
}

/// A temperature holds for its call alone.
///
/// # Errors
/// The worst element beyond its bound.
pub fn temperature_overrides<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    let problem = with_head(Problem { data: Data::Reals, temperature: None, ..problem.clone() });
    let instance = problem.build()?.returning_attention();
    if instance.config().attention().and_then(Attention::temperature).is_none() {
        return Ok(());
    }
    let mut stream = backend.stream()?;
    let layer = backend.prepare(&instance.layer, &instance.how)?;
    for temperature in [None, Some(0.25), Some(30.0), None] {
        let instance = Instance { temperature, ..instance.clone() };
        let ran = instance.run_prepared(backend, &mut stream, &layer)?;
        matches(&ran, &instance)
            .map_err(|failure| failure.context(format!("temperature {temperature:?}")))?;
    }
    Ok(())
}

/// A handle with emitted sums is as good a pool and as good an input of another layer's head as one without.
///
/// # Errors
/// The worst element beyond its bound.
pub fn emitted_sums_are_the_pool<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    let mut first = Problem { data: Data::Reals, ..problem.clone() }.build()?;
    let second = head_after(problem)?;
    let mut stream = backend.stream()?;
    let layer = backend.prepare(&first.layer, &first.how)?;
    let next = backend.prepare(&second.layer, &second.how)?;
    for emit_sums in [true, false] {
        first.emit_sums = emit_sums;
        let between = first.forward(backend, &mut stream, &layer)?.output;
        let call = Call::new(&between).return_attention(true);
        let output = backend.forward(&mut stream, &next, &call)?;
        let pooled = backend.pool(&mut stream, &between, &Pool::GlobalMean)?;
        let second = Instance { input: backend.download(&mut stream, &between)?, ..second.clone() };
        let ran = Ran::download(backend, &mut stream, &next, second.input.shape(), output)?;
        let context = |failure: Failure| failure.context(format!("emit_sums {emit_sums}"));
        matches(&ran, &second).map_err(context)?;
        let slack = ran.accuracy.slack();
        super::pool::mean_holds(&backend.download(&mut stream, &pooled)?, &second.input, slack)
            .map_err(context)?;
    }
    Ok(())
}

/// A 1×1 layer with a softmax head, to run on a problem's output.
fn head_after(problem: &Problem) -> Result<Instance> {
    let output = problem.config.output_shape(problem.input_shape()?)?;
    let config = Options::new(output.channels(), 3)
        .experts(3)
        .layout(problem.config.layout())
        .attention(Attention::Linear { squash: Squash::SOFTMAX })
        .build()?;
    let extents = [output.batch(), output.height(), output.width()];
    let next = Problem { seed: problem.seed ^ 0x5eed, ..Problem::new(config, extents) };
    let next = next.storing(problem.activations);
    Ok(next.build()?.returning_attention())
}

/// One handle may be input and residual of the same call, as around a residual block's layer.
///
/// # Errors
/// The worst element beyond its bound.
pub fn input_may_be_the_residual<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    let channels = problem.config.in_channels();
    let problem = problem.clone().with(|options| Options {
        out_channels: channels,
        stride: [1, 1],
        padding: Padding::Same,
        ..options
    });
    let mut instance = Problem { data: Data::Reals, ..problem }.build()?;
    instance.residual = Some(instance.input.clone());
    let mut stream = backend.stream()?;
    let layer = backend.prepare(&instance.layer, &instance.how)?;
    let x = backend.upload(&mut stream, instance.input.view())?;
    let pi = instance.attention.as_ref().map(|pi| backend.upload(&mut stream, pi.view())).transpose()?;
    let call = instance.call(&x, pi.as_ref(), Some(&x));
    let output = backend.forward(&mut stream, &layer, &call)?;
    let ran = Ran::download(backend, &mut stream, &layer, instance.input.shape(), output)?;
    matches(&ran, &instance)
}

/// With one pixel, or one channel, both layouts are the same bytes, and a tensor passes as either.
///
/// # Errors
/// The first element that differs.
pub fn equal_bytes_pass_in_either_layout<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    let instance = problem.build()?;
    let mut other = instance.clone();
    let tensors = [Some(&mut other.input), other.attention.as_mut(), other.residual.as_mut()];
    for tensor in tensors.into_iter().flatten() {
        if tensor.shape().pixels() == 1 || tensor.shape().channels() == 1 {
            *tensor = tensor.to_layout(super::opposite(tensor.layout()));
        }
    }
    let (got, want) = (other.run(backend)?, instance.run(backend)?);
    shaped("output", &got.output, &want.output)?;
    same_bits("output", &got.output, &want.output)
}

/// No samples in, no samples out; batch statistics of nothing are refused.
///
/// # Errors
/// What came back instead.
pub fn empty_batch_gives_empty_output<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    let problem = Problem { batch: 0, batch_statistics: false, ..problem.clone() };
    let instance = problem.build()?.returning_attention();
    let ran = instance.run(backend)?;
    let config = instance.config();
    let output = Tensor::zeros(config.output_shape(instance.input.shape())?, config.layout());
    shaped("output", &ran.output, &output)?;
    let Some(attention) = ran.attention else {
        return Err(Failure::new("π was asked for, but didn't come back"));
    };
    shaped("π", &attention, &Tensor::zeros(Shape::new(0, config.experts(), 1, 1)?, attention.layout()))
}

/// A plan has a name, a cost and a contract no worse than the backend's; an input that doesn't fit has none.
///
/// # Errors
/// What is wrong with the plan.
pub fn plan_fits<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    let instance = problem.build()?;
    let layer = backend.prepare(&instance.layer, &instance.how)?;
    plans_hold(backend, instance.input.shape(), |shape| backend.plan(&layer, shape))
}

/// Plans, of a forward or a backward, for an input of this shape and for one that doesn't fit.
pub(super) fn plans_hold<B: Backend>(
    backend: &B,
    shape: Shape,
    plan_for: impl Fn(Shape) -> Result<Plan>,
) -> Verdict {
    let plan = plan_for(shape)?;
    let Plan { name, multiply_adds, bytes, peak_bytes, accuracy } = &plan;
    let works = !shape.is_empty();
    if name.is_empty() || (works && (*multiply_adds == 0 || *bytes == 0 || *peak_bytes == 0)) {
        return Err(Failure::new(format!("a plan without name or figures: {plan:?}")));
    }
    let promised = backend.info().accuracy;
    let growth = |accuracy: Accuracy| accuracy.spread().map_or(1.0, |spread| spread.growth);
    if accuracy.slack() > promised.slack() || growth(*accuracy) > growth(promised) {
        return Err(Failure::new(format!("{plan:?} is less exact than the backend promises")));
    }
    let foreign = Shape::new(shape.batch(), shape.channels() + 1, shape.height(), shape.width())?;
    match plan_for(foreign) {
        Err(Error::Invalid { parameter, .. }) if parameter == "input" => Ok(()),
        got => Err(Failure::new(format!("a plan for {foreign}, which doesn't fit: {got:?}"))),
    }
}
