//! Repeatable: the same lessons teach the same bits, whoever else computes, and from a checkpoint, too.

use super::compare::{each, maps};
use crate::testing::fill::Fill;
use crate::testing::verdict::same_bits;
use crate::testing::{Failure, Learned, Lesson, Problem, Trainee, Verdict};
use crate::{DyConv2d, MomentValues, Params, Result, Step, Train};

/// Two lessons and steps, once more on a new stream: the same gradients, parameters and moments.
///
/// # Errors
/// The first element that differs.
pub fn two_trainings_give_the_same_bits<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    training_repeatable_across(backend, backend, problem)
}

/// Two backends, say of 1 and N threads, learn the same bits.
///
/// # Errors
/// The first element that differs.
pub fn training_repeatable_across<A: Train, B: Train>(one: &A, other: &B, problem: &Problem) -> Verdict {
    let (lesson, step) = course(problem)?;
    let (_, _, want) = from_the_start(one, &lesson, &step)?;
    let (_, _, got) = from_the_start(other, &lesson, &step)?;
    got.same(&want)
}

/// Parameters come back as they were given; and they, running statistics and moments, read back after a step and put
/// into a new layer, continue as the old one does.
///
/// # Errors
/// The first element that differs.
pub fn checkpoints_continue_with_the_same_bits<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let (lesson, step) = course(problem)?;
    same_params(&Trainee::new(backend, &lesson.instance)?.params()?, lesson.instance.layer.params())?;
    let (mut trainee, mut moments, saved) = from_the_start(backend, &lesson, &step)?;
    if !saved.is_finite() {
        return Ok(());
    }
    let want = Trained::new(&mut trainee, &mut moments, &lesson, &step)?;
    let layer = DyConv2d::new(*lesson.instance.config(), saved.params.clone())?;
    let mut resumed = Trainee::new(backend, &lesson.instance.on(layer))?;
    let (stream, optimizer) = (&mut resumed.stream, &step.optimizer);
    let mut moments = backend.load_moments(stream, &resumed.layer, optimizer, &saved.moments)?;
    Trained::new(&mut resumed, &mut moments, &lesson, &step)?.same(&want)
}

/// A lesson with everything, and a step with moments.
fn course(problem: &Problem) -> Result<(Lesson, Step)> {
    let lesson = problem.lesson()?;
    let step = super::step::any_step(&mut Fill::new(problem.seed, "course"), &lesson.instance);
    Ok((lesson, step))
}

/// The first lessons of a new layer, and who took them.
fn from_the_start<'a, B: Train>(
    backend: &'a B,
    lesson: &Lesson,
    step: &Step,
) -> Result<(Trainee<'a, B>, B::Moments, Trained)> {
    let mut trainee = Trainee::new(backend, &lesson.instance)?;
    let mut moments = backend.moments(&trainee.layer, &step.optimizer)?;
    let trained = Trained::new(&mut trainee, &mut moments, lesson, step)?;
    Ok((trainee, moments, trained))
}

/// What two lessons with a step after each leave behind.
struct Trained {
    first: Learned,
    second: Learned,
    params: Params,
    moments: MomentValues,
}

impl Trained {
    fn new<B: Train>(
        trainee: &mut Trainee<'_, B>,
        moments: &mut B::Moments,
        lesson: &Lesson,
        step: &Step,
    ) -> Result<Self> {
        let backend = trainee.backend;
        let mut round = || -> Result<Learned> {
            let learned = trainee.learn(lesson)?;
            let gradients = trainee.gradients(lesson)?.params;
            backend.step(&mut trainee.stream, &mut trainee.layer, &gradients, moments, step)?;
            Ok(learned)
        };
        let (first, second) = (round()?, round()?);
        let params = trainee.params()?;
        let moments = backend.moment_values(&mut trainee.stream, &trainee.layer, moments)?;
        Ok(Self { first, second, params, moments })
    }

    fn is_finite(&self) -> bool {
        let slots = self.moments.slots.iter().flat_map(|slot| slot.values());
        let params = self.params.tensors().into_iter().map(|(_, data)| data);
        params.chain(slots.map(Vec::as_slice)).flatten().all(|value| value.is_finite())
    }

    fn same(&self, want: &Self) -> Verdict {
        for (which, got, want) in
            [("first", &self.first, &want.first), ("second", &self.second, &want.second)]
        {
            same_bits("output", &got.ran.output, &want.ran.output)
                .and_then(|()| each(&got.gradients, &want.gradients, same_bits))
                .map_err(|failure| failure.context(format!("the {which} lesson")))?;
        }
        same_params(&self.params, &want.params)?;
        if self.moments.steps != want.moments.steps || self.moments.slots.len() != want.moments.slots.len() {
            return Err(Failure::new("other steps or moments"));
        }
        let mut slots = self.moments.slots.iter().zip(&want.moments.slots);
        slots.try_for_each(|(got, want)| maps(got, want, same_bits))
    }
}

/// The same tensors, bit for bit.
pub(super) fn same_params(got: &Params, want: &Params) -> Verdict {
    let map =
        |params: &Params| params.tensors().into_iter().map(|(name, data)| (name, data.to_vec())).collect();
    maps(&map(got), &map(want), same_bits)
}
