//! What training owes its caller beside gradients: a layer that still infers, small tapes, handles, plans, and nothing
//! of nothing.

use super::compare::{complete, each, maps};
use crate::testing::laws::bounded::{matches as forward_matches, real};
use crate::testing::laws::calls::plans_hold;
use crate::testing::laws::opposite;
use crate::testing::verdict::same_bits;
use crate::testing::{Failure, Problem, Ran, Trainee, Verdict};
use crate::{Attention, DyConv2d, Gradients, Handle, Optimizer, ParamMap, Step, Tape, Train};

/// A trainable layer serves forwards, that of training among them, before a step and after it.
///
/// # Errors
/// The worst element beyond its bound.
pub fn trainable_layer_still_infers<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let lesson = real(problem).lesson()?;
    let mut trainee = Trainee::new(backend, &lesson.instance)?;
    for when in ["before a step", "after a step"] {
        let layer = DyConv2d::new(*lesson.instance.config(), trainee.params()?)?;
        let instance = lesson.instance.on(layer);
        let context = |failure: Failure| failure.context(when);
        let ran = instance.run_prepared(backend, &mut trainee.stream, &trainee.layer)?;
        forward_matches(&ran, &instance).map_err(context)?;
        let (output, tape) = trainee.forward(&lesson)?;
        let input = instance.input.shape();
        let recorded = Ran::download(backend, &mut trainee.stream, &trainee.layer, input, output)?;
        forward_matches(&recorded, &instance).map_err(context)?;
        let gradients = trainee.backward(&lesson, tape, None)?.params;
        let mut moments = backend.moments(&trainee.layer, &Optimizer::SGD)?;
        // A small one, so that what follows stays of the size of what was.
        let step = Step::new(Optimizer::SGD, 1e-3);
        backend.step(&mut trainee.stream, &mut trainee.layer, &gradients, &mut moments, &step)?;
    }
    Ok(())
}

/// A tape keeps no aggregated kernel, and no more than the contract of [`Train`] allows.
///
/// # Errors
/// Its bytes, and how many there may be.
pub fn tape_keeps_no_more_than_it_may<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let lesson = problem.lesson()?;
    let (_, tape) = Trainee::new(backend, &lesson.instance)?.forward(&lesson)?;
    let (config, input) = (lesson.instance.config(), lesson.instance.input.shape());
    let hidden = match config.attention() {
        Some(Attention::Mlp { hidden, .. }) => hidden,
        _ => 0,
    };
    let small = input.batch() * (config.in_channels() + 2 * hidden + 2 * config.experts());
    let most =
        8 * (input.len() + 3 * lesson.gradient.shape().len() + small + 2 * config.out_channels()) as u64;
    match tape.bytes() {
        bytes if bytes > most => {
            Err(Failure::new(format!("a tape of {bytes} bytes, at most {most} are allowed")))
        }
        0 if !input.is_empty() => Err(Failure::new("a tape of no bytes")),
        _ => Ok(()),
    }
}

/// Where nobody wants the input's gradient it isn't there, and the others are as ever.
///
/// # Errors
/// The first element that differs.
pub fn input_gradient_may_be_unwanted<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let mut lesson = problem.lesson()?;
    lesson.add_to_input = None;
    let wanted = lesson.run(backend)?.gradients;
    lesson.input = false;
    let unwanted = lesson.run(backend)?.gradients;
    complete(&unwanted, &lesson)?;
    each(&unwanted, &Gradients { input: None, ..wanted }, same_bits)
}

/// Gradients are handles like others: the input's may be relayed out, which is how a relayout goes backwards, and be
/// the g of a layer below.
///
/// # Errors
/// The first element that differs.
pub fn gradients_are_handles<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let lesson = problem.lesson()?;
    let mut trainee = Trainee::new(backend, &lesson.instance)?;
    let gradients = trainee.gradients(&lesson)?;
    let Some(dx) = &gradients.input else { return Err(Failure::new("no gradient of the input")) };
    let host = backend.download(&mut trainee.stream, dx)?;
    let there = opposite(dx.layout());
    let turned = backend.relayout(&mut trainee.stream, dx, there)?;
    same_bits("relayout", &backend.download(&mut trainee.stream, &turned)?, &host.to_layout(there))?;
    let back = backend.relayout(&mut trainee.stream, &turned, dx.layout())?;
    same_bits("relayout and back", &backend.download(&mut trainee.stream, &back)?, &host)
}

/// No samples teach nothing: gradients of 0 for every parameter, and empty ones for the tensors.
///
/// # Errors
/// What came back instead.
pub fn empty_batch_has_gradients_of_zero<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let problem = Problem { batch: 0, batch_statistics: false, ..problem.clone() };
    let lesson = problem.lesson()?;
    let gradients = lesson.run(backend)?.gradients;
    complete(&gradients, &lesson)?;
    let specs = lesson.instance.layer.params().learned(lesson.instance.config());
    let zeros: ParamMap = specs.iter().map(|spec| (spec.name, vec![0.0; spec.len()])).collect();
    maps(&gradients.params, &zeros, crate::testing::verdict::equal)
}

/// A plan of a backward has a name, a cost and a contract no worse than the backend's; an input that doesn't fit has
/// none.
///
/// # Errors
/// What is wrong with the plan.
pub fn backward_plan_fits<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let instance = problem.lesson()?.instance;
    let layer = backend.prepare(&instance.layer, &instance.how)?;
    plans_hold(backend, instance.input.shape(), |shape| backend.plan_backward(&layer, shape))
}
