//! One step of an optimiser, as data.

use serde::{Deserialize, Serialize};

use super::rules::{Rules, check_number};
use super::{MomentValues, check_trainable};
use crate::{Error, Prepared, Result};

/// How gradients move parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Optimizer {
    /// Stochastic gradient descent, as `PyTorch` has it.
    Sgd {
        /// μ, from 0 to below 1. Where it is 0 there are no moments.
        momentum: f64,
        /// Look ahead: step by g + μ·v instead of v. Needs momentum.
        nesterov: bool,
    },
    /// Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019).
    #[serde(rename = "adamw")]
    AdamW {
        /// β₁, from 0 to below 1.
        beta1: f64,
        /// β₂, from 0 to below 1.
        beta2: f64,
        /// Added to √v̂, > 0.
        epsilon: f64,
    },
}

impl Optimizer {
    /// Plain gradient descent.
    pub const SGD: Self = Self::Sgd { momentum: 0.0, nesterov: false };
    /// Momentum 0.9.
    pub const MOMENTUM: Self = Self::Sgd { momentum: 0.9, nesterov: false };
    /// β 0.9 and 0.999, ε 1e-8.
    pub const ADAMW: Self = Self::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

    /// How many numbers it keeps for every parameter: v; or m and v.
    #[must_use]
    pub fn slots(&self) -> usize {
        match *self {
            Self::Sgd { momentum: 0.0, .. } => 0,
            Self::Sgd { .. } => 1,
            Self::AdamW { .. } => 2,
        }
    }

    /// Refuses impossible numbers.
    ///
    /// # Errors
    /// The first, by name.
    pub fn check(&self) -> Result<()> {
        let below_one = |name: &str, value: f64| match (0.0..1.0).contains(&value) {
            true => Ok(()),
            false => Err(Error::invalid(name, value, "a number from 0 to below 1")),
        };
        match *self {
            Self::Sgd { momentum, nesterov } => {
                below_one("momentum", momentum)?;
                match nesterov && momentum == 0.0 {
                    true => Err(Error::invalid("momentum", 0, "more than 0, since nesterov needs it")),
                    false => Ok(()),
                }
            }
            Self::AdamW { beta1, beta2, epsilon } => {
                below_one("beta1", beta1)?;
                below_one("beta2", beta2)?;
                match epsilon > 0.0 && (epsilon as f32).is_normal() {
                    true => Ok(()),
                    false => Err(Error::invalid("epsilon", epsilon, "a normal f32 greater than 0")),
                }
            }
        }
    }
}

/// One step of an optimiser.
///
/// For every learned parameter w with gradient g, its [`Rule`](super::Rule) r and η = rate·r.rate, in this order:
///
/// ```text
/// g ← g + l1·sign(w) + 2·l2·w                              the regulariser's share, sign(0) = 0
///
/// SGD      g ← g + λ·w                                     λ = r.weight_decay
///          v ← μ·v + g                                     (μ = 0: v is g, and isn't kept)
///          w ← w − η·v,  or  w − η·(g + μ·v) with nesterov
///
/// AdamW    w ← w − η·λ·w                                   decoupled from the gradient's history
///          m ← β₁·m + (1 − β₁)·g        v ← β₂·v + (1 − β₂)·g²        t ← t + 1
///          w ← w − η·(m/(1 − β₁ᵗ)) / (√(v/(1 − β₂ᵗ)) + ε)
///
/// w ← the constraint's projection of w                     a norm's share is desired/(norm + 1e-7), as in Keras
/// ```
///
/// m, v and t are 0 before the first step. Running statistics are no parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The optimiser.
    pub optimizer: Optimizer,
    /// η, ≥ 0.
    pub rate: f64,
    /// What it does to each kind of parameter.
    #[serde(default)]
    pub rules: Rules,
}

impl Step {
    /// A step without weight decay, regularisers or constraints.
    #[must_use]
    pub fn new(optimizer: Optimizer, rate: f64) -> Self {
        Self { optimizer, rate, rules: Rules::default() }
    }

    /// Sets the rules.
    #[must_use]
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Holds the step against a layer and moments of so many slots. Every backend starts with this.
    ///
    /// # Errors
    /// The first misfit, by name.
    pub fn check(&self, layer: &impl Prepared, slots: usize) -> Result<()> {
        check_trainable(layer)?;
        self.optimizer.check()?;
        check_number("rate", self.rate)?;
        self.rules.check(layer.config())?;
        MomentValues::check_slots(slots, &self.optimizer)
    }
}
