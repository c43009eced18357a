//! A piece of packed weights, in whichever number format.

use std::ops::Range;

use dyconv_core::Precision;

/// Bytes of a weight.
pub(crate) fn word_bytes(precision: Precision) -> usize {
    match precision {
        Precision::Bf16 | Precision::F16 => size_of::<u16>(),
        _ => size_of::<f32>(),
    }
}

/// A piece of packed weights.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Weights<'a> {
    F32(&'a [f32]),
    Bf16(&'a [u16]),
    F16(&'a [u16]),
}

impl Weights<'_> {
    /// Some of them.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        match self {
            Self::F32(weights) => Self::F32(&weights[range]),
            Self::Bf16(weights) => Self::Bf16(&weights[range]),
            Self::F16(weights) => Self::F16(&weights[range]),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(weights) => weights.len(),
            Self::Bf16(weights) | Self::F16(weights) => weights.len(),
        }
    }
}
