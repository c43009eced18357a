//! The `config` entry: 14 keys, all there, no others, none twice.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{Mode, forms};
use crate::{Activation, Attention, BatchNorm, Config, Error, Layout, Options, Padding, Result, Squash};

/// The JSON object, key by key. Apart from the types of [`crate::Options`], whose JSON may grow.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigJson {
    in_channels: usize,
    out_channels: usize,
    kernel_size: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: PaddingJson,
    groups: usize,
    experts: usize,
    bias: bool,
    layout: Layout,
    // `deserialize_with` makes an absent key an error, which `Option` alone would take for null.
    #[serde(deserialize_with = "nullable")]
    attention: Option<AttentionJson>,
    #[serde(deserialize_with = "nullable")]
    batch_norm: Option<BatchNormJson>,
    activation: ActivationJson,
    mode: Mode,
}

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "padding must be \"same\", \"valid\" or {\"top\", \"bottom\", \"left\", \"right\"}"
)]
enum PaddingJson {
    Rule(RuleJson),
    Sides(SidesJson),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RuleJson {
    Same,
    Valid,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SidesJson {
    top: usize,
    bottom: usize,
    left: usize,
    right: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchNormJson {
    epsilon: f64,
    keep: f64,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindJson {
    Mlp,
    Linear,
    Given,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SquashJson {
    Softmax,
    Sigmoid,
}

/// Every key that some kind of head has. Present and null are different: null is refused.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AttentionJson {
    kind: KindJson,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    hidden: Option<usize>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    squash: Option<SquashJson>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
}

fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ActivationJson {
    None,
    Relu,
    Relu6,
    LeakyRelu,
    Sigmoid,
    Tanh,
    HardSigmoid,
    HardSwish,
    Silu,
    Gelu,
    Elu,
}

/// The name of the format, in the metadata entry `format`.
pub(super) const FORMAT: &str = "dyconv.case";
/// The version, in the metadata entry `version`.
pub(super) const VERSION: &str = "1";

/// Reads the `config` entry.
pub(super) fn parse(text: &str) -> Result<(Config, Mode), String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("config: {e}"))?;
    forms::check(&value).map_err(|e| format!("config: {e}"))?;
    let json: ConfigJson = serde_json::from_str(text).map_err(|e| format!("config: {e}"))?;
    json.into_config().map_err(|e| format!("config: {e}"))
}

/// Writes the `config` entry.
pub(super) fn print(config: &Config, mode: Mode) -> Result<String> {
    let json = ConfigJson::new(config, mode)?;
    serde_json::to_string(&json).map_err(|e| Error::invalid("config", e, "JSON"))
}

/// Refuses by name what the `config` entry has no words for.
pub(super) fn check_expressible(config: &Config) -> Result<()> {
    ConfigJson::new(config, Mode::Inference).map(|_| ())
}

impl ConfigJson {
    fn new(config: &Config, mode: Mode) -> Result<Self> {
        let options = config.options();
        Ok(Self {
            in_channels: options.in_channels,
            out_channels: options.out_channels,
            kernel_size: options.kernel_size,
            stride: options.stride,
            dilation: options.dilation,
            padding: options.padding.into(),
            groups: options.groups,
            experts: options.experts,
            bias: options.bias,
            layout: options.layout,
            attention: options.attention.map(AttentionJson::from),
            batch_norm: options.batch_norm.map(BatchNormJson::try_from).transpose()?,
            activation: options.activation.try_into()?,
            mode,
        })
    }

    fn into_config(self) -> Result<(Config, Mode)> {
        let options = Options {
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            kernel_size: self.kernel_size,
            stride: self.stride,
            dilation: self.dilation,
            padding: self.padding.into(),
            groups: self.groups,
            experts: self.experts,
            bias: self.bias,
            layout: self.layout,
            attention: self.attention.map(Attention::try_from).transpose()?,
            batch_norm: self.batch_norm.map(|norm| BatchNorm {
                epsilon: norm.epsilon,
                keep: norm.keep,
                unbiased: false,
            }),
            activation: self.activation.into(),
        };
        Ok((options.build()?, self.mode))
    }
}

impl From<Padding> for PaddingJson {
    fn from(padding: Padding) -> Self {
        match padding {
            Padding::Same => Self::Rule(RuleJson::Same),
            Padding::Valid => Self::Rule(RuleJson::Valid),
            Padding::Explicit { top, bottom, left, right } => {
                Self::Sides(SidesJson { top, bottom, left, right })
            }
        }
    }
}

impl From<PaddingJson> for Padding {
    fn from(json: PaddingJson) -> Self {
        match json {
            PaddingJson::Rule(RuleJson::Same) => Self::Same,
            PaddingJson::Rule(RuleJson::Valid) => Self::Valid,
            PaddingJson::Sides(SidesJson { top, bottom, left, right }) => {
                Self::Explicit { top, bottom, left, right }
            }
        }
    }
}

impl TryFrom<BatchNorm> for BatchNormJson {
    type Error = Error;

    fn try_from(norm: BatchNorm) -> Result<Self> {
        if norm.unbiased {
            return Err(Error::invalid("batch_norm.unbiased", true, "false in a case file"));
        }
        Ok(Self { epsilon: norm.epsilon, keep: norm.keep })
    }
}

impl From<Attention> for AttentionJson {
    fn from(attention: Attention) -> Self {
        let (kind, hidden) = match attention {
            Attention::Mlp { hidden, .. } => (KindJson::Mlp, Some(hidden)),
            Attention::Linear { .. } => (KindJson::Linear, None),
            Attention::Given => (KindJson::Given, None),
        };
        let squash = attention.squash().map(|squash| match squash {
            Squash::Softmax { .. } => SquashJson::Softmax,
            Squash::Sigmoid => SquashJson::Sigmoid,
        });
        Self { kind, hidden, squash, temperature: attention.temperature() }
    }
}

impl TryFrom<AttentionJson> for Attention {
    type Error = Error;

    fn try_from(json: AttentionJson) -> Result<Self> {
        let AttentionJson { kind, hidden, squash, temperature } = json;
        let is = |wanted| kind == wanted;
        check_presence("hidden", hidden.is_some(), is(KindJson::Mlp), "kind is mlp")?;
        check_presence("squash", squash.is_some(), !is(KindJson::Given), "kind is mlp or linear")?;
        let softmax = squash == Some(SquashJson::Softmax);
        check_presence("temperature", temperature.is_some(), softmax, "squash is softmax")?;
        let squash = temperature.map_or(Squash::Sigmoid, |temperature| Squash::Softmax { temperature });
        Ok(match kind {
            KindJson::Mlp => Self::Mlp { hidden: hidden.unwrap_or_default(), squash },
            KindJson::Linear => Self::Linear { squash },
            KindJson::Given => Self::Given,
        })
    }
}

fn check_presence(key: &str, present: bool, wanted: bool, when: &str) -> Result<()> {
    if present == wanted {
        return Ok(());
    }
    let value = if present { "present" } else { "missing" };
    Err(Error::invalid(format!("attention.{key}"), value, format!("a value where, and only where, {when}")))
}

impl TryFrom<Activation> for ActivationJson {
    type Error = Error;

    fn try_from(activation: Activation) -> Result<Self> {
        Ok(match activation {
            Activation::None => Self::None,
            Activation::Relu => Self::Relu,
            Activation::Relu6 => Self::Relu6,
            Activation::LEAKY_RELU => Self::LeakyRelu,
            Activation::LeakyRelu { slope } => {
                return Err(Error::invalid("activation.slope", slope, "0.01 in a case file"));
            }
            Activation::Sigmoid => Self::Sigmoid,
            Activation::Tanh => Self::Tanh,
            Activation::HardSigmoid => Self::HardSigmoid,
            Activation::KerasHardSigmoid => {
                let expected = "one that case files have; this isn't the `hard_sigmoid` of case files";
                return Err(Error::invalid("activation", activation.name(), expected));
            }
            Activation::HardSwish => Self::HardSwish,
            Activation::Silu => Self::Silu,
            Activation::Gelu => Self::Gelu,
            Activation::Elu => Self::Elu,
        })
    }
}

impl From<ActivationJson> for Activation {
    fn from(json: ActivationJson) -> Self {
        match json {
            ActivationJson::None => Self::None,
            ActivationJson::Relu => Self::Relu,
            ActivationJson::Relu6 => Self::Relu6,
            ActivationJson::LeakyRelu => Self::LEAKY_RELU,
            ActivationJson::Sigmoid => Self::Sigmoid,
            ActivationJson::Tanh => Self::Tanh,
            ActivationJson::HardSigmoid => Self::HardSigmoid,
            ActivationJson::HardSwish => Self::HardSwish,
            ActivationJson::Silu => Self::Silu,
            ActivationJson::Gelu => Self::Gelu,
            ActivationJson::Elu => Self::Elu,
        }
    }
}
