//! Case files: one layer, its input and its expected results in one safetensors file, so that any
//! framework can hand us a case and anyone can check a backend on it.
//!
//! ```no_run
//! use dyconv_core::Backend;
//! use dyconv_core::case::Case;
//!
//! fn verify(backend: &impl Backend, path: &str) -> dyconv_core::Result<bool> {
//!     let report = Case::open(path)?.check(backend)?;
//!     for tensor in &report.tensors {
//!         println!("{}: worst error {} of {}", tensor.name, tensor.worst_error, tensor.tolerance);
//!     }
//!     Ok(report.passed)
//! }
//! ```
//!
//! # The format
//! `__metadata__` holds, as strings, `format` (`dyconv.case`), `version` (`1`) and `config`, a JSON
//! object with exactly the keys `in_channels`, `out_channels`, `kernel_size`, `stride`, `dilation`,
//! `padding`, `groups`, `experts`, `bias`, `layout`, `attention`, `batch_norm`, `activation` and
//! `mode`; other metadata is left alone. Tensors are f32, row-major:
//!
//! | tensors | shape | there |
//! | --- | --- | --- |
//! | those of [`ParamSpec`](crate::ParamSpec) | its own | as it says |
//! | `input` | in the layout of the configuration | always |
//! | `pi` | `[N, K]` | where attention is `given`, and only there |
//! | `expect.output`, `expect.pi` | the output's, `[N, K]` | always |
//! | `grad.output` | the output's | where gradients are expected |
//! | `expect.grad.input`, `expect.grad.pi`, `expect.grad.` + a learned parameter | as what they are gradients of | as observed, with `grad.output` |
//!
//! Any other tensor is refused. Parameters and expected results must be finite; `input`, `pi` and
//! `grad.output` may hold NaN and infinity. Reading a file allocates no more than a small multiple
//! of its size, however broken it is.

mod check;
mod config;
mod expected;
mod forms;
mod gradients;
mod read;
mod schema;
mod write;

pub use check::{Report, TensorReport};
pub use expected::{Expected, ExpectedGradients};

use serde::{Deserialize, Serialize};

use crate::{Attention, DyConv2d, Error, Result, Tensor};

/// Whether batch norm takes the running statistics or the batch's. Matters only where there is batch norm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The running statistics.
    #[default]
    Inference,
    /// The batch's own statistics.
    Training,
}

/// A layer, its input and its expected results, held against each other: what exists can be written and run.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    layer: DyConv2d,
    mode: Mode,
    input: Tensor,
    attention: Option<Tensor>,
    expected: Expected,
}

impl Case {
    /// A case from its parts. `attention` is π, where and only where the layer's attention is `given`.
    ///
    /// # Errors
    /// Where the parts don't fit each other, an expected value isn't finite, or the layer has something
    /// that the format can't express, named.
    pub fn new(
        layer: DyConv2d,
        mode: Mode,
        input: Tensor,
        attention: Option<Tensor>,
        expected: Expected,
    ) -> Result<Self> {
        config::check_expressible(layer.config())?;
        let case = Self { layer, mode, input, attention, expected };
        case.check_call()?;
        case.expected.check(&case.layer, case.input.shape())?;
        Ok(case)
    }

    /// The layer.
    #[must_use]
    pub fn layer(&self) -> &DyConv2d {
        &self.layer
    }

    /// Which statistics batch norm takes.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The input, in the layer's layout.
    #[must_use]
    pub fn input(&self) -> &Tensor {
        &self.input
    }

    /// π `[N, K]`, where the layer's attention is `given`.
    #[must_use]
    pub fn attention(&self) -> Option<&Tensor> {
        self.attention.as_ref()
    }

    /// What should come out.
    #[must_use]
    pub fn expected(&self) -> &Expected {
        &self.expected
    }

    fn check_call(&self) -> Result<()> {
        let config = self.layer.config();
        let input = self.input.shape();
        let output = config.output_shape(input)?;
        expected::check_layout("input", &self.input, config.layout())?;
        match (config.attention(), &self.attention) {
            (Some(Attention::Given), Some(pi)) => {
                let shape = expected::attention_shape(&self.layer, input)?;
                expected::check_shape("pi", pi, shape)?;
            }
            (Some(Attention::Given), None) => {
                return Err(Error::invalid("pi", "missing", "a tensor, since attention is `given`"));
            }
            (_, Some(_)) => {
                return Err(Error::invalid("pi", "present", "no such tensor, since attention isn't `given`"));
            }
            (_, None) => {}
        }
        if batch_statistics(&self.layer, self.mode) && output.is_empty() {
            return Err(Error::invalid("mode", "training", "inference, since the batch is empty"));
        }
        Ok(())
    }
}

/// Whether batch norm takes the batch's statistics: training mode, and there is batch norm.
fn batch_statistics(layer: &DyConv2d, mode: Mode) -> bool {
    mode == Mode::Training && layer.config().batch_norm().is_some()
}
