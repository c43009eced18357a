//! What a law says: nothing, or why it is broken.

use std::fmt;

use crate::{Error, Layout, Tensor};

/// Nothing, or why a law is broken.
pub type Verdict = Result<(), Failure>;

/// Why a law is broken: element, value, expectation, bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// A failure in words.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// The same failure, with where it happened in front.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Self {
        Self(format!("{what}: {self}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(format!("an error where none was expected: {error}"))
    }
}

/// Holds `got` against `want`, element by element, in the same layout. Names the worst element. Where a bound is infinite,
/// any finite number will do.
pub(super) fn within(what: &str, got: &Tensor, want: &[f64], error: &[f64]) -> Verdict {
    if got.data().len() != want.len() {
        let (got, want) = (got.data().len(), want.len());
        return Err(Failure(format!("{what} has {got} elements, expected {want}")));
    }
    let mut worst: Option<(f64, usize)> = None;
    for (i, ((&got, &want), &error)) in got.data().iter().zip(want).zip(error).enumerate() {
        let bound = error + f64::from(f32::MIN_POSITIVE);
        let ratio = (f64::from(got) - want).abs() / bound;
        // NaN is worse than any number.
        let ratio = if ratio.is_nan() { f64::INFINITY } else { ratio };
        if ratio > 1.0 && worst.is_none_or(|(most, _)| ratio > most) {
            worst = Some((ratio, i));
        }
    }
    let Some((ratio, i)) = worst else { return Ok(()) };
    Err(Failure(format!(
        "{what}{:?} (N, C, H, W) is {:e}, expected {:e} ± {:e}: error is {ratio:.3} times the bound",
        index(got, i),
        got.data()[i],
        want[i],
        error[i],
    )))
}

/// Holds `got` against `want`: equal as numbers, so that −0 = +0. NaN equals nothing.
pub(super) fn equal(what: &str, got: &Tensor, want: &Tensor) -> Verdict {
    same(what, got, want, |got, want| got == want)
}

/// Holds `got` against `want`: equal as numbers, and NaN where `want` is NaN.
pub(super) fn equal_or_nan(what: &str, got: &Tensor, want: &Tensor) -> Verdict {
    same(what, got, want, |got, want| got == want || (got.is_nan() && want.is_nan()))
}

/// Holds `got` against `want`: the same bits, except that any NaN equals any other.
pub(super) fn same_bits(what: &str, got: &Tensor, want: &Tensor) -> Verdict {
    same(what, got, want, |got, want| got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()))
}

fn same(what: &str, got: &Tensor, want: &Tensor, equal: impl Fn(f32, f32) -> bool) -> Verdict {
    shaped(what, got, want)?;
    let mut pairs = got.data().iter().zip(want.data());
    let Some(i) = pairs.position(|(&got, &want)| !equal(got, want)) else { return Ok(()) };
    let (index, got, want) = (index(got, i), got.data()[i], want.data()[i]);
    Err(Failure(format!("{what}{index:?} (N, C, H, W) is {got:e}, expected exactly {want:e}")))
}

/// Shape and layout must be the expected ones.
pub(super) fn shaped(what: &str, got: &Tensor, want: &Tensor) -> Verdict {
    if got.shape() != want.shape() {
        return Err(Failure(format!("{what} is {}, expected {}", got.shape(), want.shape())));
    }
    if got.layout() != want.layout() && got.shape().pixels() > 1 && got.shape().channels() > 1 {
        return Err(Failure(format!("{what} is {}, expected {}", got.layout(), want.layout())));
    }
    Ok(())
}

/// Batch, channel, row and column of the i-th element.
fn index(tensor: &Tensor, i: usize) -> [usize; 4] {
    let shape = tensor.shape();
    let (n, rest) = (i / shape.sample_len(), i % shape.sample_len());
    let (c, pixel) = match tensor.layout() {
        Layout::Nchw => (rest / shape.pixels(), rest % shape.pixels()),
        Layout::Nhwc => (rest % shape.channels(), rest / shape.channels()),
    };
    [n, c, pixel / shape.width(), pixel % shape.width()]
}
