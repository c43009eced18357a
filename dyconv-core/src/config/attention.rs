//! Step 2 of the layer: which head computes the attention weights π, and how its logits become weights.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How logits become attention weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Squash {
    /// π = softmax(logits / T), the row's maximum subtracted first.
    Softmax {
        /// T > 0. The paper anneals it from 30 to 1; a call may override it.
        temperature: f64,
    },
    /// π = sigmoid(logits); doesn't sum to one and has no temperature (`CondConv`).
    Sigmoid,
}

impl Squash {
    /// Softmax with temperature 1.
    pub const SOFTMAX: Self = Self::Softmax { temperature: 1.0 };
}

/// The attention head.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "AttentionJson", into = "AttentionJson")]
pub enum Attention {
    /// logits = A2·relu(A1·z + c1) + c2: the paper and the Keras layer.
    Mlp {
        /// Rows of A1; see [`hidden`] for the rules in use.
        hidden: usize,
        /// How logits become weights.
        squash: Squash,
    },
    /// logits = A2·z + c2 (`CondConv`).
    Linear {
        /// How logits become weights.
        squash: Squash,
    },
    /// The caller passes π with every call; it is used as it is: any sign, not normalised.
    Given,
}

impl Attention {
    /// The paper's head: an MLP of `hidden` units and a softmax with temperature 1.
    #[must_use]
    pub fn mlp(hidden: usize) -> Self {
        Self::Mlp { hidden, squash: Squash::SOFTMAX }
    }

    /// How logits become weights; `None` for [`Attention::Given`].
    #[must_use]
    pub fn squash(self) -> Option<Squash> {
        match self {
            Self::Mlp { squash, .. } | Self::Linear { squash } => Some(squash),
            Self::Given => None,
        }
    }

    /// The configured temperature, where there is one.
    #[must_use]
    pub fn temperature(self) -> Option<f64> {
        match self.squash() {
            Some(Squash::Softmax { temperature }) => Some(temperature),
            _ => None,
        }
    }

    pub(super) fn check(self) -> Result<()> {
        if let Self::Mlp { hidden, .. } = self {
            super::options::check_extent("attention.hidden", hidden)?;
        }
        self.temperature().map_or(Ok(()), |t| check_temperature("attention.temperature", t))
    }
}

/// A temperature must be a positive f32, since kernels compute in f32.
pub(crate) fn check_temperature(parameter: &str, temperature: f64) -> Result<()> {
    let single = temperature as f32;
    if single.is_finite() && single > 0.0 {
        return Ok(());
    }
    Err(Error::invalid(parameter, temperature, "a finite f32 greater than 0"))
}

/// The rules in use for the number of hidden units of [`Attention::Mlp`].
pub mod hidden {
    /// The paper squeezes the channels by 4: max(1, ⌊Cin/4⌋).
    #[must_use]
    pub fn paper(in_channels: usize) -> usize {
        (in_channels / 4).max(1)
    }

    /// The Keras layer uses as many as there are experts.
    #[must_use]
    pub fn keras(experts: usize) -> usize {
        experts
    }

    /// A widely used PyTorch port: int(Cin·ratio) + 1, and K where Cin = 3. Its ratio is 0.25 by default.
    #[must_use]
    pub fn torch_port(in_channels: usize, ratio: f64, experts: usize) -> usize {
        if in_channels == 3 {
            return experts;
        }
        (in_channels as f64 * ratio) as usize + 1
    }
}

/// The JSON form: `{"kind": "mlp", "hidden": 2, "squash": "softmax", "temperature": 1.0}`.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum AttentionJson {
    Mlp {
        hidden: usize,
        squash: SquashJson,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        temperature: Option<f64>,
    },
    Linear {
        squash: SquashJson,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        temperature: Option<f64>,
    },
    Given {},
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SquashJson {
    Softmax,
    Sigmoid,
}

impl TryFrom<AttentionJson> for Attention {
    type Error = Error;

    fn try_from(json: AttentionJson) -> Result<Self> {
        let squash = |squash, temperature: Option<f64>| match (squash, temperature) {
            (SquashJson::Softmax, Some(temperature)) => Ok(Squash::Softmax { temperature }),
            (SquashJson::Sigmoid, None) => Ok(Squash::Sigmoid),
            (SquashJson::Softmax, None) => {
                Err(Error::invalid("attention.temperature", "absent", "a number, since squash is softmax"))
            }
            (SquashJson::Sigmoid, Some(t)) => {
                Err(Error::invalid("attention.temperature", t, "none, since squash is sigmoid"))
            }
        };
        Ok(match json {
            AttentionJson::Mlp { hidden, squash: s, temperature } => {
                Self::Mlp { hidden, squash: squash(s, temperature)? }
            }
            AttentionJson::Linear { squash: s, temperature } => {
                Self::Linear { squash: squash(s, temperature)? }
            }
            AttentionJson::Given {} => Self::Given,
        })
    }
}

impl From<Attention> for AttentionJson {
    fn from(attention: Attention) -> Self {
        let split = |squash| match squash {
            Squash::Softmax { temperature } => (SquashJson::Softmax, Some(temperature)),
            Squash::Sigmoid => (SquashJson::Sigmoid, None),
        };
        match attention {
            Attention::Mlp { hidden, squash } => {
                let (squash, temperature) = split(squash);
                Self::Mlp { hidden, squash, temperature }
            }
            Attention::Linear { squash } => {
                let (squash, temperature) = split(squash);
                Self::Linear { squash, temperature }
            }
            Attention::Given => Self::Given {},
        }
    }
}
