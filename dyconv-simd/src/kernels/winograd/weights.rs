//! U = G·W~·Gᵀ: experts' taps are aggregated and transformed in registers.

use super::transform::{POINTS, weights};
use crate::kernels::aggregate::{Bf16, F16, F32, Stored};
use crate::lanes::{Lanes, Task};
use crate::pack::Weights;
use crate::plan::Size;

/// Writes `[row point][column point][channel][vector][lane]`, pairs of points `apart` floats apart, of a packed piece
/// `[channel][tap][vector][expert][lane]`.
pub(super) fn transform_weights<L: Lanes>(
    lanes: L,
    size: Size,
    packed: Weights<'_>,
    pi: &[f32],
    vectors: usize,
    (u, apart): (&mut [f32], usize),
) {
    match packed {
        Weights::F32(packed) => stored::<L, F32>(lanes, size, packed, pi, vectors, (u, apart)),
        Weights::Bf16(packed) => stored::<L, Bf16>(lanes, size, packed, pi, vectors, (u, apart)),
        Weights::F16(packed) => stored::<L, F16>(lanes, size, packed, pi, vectors, (u, apart)),
    }
}

fn stored<L: Lanes, S: Stored>(
    lanes: L,
    size: Size,
    packed: &[S::Word],
    pi: &[f32],
    vectors: usize,
    u: (&mut [f32], usize),
) {
    match size {
        Size::Two => counted::<L, S, 4>(lanes, packed, pi, vectors, u),
        Size::Four => counted::<L, S, POINTS>(lanes, packed, pi, vectors, u),
    }
}

fn counted<L: Lanes, S: Stored, const P: usize>(
    lanes: L,
    packed: &[S::Word],
    pi: &[f32],
    vectors: usize,
    (u, apart): (&mut [f32], usize),
) {
    // With the number of experts known, their weights stay in registers.
    match *pi {
        [a] => lanes.vectorize(Fixed::<S, P, 1> { packed, pi: [a], vectors, u, apart }),
        [a, b] => lanes.vectorize(Fixed::<S, P, 2> { packed, pi: [a, b], vectors, u, apart }),
        [a, b, c, d] => lanes.vectorize(Fixed::<S, P, 4> { packed, pi: [a, b, c, d], vectors, u, apart }),
        _ => lanes.vectorize(Any::<S, P> { packed, pi, vectors, u, apart }),
    }
}

struct Fixed<'a, S: Stored, const P: usize, const K: usize> {
    packed: &'a [S::Word],
    pi: [f32; K],
    vectors: usize,
    u: &'a mut [f32],
    apart: usize,
}

impl<S: Stored, const P: usize, const K: usize> Task for Fixed<'_, S, P, K> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { packed, pi, vectors, u, apart } = self;
        let pi = pi.map(|weight| lanes.splat(weight));
        each::<L, P>(lanes, packed.len() / (9 * K * L::WIDTH), vectors, (u, apart), |place| {
            S::sum(lanes, &packed[place * K * L::WIDTH..], pi)
        });
    }
}

struct Any<'a, S: Stored, const P: usize> {
    packed: &'a [S::Word],
    pi: &'a [f32],
    vectors: usize,
    u: &'a mut [f32],
    apart: usize,
}

impl<S: Stored, const P: usize> Task for Any<'_, S, P> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { packed, pi, vectors, u, apart } = self;
        let words = pi.len() * L::WIDTH;
        each::<L, P>(lanes, packed.len() / (9 * words), vectors, (u, apart), |place| {
            S::sum_any(lanes, &packed[place * words..][..words], pi)
        });
    }
}

/// Transforms `count` vectors of 3 × 3 taps. `sum` gives the aggregated one at a place of `[channel][tap][vector]`.
#[inline(always)]
fn each<L: Lanes, const P: usize>(
    lanes: L,
    count: usize,
    vectors: usize,
    (u, apart): (&mut [f32], usize),
    sum: impl Fn(usize) -> L::V,
) {
    for i in 0..count {
        let (channel, vector) = (i / vectors, i % vectors);
        let zero = lanes.splat(0.0);
        // Points of rows, column by column.
        let mut rows = [[zero; 3]; POINTS];
        for c in 0..3 {
            let mut taps = [zero; 3];
            for r in 0..3 {
                taps[r] = sum((channel * 9 + r * 3 + c) * vectors + vector);
            }
            let points = weights::<L, P>(lanes, taps);
            for p in 0..P {
                rows[p][c] = points[p];
            }
        }
        let mut u = &mut u[i * L::WIDTH..];
        for p in 0..P {
            let points = weights::<L, P>(lanes, rows[p]);
            for q in 0..P {
                lanes.store(points[q], u);
                if p * P + q + 1 < P * P {
                    u = &mut u[apart..];
                }
            }
        }
    }
}
