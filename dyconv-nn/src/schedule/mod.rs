//! What changes while a network learns, as data and pure functions of the position in training.

mod rate;
mod temperature;

pub use rate::{Decay, Rate};
pub(crate) use temperature::check_temperature;
pub use temperature::{Temperature, Unit};

/// Where in training a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Steps taken before this one.
    pub step: u64,
    /// Steps of one epoch, ≥ 1.
    pub steps_per_epoch: u64,
    /// Epochs of the whole training.
    pub epochs: u64,
}

impl Position {
    /// Epochs finished before this step.
    #[must_use]
    pub fn epoch(self) -> u64 {
        self.step / self.steps_per_epoch.max(1)
    }

    /// Epochs before this step, parts of one included.
    #[must_use]
    pub fn elapsed(self) -> f64 {
        self.step as f64 / self.steps_per_epoch.max(1) as f64
    }
}
