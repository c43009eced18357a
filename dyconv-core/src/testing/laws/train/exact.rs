//! Exact: where f32 rounds nothing, every backend gives the reference's gradients.

use super::compare::{complete, each, maps};
use crate::testing::fill::Fill;
use crate::testing::verdict::equal;
use crate::testing::{Lesson, Problem, Trainee, Verdict};
use crate::{Gradients, ParamMap, Reference, Result, Tensor, Train};

/// Integers with attention in quarters give the reference's gradients exactly, in any order of summation: of input,
/// residual, π, experts and biases; and 0 for a head that is overridden.
///
/// # Errors
/// The first element that differs.
pub fn integer_gradients_are_exact<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let lesson = problem.clone().exact().lesson()?;
    let learned = lesson.run(backend)?;
    complete(&learned.gradients, &lesson)?;
    if !learned.contracts.is_exact() {
        return Ok(());
    }
    each(&learned.gradients, &lesson.run(&Reference::default())?.gradients, equal)
}

/// A backward that is given gradients adds its own to them: two batches, in either order of their backwards.
///
/// # Errors
/// The first element that isn't the sum.
pub fn gradients_add_up<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let one = problem.clone().exact().lesson()?;
    // Another batch for the same layer.
    let other = Problem { seed: problem.seed ^ 0xadd, ..problem.clone() }.exact().lesson()?;
    let other = Lesson { instance: other.instance.on(one.instance.layer.clone()), ..other };
    let mut trainee = Trainee::new(backend, &one.instance)?;
    if !trainee.contracts(one.instance.input.shape())?.is_exact() {
        return Ok(());
    }
    let (_, first) = trainee.forward(&one)?;
    let (_, second) = trainee.forward(&other)?;
    let (found, added) = match Fill::new(problem.seed, "order").below(2) {
        0 => in_turn(&mut trainee, (&one, first), (&other, second))?,
        _ => in_turn(&mut trainee, (&other, second), (&one, first))?,
    };
    let reference = Reference::default();
    let (one, other) = (one.run(&reference)?.gradients.params, other.run(&reference)?.gradients.params);
    let sums = one.iter().map(|(name, one)| {
        let sum = one.iter().zip(&other[name]).map(|(one, other)| one + other).collect();
        (*name, sum)
    });
    maps(&added.params, &sums.collect::<ParamMap>(), equal)?;
    // Tensors are those of the second alone.
    each(
        &Gradients { params: ParamMap::new(), ..added },
        &Gradients { params: ParamMap::new(), ..found },
        equal,
    )
}

/// The reference's gradients of the later lesson, and the backend's sum.
fn in_turn<B: Train>(
    trainee: &mut Trainee<'_, B>,
    (earlier, first): (&Lesson, B::Tape),
    (later, second): (&Lesson, B::Tape),
) -> Result<(Gradients<Tensor, ParamMap>, Gradients<Tensor, ParamMap>)> {
    let onto = trainee.backward(earlier, first, None)?.params;
    let sum = trainee.backward(later, second, Some(onto))?;
    Ok((later.run(&Reference::default())?.gradients, trainee.home(&sum)?))
}
