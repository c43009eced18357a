//! Step 3: W~ = Σ π_k·W_k over a packed piece, in one linear pass; what comes out is a panel.

use crate::lanes::{Lanes, Task};

/// `packed` is `[…][expert][lane]`, `out` is `[…][lane]`, `pi` one weight per expert.
pub(crate) fn aggregate<L: Lanes>(lanes: L, packed: &[f32], pi: &[f32], out: &mut [f32]) {
    // With the number of experts known, their weights stay in registers.
    match *pi {
        [a, b] => lanes.vectorize(Fixed { packed, pi: [a, b], out }),
        [a, b, c, d] => lanes.vectorize(Fixed { packed, pi: [a, b, c, d], out }),
        [a, b, c, d, e, f, g, h] => {
            lanes.vectorize(Fixed { packed, pi: [a, b, c, d, e, f, g, h], out });
        }
        _ => lanes.vectorize(Any { packed, pi, out }),
    }
}

struct Fixed<'a, const K: usize> {
    packed: &'a [f32],
    pi: [f32; K],
    out: &'a mut [f32],
}

impl<const K: usize> Task for Fixed<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let pi = self.pi.map(|weight| lanes.splat(weight));
        let pieces = self.packed.chunks_exact(K * L::WIDTH);
        for (experts, out) in pieces.zip(self.out.chunks_exact_mut(L::WIDTH)) {
            let mut sum = lanes.mul(pi[0], lanes.load(experts));
            for k in 1..K {
                sum = lanes.mul_add(pi[k], lanes.load(&experts[k * L::WIDTH..]), sum);
            }
            lanes.store(sum, out);
        }
    }
}

struct Any<'a> {
    packed: &'a [f32],
    pi: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Any<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let pieces = self.packed.chunks_exact(self.pi.len() * L::WIDTH);
        for (experts, out) in pieces.zip(self.out.chunks_exact_mut(L::WIDTH)) {
            let mut sum = lanes.splat(0.0);
            for (&weight, expert) in self.pi.iter().zip(experts.chunks_exact(L::WIDTH)) {
                sum = lanes.mul_add(lanes.splat(weight), lanes.load(expert), sum);
            }
            lanes.store(sum, out);
        }
    }
}
