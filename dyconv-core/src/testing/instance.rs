//! A problem made concrete, and the runs of it on a backend.

use super::estimate::stored;
use crate::reference::F64Tensor;
use crate::{Accuracy, Backend, Call, Config, DyConv2d, Output, Precision, Prepare, Result, Shape, Tensor};

/// A layer and one call, in host memory.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Instance {
    /// The layer.
    pub layer: DyConv2d,
    /// How it is prepared.
    pub how: Prepare,
    /// The input.
    pub input: Tensor,
    /// π, where it is given.
    pub attention: Option<Tensor>,
    /// The call's temperature.
    pub temperature: Option<f64>,
    /// The residual.
    pub residual: Option<Tensor>,
    /// Whether batch norm takes the batch's statistics.
    pub batch_statistics: bool,
    /// Whether the output's channel sums are attached.
    pub emit_sums: bool,
    /// Whether π is asked for.
    pub return_attention: bool,
    /// How the backend stores activations.
    pub activations: Precision,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub struct Ran {
    /// The output.
    pub output: Tensor,
    /// π, where it was asked for.
    pub attention: Option<Tensor>,
    /// Mean and biased variance, where batch norm took them.
    pub statistics: Option<[Tensor; 2]>,
    /// The contract of the plan that the backend chose.
    pub accuracy: Accuracy,
}

impl Instance {
    /// The layer's configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        self.layer.config()
    }

    /// The same call with π asked for.
    #[must_use]
    pub fn returning_attention(mut self) -> Self {
        self.return_attention = true;
        self
    }

    /// The same call with another layer.
    #[must_use]
    pub fn on(&self, layer: DyConv2d) -> Self {
        Self { layer, ..self.clone() }
    }

    /// The same call with tensors as a backend has them that stores activations so: what the reference is given.
    #[must_use]
    pub fn as_stored(&self) -> Self {
        let stored = |tensor: &Tensor| stored(tensor, self.activations);
        Self {
            input: stored(&self.input),
            attention: self.attention.as_ref().map(stored),
            residual: self.residual.as_ref().map(stored),
            ..self.clone()
        }
    }

    /// Prepares, uploads, runs and downloads.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn run<B: Backend>(&self, backend: &B) -> Result<Ran> {
        let mut stream = backend.stream()?;
        let layer = backend.prepare(&self.layer, &self.how)?;
        self.run_prepared(backend, &mut stream, &layer)
    }

    /// Runs on a layer that is already prepared.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn run_prepared<B: Backend>(
        &self,
        backend: &B,
        stream: &mut B::Stream,
        layer: &B::Layer,
    ) -> Result<Ran> {
        let output = self.forward(backend, stream, layer)?;
        Ran::download(backend, stream, layer, self.input.shape(), output)
    }

    /// Uploads and runs; the result stays where it is.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn forward<B: Backend>(
        &self,
        backend: &B,
        stream: &mut B::Stream,
        layer: &B::Layer,
    ) -> Result<Output<B::Tensor>> {
        let mut upload = |tensor: &Tensor| backend.upload(stream, tensor.view());
        let input = upload(&self.input)?;
        let attention = self.attention.as_ref().map(&mut upload).transpose()?;
        let residual = self.residual.as_ref().map(&mut upload).transpose()?;
        let call = self.call(&input, attention.as_ref(), residual.as_ref());
        backend.forward(stream, layer, &call)
    }

    /// This call with tensors of any kind.
    pub(super) fn call<'a, T>(
        &self,
        input: &'a T,
        attention: Option<&'a T>,
        residual: Option<&'a T>,
    ) -> Call<'a, T> {
        Call::new(input)
            .attention(attention)
            .residual(residual)
            .temperature(self.temperature)
            .batch_statistics(self.batch_statistics)
            .emit_sums(self.emit_sums)
            .return_attention(self.return_attention)
    }

    /// Calls `f` with this call in f64.
    pub(super) fn with_f64_call<R>(&self, f: impl FnOnce(&Call<'_, F64Tensor>) -> R) -> R {
        let widen = |tensor: &Tensor| F64Tensor::from(tensor.view());
        let input = widen(&self.input);
        let attention = self.attention.as_ref().map(widen);
        let residual = self.residual.as_ref().map(widen);
        f(&self.call(&input, attention.as_ref(), residual.as_ref()))
    }
}

impl Ran {
    /// Brings everything that came back to the host.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn download<B: Backend>(
        backend: &B,
        stream: &mut B::Stream,
        layer: &B::Layer,
        input: Shape,
        output: Output<B::Tensor>,
    ) -> Result<Self> {
        let accuracy = backend.plan(layer, input)?.accuracy;
        let mut download = |tensor: B::Tensor| backend.download(stream, &tensor);
        Ok(Self {
            output: download(output.output)?,
            attention: output.attention.map(&mut download).transpose()?,
            statistics: match output.statistics {
                Some([mean, variance]) => Some([download(mean)?, download(variance)?]),
                None => None,
            },
            accuracy,
        })
    }
}
