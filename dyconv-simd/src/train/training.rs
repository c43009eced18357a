//! What a layer has beside its numbers to be trained.

use std::sync::{Arc, Mutex, PoisonError};

use dyconv_core::{DyConv2d, Generation, Prepared, Result, Shape};

use super::mirror::Mirror;
use crate::isa::{Isa, Traits};
use crate::layer::SimdLayer;
use crate::plan::{Correlation, Kernel};

/// Image sizes whose correlations a layer remembers.
const CORRELATIONS: usize = 8;

#[derive(Debug)]
pub(crate) struct Training {
    /// The state of the parameters, which every step changes.
    pub(crate) generation: Generation,
    /// The experts as the input's gradient reads them.
    pub(crate) mirror: Mirror,
    /// How dW~ is computed for the latest image sizes.
    correlations: Mutex<Vec<Arc<Correlation>>>,
}

impl Training {
    pub(crate) fn new(
        layer: &DyConv2d,
        input: Option<Shape>,
        isa: Isa,
        traits: Traits,
        forced: Option<Kernel>,
    ) -> Result<Self> {
        let mirror = Mirror::new(layer, input, isa, traits, forced)?;
        Ok(Self { generation: Generation::new(), mirror, correlations: Mutex::default() })
    }

    /// How dW~ is computed for an image size.
    pub(crate) fn correlation(&self, layer: &SimdLayer, image: [usize; 2]) -> Result<Arc<Correlation>> {
        // They come and go whole, so a panic elsewhere leaves good ones.
        let mut known = self.correlations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(correlation) = known.iter().find(|known| known.geometry.input == image) {
            return Ok(correlation.clone());
        }
        let packed = &layer.packed;
        let new = Correlation::new(layer.config(), image, packed.family, &packed.blocks, layer.traits)?;
        let new = Arc::new(new);
        if known.len() == CORRELATIONS {
            known.remove(0);
        }
        known.push(new.clone());
        Ok(new)
    }
}
