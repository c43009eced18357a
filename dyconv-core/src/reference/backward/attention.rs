//! Attention, backwards: π → logits → the head's matrices → the pooled channels.

use std::collections::BTreeMap;

use crate::config::Squash;
use crate::reference::attention::Head;
use crate::reference::evaluate::F64Layer;

/// The logits' gradient: softmax π⊙(dπ − <dπ, π>)/T, sigmoid π⊙(1 − π)⊙dπ.
pub(super) fn squash_backward(layer: &F64Layer, pi: &[f64], dpi: &[f64], temperature: f64) -> Vec<f64> {
    if layer.config().attention().and_then(crate::Attention::squash) == Some(Squash::Sigmoid) {
        return pi.iter().zip(dpi).map(|(p, dp)| p * (1.0 - p) * dp).collect();
    }
    let experts = layer.config().experts();
    let rows = pi.chunks_exact(experts).zip(dpi.chunks_exact(experts));
    rows.flat_map(|(pi, dpi)| {
        let inner: f64 = pi.iter().zip(dpi).map(|(p, dp)| p * dp).sum();
        pi.iter().zip(dpi).map(move |(p, dp)| p * (dp - inner) / temperature)
    })
    .collect()
}

/// The gradient of z `[N, Cin]`; the matrices' and biases' go into `params`.
pub(super) fn head_backward(
    layer: &F64Layer,
    head: &Head,
    logits: &[f64],
    params: &mut BTreeMap<&'static str, Vec<f64>>,
) -> Vec<f64> {
    let batch = logits.len() / layer.config().experts();
    if batch == 0 {
        return Vec::new();
    }
    let mut dense = |names: [&'static str; 2], inputs: &[f64], gradient: &[f64]| {
        let weight = layer.tensor(names[0]).unwrap_or_default();
        let result = dense_backward(weight, inputs, gradient, batch);
        if layer.tensor(names[1]).is_some() {
            params.insert(names[1], result.bias);
        }
        params.insert(names[0], result.weight);
        result.inputs
    };
    let last = ["attention.fc2.weight", "attention.fc2.bias"];
    let Some(hidden) = &head.hidden else {
        return dense(last, &head.pooled, logits);
    };
    let mut gradient = dense(last, hidden, logits);
    // After its relu a unit is 0 wherever the derivative is.
    for (gradient, unit) in gradient.iter_mut().zip(hidden) {
        if *unit <= 0.0 {
            *gradient = 0.0;
        }
    }
    dense(["attention.fc1.weight", "attention.fc1.bias"], &head.pooled, &gradient)
}

struct DenseGradients {
    weight: Vec<f64>,
    bias: Vec<f64>,
    inputs: Vec<f64>,
}

/// Of `weight · row + bias` for each of `batch` rows.
fn dense_backward(weight: &[f64], rows: &[f64], gradient: &[f64], batch: usize) -> DenseGradients {
    let (inputs, outputs) = (rows.len() / batch, gradient.len() / batch);
    let mut result = DenseGradients {
        weight: vec![0.0; weight.len()],
        bias: vec![0.0; outputs],
        inputs: vec![0.0; rows.len()],
    };
    for n in 0..batch {
        for o in 0..outputs {
            let g = gradient[n * outputs + o];
            result.bias[o] += g;
            for i in 0..inputs {
                result.weight[o * inputs + i] += g * rows[n * inputs + i];
                result.inputs[n * inputs + i] += g * weight[o * inputs + i];
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_of_known_values() {
        // Two rows of two inputs, one output: y = 2·x₀ + 3·x₁.
        let got = dense_backward(&[2.0, 3.0], &[1.0, 10.0, 5.0, 7.0], &[1.0, -1.0], 2);
        assert_eq!(got.weight, [-4.0, 3.0]);
        assert_eq!(got.bias, [0.0]);
        assert_eq!(got.inputs, [2.0, 3.0, -2.0, -3.0]);
    }
}
