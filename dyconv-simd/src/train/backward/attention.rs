//! Steps 2 and 1: the head, and what comes through the pool to each channel's pixels.

use dyconv_core::AttentionSource;

use super::BackwardRun;
use crate::kernels::backward::attention::{DenseBackward, dense_backward, squash_backward};
use crate::lanes::Lanes;

impl BackwardRun<'_> {
    /// Step 2, and of step 1 what comes to each channel's pixels: dz/(H·W), `[N, Cin]`, where a head computed π.
    pub(super) fn attend<L: Lanes>(&mut self, lanes: L, dpi: &[f32]) -> Option<Vec<f32>> {
        let (AttentionSource::Head { temperature }, Some(head)) = (self.call().attention, &self.layer.head)
        else {
            return None;
        };
        let (input, tape) = (self.call().input, self.tape);
        let (channels, experts) = (input.channels(), self.config().experts());
        let units = head.hidden(channels);
        let mut dz = vec![0.0; input.batch() * channels];
        let (mut logits, mut gradient) = (vec![0.0; experts], vec![0.0; units]);
        for (n, dz) in dz.chunks_exact_mut(channels).enumerate() {
            logits.copy_from_slice(&dpi[n * experts..][..experts]);
            let pi = &tape.pi[n * experts..][..experts];
            squash_backward(head.squash, pi, temperature, &mut logits);
            let pooled = &tape.pooled[n * channels..][..channels];
            let hidden = &tape.hidden[n * units..][..units];
            let inputs = if head.fc1.is_some() { hidden } else { pooled };
            let out = if head.fc1.is_some() { &mut gradient[..] } else { &mut *dz };
            let [weight, bias] = self.params.both_mut(["attention.fc2.weight", "attention.fc2.bias"]);
            dense_backward(
                lanes,
                DenseBackward { dense: &head.fc2, weight, bias, inputs, gradient: &logits, out },
            );
            if let Some(fc1) = &head.fc1 {
                // After its relu a unit is 0 wherever the derivative is.
                for (gradient, unit) in gradient.iter_mut().zip(hidden) {
                    *gradient = if *unit <= 0.0 { 0.0 } else { *gradient };
                }
                let [weight, bias] = self.params.both_mut(["attention.fc1.weight", "attention.fc1.bias"]);
                let of =
                    DenseBackward { dense: fc1, weight, bias, inputs: pooled, gradient: &gradient, out: dz };
                dense_backward(lanes, of);
            }
            dz.iter_mut().for_each(|dz| *dz /= input.pixels() as f32);
        }
        Some(dz)
    }
}
