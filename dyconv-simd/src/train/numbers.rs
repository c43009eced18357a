//! Numbers beside a layer's parameters: their gradients, and an optimiser's moments, in the order of the packed parameters.

use std::sync::Arc;

use dyconv_core::{Error, MomentValues, Optimizer, ParamMap, ParamSpec, Prepared, Result};

use crate::buffer::Buffer;
use crate::layer::SimdLayer;
use crate::tensor::{Recycled, writable};

/// One number for every learned parameter of a layer, by the parameters' names. Those of experts and their biases lie as
/// the experts do.
#[derive(Debug)]
pub(crate) struct Numbers(Vec<(&'static str, Arc<Buffer>)>);

impl Numbers {
    /// In memory that `recycled` gives: the experts' with unspecified values, the others 0.
    pub(crate) fn unwritten(layer: &SimdLayer, recycled: &mut Recycled) -> Self {
        let piece = |name| {
            let mut piece = recycled.take(layer.parameter(name).map_or(0, <[f32]>::len));
            if name != "weight" {
                writable(&mut piece).fill(0.0);
            }
            (name, piece)
        };
        Self(names(layer).into_iter().map(piece).collect())
    }

    /// Holds them against a layer.
    pub(crate) fn check(&self, what: &str, layer: &SimdLayer) -> Result<()> {
        let own = names(layer);
        let found: Vec<_> = self.0.iter().map(|(name, _)| *name).collect();
        if own != found {
            return Err(Error::invalid(what, format!("of {found:?}"), format!("of {own:?}")));
        }
        for (name, data) in &self.0 {
            let (found, own) = (data.as_slice().len(), layer.parameter(name).map_or(0, <[f32]>::len));
            if found != own {
                return Err(Error::invalid(format!("{what} of {name}"), found, format!("{own} numbers")));
            }
        }
        Ok(())
    }

    pub(crate) fn get(&self, name: &str) -> &[f32] {
        self.0.iter().find(|(own, _)| *own == name).map_or(&[], |(_, data)| data.as_slice())
    }

    /// To be changed; empty where there is no such parameter.
    pub(crate) fn get_mut(&mut self, name: &str) -> &mut [f32] {
        match self.0.iter_mut().find(|(own, _)| *own == name) {
            // Copied where somebody else has them.
            Some((_, data)) => Arc::make_mut(data).as_mut_slice(),
            None => &mut [],
        }
    }

    /// Two at once.
    pub(crate) fn both_mut(&mut self, names: [&str; 2]) -> [&mut [f32]; 2] {
        let mut found: [&mut [f32]; 2] = Default::default();
        for (name, data) in &mut self.0 {
            if let Some(i) = names.iter().position(|wanted| wanted == name) {
                found[i] = Arc::make_mut(data).as_mut_slice();
            }
        }
        found
    }

    /// One parameter's, which is empty until it is [put](Self::put) back.
    pub(crate) fn take(&mut self, name: &str) -> Arc<Buffer> {
        let found = self.0.iter_mut().find(|(own, _)| *own == name);
        found.map(|(_, data)| std::mem::take(data)).unwrap_or_default()
    }

    pub(crate) fn put(&mut self, name: &str, data: Arc<Buffer>) {
        if let Some((_, place)) = self.0.iter_mut().find(|(own, _)| *own == name) {
            *place = data;
        }
    }

    /// Takes the memory out of what `recycled` gives again, so that it can be changed.
    pub(crate) fn claim(&self, recycled: &mut Recycled) {
        self.0.iter().for_each(|(_, data)| recycled.forget(data));
    }

    /// Gives the memory back for when these are dropped.
    pub(crate) fn keep(&self, recycled: &mut Recycled) {
        self.0.iter().for_each(|(_, data)| recycled.keep(data));
    }

    /// By name, in the order of case files.
    pub(crate) fn to_map(&self, layer: &SimdLayer) -> ParamMap {
        self.0.iter().map(|(name, data)| (*name, layer.unpacked(name, data.as_slice()))).collect()
    }

    /// The same backwards.
    fn from_map(layer: &SimdLayer, map: &ParamMap) -> Self {
        let packed = |name: &'static str| {
            let plain = map.get(name).map_or(&[][..], Vec::as_slice);
            (name, Arc::new(layer.packed_like(name, plain)))
        };
        Self(names(layer).into_iter().map(packed).collect())
    }
}

/// The learned parameters of a layer.
fn names(layer: &SimdLayer) -> Vec<&'static str> {
    learned(layer).iter().map(|spec| spec.name).collect()
}

/// The same with their shapes.
pub(crate) fn learned(layer: &SimdLayer) -> Vec<ParamSpec> {
    let mut specs = ParamSpec::all(layer.config());
    specs.retain(|spec| spec.learned() && layer.parameter(spec.name).is_some());
    specs
}

/// The gradients of one layer's parameters.
#[derive(Debug)]
pub struct SimdGradients(pub(crate) Numbers);

/// An optimiser's state for one layer.
#[derive(Debug)]
pub struct SimdMoments {
    pub(crate) steps: u64,
    pub(crate) slots: Vec<Numbers>,
}

impl SimdMoments {
    pub(crate) fn zeros(layer: &SimdLayer, optimizer: &Optimizer) -> Self {
        Self::from_values(layer, &MomentValues::zeros(&learned(layer), optimizer))
    }

    pub(crate) fn from_values(layer: &SimdLayer, values: &MomentValues) -> Self {
        let slots = values.slots.iter().map(|slot| Numbers::from_map(layer, slot)).collect();
        Self { steps: values.steps, slots }
    }

    pub(crate) fn to_values(&self, layer: &SimdLayer) -> MomentValues {
        MomentValues { steps: self.steps, slots: self.slots.iter().map(|slot| slot.to_map(layer)).collect() }
    }

    pub(crate) fn check(&self, layer: &SimdLayer) -> Result<()> {
        self.slots.iter().try_for_each(|slot| slot.check("moments", layer))
    }
}
