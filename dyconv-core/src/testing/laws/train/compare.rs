//! Gradients held against what was expected, or against others.

use crate::testing::estimate::{Estimate, ExpectedLesson};
use crate::testing::verdict::{shaped, within};
use crate::testing::{Failure, Learned, Lesson, Verdict};
use crate::{Gradients, ParamMap, Result, Tensor, Train};

/// Takes a lesson on a backend, and holds everything that came of it against what was expected.
pub(super) fn holds<B: Train>(backend: &B, lesson: &Lesson) -> Verdict {
    let learned = lesson.run(backend)?;
    matches(&learned, lesson)
}

fn matches(learned: &Learned, lesson: &Lesson) -> Verdict {
    let expected = ExpectedLesson::new(lesson, learned.contracts)?;
    complete(&learned.gradients, lesson)?;
    let Gradients { input, residual, attention, params } = &learned.gradients;
    let tensors = [
        ("dinput", input, &expected.input),
        ("dresidual", residual, &expected.residual),
        ("dπ", attention, &expected.attention),
    ];
    for (what, got, want) in tensors {
        if let Some(got) = got {
            within(what, got, &want.value, &want.error)?;
        }
    }
    for (name, want) in &expected.params {
        let got = params.get(name).map(Vec::as_slice).unwrap_or_default();
        estimated(&format!("d{name}"), got, want)?;
    }
    Ok(())
}

/// Every gradient that there must be is there, in its shape and layout, and no other.
pub(super) fn complete(gradients: &Gradients<Tensor, ParamMap>, lesson: &Lesson) -> Verdict {
    let (instance, config) = (&lesson.instance, lesson.instance.config());
    let weights = Tensor::attention(
        instance.input.shape().batch(),
        config.experts(),
        vec![0.0; instance.input.shape().batch() * config.experts()],
    )?;
    let is_dynamic = config.attention().is_some();
    let tensors = [
        ("dinput", &gradients.input, lesson.input, &instance.input),
        ("dresidual", &gradients.residual, instance.residual.is_some(), &lesson.gradient),
        ("dπ", &gradients.attention, is_dynamic, &weights),
    ];
    for (what, got, wanted, like) in tensors {
        match got {
            Some(got) if wanted => shaped(what, got, like)?,
            None if !wanted => {}
            _ => {
                return Err(Failure::new(format!("{what} came back: {}; expected: {wanted}", got.is_some())));
            }
        }
    }
    let got: Vec<_> = gradients.params.keys().copied().collect();
    let mut want: Vec<_> = instance.layer.params().learned(config).iter().map(|spec| spec.name).collect();
    want.sort_unstable();
    match got == want {
        true => Ok(()),
        false => Err(Failure::new(format!("gradients of {got:?}, expected of {want:?}"))),
    }
}

/// A parameter, or its gradient, as a tensor of one row.
fn row(data: &[f32]) -> Result<Tensor> {
    Tensor::attention(1, data.len(), data.to_vec())
}

pub(super) fn estimated(what: &str, got: &[f32], want: &Estimate) -> Verdict {
    within(what, &row(got)?, &want.value, &want.error)
}

/// Calls `same` with every tensor of two gradients, by name.
pub(super) fn each(
    got: &Gradients<Tensor, ParamMap>,
    want: &Gradients<Tensor, ParamMap>,
    same: impl Fn(&str, &Tensor, &Tensor) -> Verdict,
) -> Verdict {
    let tensors = [
        ("dinput", &got.input, &want.input),
        ("dresidual", &got.residual, &want.residual),
        ("dπ", &got.attention, &want.attention),
    ];
    for (what, got, want) in tensors {
        match (got, want) {
            (Some(got), Some(want)) => same(what, got, want)?,
            (None, None) => {}
            _ => return Err(Failure::new(format!("{what} came back from one of two"))),
        }
    }
    maps(&got.params, &want.params, |name, got, want| same(&format!("d{name}"), got, want))
}

/// Calls `same` with every tensor of two maps, by name.
pub(super) fn maps(
    got: &ParamMap,
    want: &ParamMap,
    same: impl Fn(&str, &Tensor, &Tensor) -> Verdict,
) -> Verdict {
    if !got.keys().eq(want.keys()) {
        return Err(Failure::new(format!("{:?}, expected {:?}", got.keys(), want.keys())));
    }
    got.iter().zip(want.values()).try_for_each(|((name, got), want)| same(name, &row(got)?, &row(want)?))
}
