//! Activate, backwards: the derivative of every activation.

use crate::Activation;
use crate::reference::attention::sigmoid;
use crate::reference::evaluate::F64Layer;
use crate::reference::tensor::F64Tensor;

/// The derivative of one activation at one number. At kinks: 0 for relu, relu6 and the hard sigmoids, the slope for
/// `leaky_relu`, and for `hard_swish` 0 at −3 and 1 at 3. NaN stays NaN, but in `none`, whose derivative is 1 everywhere.
#[must_use]
pub fn activate_backward(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::None => 1.0,
        Activation::Relu => step(x, 0.0, f64::INFINITY, 1.0),
        Activation::Relu6 => step(x, 0.0, 6.0, 1.0),
        Activation::LeakyRelu { slope } => {
            if x.is_nan() {
                x
            } else if x > 0.0 {
                1.0
            } else {
                slope
            }
        }
        Activation::Sigmoid => sigmoid(x) * (1.0 - sigmoid(x)),
        Activation::Tanh => 1.0 - libm::tanh(x) * libm::tanh(x),
        Activation::HardSigmoid => step(x, -3.0, 3.0, 1.0 / 6.0),
        Activation::KerasHardSigmoid => step(x, -2.5, 2.5, 0.2),
        Activation::HardSwish => {
            if x >= 3.0 {
                1.0
            } else if x <= -3.0 {
                0.0
            } else {
                (2.0 * x + 3.0) / 6.0
            }
        }
        // x·σ and x·φ of a huge |x| are 0, not ∞·0.
        Activation::Silu => {
            let s = sigmoid(x);
            if x.is_infinite() { s } else { s * (1.0 + x * (1.0 - s)) }
        }
        Activation::Gelu => {
            let density = libm::exp(-0.5 * x * x) / libm::sqrt(2.0 * std::f64::consts::PI);
            let below = 0.5 * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2));
            if x.is_infinite() { below } else { below + x * density }
        }
        Activation::Elu => {
            if x > 0.0 {
                1.0
            } else {
                libm::exp(x)
            }
        }
    }
}

/// `slope` between the kinks, 0 elsewhere and at them. NaN stays NaN.
fn step(x: f64, low: f64, high: f64, slope: f64) -> f64 {
    if x.is_nan() {
        x
    } else if x > low && x < high {
        slope
    } else {
        0.0
    }
}

pub(super) fn backward(layer: &F64Layer, preactivation: &F64Tensor, gradient: &F64Tensor) -> F64Tensor {
    let activation = layer.config().activation();
    let mut result = gradient.clone();
    for (g, &x) in result.data_mut().iter_mut().zip(preactivation.data()) {
        *g *= activate_backward(activation, x);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::activate;

    #[test]
    fn it_is_the_slope_of_the_function() {
        for activation in Activation::ALL {
            for x in [-7.3, -3.2, -2.8, -1.0, -0.3, 0.2, 1.7, 2.4, 2.9, 3.4, 5.9, 6.2] {
                let h = 1e-6;
                let slope = (activate(activation, x + h) - activate(activation, x - h)) / (2.0 * h);
                let got = activate_backward(activation, x);
                assert!((got - slope).abs() < 1e-8, "{}'({x}) is {got}, not {slope}", activation.name());
            }
        }
    }

    #[test]
    fn kinks_are_as_specified() {
        let rows = [
            (Activation::Relu, 0.0, 0.0),
            (Activation::Relu6, 0.0, 0.0),
            (Activation::Relu6, 6.0, 0.0),
            (Activation::HardSigmoid, -3.0, 0.0),
            (Activation::HardSigmoid, 3.0, 0.0),
            (Activation::KerasHardSigmoid, -2.5, 0.0),
            (Activation::KerasHardSigmoid, 2.5, 0.0),
            (Activation::LeakyRelu { slope: 0.25 }, 0.0, 0.25),
            (Activation::HardSwish, -3.0, 0.0),
            (Activation::HardSwish, 3.0, 1.0),
        ];
        for (activation, x, expected) in rows {
            assert_eq!(activate_backward(activation, x), expected, "{}'({x})", activation.name());
        }
    }

    #[test]
    fn extremes_are_limits_and_nan_stays_nan() {
        for activation in Activation::ALL {
            let [low, high] = [-1e200, 1e200].map(|x| activate_backward(activation, x));
            assert!(low.abs() <= 1.0 && high.abs() <= 1.0, "{}: {low}, {high}", activation.name());
            let [low, high] = [f64::NEG_INFINITY, f64::INFINITY].map(|x| activate_backward(activation, x));
            assert!(low.is_finite() && high.is_finite(), "{}: {low}, {high}", activation.name());
            let nan = activate_backward(activation, f64::NAN).is_nan();
            assert_eq!(nan, activation != Activation::None, "{}", activation.name());
        }
    }
}
