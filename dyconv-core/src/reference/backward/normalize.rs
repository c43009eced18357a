//! Normalize, backwards: batch norm with running statistics is a scale; with the batch's, mean and variance
//! depend on every value, too.

use std::collections::BTreeMap;

use crate::Handle;
use crate::reference::evaluate::{Evaluation, F64Layer};
use crate::reference::normalize::channel_sums;
use crate::reference::tensor::F64Tensor;

/// The convolution's gradient; gamma's and beta's go into `params`.
pub(super) fn backward(
    layer: &F64Layer,
    evaluation: &Evaluation,
    gradient: &F64Tensor,
    params: &mut BTreeMap<&'static str, Vec<f64>>,
) -> F64Tensor {
    let (Some(norm), Some([mean, variance])) = (layer.config().batch_norm(), &evaluation.normalized_by)
    else {
        return gradient.clone();
    };
    let gamma = layer.tensor("bn.weight").unwrap_or_default();
    let deviation = |c: usize| libm::sqrt(variance[c] + norm.epsilon);
    // ŷ = (y − mean)/deviation
    let standard = evaluation.convolved.map(|c, y| (y - mean[c]) / deviation(c));
    let beta_gradient = channel_sums(gradient);
    let gamma_gradient = channel_sums(&product(gradient, &standard));
    // By way of the mean, and by way of the variance: (g − mean(g) − ŷ·mean(g·ŷ))·gamma/deviation. Running statistics
    // have no such way; times 0 it would carry NaN from one sample to others.
    let values = (gradient.shape().batch() * gradient.shape().pixels()) as f64;
    let mut through = match evaluation.statistics {
        Some(_) => standard.map(|c, y| (beta_gradient[c] + y * gamma_gradient[c]) / values),
        None => F64Tensor::zeros(gradient.shape(), gradient.layout()),
    };
    for (through, g) in through.data_mut().iter_mut().zip(gradient.data()) {
        *through = g - *through;
    }
    params.insert("bn.weight", gamma_gradient);
    params.insert("bn.bias", beta_gradient);
    through.map(|c, g| g * gamma[c] / deviation(c))
}

fn product(one: &F64Tensor, other: &F64Tensor) -> F64Tensor {
    let mut product = one.clone();
    product.data_mut().iter_mut().zip(other.data()).for_each(|(product, other)| *product *= other);
    product
}
