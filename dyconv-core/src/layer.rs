//! The layer: a configuration and its numbers, held against each other.

use crate::reference::F64Layer;
use crate::{Config, Error, Params, Prepare, Result};

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

    /// The static layer that one row of attention weights makes: the experts mixed once, no head,
    /// batch norm and activation kept.
    ///
    /// # Errors
    /// Where `pi` doesn't have one finite number per expert, or a mixed parameter exceeds f32.
    pub fn freeze(&self, pi: &[f32]) -> Result<Self> {
        let experts = self.config.experts();
        if pi.len() != experts {
            let expected = format!("{experts} elements, one per expert");
            return Err(Error::invalid("pi", format!("{} elements", pi.len()), expected));
        }
        if let Some(k) = pi.iter().position(|weight| !weight.is_finite()) {
            return Err(Error::invalid(format!("pi[{k}]"), pi[k], "a finite number"));
        }
        let pi: Vec<f64> = pi.iter().copied().map(f64::from).collect();
        let kernel = F64Layer::new(self, &Prepare::default()).aggregate(&pi);
        let round = |data: &[f64]| data.iter().map(|&value| value as f32).collect();
        let params = Params {
            weight: round(&kernel.weight),
            bias: kernel.bias.as_deref().map(round),
            attention: None,
            batch_norm: self.params.batch_norm.clone(),
        };
        Self::new(self.config.static_form(), params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attention, Options};

    #[test]
    fn freeze_mixes_experts_once() {
        let config = Options::new(1, 2).experts(2).bias(true).attention(Attention::Given).build().unwrap();
        let params = Params {
            weight: vec![1.0, 2.0, 10.0, 20.0],
            bias: Some(vec![3.0, 4.0, 30.0, 40.0]),
            attention: None,
            batch_norm: None,
        };
        let layer = DyConv2d::new(config, params).unwrap();
        let frozen = layer.freeze(&[0.5, -1.0]).unwrap();
        assert_eq!(frozen.params().weight, [-9.5, -19.0]);
        assert_eq!(frozen.params().bias.as_deref(), Some([-28.5, -38.0].as_slice()));
        assert_eq!((frozen.config().experts(), frozen.config().attention()), (1, None));

        let refused = |pi: &[f32]| layer.freeze(pi).unwrap_err().to_string();
        assert_eq!(refused(&[1.0]), "pi is 1 elements; expected 2 elements, one per expert");
        assert_eq!(refused(&[1.0, f32::NAN]), "pi[1] is NaN; expected a finite number");
        assert!(refused(&[f32::MAX, f32::MAX]).starts_with("weight[0] is inf"));
    }
}
