//! What `dyconv train` writes as JSON.

use dyconv_core::Result;
use dyconv_nn::{Architecture, Dataset, EpochRecord, Model, Recipe};
use serde::Serialize;

use super::{Findings, Outcome};
use crate::digits::Digits;
use crate::machine::Machine;
use crate::record::Present;

/// One training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainRecord {
    /// [`crate::record::VERSION`].
    pub version: u32,
    /// `train`.
    pub kind: &'static str,
    /// The program's version.
    pub program: &'static str,
    /// Where it ran.
    pub machine: Machine,
    /// What it ran on.
    pub backend: Present,
    /// The images.
    pub data: Data,
    /// The network.
    pub network: Summary,
    /// Every hyper-parameter.
    pub recipe: Recipe,
    /// Every epoch, those before a resumption too.
    pub history: Vec<EpochRecord>,
    /// Read-outs of the trained network on held-out images.
    pub findings: Findings,
    /// How long this run of the program trained, in seconds.
    pub seconds: f64,
}

/// A comparison of trainings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CompareRecord {
    /// [`crate::record::VERSION`].
    pub version: u32,
    /// `train_compare`.
    pub kind: &'static str,
    /// The program's version.
    pub program: &'static str,
    /// Where it ran.
    pub machine: Machine,
    /// What it ran on.
    pub backend: Present,
    /// The images.
    pub data: Data,
    /// The seeds that every variant was trained from to the end.
    pub seeds: Vec<u64>,
    /// Static, annealed, fixed.
    pub variants: Vec<Outcome>,
    /// How long it all took, in seconds.
    pub seconds: f64,
}

/// Which images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Data {
    /// What they are.
    pub name: &'static str,
    /// Images to train on.
    pub training: usize,
    /// Images held out.
    pub held_out: usize,
    /// What checkpoints know the training images by.
    pub fingerprint: String,
}

/// A network in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Its blocks.
    pub architecture: Architecture,
    /// Numbers that it learns.
    pub parameters: usize,
    /// Multiply-adds for one image: pools, heads, aggregation and convolutions.
    pub multiply_adds: u64,
}

impl Data {
    /// Of the digits.
    #[must_use]
    pub fn of(digits: &Digits) -> Self {
        Self {
            name: "UCI optical recognition of handwritten digits, the test set of 1797 images",
            training: digits.training.len(),
            held_out: digits.held_out.len(),
            fingerprint: format!("{:016x}", digits.training.fingerprint()),
        }
    }
}

impl Summary {
    /// Of a network.
    ///
    /// # Errors
    /// None for a proven network.
    pub fn of(model: &Model) -> Result<Self> {
        let costs = model.graph().costs()?;
        Ok(Self {
            architecture: model.graph().architecture().clone(),
            parameters: model.parameters(),
            multiply_adds: costs.iter().map(|cost| cost.total().multiply_adds).sum(),
        })
    }
}
