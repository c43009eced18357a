//! Step 2: the head's logits, and the squash that makes them π.

use dyconv_core::{Dense, Squash};

use crate::lanes::{Lanes, Task};

/// The head, as its parameters have it: rows of weights are read once per sample, in order.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) fc1: Option<Dense>,
    pub(crate) fc2: Dense,
    pub(crate) squash: Squash,
}

impl Head {
    /// Hidden units; 0 where π comes straight from the pooled channels.
    pub(crate) fn hidden(&self, channels: usize) -> usize {
        self.fc1.as_ref().map_or(0, |fc1| fc1.weight.len() / channels)
    }

    /// Bytes of its parameters.
    pub(crate) fn bytes(&self) -> usize {
        let dense = |dense: &Dense| dense.weight.len() + dense.bias.as_ref().map_or(0, Vec::len);
        (self.fc1.as_ref().map_or(0, dense) + dense(&self.fc2)) * size_of::<f32>()
    }
}

/// π of one sample from its pooled channels, and the hidden units on the way.
pub(crate) fn attention<L: Lanes>(
    lanes: L,
    head: &Head,
    z: &[f32],
    temperature: f64,
    hidden: &mut [f32],
    pi: &mut [f32],
) {
    match &head.fc1 {
        Some(fc1) => {
            dense(lanes, fc1, z, hidden);
            for h in hidden.iter_mut() {
                // Not `f32::max`, which would swallow a NaN.
                *h = if *h < 0.0 { 0.0 } else { *h };
            }
            dense(lanes, &head.fc2, hidden, pi);
        }
        None => dense(lanes, &head.fc2, z, pi),
    }
    match head.squash {
        Squash::Softmax { .. } => softmax(pi, temperature),
        Squash::Sigmoid => pi.iter_mut().for_each(|x| *x = 1.0 / (1.0 + (-*x).exp())),
    }
}

/// softmax(logits / T) with the row's maximum subtracted first; a handful of numbers, so in f64.
fn softmax(logits: &mut [f32], temperature: f64) {
    let maximum = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| ((f64::from(logit) - f64::from(maximum)) / temperature).exp();
    let sum: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    for logit in logits {
        *logit = (weight(*logit) / sum) as f32;
    }
}

/// out = A·x + c
fn dense<L: Lanes>(lanes: L, dense: &Dense, x: &[f32], out: &mut [f32]) {
    lanes.vectorize(Product { rows: &dense.weight, x, out });
    if let Some(bias) = &dense.bias {
        out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
    }
}

/// Rows of a matrix times a vector.
struct Product<'a> {
    rows: &'a [f32],
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let mut out = self.out.chunks_exact_mut(4);
        let mut rows = self.rows.chunks_exact(4 * self.x.len());
        for (out, rows) in out.by_ref().zip(rows.by_ref()) {
            out.copy_from_slice(&products::<L, 4>(lanes, rows, self.x));
        }
        for (out, row) in out.into_remainder().iter_mut().zip(rows.remainder().chunks_exact(self.x.len())) {
            [*out] = products::<L, 1>(lanes, row, self.x);
        }
    }
}

/// `R` rows times a vector, each in two sums, since a multiply-add takes about four cycles.
#[inline(always)]
fn products<L: Lanes, const R: usize>(lanes: L, rows: &[f32], x: &[f32]) -> [f32; R] {
    let mut row: [&[f32]; R] = [&[]; R];
    for r in 0..R {
        row[r] = &rows[r * x.len()..][..x.len()];
    }
    let mut sums = [[lanes.splat(0.0); 2]; R];
    let pairs = x.len() / (2 * L::WIDTH) * 2 * L::WIDTH;
    for at in (0..pairs).step_by(2 * L::WIDTH) {
        for i in 0..2 {
            let at = at + i * L::WIDTH;
            let x = lanes.load(&x[at..]);
            for r in 0..R {
                sums[r][i] = lanes.mul_add(lanes.load(&row[r][at..]), x, sums[r][i]);
            }
        }
    }
    for at in (pairs..x.len()).step_by(L::WIDTH) {
        let x = lanes.load_partial(&x[at..]);
        for r in 0..R {
            sums[r][0] = lanes.mul_add(lanes.load_partial(&row[r][at..]), x, sums[r][0]);
        }
    }
    let mut out = [0.0; R];
    for r in 0..R {
        out[r] = lanes.reduce_add(lanes.add(sums[r][0], sums[r][1]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_survives_logits_that_exp_does_not() {
        let mut logits = [1000.0, 999.0, -1000.0];
        softmax(&mut logits, 2.0);
        let e = (-0.5f64).exp();
        let want = [1.0 / (1.0 + e), e / (1.0 + e), 0.0];
        for (got, want) in logits.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-7, "{logits:?}");
        }
    }

    #[test]
    fn a_nan_logit_makes_all_weights_nan() {
        let mut logits = [0.0, f32::NAN];
        softmax(&mut logits, 1.0);
        assert!(logits.iter().all(|x| x.is_nan()));
    }
}
