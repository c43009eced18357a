//! Attention, backwards: π → logits → the head's matrices → the pooled channels, one sample after the other.

use dyconv_core::{Dense, Squash};

use crate::lanes::{Lanes, Task};

/// dπ of one sample becomes the logits' gradient: softmax π⊙(dπ − <dπ, π>)/T, sigmoid π⊙(1 − π)⊙dπ. In f64, as they are few.
pub(crate) fn squash_backward(squash: Squash, pi: &[f32], temperature: f64, gradient: &mut [f32]) {
    let inner = match squash {
        Squash::Softmax { .. } => {
            pi.iter().zip(&*gradient).map(|(p, dp)| f64::from(*p) * f64::from(*dp)).sum()
        }
        Squash::Sigmoid => 0.0,
    };
    for (p, dp) in pi.iter().zip(gradient) {
        let (p, wide) = (f64::from(*p), f64::from(*dp));
        *dp = match squash {
            Squash::Softmax { .. } => p * (wide - inner) / temperature,
            Squash::Sigmoid => p * (1.0 - p) * wide,
        } as f32;
    }
}

/// Where a matrix's and a bias's gradients are added up, and what went in and comes back of one sample.
#[derive(Debug)]
pub(crate) struct DenseBackward<'a> {
    pub(crate) dense: &'a Dense,
    pub(crate) weight: &'a mut [f32],
    /// Empty where there is none.
    pub(crate) bias: &'a mut [f32],
    pub(crate) inputs: &'a [f32],
    /// Of the outputs.
    pub(crate) gradient: &'a [f32],
    /// Of the inputs, written whole.
    pub(crate) out: &'a mut [f32],
}

/// Of A·x + c for one sample.
pub(crate) fn dense_backward<L: Lanes>(lanes: L, of: DenseBackward<'_>) {
    let DenseBackward { dense, weight, bias, inputs, gradient, out } = of;
    out.fill(0.0);
    bias.iter_mut().zip(gradient).for_each(|(bias, g)| *bias += g);
    let rows = dense.weight.chunks_exact(inputs.len()).zip(weight.chunks_exact_mut(inputs.len()));
    for ((row, sums), &factor) in rows.zip(gradient) {
        lanes.vectorize(AddTimes { sums, factor, of: inputs });
        lanes.vectorize(AddTimes { sums: &mut *out, factor, of: row });
    }
}

/// sums += factor·of
struct AddTimes<'a> {
    sums: &'a mut [f32],
    factor: f32,
    of: &'a [f32],
}

impl Task for AddTimes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let factor = lanes.splat(self.factor);
        for (sums, of) in self.sums.chunks_mut(L::WIDTH).zip(self.of.chunks(L::WIDTH)) {
            let sum = lanes.mul_add(factor, lanes.load_partial(of), lanes.load_partial(sums));
            lanes.store_partial(sum, sums);
        }
    }
}
