//! The whole layer in f64, below [`crate::Backend`].

use std::collections::BTreeMap;

use super::activate::activate;
use super::aggregate::{Kernel, aggregate};
use super::attention::{Head, attention};
use super::convolve::convolve;
use super::normalize::normalize;
use super::tensor::F64Tensor;
use crate::{Call, CheckedCall, Config, DyConv2d, Prepare, Prepared, Result};

/// A layer whose parameters are f64 and may be moved by less than an f32 can express.
///
/// ```
/// use dyconv_core::reference::{F64Layer, F64Tensor};
/// use dyconv_core::{Call, DyConv2d, Layout, Options, Params, Prepare, Shape};
///
/// let params = Params { weight: vec![3.0], bias: None, attention: None, batch_norm: None };
/// let layer = DyConv2d::new(Options::new(1, 1).build()?, params)?;
/// let x = F64Tensor::new(Shape::new(1, 1, 1, 1)?, Layout::Nchw, vec![2.0])?;
///
/// // dy/dw by a central difference.
/// let at = |w: f64| -> dyconv_core::Result<f64> {
///     let mut layer = F64Layer::new(&layer, &Prepare::default());
///     layer.tensor_mut("weight").expect("every layer has one")[0] = w;
///     Ok(layer.evaluate(&Call::new(&x))?.output.data()[0])
/// };
/// let slope = (at(3.0 + 1e-6)? - at(3.0 - 1e-6)?) / 2e-6;
/// assert!((slope - 2.0).abs() < 1e-9);
/// # Ok::<(), dyconv_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct F64Layer {
    config: Config,
    how: Prepare,
    tensors: BTreeMap<&'static str, Vec<f64>>,
}

/// Every intermediate result of a layer, as the mathematics names them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// What follows from the call: shapes, geometry, where π came from.
    pub call: CheckedCall,
    /// What the head computed; `None` where π was given or the layer is static.
    pub head: Option<Head>,
    /// π `[N, K]`; ones for a static layer.
    pub attention: Vec<f64>,
    /// y, before batch norm.
    pub convolved: F64Tensor,
    /// The batch's mean and biased variance, one per output channel, where batch norm took them.
    pub statistics: Option<[Vec<f64>; 2]>,
    /// Mean and variance that batch norm used, the batch's or the running ones; `None` without batch norm.
    pub normalized_by: Option<[Vec<f64>; 2]>,
    /// After batch norm and the residual, before the activation.
    pub preactivation: F64Tensor,
    /// The result.
    pub output: F64Tensor,
}

impl F64Layer {
    /// A layer's parameters, widened.
    #[must_use]
    pub fn new(layer: &DyConv2d, how: &Prepare) -> Self {
        let widen = |data: &[f32]| data.iter().copied().map(f64::from).collect();
        let tensors = layer.params().tensors().into_iter().map(|(name, data)| (name, widen(data))).collect();
        Self { config: *layer.config(), how: *how, tensors }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The same parameters with another configuration that they fit.
    #[cfg(feature = "testing")]
    pub(crate) fn with_config(&self, config: Config) -> Self {
        Self { config, ..self.clone() }
    }

    /// A parameter tensor, by its name in case files: `weight`, `attention.fc1.bias`, `bn.weight` …
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&[f64]> {
        self.tensors.get(name).map(Vec::as_slice)
    }

    /// A parameter tensor, to be changed.
    pub fn tensor_mut(&mut self, name: &str) -> Option<&mut [f64]> {
        self.tensors.get_mut(name).map(Vec::as_mut_slice)
    }

    /// The kernel that one sample's row of π makes. The evaluation doesn't keep these: a batch of
    /// them can be much larger than everything else.
    #[must_use]
    pub fn aggregate(&self, pi: &[f64]) -> Kernel {
        aggregate(self, pi)
    }

    /// π `[N, K]` of a call, and what the head computed on its way where one did.
    ///
    /// # Errors
    /// Where the call doesn't fit the layer.
    pub fn attention(&self, call: &Call<'_, F64Tensor>) -> Result<(Vec<f64>, Option<Head>)> {
        Ok(attention(self, call.check(self)?.attention, call.input, call.attention))
    }

    /// Computes the layer.
    ///
    /// # Errors
    /// Where the call doesn't fit the layer.
    pub fn evaluate(&self, call: &Call<'_, F64Tensor>) -> Result<Evaluation> {
        let fits = call.check(self)?;
        let (weights, head) = attention(self, fits.attention, call.input, call.attention);
        let mut convolved = F64Tensor::zeros(fits.output, self.config.layout());
        for (n, pi) in weights.chunks_exact(self.config.experts()).enumerate() {
            convolve(&self.config, &fits.geometry, &self.aggregate(pi), n, call.input, &mut convolved);
        }
        let (mut preactivation, normalized_by) = normalize(self, &convolved, fits.batch_statistics);
        let statistics = normalized_by.clone().filter(|_| fits.batch_statistics);
        if let Some(residual) = call.residual {
            for (sum, r) in preactivation.data_mut().iter_mut().zip(residual.data()) {
                *sum += r;
            }
        }
        let output = preactivation.map(|_, x| activate(self.config.activation(), x));
        Ok(Evaluation {
            call: fits,
            head,
            attention: weights,
            convolved,
            statistics,
            normalized_by,
            preactivation,
            output,
        })
    }
}

impl Prepared for F64Layer {
    fn config(&self) -> &Config {
        &self.config
    }

    fn how(&self) -> &Prepare {
        &self.how
    }
}
