//! Learning rates.

use dyconv_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::Position;

/// The learning rate: a linear warm-up to `peak`, then a decay.
///
/// With w = warmup epochs, step i of the warm-up has peak·(i + 1)/(w·steps per epoch), so that the first isn't 0.
///
/// ```
/// use dyconv_nn::{Position, Rate};
///
/// let rate = Rate::cosine(0.1).warmup(1.0);
/// let at = |step| rate.at(Position { step, steps_per_epoch: 4, epochs: 5 });
/// assert_eq!((at(0), at(3)), (0.025, 0.1));
/// assert!((at(12) - 0.05).abs() < 1e-15);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct Rate {
    /// η after the warm-up, ≥ 0.
    pub peak: f64,
    /// Epochs of the warm-up, ≥ 0; a part of one is legal.
    #[serde(default)]
    pub warmup: f64,
    /// What comes then.
    pub decay: Decay,
}

/// How a learning rate falls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Decay {
    /// It doesn't.
    Constant,
    /// floor + (peak − floor)·(1 + cos πt)/2, t from 0 after the warm-up to 1 at the end of training.
    Cosine {
        /// Where it ends, from 0 to `peak`.
        floor: f64,
    },
    /// peak·factorⁿ with n the number of `epochs` that are over.
    Steps {
        /// When it falls, in ascending order.
        epochs: Vec<u64>,
        /// By how much, from 0 to 1.
        factor: f64,
    },
}

impl Rate {
    /// Always the same.
    pub fn constant(peak: f64) -> Self {
        Self { peak, warmup: 0.0, decay: Decay::Constant }
    }

    /// From `peak` to 0 along a half cosine.
    pub fn cosine(peak: f64) -> Self {
        Self { peak, warmup: 0.0, decay: Decay::Cosine { floor: 0.0 } }
    }

    /// Multiplied by `factor` after each of these epochs.
    pub fn steps(peak: f64, epochs: impl Into<Vec<u64>>, factor: f64) -> Self {
        Self { peak, warmup: 0.0, decay: Decay::Steps { epochs: epochs.into(), factor } }
    }

    /// Sets the epochs of the warm-up.
    pub fn warmup(mut self, epochs: f64) -> Self {
        self.warmup = epochs;
        self
    }

    /// η of a step.
    #[must_use]
    pub fn at(&self, position: Position) -> f64 {
        let elapsed = position.elapsed();
        if elapsed < self.warmup {
            let next = (position.step + 1) as f64 / position.steps_per_epoch.max(1) as f64;
            return self.peak * (next / self.warmup).min(1.0);
        }
        match &self.decay {
            Decay::Constant => self.peak,
            Decay::Cosine { floor } => {
                let left = position.epochs as f64 - self.warmup;
                let t = if left > 0.0 { ((elapsed - self.warmup) / left).min(1.0) } else { 1.0 };
                floor + (self.peak - floor) * (1.0 + libm::cos(std::f64::consts::PI * t)) / 2.0
            }
            Decay::Steps { epochs, factor } => {
                let over = epochs.iter().filter(|&&epoch| position.epoch() >= epoch).count();
                (0..over).fold(self.peak, |rate, _| rate * factor)
            }
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let within = |name: &str, value: f64, most: f64| match (0.0..=most).contains(&value) {
            true => Ok(()),
            false => Err(Error::invalid(name, value, format!("a number from 0 to {most}"))),
        };
        within("rate.peak", self.peak, f64::from(f32::MAX))?;
        within("rate.warmup", self.warmup, f64::from(u32::MAX))?;
        match &self.decay {
            Decay::Constant => Ok(()),
            Decay::Cosine { floor } => within("rate.decay.floor", *floor, self.peak),
            Decay::Steps { epochs, factor } => {
                within("rate.decay.factor", *factor, 1.0)?;
                match epochs.is_sorted() {
                    true => Ok(()),
                    false => {
                        let value = format!("{epochs:?}");
                        Err(Error::invalid("rate.decay.epochs", value, "epochs in ascending order"))
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rate: &Rate, steps: &[u64]) -> Vec<f64> {
        steps.iter().map(|&step| rate.at(Position { step, steps_per_epoch: 10, epochs: 10 })).collect()
    }

    #[test]
    fn constant() {
        assert_eq!(table(&Rate::constant(0.5), &[0, 57, 99]), [0.5; 3]);
    }

    #[test]
    fn cosine_starts_at_the_peak_and_ends_at_the_floor() {
        let mut rate = Rate::cosine(1.0);
        rate.decay = Decay::Cosine { floor: 0.5 };
        let root = std::f64::consts::FRAC_1_SQRT_2;
        let want = [1.0, 0.75 + root / 4.0, 0.75, 0.75 - root / 4.0, 0.5, 0.5];
        for (got, want) in table(&rate, &[0, 25, 50, 75, 100, 150]).iter().zip(want) {
            assert!((got - want).abs() < 1e-15, "{got}, not {want}");
        }
    }

    #[test]
    fn warmup_rises_by_the_step_and_ends_at_the_peak() {
        let rate = Rate::constant(1.0).warmup(0.5);
        assert_eq!(table(&rate, &[0, 1, 4, 5, 6]), [0.2, 0.4, 1.0, 1.0, 1.0]);
        // The cosine begins where the warm-up ends.
        let rate = Rate::cosine(1.0).warmup(2.0);
        let got = table(&rate, &[19, 20, 60]);
        assert!(got[0] == 1.0 && got[1] == 1.0 && (got[2] - 0.5).abs() < 1e-15, "{got:?}");
    }

    #[test]
    fn steps_fall_when_their_epoch_is_over() {
        let rate = Rate::steps(8.0, [3, 6], 0.25);
        assert_eq!(table(&rate, &[0, 29, 30, 59, 60, 99]), [8.0, 8.0, 2.0, 2.0, 0.5, 0.5]);
    }

    #[test]
    fn impossible_numbers_are_refused_by_name() {
        let refused = |rate: Rate| rate.check().unwrap_err().to_string();
        assert!(refused(Rate::constant(-1.0)).starts_with("rate.peak is -1"));
        assert!(refused(Rate::constant(f64::NAN)).starts_with("rate.peak is NaN"));
        assert!(refused(Rate::constant(1.0).warmup(f64::INFINITY)).starts_with("rate.warmup is inf"));
        assert!(refused(Rate::steps(1.0, [2, 1], 0.1)).starts_with("rate.decay.epochs is [2, 1]"));
        assert!(refused(Rate::steps(1.0, [1], 1.5)).starts_with("rate.decay.factor is 1.5"));
        let above = Rate { decay: Decay::Cosine { floor: 2.0 }, ..Rate::constant(1.0) };
        assert!(refused(above).starts_with("rate.decay.floor is 2"));
    }
}
