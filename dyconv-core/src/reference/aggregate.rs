//! Aggregate: one kernel per sample from all experts, Σ π_k·W_k and Σ π_k·b_k.

use super::evaluate::F64Layer;

/// What one sample is convolved with.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// W~ `[Cout, Cin/G, kh, kw]`.
    pub weight: Vec<f64>,
    /// b~ `[Cout]`.
    pub bias: Option<Vec<f64>>,
}

/// The kernel that one row of π makes.
pub(super) fn aggregate(layer: &F64Layer, pi: &[f64]) -> Kernel {
    let config = layer.config();
    Kernel {
        weight: mix(pi, layer.tensor("weight").unwrap_or_default(), config.expert_len()),
        bias: layer.tensor("bias").map(|bias| mix(pi, bias, config.out_channels())),
    }
}

fn mix(pi: &[f64], experts: &[f64], len: usize) -> Vec<f64> {
    let mut mixed = vec![0.0; len];
    for (p, expert) in pi.iter().zip(experts.chunks_exact(len)) {
        for (sum, w) in mixed.iter_mut().zip(expert) {
            *sum += p * w;
        }
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mix_of_known_values() {
        assert_eq!(mix(&[0.5, -2.0], &[2.0, 4.0, 1.0, 3.0], 2), [-1.0, -4.0]);
    }
}
