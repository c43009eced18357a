//! The temperature of softmax heads.

use dyconv_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::Position;

/// How the temperature changes: early in training π should be near uniform, so that every expert learns (section 3.3
/// of the paper).
///
/// ```
/// use dyconv_nn::{Position, Temperature};
///
/// let at = |epoch: u64| Temperature::PAPER.at(Position { step: 100 * epoch, steps_per_epoch: 100, epochs: 300 });
/// assert_eq!([at(0), at(5), at(10), at(299)], [30.0, 15.5, 1.0, 1.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Temperature {
    /// Always the same.
    Fixed {
        /// T > 0.
        value: f64,
    },
    /// From `from` at the start to `to` when `epochs` are over, and `to` from then on.
    Linear {
        /// T at the start.
        from: f64,
        /// T at the end.
        to: f64,
        /// How long it takes; 0: `to` at once.
        epochs: u64,
        /// When it moves.
        every: Unit,
    },
}

/// When a schedule moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// With every step.
    Step,
    /// With every epoch.
    Epoch,
}

impl Temperature {
    /// The paper's: 30 → 1 over the first 10 epochs, by the epoch.
    pub const PAPER: Self = Self::Linear { from: 30.0, to: 1.0, epochs: 10, every: Unit::Epoch };

    /// T of a step.
    #[must_use]
    pub fn at(self, position: Position) -> f64 {
        match self {
            Self::Fixed { value } => value,
            Self::Linear { from, to, epochs, every } => {
                let elapsed = match every {
                    Unit::Step => position.elapsed(),
                    Unit::Epoch => position.epoch() as f64,
                };
                match elapsed < epochs as f64 {
                    true => from + (to - from) * (elapsed / epochs as f64),
                    false => to,
                }
            }
        }
    }

    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::Fixed { value } => check_temperature("temperature.value", value),
            Self::Linear { from, to, .. } => {
                check_temperature("temperature.from", from)?;
                check_temperature("temperature.to", to)
            }
        }
    }
}

/// A temperature must be a positive f32, since kernels compute in f32.
pub(crate) fn check_temperature(name: &str, temperature: f64) -> Result<()> {
    match (temperature as f32).is_finite() && temperature as f32 > 0.0 {
        true => Ok(()),
        false => Err(Error::invalid(name, temperature, "a finite f32 greater than 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(temperature: Temperature, steps: &[u64]) -> Vec<f64> {
        steps.iter().map(|&step| temperature.at(Position { step, steps_per_epoch: 4, epochs: 20 })).collect()
    }

    #[test]
    fn by_the_epoch_it_stands_still_within_one() {
        let want = [30.0, 30.0, 27.1, 15.5, 3.9, 1.0, 1.0];
        for (got, want) in table(Temperature::PAPER, &[0, 3, 4, 20, 39, 40, 79]).iter().zip(want) {
            assert!((got - want).abs() < 1e-13, "{got}, not {want}");
        }
    }

    #[test]
    fn by_the_step_it_moves_with_every_one() {
        let schedule = Temperature::Linear { from: 9.0, to: 1.0, epochs: 2, every: Unit::Step };
        assert_eq!(table(schedule, &[0, 1, 4, 7, 8, 50]), [9.0, 8.0, 5.0, 2.0, 1.0, 1.0]);
    }

    #[test]
    fn fixed_and_immediate() {
        assert_eq!(table(Temperature::Fixed { value: 4.0 }, &[0, 70]), [4.0, 4.0]);
        let at_once = Temperature::Linear { from: 9.0, to: 1.0, epochs: 0, every: Unit::Step };
        assert_eq!(table(at_once, &[0, 1]), [1.0, 1.0]);
    }

    #[test]
    fn impossible_temperatures_are_refused() {
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-60, 1e60] {
            assert!(Temperature::Fixed { value }.check().is_err(), "{value}");
            let every = Unit::Epoch;
            assert!(
                Temperature::Linear { from: 1.0, to: value, epochs: 1, every }.check().is_err(),
                "{value}"
            );
        }
    }
}
