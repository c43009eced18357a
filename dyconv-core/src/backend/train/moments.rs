//! An optimiser's state in host memory: what a checkpoint holds of it.

use std::collections::BTreeMap;

use super::Optimizer;
use crate::{Error, ParamSpec, Result};

/// Numbers by the names of [`ParamSpec`], each as long as its parameter and in its order.
pub type ParamMap = BTreeMap<&'static str, Vec<f32>>;

/// An optimiser's state for one layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MomentValues {
    /// Steps taken, t.
    pub steps: u64,
    /// v of SGD; m and v of `AdamW`; nothing for SGD without momentum. Each has every learned parameter.
    pub slots: Vec<ParamMap>,
}

impl MomentValues {
    /// The state before the first step: zeros for these parameters.
    #[must_use]
    pub fn zeros(learned: &[ParamSpec], optimizer: &Optimizer) -> Self {
        let zeros = || learned.iter().map(|spec| (spec.name, vec![0.0; spec.len()])).collect();
        Self { steps: 0, slots: (0..optimizer.slots()).map(|_| zeros()).collect() }
    }

    /// Holds the state against an optimiser and the learned parameters of a layer.
    ///
    /// # Errors
    /// Where a slot or a tensor is missing, superfluous, of another size, or not finite; or v of `AdamW` is negative.
    pub fn check(&self, learned: &[ParamSpec], optimizer: &Optimizer) -> Result<()> {
        Self::check_slots(self.slots.len(), optimizer)?;
        self.check_names(learned)?;
        for (i, slot) in self.slots.iter().enumerate() {
            let least = if i == 1 { 0.0 } else { f32::MIN };
            for (name, data) in slot {
                if let Some(bad) = data.iter().find(|value| !(value.is_finite() && **value >= least)) {
                    let expected = if i == 1 { "finite numbers, at least 0" } else { "finite numbers" };
                    return Err(Error::invalid(format!("moments[{i}] of {name}"), bad, expected));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn check_names(&self, learned: &[ParamSpec]) -> Result<()> {
        let mut slots = self.slots.iter().enumerate();
        slots.try_for_each(|(i, slot)| check_map(&format!("moments[{i}]"), slot, learned))
    }

    pub(super) fn check_slots(slots: usize, optimizer: &Optimizer) -> Result<()> {
        if slots == optimizer.slots() {
            return Ok(());
        }
        let expected = format!("{}, for {optimizer:?}", optimizer.slots());
        Err(Error::invalid("numbers per parameter in moments", slots, expected))
    }
}

/// Every learned parameter of a layer, in its size, and nothing else.
pub(crate) fn check_map(what: &str, map: &ParamMap, learned: &[ParamSpec]) -> Result<()> {
    let full = |name: &str| format!("{what} of {name}");
    if let Some(name) = map.keys().find(|name| !learned.iter().any(|spec| spec.name == **name)) {
        return Err(Error::invalid(full(name), "present", "no such tensor for this layer"));
    }
    for spec in learned {
        let found = map.get(spec.name).map(Vec::len);
        if found != Some(spec.len()) {
            let value = found.map_or("missing".to_owned(), |len| format!("{len} elements"));
            return Err(Error::invalid(full(spec.name), value, format!("{:?}", spec.shape)));
        }
    }
    Ok(())
}
