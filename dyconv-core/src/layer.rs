//! The layer: a configuration and its numbers, held against each other.

use crate::{Config, Params, Result};

/// A dynamic convolution: proven configuration and matching parameters.
///
/// A backend *prepares* it once ([`crate::Backend::prepare`]) and then runs it many times.
#[derive(Clone, Debug, PartialEq)]
pub struct DyConv2d {
    config: Config,
    params: Params,
}

impl DyConv2d {
    /// A layer from its parts.
    ///
    /// # Errors
    /// Where a parameter tensor is missing, superfluous, of another size, not finite, or a running
    /// variance is negative.
    pub fn new(config: Config, params: Params) -> Result<Self> {
        params.check(&config)?;
        Ok(Self { config, params })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The numbers.
    #[must_use]
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The parts.
    #[must_use]
    pub fn into_parts(self) -> (Config, Params) {
        (self.config, self.params)
    }
}
