//! What a trained network's attention does on held-out images, and what it is worth.

use dyconv_core::{AnyBackend, Backend, Prepare, Result};
use dyconv_nn::{Ablation, Images, LayerAttention, Model, Network, ablate, attention};
use serde::Serialize;

/// Images of a run.
const BATCH: usize = 128;

/// What was read out of a network on held-out images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Findings {
    /// Every dynamic layer's attention, in the order in which they run.
    pub attention: Vec<LayerAttention>,
    /// Loss and accuracy as it is, without each layer's attention, without any.
    pub ablation: Ablation,
}

impl Findings {
    /// Runs the network a few times over the images.
    ///
    /// # Errors
    /// Where the backend refuses a layer or fails.
    pub fn read(backend: &AnyBackend, model: &Model, images: &Images) -> Result<Self> {
        let network = Network::new(backend, model, &Prepare::default())?;
        let mut stream = backend.stream()?;
        Ok(Self {
            attention: attention(&network, &mut stream, images, BATCH)?,
            ablation: ablate(&network, &mut stream, images, BATCH)?,
        })
    }
}
