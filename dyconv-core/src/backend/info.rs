//! What a backend says of itself, and of a plan; what it is asked to prepare and to pool.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Accuracy, Config, Cost, Result, Shape, StageCost};

/// Who a backend is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Info {
    /// The id in reports: `reference`, `simd-avx512`, `wgpu-vulkan`.
    pub id: String,
    /// The device, in words.
    pub device: String,
    /// Threads that compute; 1 on a GPU.
    pub threads: usize,
    /// The error contract of the least exact plan that is chosen without being asked for.
    pub accuracy: Accuracy,
    /// Limits worth printing, by name: cache sizes, largest binding …
    pub limits: Vec<(String, u64)>,
    /// How tensors are stored that are uploaded (given π, too), and those that layers and the maximum over windows give.
    /// What is computed in f32 and handed back, π, means and statistics, stays f32.
    pub activations: Precision,
}

impl Info {
    /// A backend without limits worth printing.
    pub fn new(id: impl Into<String>, device: impl Into<String>, threads: usize, accuracy: Accuracy) -> Self {
        let (limits, activations) = (Vec::new(), Precision::F32);
        Self { id: id.into(), device: device.into(), threads, accuracy, limits, activations }
    }

    /// Sets how activations are stored, [`Precision::F32`] if nobody does.
    #[must_use]
    pub fn activations(mut self, activations: Precision) -> Self {
        self.activations = activations;
        self
    }

    /// Adds a limit.
    #[must_use]
    pub fn limit(mut self, name: impl Into<String>, value: u64) -> Self {
        self.limits.push((name.into(), value));
        self
    }
}

/// What a backend would do for one layer and input shape, and what it predicts that costs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// The kernel and its shape: `direct 14×32`, `depthwise`, `tiled 64×64×16`.
    pub name: String,
    /// Predicted multiply-adds, all stages together.
    pub multiply_adds: u64,
    /// Predicted bytes read and written beyond the first-level cache.
    pub bytes: u64,
    /// Peak memory of one forward, input, output and prepared layer included, in bytes.
    pub peak_bytes: u64,
    /// The error contract.
    pub accuracy: Accuracy,
}

impl Plan {
    /// A plan from its figures.
    pub fn new(
        name: impl Into<String>,
        multiply_adds: u64,
        bytes: u64,
        peak_bytes: u64,
        accuracy: Accuracy,
    ) -> Self {
        Self { name: name.into(), multiply_adds, bytes, peak_bytes, accuracy }
    }

    /// The plan of a backend that has one: everything as the mathematics says, aggregated kernels kept for the batch.
    ///
    /// # Errors
    /// Where the input doesn't fit the layer.
    pub fn generic(config: &Config, input: Shape, accuracy: Accuracy) -> Result<Self> {
        let cost = Cost::new(config, input)?;
        let total = cost.total();
        Ok(Self::new("generic", total.multiply_adds, total.bytes, cost.resident_bytes, accuracy))
    }

    /// As [`Plan::generic`], of a backward: twice the convolution, for input and kernel; for every expert its
    /// share of the kernel again, its gradient, and a scalar product.
    ///
    /// # Errors
    /// Where the input doesn't fit the layer.
    pub fn generic_backward(config: &Config, input: Shape, accuracy: Accuracy) -> Result<Self> {
        let cost = Cost::new(config, input)?;
        let figure = |of: fn(&StageCost) -> u64| {
            let twice =
                [&cost.pool, &cost.attention, &cost.convolve].map(|stage| of(stage).saturating_mul(2));
            twice.iter().fold(of(&cost.aggregate).saturating_mul(3), |sum, cost| sum.saturating_add(*cost))
        };
        let (multiply_adds, bytes) = (figure(|stage| stage.multiply_adds), figure(|stage| stage.bytes));
        Ok(Self::new(
            "generic backward",
            multiply_adds,
            bytes,
            cost.resident_bytes.saturating_mul(2),
            accuracy,
        ))
    }
}

/// How experts are stored, or activations. Everything is summed in f32 or better, whatever it is stored as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// bfloat16: 8 bits of mantissa; an expert that would round to infinity is refused. Not for activations.
    Bf16,
    /// IEEE half precision: 11 bits of mantissa; an expert beyond its range is refused, an activation becomes infinite.
    F16,
}

impl fmt::Display for Precision {
    /// The name that files and users give it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

/// How a layer is to be prepared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Prepare {
    /// How experts are stored. A backend that can't is an [`crate::Error::Unsupported`], as is a trainable layer in less
    /// than 32 bits, or on a backend that stores activations in less.
    pub precision: Precision,
    /// The input shape to expect: a hint; another shape still works.
    pub input: Option<Shape>,
    /// Keep batch norm unfolded and parameters in f32 where a step can change them: calls with batch statistics and
    /// [`crate::Train`] are possible.
    pub trainable: bool,
}

impl Prepare {
    /// Sets how experts are stored.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Sets the input shape to expect.
    pub fn input(mut self, input: Shape) -> Self {
        self.input = Some(input);
        self
    }

    /// Keeps batch norm unfolded and parameters changeable.
    pub fn trainable(mut self, trainable: bool) -> Self {
        self.trainable = trainable;
        self
    }
}

/// What [`crate::Backend::pool`] computes over the pixels of each channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pool {
    /// The mean over all pixels: N×C×1×1. An attention or classifier head is then a 1×1 layer on top.
    GlobalMean,
    /// The maximum over windows; padding counts as −∞ and is at most half the window.
    Max {
        /// Window `[height, width]`.
        window: [usize; 2],
        /// Distance between windows.
        stride: [usize; 2],
        /// Rows above and below, columns at the left and right.
        padding: [usize; 2],
    },
}

impl Pool {
    /// The output's shape for an input's.
    ///
    /// # Errors
    /// Where a window or stride is 0, the padding exceeds half the window, or the padded input is smaller than the window.
    pub fn output_shape(&self, input: Shape) -> Result<Shape> {
        crate::reference::pool_output_shape(input, self)
    }
}
