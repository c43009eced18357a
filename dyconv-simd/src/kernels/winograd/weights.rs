//! U = G·W~·Gᵀ: experts' taps are aggregated and transformed in registers.

use super::transform::{POINTS, weights};
use crate::kernels::aggregate::{Bf16, F16, F32, Stored};
use crate::kernels::ahead::LINE;
use crate::lanes::{Lanes, Task};
use crate::pack::Weights;
use crate::plan::Size;

/// Where a step's weights go, transformed.
#[derive(Debug)]
pub(super) struct Into<'a> {
    /// `[row point][column point][channel][vector][lane]`
    pub(super) u: &'a mut [f32],
    /// Floats from one pair of points to the next.
    pub(super) apart: usize,
    /// Vectors of the block.
    pub(super) vectors: usize,
    /// Cache lines that are asked for meanwhile.
    pub(super) ahead: &'a [f32],
}

/// Aggregates and transforms a packed piece, `[channel][tap][vector][expert][lane]`.
pub(super) fn transform_weights<L: Lanes>(
    lanes: L,
    size: Size,
    packed: Weights<'_>,
    pi: &[f32],
    into: Into<'_>,
) {
    match packed {
        Weights::F32(packed) => stored::<L, F32>(lanes, size, packed, pi, into),
        Weights::Bf16(packed) => stored::<L, Bf16>(lanes, size, packed, pi, into),
        Weights::F16(packed) => stored::<L, F16>(lanes, size, packed, pi, into),
    }
}

fn stored<L: Lanes, S: Stored>(lanes: L, size: Size, packed: &[S::Word], pi: &[f32], into: Into<'_>) {
    // With the number of vectors known, so is where each tap is.
    match (size, into.vectors) {
        (Size::Two, 1) => counted::<L, S, 4, 1>(lanes, packed, pi, into),
        (Size::Two, 2) => counted::<L, S, 4, 2>(lanes, packed, pi, into),
        (Size::Four, 1) => counted::<L, S, POINTS, 1>(lanes, packed, pi, into),
        (Size::Four, 2) => counted::<L, S, POINTS, 2>(lanes, packed, pi, into),
        (_, vectors) => unreachable!("a block of {vectors} vectors"),
    }
}

fn counted<L: Lanes, S: Stored, const P: usize, const V: usize>(
    lanes: L,
    packed: &[S::Word],
    pi: &[f32],
    into: Into<'_>,
) {
    // With the number of experts known, their weights stay in registers.
    let done = match *pi {
        [a] => lanes.vectorize(Fixed::<S, P, V, 1> { packed, pi: [a], into }),
        [a, b] => lanes.vectorize(Fixed::<S, P, V, 2> { packed, pi: [a, b], into }),
        [a, b, c, d] => lanes.vectorize(Fixed::<S, P, V, 4> { packed, pi: [a, b, c, d], into }),
        _ => lanes.vectorize(Any::<S, P, V> { packed, pi, into }),
    };
    done.expect("U of every weight");
}

struct Fixed<'a, S: Stored, const P: usize, const V: usize, const K: usize> {
    packed: &'a [S::Word],
    pi: [f32; K],
    into: Into<'a>,
}

impl<S: Stored, const P: usize, const V: usize, const K: usize> Task for Fixed<'_, S, P, V, K> {
    /// Nothing where U isn't as large as it says.
    type Output = Option<()>;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Option<()> {
        let Self { packed, pi, into } = self;
        let pi = pi.map(|weight| lanes.splat(weight));
        let words = K * L::WIDTH;
        each::<L, S, P, V>(lanes, packed, words, into, |experts| S::sum(lanes, experts, pi))
    }
}

struct Any<'a, S: Stored, const P: usize, const V: usize> {
    packed: &'a [S::Word],
    pi: &'a [f32],
    into: Into<'a>,
}

impl<S: Stored, const P: usize, const V: usize> Task for Any<'_, S, P, V> {
    /// Nothing where U isn't as large as it says.
    type Output = Option<()>;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Option<()> {
        let Self { packed, pi, into } = self;
        let words = pi.len() * L::WIDTH;
        each::<L, S, P, V>(lanes, packed, words, into, |experts| S::sum_any(lanes, experts, pi))
    }
}

/// Transforms vector after vector of 3 × 3 taps; `sum` aggregates one of a tap, which takes so many words.
#[inline(always)]
fn each<L: Lanes, S: Stored, const P: usize, const V: usize>(
    lanes: L,
    packed: &[S::Word],
    words: usize,
    into: Into<'_>,
    sum: impl Fn(&[S::Word]) -> L::V,
) -> Option<()> {
    let Into { u, apart, ahead, .. } = into;
    let count = packed.len() / (9 * words);
    let lines = (ahead.len() / LINE).div_ceil(count.max(1));
    for (channel, taps) in packed.chunks_exact(9 * V * words).enumerate() {
        for vector in 0..V {
            let i = channel * V + vector;
            for line in 0..lines {
                lanes.prefetch(ahead, (i * lines + line) * LINE);
            }
            let zero = lanes.splat(0.0);
            // Points of rows, column by column.
            let mut rows = [[zero; 3]; POINTS];
            for c in 0..3 {
                let mut column = [zero; 3];
                for r in 0..3 {
                    let at = ((r * 3 + c) * V + vector) * words;
                    column[r] = sum(&taps[at..at + words]);
                }
                let points = weights::<L, P>(lanes, column);
                for p in 0..P {
                    rows[p][c] = points[p];
                }
            }
            for p in 0..P {
                let row = u.get_mut(p * P * apart + i * L::WIDTH..)?;
                lanes.store_apart(weights::<L, P>(lanes, rows[p]), row, apart, P)?;
            }
        }
    }
    Some(())
}
