//! Where training stands, and what it has been through.

use dyconv_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{Metrics, Position, Tally};

/// Where training stands. With the recipe's seed this is all that the order of samples and every schedule depend on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Steps taken.
    pub step: u64,
    /// What the steps of the present epoch add up to.
    pub tally: Tally,
    /// Every epoch that is over.
    pub history: Vec<EpochRecord>,
}

/// One epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochRecord {
    /// Which, from 0.
    pub epoch: u64,
    /// The learning rate of its last step.
    pub rate: f64,
    /// The temperature of its last step.
    pub temperature: f64,
    /// Over its mini-batches, each before its step.
    pub train: Metrics,
    /// On held-out data after the epoch, where there is some.
    pub held_out: Option<Metrics>,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// Which, from 0.
    pub step: u64,
    /// The epoch it is of.
    pub epoch: u64,
    /// The learning rate.
    pub rate: f64,
    /// The temperature.
    pub temperature: f64,
    /// Of its mini-batch, before the step.
    pub batch: Metrics,
}

impl Progress {
    /// Holds it against the training that it is of.
    pub(super) fn check(&self, position: Position) -> Result<()> {
        let all = position.epochs.saturating_mul(position.steps_per_epoch);
        if self.step > all {
            return Err(Error::invalid(
                "step",
                self.step,
                format!("at most {all}, those of the recipe's epochs"),
            ));
        }
        let finished = position.epoch();
        match self.history.len() as u64 == finished {
            true => Ok(()),
            false => {
                let expected = format!("{finished} epochs, as after {} steps", self.step);
                Err(Error::invalid("history", format!("{} epochs", self.history.len()), expected))
            }
        }
    }
}
