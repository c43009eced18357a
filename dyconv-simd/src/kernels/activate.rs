//! Steps 6 and 7, fused where a tile leaves its kernel: bias and shift, residual, activation.

use dyconv_core::Activation;

use super::smooth;
use crate::lanes::Lanes;

/// What happens to a sum before it is stored, apart from the residual.
///
/// A constant comes first in every `max` and `min`, so that a NaN goes through.
#[inline(always)]
pub(crate) fn activate<L: Lanes>(lanes: L, activation: Activation, x: L::V) -> L::V {
    match activation {
        Activation::None => x,
        Activation::Relu => lanes.max(lanes.splat(0.0), x),
        Activation::Relu6 => clamp(lanes, 6.0, x),
        Activation::LeakyRelu { slope } => {
            let negative = lanes.min(lanes.splat(0.0), x);
            lanes.mul_add(lanes.splat(slope as f32), negative, lanes.max(lanes.splat(0.0), x))
        }
        Activation::HardSigmoid => hard_sigmoid(lanes, x),
        Activation::KerasHardSigmoid => {
            clamp(lanes, 1.0, lanes.mul_add(lanes.splat(0.2), x, lanes.splat(0.5)))
        }
        Activation::HardSwish => lanes.mul(x, hard_sigmoid(lanes, x)),
        Activation::Sigmoid => smooth::sigmoid(lanes, x),
        Activation::Tanh => smooth::tanh(lanes, x),
        Activation::Silu => lanes.mul(x, smooth::sigmoid(lanes, x)),
        Activation::Gelu => smooth::gelu(lanes, x),
        Activation::Elu => smooth::elu(lanes, x),
    }
}

/// The least and the greatest value that an activation lets through, where it is no more than those.
pub(crate) fn bounds(activation: Activation) -> Option<[f32; 2]> {
    match activation {
        Activation::None => Some([f32::NEG_INFINITY, f32::INFINITY]),
        Activation::Relu => Some([0.0, f32::INFINITY]),
        Activation::Relu6 => Some([0.0, 6.0]),
        _ => None,
    }
}

/// min(max(x, 0), high)
#[inline(always)]
fn clamp<L: Lanes>(lanes: L, high: f32, x: L::V) -> L::V {
    lanes.min(lanes.splat(high), lanes.max(lanes.splat(0.0), x))
}

#[inline(always)]
fn hard_sigmoid<L: Lanes>(lanes: L, x: L::V) -> L::V {
    lanes.mul(clamp(lanes, 6.0, lanes.add(x, lanes.splat(3.0))), lanes.splat(1.0 / 6.0))
}
