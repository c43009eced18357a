//! IEEE: NaN and infinity spoil the gradients of their own sample, and the parameters', and no others.

use crate::testing::fill::Fill;
use crate::testing::{Failure, Lesson, Problem, Verdict};
use crate::{Activation, Gradients, ParamMap, Reference, Tensor, Train};

/// One NaN or infinity in one sample's g, input or attention: the other samples' gradients keep their bits, and where
/// arithmetic says so the parameters' gradients aren't finite.
///
/// # Errors
/// The first element that isn't as it must be.
pub fn nan_and_infinity_stay_in_their_samples_gradients<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    if problem.batch == 0 {
        return Ok(());
    }
    let real = crate::testing::laws::bounded::real(problem);
    let clean = Problem { batch_statistics: false, ..real }.lesson()?;
    let mut fill = Fill::new(problem.seed, "poisoned lesson");
    let poison = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][fill.below(3)];
    let sample = fill.below(problem.batch);
    let mut dirty = clean.clone();
    let (place, tensor) = match (fill.below(3), &mut dirty.instance.attention) {
        (0, Some(attention)) => ("attention", attention),
        (1, _) => ("input", &mut dirty.instance.input),
        _ => ("g", &mut dirty.gradient),
    };
    let len = tensor.shape().sample_len();
    tensor.data_mut()[sample * len + fill.below(len)] = poison;
    let context = |failure: Failure| failure.context(format!("{poison} in the {place} of sample {sample}"));
    let (want, got) = (clean.run(backend)?.gradients, dirty.run(backend)?.gradients);
    let samples = (0..problem.batch).filter(|&n| n != sample);
    samples.into_iter().try_for_each(|n| unchanged(&got, &want, n)).map_err(context)?;
    spoilt(&dirty, &got.params).map_err(context)
}

fn unchanged(got: &Gradients<Tensor, ParamMap>, want: &Gradients<Tensor, ParamMap>, n: usize) -> Verdict {
    let tensors = [
        ("dinput", &got.input, &want.input),
        ("dresidual", &got.residual, &want.residual),
        ("dπ", &got.attention, &want.attention),
    ];
    for (what, got, want) in tensors {
        let bits = |tensor: &Option<Tensor>| -> Vec<u32> {
            let Some(tensor) = tensor else { return Vec::new() };
            let len = tensor.shape().sample_len();
            tensor.data()[n * len..(n + 1) * len].iter().map(|value| value.to_bits()).collect()
        };
        if bits(got) != bits(want) {
            return Err(Failure::new(format!("{what} of sample {n} changed")));
        }
    }
    Ok(())
}

/// Where the reference's gradients of experts and biases aren't finite, no more are the backend's. Behind an
/// activation that cuts off, a backend may choose where the reference multiplies by 0.
fn spoilt(dirty: &Lesson, got: &ParamMap) -> Verdict {
    if dirty.instance.config().activation() != Activation::None {
        return Ok(());
    }
    let want = dirty.run(&Reference::default())?.gradients.params;
    for name in ["weight", "bias"] {
        let (Some(got), Some(want)) = (got.get(name), want.get(name)) else { continue };
        let mut pairs = got.iter().zip(want);
        if let Some(i) = pairs.position(|(got, want)| got.is_finite() && !want.is_finite()) {
            return Err(Failure::new(format!("d{name}[{i}] is {:e}, expected {}", got[i], want[i])));
        }
    }
    Ok(())
}
