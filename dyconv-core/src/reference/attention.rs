//! Attention: pooled channels → logits → π.

use super::evaluate::F64Layer;
use super::pool;
use super::tensor::F64Tensor;
use crate::config::Squash;
use crate::{AttentionSource, Handle};

/// What the head computed on its way to π, each row-major with one row per sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// z `[N, Cin]`.
    pub pooled: Vec<f64>,
    /// u `[N, hidden]`, after its relu; `None` for a linear head.
    pub hidden: Option<Vec<f64>>,
    /// `[N, K]`, before the squash.
    pub logits: Vec<f64>,
}

/// π `[N, K]`, and the head's values where a head computed it.
pub(super) fn attention(
    layer: &F64Layer,
    source: AttentionSource,
    input: &F64Tensor,
    given: Option<&F64Tensor>,
) -> (Vec<f64>, Option<Head>) {
    match (source, given) {
        (AttentionSource::Given, Some(pi)) => (pi.data().to_vec(), None),
        (AttentionSource::Head { temperature }, _) => {
            let head = head(layer, input);
            let weights = squash(layer, &head.logits, temperature);
            (weights, Some(head))
        }
        _ => (vec![1.0; input.shape().batch()], None),
    }
}

fn head(layer: &F64Layer, input: &F64Tensor) -> Head {
    let pooled = pool::means(input);
    let batch = input.shape().batch();
    let hidden = layer.tensor("attention.fc1.weight").map(|weight| {
        let mut hidden = dense(weight, layer.tensor("attention.fc1.bias"), &pooled, batch);
        for unit in &mut hidden {
            *unit = relu(*unit);
        }
        hidden
    });
    let logits = dense(
        layer.tensor("attention.fc2.weight").unwrap_or_default(),
        layer.tensor("attention.fc2.bias"),
        hidden.as_ref().unwrap_or(&pooled),
        batch,
    );
    Head { pooled, hidden, logits }
}

/// `weight · row + bias` for each of `batch` rows.
fn dense(weight: &[f64], bias: Option<&[f64]>, rows: &[f64], batch: usize) -> Vec<f64> {
    let Some(inputs) = rows.len().checked_div(batch) else {
        return Vec::new();
    };
    let mut results = Vec::new();
    for row in rows.chunks_exact(inputs) {
        for (o, weights) in weight.chunks_exact(inputs).enumerate() {
            let mut sum = bias.map_or(0.0, |bias| bias[o]);
            for (w, x) in weights.iter().zip(row) {
                sum += w * x;
            }
            results.push(sum);
        }
    }
    results
}

fn squash(layer: &F64Layer, logits: &[f64], temperature: f64) -> Vec<f64> {
    match layer.config().attention().and_then(crate::Attention::squash) {
        Some(Squash::Sigmoid) => logits.iter().map(|&l| sigmoid(l)).collect(),
        _ => {
            logits.chunks_exact(layer.config().experts()).flat_map(|row| softmax(row, temperature)).collect()
        }
    }
}

/// The row's maximum is subtracted *before* dividing by T: a tiny T can't make ∞ − ∞ of it.
fn softmax(row: &[f64], temperature: f64) -> Vec<f64> {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = row.iter().map(|logit| libm::exp((logit - max) / temperature)).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// Lets NaN through.
pub(super) fn relu(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_of_known_values() {
        let third = softmax(&[5.0, 5.0, 5.0], 0.5);
        assert!(third.iter().all(|p| (p - 1.0 / 3.0).abs() < 1e-15));
        // ln 3 apart at T = 1, ln 9 apart at T = 1/2.
        let ln3 = 3f64.ln();
        assert!((softmax(&[0.0, ln3], 1.0)[1] - 0.75).abs() < 1e-15);
        assert!((softmax(&[0.0, ln3], 0.5)[1] - 0.9).abs() < 1e-15);
    }

    #[test]
    fn softmax_survives_large_logits_and_extreme_temperatures() {
        assert_eq!(softmax(&[1e30, -1e30], 1.0), [1.0, 0.0]);
        assert_eq!(softmax(&[1.0, 0.5], 1e-38), [1.0, 0.0]);
        assert_eq!(softmax(&[1.0, -1.0], 1e300), [0.5, 0.5]);
    }

    #[test]
    fn softmax_of_nan_is_nan() {
        assert!(softmax(&[f64::NAN, 1.0], 1.0).iter().all(|p| p.is_nan()));
    }

    #[test]
    fn dense_of_known_values() {
        let weight = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(dense(&weight, Some(&[0.5, 0.0, -1.0]), &[1.0, 10.0], 1), [21.5, 43.0, 64.0]);
        assert_eq!(dense(&weight, None, &[1.0, 0.0, 0.0, 1.0], 2), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        assert!(dense(&weight, None, &[], 0).is_empty());
    }

    #[test]
    fn relu_and_sigmoid_let_nan_through() {
        assert!(relu(f64::NAN).is_nan() && sigmoid(f64::NAN).is_nan());
        assert_eq!([relu(-1.0), relu(2.0), sigmoid(0.0)], [0.0, 2.0, 0.5]);
        assert_eq!([sigmoid(1e4), sigmoid(-1e4)], [1.0, 0.0]);
    }
}
