//! A problem: everything that determines a layer, its numbers and one call, in one line of JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::fill::Fill;
use super::instance::Instance;
use crate::{
    Activation, Attention, Config, DyConv2d, Options, ParamSpec, Params, Precision, Prepare, Result, Shape,
    Tensor,
};

/// What kind of numbers a problem's tensors hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Data {
    /// Small integers, and attention in quarters: every intermediate result, those of Winograd's
    /// F(2×2) too, stays below 2²⁴ in units of its smallest step, so that f32 sums are exact in any order.
    Integers,
    /// Reals between −1 and 1.
    Reals,
}

/// Which input shape a backend is told to expect when it prepares the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hint {
    /// None.
    Absent,
    /// The one that comes.
    Right,
    /// Another one.
    Wrong,
}

/// A layer, its numbers and one call, all determined by these fields.
///
/// `Debug` prints one line of JSON; `DYCONV_PROBLEM='<that line>' cargo test …` runs every law on
/// exactly this problem.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// The layer's configuration.
    pub config: Config,
    /// Samples.
    pub batch: usize,
    /// Input rows.
    pub height: usize,
    /// Input columns.
    pub width: usize,
    /// Kind of numbers.
    pub data: Data,
    /// Which numbers; its lowest two bits also say whether sums are emitted and π is returned.
    pub seed: u64,
    /// Give π even where a head could compute it.
    pub given: bool,
    /// Add a residual.
    pub residual: bool,
    /// Override the temperature, where there is one.
    pub temperature: Option<f64>,
    /// Keep batch norm unfolded.
    pub trainable: bool,
    /// Normalize with the batch's statistics, where the layer has batch norm and is trainable.
    pub batch_statistics: bool,
    /// Whether the head's first and second matrix have a bias.
    pub head_biases: [bool; 2],
    /// Which input shape the backend is told to expect.
    pub hint: Hint,
    /// How experts are stored. In less than 32 bits batch norm is always folded.
    #[serde(default)]
    pub precision: Precision,
    /// How the backend stores activations; where not as f32, nothing is trainable.
    #[serde(default)]
    pub activations: Precision,
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Problem {
    /// A plain problem to start from: real numbers, no residual, the right hint.
    #[must_use]
    pub fn new(config: Config, [batch, height, width]: [usize; 3]) -> Self {
        Self {
            config,
            batch,
            height,
            width,
            data: Data::Reals,
            seed: 1,
            given: false,
            residual: false,
            temperature: None,
            trainable: false,
            batch_statistics: false,
            head_biases: [true, true],
            hint: Hint::Right,
            precision: Precision::F32,
            activations: Precision::F32,
        }
    }

    /// The same problem with other options; the same again where those are impossible.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(Options) -> Options) -> Self {
        if let Ok(config) = change(self.config.options()).build() {
            self.config = config;
        }
        self
    }

    /// The same problem with π given.
    #[must_use]
    pub fn given(self) -> Self {
        Self { given: true, temperature: None, ..self }
    }

    /// The same problem without batch norm.
    #[must_use]
    pub fn without_batch_norm(self) -> Self {
        Self { batch_statistics: false, ..self }.with(|options| options.batch_norm(None))
    }

    /// The same problem with its experts stored otherwise.
    #[must_use]
    pub fn at(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The same problem for a backend that stores activations so.
    #[must_use]
    pub fn storing(self, activations: Precision) -> Self {
        Self { activations, ..self }
    }

    /// The same problem with another activation.
    #[must_use]
    pub fn activation(self, activation: Activation) -> Self {
        self.with(|options| options.activation(activation))
    }

    /// The problem whose f32 result is exact in any order of summation: integers, quarters given as
    /// attention, no batch norm, no activation but relu.
    #[must_use]
    pub fn exact(self) -> Self {
        let activation = match self.config.activation() {
            Activation::None => Activation::None,
            _ => Activation::Relu,
        };
        Self { data: Data::Integers, ..self.given().without_batch_norm().activation(activation) }
    }

    /// The input's shape.
    ///
    /// # Errors
    /// Where it can't be allocated.
    pub fn input_shape(&self) -> Result<Shape> {
        Shape::new(self.batch, self.config.in_channels(), self.height, self.width)
    }

    /// The layer and the call's tensors.
    ///
    /// # Errors
    /// Where the input doesn't fit the layer.
    pub fn build(&self) -> Result<Instance> {
        let layer = DyConv2d::new(self.config, self.params()?)?;
        let shape = self.input_shape()?;
        let output = self.config.output_shape(shape)?;
        let softmax = self.config.attention().and_then(Attention::temperature).is_some();
        let attention = match self.config.attention() {
            Some(Attention::Given) => true,
            Some(_) => self.given,
            None => false,
        };
        // Batch statistics need values; the typed error for too few of them has a test of its own.
        let enough = output.batch() * output.pixels() > 1;
        let trainable = [self.precision, self.activations] == [Precision::F32; 2];
        let batch_statistics =
            self.batch_statistics && self.config.batch_norm().is_some() && enough && trainable;
        Ok(Instance {
            how: self.how()?.trainable((self.trainable || batch_statistics) && trainable),
            input: self.activations("input", shape),
            attention: if attention { Some(self.attention("pi")?) } else { None },
            temperature: self.temperature.filter(|_| softmax && !attention),
            residual: self.residual.then(|| self.activations("residual", output)),
            batch_statistics,
            emit_sums: self.seed & 1 == 1,
            return_attention: self.seed & 2 == 2,
            activations: self.activations,
            layer,
        })
    }

    /// Attention weights `[N, K]` of this problem's kind, from a stream of their own.
    ///
    /// # Errors
    /// Where they can't be allocated.
    pub fn attention(&self, stream: &str) -> Result<Tensor> {
        let mut fill = Fill::new(self.seed, stream);
        let data = (0..self.batch * self.config.experts()).map(|_| match self.data {
            Data::Integers => fill.quarter(),
            Data::Reals => fill.real(),
        });
        Tensor::attention(self.batch, self.config.experts(), data.collect())
    }

    fn how(&self) -> Result<Prepare> {
        let shape = self.input_shape()?;
        let how = Prepare::default().precision(self.precision);
        Ok(match self.hint {
            Hint::Absent => how,
            Hint::Right => how.input(shape),
            Hint::Wrong => how.input(Shape::new(
                shape.batch() + 2,
                shape.channels(),
                shape.height() + 3,
                shape.width() + 5,
            )?),
        })
    }

    /// A tensor of activations in the layer's layout. Its elements don't depend on the layout.
    fn activations(&self, name: &str, shape: Shape) -> Tensor {
        let mut fill = Fill::new(self.seed, name);
        let most = self.largest_integer();
        Tensor::from_fn(shape, self.config.layout(), |_| match self.data {
            Data::Integers => fill.integer(most),
            Data::Reals => fill.real(),
        })
    }

    /// Keeps sums exact: F(2×2) multiplies magnitudes by 9 and, with quarters, counts in sixteenths;
    /// weights are at most 3, attention weights at most 3 (where a law combines them).
    fn largest_integer(&self) -> usize {
        let weight = 9 * self.config.experts() * self.config.reduction_len();
        ((1 << 24) / (16 * 9) / weight).clamp(1, 4)
    }

    fn params(&self) -> Result<Params> {
        Params::from_named(&self.config, |spec| {
            let absent = match spec.name {
                "attention.fc1.bias" => !self.head_biases[0],
                "attention.fc2.bias" => !self.head_biases[1],
                _ => false,
            };
            Ok(if absent { None } else { Some(self.param(spec)) })
        })
    }

    fn param(&self, spec: &ParamSpec) -> Vec<f32> {
        let mut fill = Fill::new(self.seed, spec.name);
        let mut draw = || match (spec.name, self.data) {
            // A variance of 0 is legal, and the only witness for ε in f32 where others are large.
            ("bn.running_var", _) => {
                if fill.below(8) == 0 {
                    0.0
                } else {
                    fill.real().abs() + 0.1
                }
            }
            (_, Data::Integers) => fill.integer(3),
            // Logits far enough apart for a temperature to matter.
            ("attention.fc2.weight" | "attention.fc2.bias", Data::Reals) => 2.0 * fill.real(),
            (_, Data::Reals) => fill.real(),
        };
        (0..spec.shape.iter().product()).map(|_| draw()).collect()
    }
}
