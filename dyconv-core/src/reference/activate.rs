//! Activate: the elementwise functions.

use super::attention::{relu, sigmoid};
use crate::Activation;

/// One activation of one number. NaN stays NaN.
#[must_use]
pub fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::None => x,
        Activation::Relu => relu(x),
        Activation::Relu6 => clip(x, 6.0),
        Activation::LeakyRelu { slope } => {
            if x > 0.0 {
                x
            } else {
                slope * x
            }
        }
        Activation::Sigmoid => sigmoid(x),
        Activation::Tanh => libm::tanh(x),
        Activation::HardSigmoid => clip(x + 3.0, 6.0) / 6.0,
        Activation::KerasHardSigmoid => clip(0.2 * x + 0.5, 1.0),
        Activation::HardSwish => x * clip(x + 3.0, 6.0) / 6.0,
        Activation::Silu => x * sigmoid(x),
        Activation::Gelu => 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        Activation::Elu => {
            if x > 0.0 {
                x
            } else {
                libm::expm1(x)
            }
        }
    }
}

/// min(max(x, 0), top), with NaN let through, which `f64::clamp` does too but `min` and `max` don't.
fn clip(x: f64, top: f64) -> f64 {
    if x > top { top } else { relu(x) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // From tables of the functions, not from this code.
        let rows = [
            (Activation::None, -2.0, -2.0),
            (Activation::Relu, -2.0, 0.0),
            (Activation::Relu, 2.0, 2.0),
            (Activation::Relu6, 7.0, 6.0),
            (Activation::Relu6, 5.0, 5.0),
            (Activation::LEAKY_RELU, -2.0, -0.02),
            (Activation::LEAKY_RELU, 2.0, 2.0),
            (Activation::Sigmoid, 1.0, 0.731_058_578_630_004_9),
            (Activation::Tanh, 1.0, 0.761_594_155_955_764_9),
            (Activation::HardSigmoid, 1.0, 4.0 / 6.0),
            (Activation::HardSigmoid, -3.5, 0.0),
            (Activation::HardSigmoid, 3.5, 1.0),
            (Activation::KerasHardSigmoid, 1.0, 0.7),
            (Activation::KerasHardSigmoid, 2.6, 1.0),
            (Activation::HardSwish, 1.0, 4.0 / 6.0),
            (Activation::HardSwish, 4.0, 4.0),
            (Activation::HardSwish, -4.0, 0.0),
            (Activation::Silu, 1.0, 0.731_058_578_630_004_9),
            (Activation::Gelu, 1.0, 0.841_344_746_068_542_9),
            (Activation::Gelu, -1.0, -0.158_655_253_931_457_05),
            (Activation::Elu, -1.0, -0.632_120_558_828_557_7),
            (Activation::Elu, 3.0, 3.0),
        ];
        for (activation, x, expected) in rows {
            let got = activate(activation, x);
            assert!((got - expected).abs() < 1e-15, "{}({x}) = {got}, not {expected}", activation.name());
        }
    }

    #[test]
    fn nan_stays_nan() {
        for activation in Activation::ALL {
            assert!(activate(activation, f64::NAN).is_nan(), "{}", activation.name());
        }
    }
}
