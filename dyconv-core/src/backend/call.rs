//! One run of a prepared layer: what may vary from call to call, and what comes out.

use super::{Handle, Prepared};
use crate::config::Geometry;
use crate::{Error, Layout, Result, Shape};

/// One run of a prepared layer.
#[derive(Debug)]
#[non_exhaustive]
#[must_use]
pub struct Call<'a, T> {
    /// The input, N×Cin×H×W in the layer's layout.
    pub input: &'a T,
    /// π `[N, K]` given instead of computed: overrides any head, needed where attention is `given`.
    pub attention: Option<&'a T>,
    /// Another temperature than the configuration's: annealing never prepares again.
    pub temperature: Option<f64>,
    /// Added before the activation: the output's shape and layout.
    pub residual: Option<&'a T>,
    /// Batch norm with the batch's own mean and biased variance, as in training; the output carries them.
    pub batch_statistics: bool,
    /// Attach the output's channel sums to its handle, so that the next layer's pool is free.
    pub emit_sums: bool,
    /// Hand π back.
    pub return_attention: bool,
}

// Derived, these would ask the same of `T`, of which a call holds only references.
impl<T> Clone for Call<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Call<'_, T> {}

impl<'a, T> Call<'a, T> {
    /// A plain run.
    pub fn new(input: &'a T) -> Self {
        Self {
            input,
            attention: None,
            temperature: None,
            residual: None,
            batch_statistics: false,
            emit_sums: false,
            return_attention: false,
        }
    }

    /// Gives π.
    pub fn attention(mut self, attention: impl Into<Option<&'a T>>) -> Self {
        self.attention = attention.into();
        self
    }

    /// Overrides the temperature.
    pub fn temperature(mut self, temperature: impl Into<Option<f64>>) -> Self {
        self.temperature = temperature.into();
        self
    }

    /// Adds a residual before the activation.
    pub fn residual(mut self, residual: impl Into<Option<&'a T>>) -> Self {
        self.residual = residual.into();
        self
    }

    /// Normalizes with the batch's statistics.
    pub fn batch_statistics(mut self, batch_statistics: bool) -> Self {
        self.batch_statistics = batch_statistics;
        self
    }

    /// Attaches the output's channel sums to its handle.
    pub fn emit_sums(mut self, emit_sums: bool) -> Self {
        self.emit_sums = emit_sums;
        self
    }

    /// Hands π back.
    pub fn return_attention(mut self, return_attention: bool) -> Self {
        self.return_attention = return_attention;
        self
    }
}

/// Where a call's π comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AttentionSource {
    /// One expert and no head: π ≡ 1.
    Static,
    /// The call's own tensor.
    Given,
    /// The layer's head, with this temperature (1 for sigmoid, which has none).
    Head {
        /// T of this call.
        temperature: f64,
    },
}

/// A call that fits its layer, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckedCall {
    /// The input's shape.
    pub input: Shape,
    /// The output's shape.
    pub output: Shape,
    /// Extents and padding.
    pub geometry: Geometry,
    /// Where π comes from.
    pub attention: AttentionSource,
    /// Whether batch norm takes the batch's statistics. False for a layer without batch norm.
    pub batch_statistics: bool,
}

impl<T: Handle> Call<'_, T> {
    /// Holds the call against its layer. Every backend starts with this, so all refuse the same calls.
    ///
    /// # Errors
    /// The first misfit, by name.
    pub fn check(&self, layer: &impl Prepared) -> Result<CheckedCall> {
        let config = layer.config();
        let input = self.input.shape();
        let output = config.output_shape(input)?;
        check_layout("input", self.input, config.layout())?;
        if let Some(residual) = self.residual {
            check_shape("residual", residual, output)?;
            check_layout("residual", residual, config.layout())?;
        }
        Ok(CheckedCall {
            input,
            output,
            geometry: config.geometry(input.height(), input.width())?,
            attention: self.check_attention(layer)?,
            batch_statistics: self.check_batch_statistics(layer, output)?,
        })
    }

    fn check_attention(&self, layer: &impl Prepared) -> Result<AttentionSource> {
        let config = layer.config();
        let given = match (config.attention(), self.attention) {
            (None, Some(pi)) => {
                return Err(Error::invalid("attention", pi.shape(), "none, since the layer is static"));
            }
            (Some(crate::Attention::Given), None) => {
                return Err(Error::invalid(
                    "attention",
                    "missing",
                    "π, since the layer's attention is `given`",
                ));
            }
            (_, given) => given,
        };
        if let Some(pi) = given {
            check_shape("attention", pi, Shape::new(self.input.shape().batch(), config.experts(), 1, 1)?)?;
        }
        let configured = config.attention().and_then(crate::Attention::temperature);
        match self.temperature {
            Some(temperature) if configured.is_none() || given.is_some() => {
                return Err(Error::invalid(
                    "temperature",
                    temperature,
                    "none, since no softmax head uses it",
                ));
            }
            Some(temperature) => crate::config::check_temperature("temperature", temperature)?,
            None => {}
        }
        Ok(match (config.attention(), given) {
            (None, _) => AttentionSource::Static,
            (_, Some(_)) => AttentionSource::Given,
            _ => AttentionSource::Head { temperature: self.temperature.or(configured).unwrap_or(1.0) },
        })
    }

    fn check_batch_statistics(&self, layer: &impl Prepared, output: Shape) -> Result<bool> {
        if !self.batch_statistics {
            return Ok(false);
        }
        let Some(norm) = layer.config().batch_norm() else {
            return Ok(false);
        };
        if !layer.how().trainable {
            let expected = "false, or a layer prepared as trainable";
            return Err(Error::invalid("batch_statistics", true, expected));
        }
        let values = output.batch() * output.pixels();
        let needed = if norm.unbiased { 2 } else { 1 };
        if values < needed {
            let expected = format!("at least {needed} values per channel for batch statistics");
            return Err(Error::invalid("output", output, expected));
        }
        Ok(true)
    }
}

pub(super) fn check_shape(name: &str, tensor: &impl Handle, expected: Shape) -> Result<()> {
    if tensor.shape() == expected {
        return Ok(());
    }
    Err(Error::invalid(name, tensor.shape(), expected.to_string()))
}

/// With one pixel, or one channel, both layouts are the same bytes.
pub(super) fn check_layout(name: &str, tensor: &impl Handle, expected: Layout) -> Result<()> {
    let shape = tensor.shape();
    if tensor.layout() == expected || shape.pixels() == 1 || shape.channels() == 1 {
        return Ok(());
    }
    Err(Error::invalid(format!("layout of {name}"), tensor.layout(), expected.to_string()))
}

/// What a run gives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Output<T> {
    /// N×Cout×OH×OW in the layer's layout.
    pub output: T,
    /// π `[N, K]`, where it was asked for; ones for a static layer.
    pub attention: Option<T>,
    /// The batch's mean and biased variance, each 1×Cout×1×1, where batch norm took them.
    pub statistics: Option<[T; 2]>,
}

impl<T> Output<T> {
    /// An output alone.
    pub fn new(output: T) -> Self {
        Self { output, attention: None, statistics: None }
    }

    /// Adds π.
    #[must_use]
    pub fn attention(mut self, attention: impl Into<Option<T>>) -> Self {
        self.attention = attention.into();
        self
    }

    /// Adds mean and biased variance.
    #[must_use]
    pub fn statistics(mut self, statistics: impl Into<Option<[T; 2]>>) -> Self {
        self.statistics = statistics.into();
        self
    }
}
