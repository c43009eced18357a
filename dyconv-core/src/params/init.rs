//! Where parameters start: Keras's initialisers, drawn per expert from one seed.
//!
//! # The stream
//! A seed always gives the same numbers, on every machine and in every version. They come from
//! ChaCha8 whose key is the seed (little-endian, then 24 zero bytes), one stream per tensor and
//! expert: stream number `tensor · 2³² + expert`, where tensors count `weight` 0, `bias` 1,
//! `attention.fc1.weight` 2, `attention.fc1.bias` 3, `attention.fc2.weight` 4,
//! `attention.fc2.bias` 5, and the head's tensors are expert 0. So expert k's numbers depend
//! neither on K nor on the other tensors.
//!
//! A uniform number u is `(next_u64 >> 11) · 2⁻⁵³`; a normal one takes two, `√(−2 ln(1 − u₁)) · cos(2π u₂)`;
//! a truncated one is drawn again while its magnitude exceeds 2. All in f64, rounded to f32 at the end.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::{ParamSpec, Params};
use crate::{Config, Error, Result};

/// A distribution of starting values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Initializer {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// All `value`.
    Constant {
        /// The value.
        value: f64,
    },
    /// Normal.
    RandomNormal {
        /// Mean.
        mean: f64,
        /// Standard deviation, ≥ 0.
        std: f64,
    },
    /// Uniform from `min` up to `max`.
    RandomUniform {
        /// Least value.
        min: f64,
        /// Bound of the largest value.
        max: f64,
    },
    /// Normal, redrawn beyond two standard deviations; `std` is that before the cut.
    TruncatedNormal {
        /// Mean.
        mean: f64,
        /// Standard deviation of the whole normal distribution, ≥ 0.
        std: f64,
    },
    /// Mean 0 and variance `scale / fan`: Glorot, He and `LeCun` are named constants of this.
    VarianceScaling {
        /// Numerator, > 0.
        scale: f64,
        /// Denominator.
        fan: Fan,
        /// Form.
        distribution: Distribution,
    },
}

/// Which of a tensor's connections scale its variance.
///
/// Per expert, as Keras and `PyTorch` count them: an expert `[Cout, Cin/G, kh, kw]` has Cin/G·kh·kw
/// connections in and Cout·kh·kw out (not divided by G, in either framework); a head's matrix its columns
/// and rows; a bias its length, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fan {
    /// Connections in.
    In,
    /// Connections out.
    Out,
    /// Their mean.
    Average,
}

/// The form of [`Initializer::VarianceScaling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Uniform within ±√(3 · variance).
    Uniform,
    /// Normal, redrawn beyond two standard deviations, widened so that the variance is right after the cut.
    TruncatedNormal,
    /// Normal.
    Normal,
}

/// The standard deviation of a standard normal distribution cut at ±2.
const CUT_STD: f64 = 0.879_625_661_034_239_8;

impl Initializer {
    /// Keras's default for kernels: uniform, variance 2 / (in + out).
    pub const GLOROT_UNIFORM: Self = Self::scaling(1.0, Fan::Average, Distribution::Uniform);
    /// Truncated normal, variance 2 / (in + out).
    pub const GLOROT_NORMAL: Self = Self::scaling(1.0, Fan::Average, Distribution::TruncatedNormal);
    /// Uniform, variance 2 / in.
    pub const HE_UNIFORM: Self = Self::scaling(2.0, Fan::In, Distribution::Uniform);
    /// Truncated normal, variance 2 / in.
    pub const HE_NORMAL: Self = Self::scaling(2.0, Fan::In, Distribution::TruncatedNormal);
    /// Uniform, variance 1 / in.
    pub const LECUN_UNIFORM: Self = Self::scaling(1.0, Fan::In, Distribution::Uniform);
    /// Truncated normal, variance 1 / in.
    pub const LECUN_NORMAL: Self = Self::scaling(1.0, Fan::In, Distribution::TruncatedNormal);
    /// `PyTorch`'s default for convolutions: uniform within ±1/√in.
    pub const TORCH_CONV: Self = Self::scaling(1.0 / 3.0, Fan::In, Distribution::Uniform);

    const fn scaling(scale: f64, fan: Fan, distribution: Distribution) -> Self {
        Self::VarianceScaling { scale, fan, distribution }
    }

    /// Holds the numbers against what they must be.
    pub(crate) fn check(self, parameter: &str) -> Result<()> {
        let number = |field: &str, value: f64, low: f64| match (value as f32).is_finite() && value >= low {
            true => Ok(()),
            false if low == 0.0 => {
                Err(Error::invalid(format!("{parameter}.{field}"), value, "a finite f32, at least 0"))
            }
            false => Err(Error::invalid(format!("{parameter}.{field}"), value, "a finite f32")),
        };
        let any = f64::NEG_INFINITY;
        match self {
            Self::Zeros | Self::Ones => Ok(()),
            Self::Constant { value } => number("value", value, any),
            Self::RandomNormal { mean, std } | Self::TruncatedNormal { mean, std } => {
                number("mean", mean, any)?;
                number("std", std, 0.0)
            }
            Self::RandomUniform { min, max } => {
                number("min", min, any)?;
                number("max", max, any)?;
                if max < min {
                    let expected = format!("at least min ({min})");
                    return Err(Error::invalid(format!("{parameter}.max"), max, expected));
                }
                Ok(())
            }
            Self::VarianceScaling { scale, .. } => number("scale", scale, 0.0),
        }
    }

    fn fill(self, fans: Fans, rng: &mut ChaCha8Rng, out: &mut [f32]) {
        let mut fill = |draw: &mut dyn FnMut(&mut ChaCha8Rng) -> f64| {
            out.iter_mut().for_each(|value| *value = draw(rng) as f32);
        };
        match self {
            Self::Zeros => fill(&mut |_| 0.0),
            Self::Ones => fill(&mut |_| 1.0),
            Self::Constant { value } => fill(&mut |_| value),
            Self::RandomNormal { mean, std } => fill(&mut |rng| mean + std * normal(rng)),
            Self::TruncatedNormal { mean, std } => fill(&mut |rng| mean + std * truncated(rng)),
            Self::RandomUniform { min, max } => fill(&mut |rng| min + (max - min) * uniform(rng)),
            Self::VarianceScaling { scale, fan, distribution } => {
                let variance = scale / fans.of(fan);
                let (std, limit) = (variance.sqrt(), (3.0 * variance).sqrt());
                match distribution {
                    Distribution::Uniform => fill(&mut |rng| limit * (2.0 * uniform(rng) - 1.0)),
                    Distribution::Normal => fill(&mut |rng| std * normal(rng)),
                    Distribution::TruncatedNormal => fill(&mut |rng| std / CUT_STD * truncated(rng)),
                }
            }
        }
    }
}

/// An initialiser for each kind of parameter. Batch norm starts as the identity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initializers {
    /// Experts, each drawn on its own.
    pub weight: Initializer,
    /// Expert biases, where the configuration has them.
    pub bias: Initializer,
    /// Both matrices of the head.
    pub head_weight: Initializer,
    /// The bias of an MLP's first layer; `None` leaves it out.
    pub fc1_bias: Option<Initializer>,
    /// The bias of the head's last layer; `None` leaves it out.
    pub fc2_bias: Option<Initializer>,
}

impl Default for Initializers {
    /// Keras's: Glorot uniform for weights, zeros for biases, all biases there.
    fn default() -> Self {
        Self {
            weight: Initializer::GLOROT_UNIFORM,
            bias: Initializer::Zeros,
            head_weight: Initializer::GLOROT_UNIFORM,
            fc1_bias: Some(Initializer::Zeros),
            fc2_bias: Some(Initializer::Zeros),
        }
    }
}

impl Params {
    /// Starting values for a layer. The same seed gives the same numbers, everywhere and for ever; expert k's
    /// don't depend on how many experts there are.
    ///
    /// ```
    /// use dyconv_core::{Attention, DyConv2d, Initializer, Initializers, Options, Params};
    ///
    /// let config = Options::new(8, 16).kernel_size([3, 3]).experts(4).attention(Attention::mlp(2)).build()?;
    /// let initializers = Initializers { weight: Initializer::HE_NORMAL, ..Initializers::default() };
    /// let layer = DyConv2d::new(config, Params::init(&config, &initializers, 7)?)?;
    /// assert_eq!(layer.params().weight.len(), 4 * 16 * 8 * 9);
    /// # Ok::<(), dyconv_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where an initialiser's numbers are impossible: not finite, a negative deviation, max below min.
    pub fn init(config: &Config, initializers: &Initializers, seed: u64) -> Result<Self> {
        Self::from_named(config, |spec| {
            let (stream, initializer) = match spec.name {
                "weight" => (0, Some(initializers.weight)),
                "bias" => (1, Some(initializers.bias)),
                "attention.fc1.weight" => (2, Some(initializers.head_weight)),
                "attention.fc1.bias" => (3, initializers.fc1_bias),
                "attention.fc2.weight" => (4, Some(initializers.head_weight)),
                "attention.fc2.bias" => (5, initializers.fc2_bias),
                "bn.weight" | "bn.running_var" => (6, Some(Initializer::Ones)),
                _ => (6, Some(Initializer::Zeros)),
            };
            initializer.map(|initializer| draw(spec, stream, initializer, seed)).transpose()
        })
    }
}

fn draw(spec: &ParamSpec, stream: u64, initializer: Initializer, seed: u64) -> Result<Vec<f32>> {
    initializer.check(spec.name)?;
    // The experts' own tensors are drawn expert by expert.
    let experts = if matches!(spec.name, "weight" | "bias") { spec.shape[0] } else { 1 };
    let mut data = vec![0.0; spec.shape.iter().product()];
    let fans = Fans::of_tensor(spec);
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let part = data.len() / experts;
    for (expert, out) in data.chunks_exact_mut(part).enumerate() {
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(stream << 32 | expert as u64);
        initializer.fill(fans, &mut rng, out);
    }
    Ok(data)
}

/// A tensor's connections, as f64 since they only divide.
#[derive(Clone, Copy)]
struct Fans {
    fan_in: f64,
    fan_out: f64,
}

impl Fans {
    fn of_tensor(spec: &ParamSpec) -> Self {
        let (fan_in, fan_out) = match spec.shape[..] {
            [_, out, inputs, kh, kw] => (inputs * kh * kw, out * kh * kw),
            [_, out] if spec.name == "bias" => (out, out),
            [out, inputs] => (inputs, out),
            _ => (spec.shape[0], spec.shape[0]),
        };
        Self { fan_in: fan_in as f64, fan_out: fan_out as f64 }
    }

    fn of(self, fan: Fan) -> f64 {
        match fan {
            Fan::In => self.fan_in,
            Fan::Out => self.fan_out,
            Fan::Average => f64::midpoint(self.fan_in, self.fan_out),
        }
    }
}

/// From 0 up to, not including, 1.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    const STEP: f64 = 1.0 / (1u64 << 53) as f64;
    (rng.next_u64() >> 11) as f64 * STEP
}

/// Standard normal, by Box and Muller.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * libm::log(1.0 - uniform(rng))).sqrt();
    radius * libm::cos(std::f64::consts::TAU * uniform(rng))
}

/// Standard normal within ±2.
fn truncated(rng: &mut ChaCha8Rng) -> f64 {
    loop {
        let value = normal(rng);
        if value.abs() <= 2.0 {
            return value;
        }
    }
}
