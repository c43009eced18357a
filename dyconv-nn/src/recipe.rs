//! How a network is trained: every hyper-parameter, as data.

use std::collections::BTreeMap;

use dyconv_core::{Error, Optimizer, Regularizer, Result, Rules, Step};
use serde::{Deserialize, Serialize};

use crate::loss::check_smoothing;
use crate::{Graph, Rate, Temperature};

/// How a network is trained. Public fields, no promises: [`Trainer::new`](crate::Trainer::new) proves them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct Recipe {
    /// How often every sample is seen.
    pub epochs: u64,
    /// Samples of a step; an epoch's last step takes what is left.
    pub batch: usize,
    /// What the order of samples comes from.
    pub seed: u64,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The learning rate.
    pub rate: Rate,
    /// The temperature of softmax heads.
    pub temperature: Temperature,
    /// How far targets move towards uniform, from 0 to 1.
    pub label_smoothing: f64,
    /// Rate factor, weight decay, regulariser and constraint of each kind of parameter.
    #[serde(default)]
    pub rules: Rules,
    /// Layers that have rules of their own instead.
    #[serde(default)]
    pub layer_rules: BTreeMap<String, Rules>,
    /// Penalties on layers' outputs, the mean over the batch; as with all regularisers, the loss that is reported
    /// is the data's alone.
    #[serde(default)]
    pub activity: BTreeMap<String, Regularizer>,
}

impl Recipe {
    /// SGD with momentum 0.9, rate 0.1 falling along a cosine, weight decay 1e-4 on matrices, the paper's temperature.
    pub fn new(epochs: u64, batch: usize) -> Self {
        Self {
            epochs,
            batch,
            seed: 0,
            optimizer: Optimizer::MOMENTUM,
            rate: Rate::cosine(0.1),
            temperature: Temperature::PAPER,
            label_smoothing: 0.0,
            rules: Rules::decay(1e-4),
            layer_rules: BTreeMap::new(),
            activity: BTreeMap::new(),
        }
    }

    /// What a step of this rate does to each layer.
    pub(crate) fn steps(&self, graph: &Graph, rate: f64) -> Vec<Step> {
        let rules =
            graph.layers().iter().map(|layer| self.layer_rules.get(layer.name()).unwrap_or(&self.rules));
        rules.map(|rules| Step::new(self.optimizer, rate).rules(rules.clone())).collect()
    }

    /// Each layer's penalty on its output, for a batch.
    pub(crate) fn activity(&self, graph: &Graph, batch: usize) -> Vec<Option<Regularizer>> {
        let share = |penalty: &Regularizer| Regularizer {
            l1: penalty.l1 / batch as f64,
            l2: penalty.l2 / batch as f64,
        };
        graph.layers().iter().map(|layer| self.activity.get(layer.name()).map(share)).collect()
    }

    pub(crate) fn check(&self, graph: &Graph) -> Result<()> {
        if self.epochs == 0 {
            return Err(Error::invalid("epochs", 0, "at least 1"));
        }
        if self.batch == 0 {
            return Err(Error::invalid("batch", 0, "at least 1"));
        }
        check_smoothing(self.label_smoothing)?;
        self.rate.check()?;
        self.temperature.check()?;
        for name in self.layer_rules.keys().chain(self.activity.keys()) {
            graph.layer_index(name)?;
        }
        for (name, penalty) in &self.activity {
            for (field, value) in [("l1", penalty.l1), ("l2", penalty.l2)] {
                if !(value >= 0.0 && (value as f32).is_finite()) {
                    let parameter = format!("activity of layer `{name}`: {field}");
                    return Err(Error::invalid(parameter, value, "a finite f32, at least 0"));
                }
            }
        }
        Ok(())
    }
}
