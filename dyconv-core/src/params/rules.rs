//! What training adds to the loss for a tensor's values, and where it brings them back to after a step.
//!
//! Data, with no effect on a forward: they are applied where layers are trained.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A penalty, added to the loss: l1·Σ|w| + l2·Σw².
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regularizer {
    /// Factor of Σ|w|, ≥ 0.
    pub l1: f64,
    /// Factor of Σw², ≥ 0.
    pub l2: f64,
}

impl Regularizer {
    /// dl/dw of one value: l1·sign(w) + 2·l2·w, with sign(0) = 0.
    #[must_use]
    pub fn slope(self, w: f64) -> f64 {
        let sign = if w == 0.0 { 0.0 } else { w.signum() };
        self.l1 * sign + 2.0 * self.l2 * w
    }

    pub(crate) fn check(self, parameter: &str) -> Result<()> {
        check_number(parameter, "l1", self.l1, 0.0)?;
        check_number(parameter, "l2", self.l2, 0.0)
    }
}

/// A set that a step's result is brought back into. Norms are Euclidean, over `axes` of the tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Constraint {
    /// Norms of at most `max`.
    MaxNorm {
        /// Largest norm, ≥ 0.
        max: f64,
        /// Axes that a norm sums over; negative ones count from the last.
        axes: Vec<i64>,
    },
    /// No negative values.
    NonNeg,
    /// Norms of 1.
    UnitNorm {
        /// Axes that a norm sums over.
        axes: Vec<i64>,
    },
    /// Norms from `min` to `max`.
    MinMaxNorm {
        /// Least norm, ≥ 0.
        min: f64,
        /// Largest norm, ≥ `min`.
        max: f64,
        /// How much of the way back one step goes, from 0 to 1.
        rate: f64,
        /// Axes that a norm sums over.
        axes: Vec<i64>,
    },
}

impl Constraint {
    /// Which axes of a tensor of this shape a norm sums over, in ascending order; all of them where the constraint
    /// isn't one on norms.
    ///
    /// # Errors
    /// Where an axis isn't one of the tensor's, or comes twice.
    pub fn axes_of(&self, parameter: &str, shape: &[usize]) -> Result<Vec<usize>> {
        let axes = match self {
            Self::NonNeg => return Ok((0..shape.len()).collect()),
            Self::MaxNorm { axes, .. } | Self::UnitNorm { axes } | Self::MinMaxNorm { axes, .. } => axes,
        };
        let rank = shape.len() as i64;
        let mut found = Vec::with_capacity(axes.len());
        for &axis in axes {
            let counted = if axis < 0 { axis + rank } else { axis };
            if !(0..rank).contains(&counted) || found.contains(&(counted as usize)) {
                let expected = format!("different axes of a tensor {shape:?}");
                return Err(Error::invalid(format!("{parameter}.axes"), format!("{axes:?}"), expected));
            }
            found.push(counted as usize);
        }
        found.sort_unstable();
        Ok(found)
    }

    pub(crate) fn check(&self, parameter: &str) -> Result<()> {
        match *self {
            Self::NonNeg | Self::UnitNorm { .. } => Ok(()),
            Self::MaxNorm { max, .. } => check_number(parameter, "max", max, 0.0),
            Self::MinMaxNorm { min, max, rate, .. } => {
                check_number(parameter, "min", min, 0.0)?;
                check_number(parameter, "max", max, min)?;
                if (0.0..=1.0).contains(&rate) {
                    return Ok(());
                }
                Err(Error::invalid(format!("{parameter}.rate"), rate, "a number from 0 to 1"))
            }
        }
    }
}

fn check_number(parameter: &str, field: &str, value: f64, least: f64) -> Result<()> {
    if value >= least && (value as f32).is_finite() {
        return Ok(());
    }
    Err(Error::invalid(format!("{parameter}.{field}"), value, format!("a finite f32, at least {least}")))
}
