//! Aggregate, backwards: while dW~ of a tile is in cache for a few samples, one pass over the tile's experts and their
//! gradients adds π·dW~ to these and takes <dW~, W_k> for π.

use crate::lanes::{Lanes, Task};

/// Samples that share a pass: their π's and scalar products take eight registers.
const SAMPLES: usize = 4;

/// A tile of some samples.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    /// dW~, `[sample][vector][lane]`.
    pub(crate) sums: &'a [f32],
    /// W_k, `[vector][expert][lane]`.
    pub(crate) experts: &'a [f32],
    /// dW_k, which the tile's are added to, `[vector][expert][lane]`.
    pub(crate) gradients: &'a mut [f32],
    /// Whether nothing is there yet, and the tile's are written.
    pub(crate) fresh: bool,
    /// π `[sample][expert]`.
    pub(crate) pi: &'a [f32],
    /// This tile's part of dπ `[sample][expert]`, written whole.
    pub(crate) products: &'a mut [f32],
    /// K.
    pub(crate) count: usize,
}

/// Adds the samples one after the other, however many there are.
pub(crate) fn aggregate_backward<L: Lanes>(lanes: L, tile: Shared<'_>) {
    let Shared { sums, experts, gradients, mut fresh, pi, products, count } = tile;
    let len = experts.len() / count;
    let samples = sums.chunks(SAMPLES * len).zip(pi.chunks(SAMPLES * count));
    for ((sums, pi), products) in samples.zip(products.chunks_mut(SAMPLES * count)) {
        for k in 0..count {
            let pass = Pass { sums, len, experts, gradients: &mut *gradients, fresh, pi, products, k, count };
            match sums.len() / len {
                1 => lanes.vectorize(Samples::<1>(pass)),
                2 => lanes.vectorize(Samples::<2>(pass)),
                3 => lanes.vectorize(Samples::<3>(pass)),
                _ => lanes.vectorize(Samples::<SAMPLES>(pass)),
            }
        }
        fresh = false;
    }
}

/// One expert of a few samples.
struct Pass<'a> {
    sums: &'a [f32],
    /// Floats of one sample's dW~.
    len: usize,
    experts: &'a [f32],
    gradients: &'a mut [f32],
    fresh: bool,
    pi: &'a [f32],
    products: &'a mut [f32],
    k: usize,
    count: usize,
}

struct Samples<'a, const S: usize>(Pass<'a>);

impl<const S: usize> Task for Samples<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Pass { sums, len, experts, gradients, fresh, pi, products, k, count } = self.0;
        let mut own = [(&[][..], lanes.splat(0.0)); S];
        for (s, own) in own.iter_mut().enumerate() {
            *own = (&sums[s * len..][..len], lanes.splat(pi[s * count + k]));
        }
        let mut product = [lanes.splat(0.0); S];
        let pieces = experts.chunks_exact(count * L::WIDTH).zip(gradients.chunks_exact_mut(count * L::WIDTH));
        for (at, (experts, gradients)) in (0..len).step_by(L::WIDTH).zip(pieces) {
            let expert = lanes.load(&experts[k * L::WIDTH..]);
            let gradient = &mut gradients[k * L::WIDTH..][..L::WIDTH];
            let mut sum = if fresh { lanes.splat(0.0) } else { lanes.load(gradient) };
            for ((sums, pi), product) in own.iter().zip(&mut product) {
                let weight = lanes.load(&sums[at..]);
                sum = lanes.mul_add(*pi, weight, sum);
                *product = lanes.mul_add(weight, expert, *product);
            }
            lanes.store(sum, gradient);
        }
        for (s, product) in product.into_iter().enumerate() {
            products[s * count + k] = lanes.reduce_add(product);
        }
    }
}
