//! Step 7 of the layer: the activation.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// An elementwise function of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x
    #[default]
    None,
    /// max(x, 0)
    Relu,
    /// min(max(x, 0), 6)
    Relu6,
    /// x where x > 0, else `slope`·x
    LeakyRelu {
        /// The slope for negative inputs: 0.01 in PyTorch and in case files, 0.2 or 0.3 in Keras 2.
        slope: f64,
    },
    /// 1 / (1 + exp(−x))
    Sigmoid,
    /// tanh(x)
    Tanh,
    /// relu6(x + 3) / 6
    HardSigmoid,
    /// Keras 2's hard sigmoid: min(max(0.2·x + 0.5, 0), 1)
    KerasHardSigmoid,
    /// x · relu6(x + 3) / 6
    HardSwish,
    /// x · sigmoid(x)
    Silu,
    /// x · Φ(x), the exact one: x/2 · (1 + erf(x/√2))
    Gelu,
    /// x where x > 0, else exp(x) − 1
    Elu,
}

impl Activation {
    /// `leaky_relu` with the usual slope 0.01.
    pub const LEAKY_RELU: Self = Self::LeakyRelu { slope: 0.01 };

    /// Every activation once.
    pub const ALL: [Self; 12] = [
        Self::None,
        Self::Relu,
        Self::Relu6,
        Self::LEAKY_RELU,
        Self::Sigmoid,
        Self::Tanh,
        Self::HardSigmoid,
        Self::KerasHardSigmoid,
        Self::HardSwish,
        Self::Silu,
        Self::Gelu,
        Self::Elu,
    ];

    /// The name, without a slope.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::LeakyRelu { .. } => "leaky_relu",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::HardSigmoid => "hard_sigmoid",
            Self::KerasHardSigmoid => "keras_hard_sigmoid",
            Self::HardSwish => "hard_swish",
            Self::Silu => "silu",
            Self::Gelu => "gelu",
            Self::Elu => "elu",
        }
    }

    pub(super) fn check(self) -> Result<()> {
        match self {
            Self::LeakyRelu { slope } if !(slope as f32).is_finite() => {
                Err(Error::invalid("activation.slope", slope, "a finite number"))
            }
            _ => Ok(()),
        }
    }
}
