//! Step 3: W~ = Σ π_k·W_k over a packed piece, in one linear pass; what comes out is a panel.
//!
//! A kernel that needs the sum elsewhere than in memory takes it a vector at a time from [`Stored`].

use bytemuck::Pod;

use super::convolve::Sample;
use crate::buffer::Buffer;
use crate::lanes::{Lanes, Task};
use crate::pack::Weights;

/// How experts are stored: what a vector of each of K experts, one after another, comes to.
pub(crate) trait Stored: Copy {
    /// What they are stored in.
    type Word: Pod;

    /// Σ π_k·W_k of one vector; `experts` holds at least K times `L::WIDTH` words.
    fn sum<L: Lanes, const K: usize>(lanes: L, experts: &[Self::Word], pi: [L::V; K]) -> L::V;

    /// The same for any number of experts.
    fn sum_any<L: Lanes>(lanes: L, experts: &[Self::Word], pi: &[f32]) -> L::V;

    /// A vector of each of K experts: all of a layer's, or an even number of them, or its last.
    fn each<L: Lanes, const K: usize>(lanes: L, experts: &[Self::Word]) -> [L::V; K];
}

/// f32: `[expert][lane]`
#[derive(Clone, Copy, Debug)]
pub(crate) struct F32;

/// bf16: `[pair of experts][lane][of the pair]`, and, where their number is odd, the last one's `[lane]`. A pair's lane is
/// one 32-bit word: half of it shifted or masked away leaves an f32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bf16;

/// f16: `[expert][lane]`
#[derive(Clone, Copy, Debug)]
pub(crate) struct F16;

impl Stored for F32 {
    type Word = f32;

    #[inline(always)]
    fn sum<L: Lanes, const K: usize>(lanes: L, experts: &[f32], pi: [L::V; K]) -> L::V {
        let mut sum = lanes.mul(pi[0], lanes.load(experts));
        for k in 1..K {
            sum = lanes.mul_add(pi[k], lanes.load(&experts[k * L::WIDTH..]), sum);
        }
        sum
    }

    #[inline(always)]
    fn sum_any<L: Lanes>(lanes: L, experts: &[f32], pi: &[f32]) -> L::V {
        let mut sum = lanes.splat(0.0);
        for (&weight, expert) in pi.iter().zip(experts.chunks_exact(L::WIDTH)) {
            sum = lanes.mul_add(lanes.splat(weight), lanes.load(expert), sum);
        }
        sum
    }

    #[inline(always)]
    fn each<L: Lanes, const K: usize>(lanes: L, experts: &[f32]) -> [L::V; K] {
        let mut each = [lanes.splat(0.0); K];
        for (k, expert) in each.iter_mut().enumerate() {
            *expert = lanes.load(&experts[k * L::WIDTH..]);
        }
        each
    }
}

impl Stored for Bf16 {
    type Word = u16;

    #[inline(always)]
    fn sum<L: Lanes, const K: usize>(lanes: L, experts: &[u16], pi: [L::V; K]) -> L::V {
        if K == 1 {
            return lanes.mul(pi[0], lanes.load_bf16(experts));
        }
        let [a, b] = lanes.load_bf16_pair(experts);
        let mut sum = lanes.mul_add(pi[1], b, lanes.mul(pi[0], a));
        for k in 1..K / 2 {
            let [a, b] = lanes.load_bf16_pair(&experts[2 * k * L::WIDTH..]);
            sum = lanes.mul_add(pi[2 * k + 1], b, lanes.mul_add(pi[2 * k], a, sum));
        }
        if K % 2 == 1 {
            sum = lanes.mul_add(pi[K - 1], lanes.load_bf16(&experts[(K - 1) * L::WIDTH..]), sum);
        }
        sum
    }

    #[inline(always)]
    fn sum_any<L: Lanes>(lanes: L, experts: &[u16], pi: &[f32]) -> L::V {
        let mut sum = lanes.splat(0.0);
        for (pi, experts) in pi.chunks(2).zip(experts.chunks(2 * L::WIDTH)) {
            sum = match *pi {
                [one, other] => {
                    let [a, b] = lanes.load_bf16_pair(experts);
                    lanes.mul_add(lanes.splat(other), b, lanes.mul_add(lanes.splat(one), a, sum))
                }
                [last, ..] => lanes.mul_add(lanes.splat(last), lanes.load_bf16(experts), sum),
                [] => sum,
            };
        }
        sum
    }

    #[inline(always)]
    fn each<L: Lanes, const K: usize>(lanes: L, experts: &[u16]) -> [L::V; K] {
        let mut each = [lanes.splat(0.0); K];
        for (pair, two) in each.chunks_exact_mut(2).enumerate() {
            two.copy_from_slice(&lanes.load_bf16_pair(&experts[2 * pair * L::WIDTH..]));
        }
        if K % 2 == 1 {
            each[K - 1] = lanes.load_bf16(&experts[(K - 1) * L::WIDTH..]);
        }
        each
    }
}

impl Stored for F16 {
    type Word = u16;

    #[inline(always)]
    fn sum<L: Lanes, const K: usize>(lanes: L, experts: &[u16], pi: [L::V; K]) -> L::V {
        let mut sum = lanes.mul(pi[0], lanes.load_f16(experts));
        for k in 1..K {
            sum = lanes.mul_add(pi[k], lanes.load_f16(&experts[k * L::WIDTH..]), sum);
        }
        sum
    }

    #[inline(always)]
    fn sum_any<L: Lanes>(lanes: L, experts: &[u16], pi: &[f32]) -> L::V {
        let mut sum = lanes.splat(0.0);
        for (&weight, expert) in pi.iter().zip(experts.chunks_exact(L::WIDTH)) {
            sum = lanes.mul_add(lanes.splat(weight), lanes.load_f16(expert), sum);
        }
        sum
    }

    #[inline(always)]
    fn each<L: Lanes, const K: usize>(lanes: L, experts: &[u16]) -> [L::V; K] {
        let mut each = [lanes.splat(0.0); K];
        for (k, expert) in each.iter_mut().enumerate() {
            *expert = lanes.load_f16(&experts[k * L::WIDTH..]);
        }
        each
    }
}

/// The weights of a packed piece as kernels multiply with them: as they are, where they are one expert's in f32, else
/// aggregated into `scratch`.
pub(crate) fn panel<'a, L: Lanes>(
    lanes: L,
    weights: Weights<'a>,
    pi: Option<&[f32]>,
    scratch: &'a mut Buffer,
) -> &'a [f32] {
    let pi = match (weights, pi) {
        (Weights::F32(weights), None) => return weights,
        (_, pi) => pi.unwrap_or(&[1.0]),
    };
    let panel = scratch.scratch(weights.len() / pi.len());
    aggregate(lanes, weights, pi, panel);
    panel
}

/// Experts that stay in a first-level cache of 32 KiB while every sample aggregates them.
const SHARED_WORDS: usize = 4 << 10;

/// [`panel`] for samples of one batch, one after another; of a static layer there is one for all of them. Experts are
/// read once.
pub(crate) fn panels<'a, 's, L: Lanes>(
    lanes: L,
    weights: Weights<'a>,
    samples: impl Iterator<Item = &'s Sample<'s>> + Clone,
    scratch: &'a mut Buffer,
) -> &'a [f32] {
    let dynamic = samples.clone().filter_map(|sample| sample.pi);
    let Some(first) = dynamic.clone().next() else {
        return panel(lanes, weights, None, scratch);
    };
    let (experts, count) = (first.len(), dynamic.clone().count());
    let len = weights.len() / experts;
    let panels = scratch.scratch(count * len);
    let piece = if count == 1 { len } else { SHARED_WORDS / experts / L::WIDTH * L::WIDTH };
    for start in (0..len).step_by(piece.max(L::WIDTH)) {
        let end = (start + piece.max(L::WIDTH)).min(len);
        for (pi, panel) in dynamic.clone().zip(panels.chunks_exact_mut(len)) {
            aggregate(lanes, weights.part(start * experts..end * experts), pi, &mut panel[start..end]);
        }
    }
    panels
}

/// `packed` is `[…][expert][lane]`, `out` is `[…][lane]`, `pi` one weight per expert.
pub(crate) fn aggregate<L: Lanes>(lanes: L, packed: Weights<'_>, pi: &[f32], out: &mut [f32]) {
    match packed {
        Weights::F32(packed) => stored::<L, F32>(lanes, packed, pi, out),
        Weights::Bf16(packed) => stored::<L, Bf16>(lanes, packed, pi, out),
        Weights::F16(packed) => stored::<L, F16>(lanes, packed, pi, out),
    }
}

fn stored<L: Lanes, S: Stored>(lanes: L, packed: &[S::Word], pi: &[f32], out: &mut [f32]) {
    // With the number of experts known, their weights stay in registers.
    match *pi {
        [a] => lanes.vectorize(Fixed::<S, 1> { packed, pi: [a], out }),
        [a, b] => lanes.vectorize(Fixed::<S, 2> { packed, pi: [a, b], out }),
        [a, b, c, d] => lanes.vectorize(Fixed::<S, 4> { packed, pi: [a, b, c, d], out }),
        [a, b, c, d, e, f, g, h] => {
            lanes.vectorize(Fixed::<S, 8> { packed, pi: [a, b, c, d, e, f, g, h], out });
        }
        _ => lanes.vectorize(Any::<S> { packed, pi, out }),
    }
}

struct Fixed<'a, S: Stored, const K: usize> {
    packed: &'a [S::Word],
    pi: [f32; K],
    out: &'a mut [f32],
}

impl<S: Stored, const K: usize> Task for Fixed<'_, S, K> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let pi = self.pi.map(|weight| lanes.splat(weight));
        let pieces = self.packed.chunks_exact(K * L::WIDTH);
        for (experts, out) in pieces.zip(self.out.chunks_exact_mut(L::WIDTH)) {
            lanes.store(S::sum(lanes, experts, pi), out);
        }
    }
}

struct Any<'a, S: Stored> {
    packed: &'a [S::Word],
    pi: &'a [f32],
    out: &'a mut [f32],
}

impl<S: Stored> Task for Any<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let pieces = self.packed.chunks_exact(self.pi.len() * L::WIDTH);
        for (experts, out) in pieces.zip(self.out.chunks_exact_mut(L::WIDTH)) {
            lanes.store(S::sum_any(lanes, experts, self.pi), out);
        }
    }
}
