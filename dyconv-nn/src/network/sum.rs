//! Sums of gradients that reach one tensor by several ways.
//!
//! A layer's backward adds what reaches its input by other ways itself. What is left is a residual's or a pool's
//! gradient that isn't the first to arrive: it is added by a layer that does nothing else, a depthwise 1×1 convolution
//! with weights of 1 and the other summand as its residual, so that every backend already has it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use dyconv_core::{Backend, Call, DyConv2d, Handle, Layout, Options, Params, Prepare, Result};

/// The adding layers, by channels and layout.
#[derive(Debug)]
pub(super) struct Sums<B: Backend>(HashMap<(usize, Layout), B::Layer>);

impl<B: Backend> Default for Sums<B> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<B: Backend> Sums<B> {
    /// a + b, of one shape and layout.
    pub(super) fn add(
        &mut self,
        backend: &B,
        stream: &mut B::Stream,
        a: &B::Tensor,
        b: &B::Tensor,
    ) -> Result<B::Tensor> {
        let key = (a.shape().channels(), a.layout());
        let layer = match self.0.entry(key) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => {
                free.insert(backend.prepare(&identity(key.0, key.1)?, &Prepare::default())?)
            }
        };
        Ok(backend.forward(stream, layer, &Call::new(a).residual(b))?.output)
    }
}

fn identity(channels: usize, layout: Layout) -> Result<DyConv2d> {
    let config = Options::new(channels, channels).groups(channels).layout(layout).build()?;
    let params = Params { weight: vec![1.0; channels], bias: None, attention: None, batch_norm: None };
    DyConv2d::new(config, params)
}
