//! Aggregate, backwards: a sample's dW~ goes to every expert by its share, and to π by each expert.

use super::convolve;
use crate::reference::aggregate::Kernel;
use crate::reference::evaluate::F64Layer;
use crate::reference::tensor::F64Tensor;
use crate::{Geometry, Handle};

/// What aggregate and convolve were computed from, and the gradient of their result.
#[derive(Clone, Copy, Debug)]
pub struct MixedInput<'a> {
    /// Extents and padding.
    pub geometry: Geometry,
    /// π `[N, K]`.
    pub attention: &'a [f64],
    /// x.
    pub input: &'a F64Tensor,
    /// dL/dy, before batch norm.
    pub gradient: &'a F64Tensor,
}

/// The gradients of aggregate and convolve together.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixed {
    /// Of x, by the convolution alone.
    pub input: F64Tensor,
    /// Of the experts: `dW_k = Σ_n π[n,k]·dW~[n]`.
    pub weight: Vec<f64>,
    /// Of their biases: `db_k = Σ_n π[n,k]·db~[n]`.
    pub bias: Option<Vec<f64>>,
    /// Of π `[N, K]`: `<dW~[n], W_k> + <db~[n], b_k>`.
    pub attention: Vec<f64>,
}

impl F64Layer {
    /// The gradients of aggregate and convolve together.
    #[must_use]
    pub fn mixed_backward(&self, of: &MixedInput<'_>) -> Mixed {
        let config = self.config();
        let experts = Kernel {
            weight: self.tensor("weight").unwrap_or_default().to_vec(),
            bias: self.tensor("bias").map(<[f64]>::to_vec),
        };
        let mut mixed = Mixed {
            input: F64Tensor::zeros(of.input.shape(), of.input.layout()),
            weight: vec![0.0; experts.weight.len()],
            bias: experts.bias.as_ref().map(|bias| vec![0.0; bias.len()]),
            attention: vec![0.0; of.attention.len()],
        };
        let rows = of.attention.chunks_exact(config.experts());
        let gradients = mixed.attention.chunks_exact_mut(config.experts());
        for (n, (pi, dpi)) in rows.zip(gradients).enumerate() {
            let (kernel, tensors) = (self.aggregate(pi), [of.input, of.gradient]);
            let sums = convolve::backward(config, &of.geometry, &kernel, n, tensors, &mut mixed.input);
            share(pi, dpi, &sums.weight, &experts.weight, &mut mixed.weight);
            if let (Some(sums), Some(experts), Some(bias)) = (&sums.bias, &experts.bias, &mut mixed.bias) {
                share(pi, dpi, sums, experts, bias);
            }
        }
        mixed
    }
}

/// One sample's share: every expert's gradient gets π·sums, π's gets <sums, expert>.
fn share(pi: &[f64], dpi: &mut [f64], sums: &[f64], experts: &[f64], gradients: &mut [f64]) {
    let experts = experts.chunks_exact(sums.len()).zip(gradients.chunks_exact_mut(sums.len()));
    for ((p, dp), (expert, gradient)) in pi.iter().zip(dpi).zip(experts) {
        for ((sum, w), g) in sums.iter().zip(expert).zip(gradient) {
            *g += p * sum;
            *dp += sum * w;
        }
    }
}
