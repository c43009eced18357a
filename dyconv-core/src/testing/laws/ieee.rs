//! IEEE: NaN and infinity spoil their own sample as arithmetic says, and no other.

use crate::reference::{Evaluation, F64Layer};
use crate::testing::fill::Fill;
use crate::testing::{Data, Failure, Instance, Problem, Verdict};
use crate::{Activation, Backend, Precision, Tensor};

/// One NaN or infinity in one sample's input, attention or residual: the other samples keep their
/// bits, and where arithmetic says NaN or infinity the result isn't finite.
///
/// # Errors
/// The first element that isn't as it must be.
pub fn nan_and_infinity_stay_in_their_sample<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    let clean = Problem { data: Data::Reals, batch_statistics: false, ..problem.clone() }.build()?;
    if problem.batch == 0 {
        return Ok(());
    }
    let mut fill = Fill::new(problem.seed, "poison");
    let poison = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][fill.below(3)];
    let sample = fill.below(problem.batch);
    let mut dirty = clean.clone();
    let place = match fill.below(3) {
        0 if poison_tensor(dirty.attention.as_mut(), sample, poison, &mut fill) => "attention",
        1 if poison_tensor(dirty.residual.as_mut(), sample, poison, &mut fill) => "residual",
        _ => {
            poison_tensor(Some(&mut dirty.input), sample, poison, &mut fill);
            "input"
        }
    };
    let (want, got) = (clean.run(backend)?.output, dirty.run(backend)?.output);
    let len = got.shape().sample_len();
    if got.data().len() != want.data().len() {
        return Err(Failure::new(format!("output is {}, expected {}", got.shape(), want.shape())));
    }
    let context = |failure: Failure| failure.context(format!("{poison} in the {place} of sample {sample}"));
    for n in (0..problem.batch).filter(|&n| n != sample) {
        let bits = |tensor: &Tensor| -> Vec<u32> {
            tensor.data()[n * len..(n + 1) * len].iter().map(|value| value.to_bits()).collect()
        };
        if bits(&got) != bits(&want) {
            return Err(context(Failure::new(format!("sample {n} changed"))));
        }
    }
    spoilt(&dirty, &got, sample).map_err(context)
}

/// Where the reference's sum is NaN, so is the result; where its result is infinite, it isn't finite.
/// The rest of a spoilt sample is free: a Winograd tile spreads NaN over its outputs. Where experts of 16 bits cancel, even
/// the sign of what they leave may be another one, and most activations make something finite of one of the infinities.
fn spoilt(dirty: &Instance, got: &Tensor, sample: usize) -> Verdict {
    let layer = F64Layer::new(&dirty.layer, &dirty.how);
    let Evaluation { preactivation, output, .. } =
        dirty.as_stored().with_f64_call(|call| layer.evaluate(call))?;
    let unbounded =
        matches!(dirty.layer.config().activation(), Activation::None | Activation::LeakyRelu { .. });
    let certain = unbounded || dirty.how.precision == Precision::F32;
    let len = got.shape().sample_len();
    for i in sample * len..(sample + 1) * len {
        let value = got.data()[i];
        if preactivation.data()[i].is_nan() && !value.is_nan() {
            return Err(Failure::new(format!("element {i} is {value:e}, expected NaN")));
        }
        if certain && output.data()[i].is_infinite() && value.is_finite() {
            return Err(Failure::new(format!("element {i} is {value:e}, expected {}", output.data()[i])));
        }
    }
    Ok(())
}

/// Puts `poison` somewhere into one sample.
fn poison_tensor(tensor: Option<&mut Tensor>, sample: usize, poison: f32, fill: &mut Fill) -> bool {
    let Some(tensor) = tensor else { return false };
    let len = tensor.shape().sample_len();
    let i = sample * len + fill.below(len);
    tensor.data_mut()[i] = poison;
    true
}
