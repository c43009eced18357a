//! The error of π: three sums in a row, then an interval through the squash.

use super::{absolute, unit};
use crate::config::Squash;
use crate::reference::{F64Layer, F64Tensor, Head};
use crate::testing::Instance;
use crate::{Accuracy, Attention, Call, Result};

/// Error of π `[N, K]`: none where it is given or 1.
pub(super) fn error(
    layer: &F64Layer,
    instance: &Instance,
    head: Option<&Head>,
    accuracy: Accuracy,
) -> Result<Vec<f64>> {
    let (config, u) = (layer.config(), unit(accuracy));
    let Some(head) = head else {
        return Ok(vec![0.0; instance.input.shape().batch() * config.experts()]);
    };
    let hidden = match config.attention() {
        Some(Attention::Mlp { hidden, .. }) => hidden,
        _ => 0,
    };
    // Pool, first and second matrix: each adds its terms to the relative error of the magnitude.
    let terms = (instance.input.shape().pixels() + config.in_channels() + hidden + 9) as f64;
    let errors: Vec<f64> = magnitudes(layer, instance)?.iter().map(|m| terms * u * m).collect();
    let rows = head.logits.chunks_exact(config.experts()).zip(errors.chunks_exact(config.experts()));
    Ok(match config.attention().and_then(Attention::squash) {
        Some(Squash::Softmax { temperature }) => {
            let temperature = instance.temperature.unwrap_or(temperature);
            rows.flat_map(|(logits, errors)| softmax(u, logits, errors, temperature)).collect()
        }
        _ => rows.flat_map(|(logits, errors)| sigmoid(u, logits, errors)).collect(),
    })
}

/// The logits of absolute values.
fn magnitudes(layer: &F64Layer, instance: &Instance) -> Result<Vec<f64>> {
    let input = F64Tensor::from(instance.input.view()).map(|_, x| x.abs());
    let (_, head) = absolute(layer).attention(&Call::new(&input))?;
    Ok(head.map(|head| head.logits).unwrap_or_default())
}

/// What exponents within their errors allow, and the roundings of sum and quotient.
fn softmax(u: f64, logits: &[f64], errors: &[f64], temperature: f64) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // (exponent, its error): of the logit; of subtraction, quotient and T; of exp itself, whose
    // error on a GPU grows with its argument.
    let exponent = |(logit, error): (&f64, &f64)| {
        let exponent = (logit - max) / temperature;
        (exponent, error / temperature + u * (4.0 + 5.0 * exponent.abs()))
    };
    let exponents: Vec<(f64, f64)> = logits.iter().zip(errors).map(exponent).collect();
    // The share of k where it is as large, or as small, as it can be and the others are opposite.
    let share = |k: usize, sign: f64| {
        let (own, own_error) = exponents[k];
        let own = own + sign * own_error;
        let others = exponents.iter().enumerate().filter(|(j, _)| *j != k);
        1.0 / (1.0 + others.map(|(_, (t, error))| (t - sign * error - own).exp()).sum::<f64>())
    };
    let rounding = (exponents.len() + 3) as f64 * u;
    let error = |k| {
        let (low, high) = (share(k, -1.0), share(k, 1.0));
        high - low + rounding * high
    };
    (0..exponents.len()).map(error).collect()
}

fn sigmoid(u: f64, logits: &[f64], errors: &[f64]) -> Vec<f64> {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let error = |(&logit, &error): (&f64, &f64)| {
        let reach = error + u * (4.0 + 2.0 * logit.abs());
        let (low, high) = (sigmoid(logit - reach), sigmoid(logit + reach));
        high - low + 4.0 * u * high
    };
    logits.iter().zip(errors).map(error).collect()
}
