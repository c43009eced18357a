//! `get_config` ⇄ arguments.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::{Value, json};

use super::activation::{self, Dialect};
use super::layer::data_format;
use super::{DyConv2D, Pair, initializer, rules};
use crate::{Error, Layout, Padding, Result};

/// The JSON object, key by key; what is absent has the constructor's default.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigJson {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    trainable: Option<bool>,
    #[serde(default)]
    dtype: Value,
    filters: usize,
    kernel_size: Pair,
    num_experts: usize,
    #[serde(default)]
    strides: Option<Pair>,
    #[serde(default)]
    padding: Option<String>,
    #[serde(default)]
    data_format: Option<String>,
    #[serde(default)]
    dilation_rate: Option<Pair>,
    #[serde(default)]
    activation: Value,
    #[serde(default)]
    use_bias: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    kernel_initializer: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    bias_initializer: Option<Value>,
    #[serde(default)]
    kernel_regularizer: Value,
    #[serde(default)]
    bias_regularizer: Value,
    #[serde(default)]
    activity_regularizer: Value,
    #[serde(default)]
    kernel_constraint: Value,
    #[serde(default)]
    bias_constraint: Value,
    #[serde(default)]
    axis: Option<i64>,
}

/// Null isn't absent: to Keras it means another initializer than the default.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl DyConv2D {
    /// Reads `get_config`'s JSON.
    ///
    /// # Errors
    /// Where it isn't JSON, a key is unknown or missing, or something in it has no counterpart here, by name.
    pub fn from_json(json: &str) -> Result<Self> {
        let config: ConfigJson = serde_json::from_str(json).map_err(|e| Error::file("Keras config", e))?;
        config.try_into()
    }

    /// Writes `get_config`'s JSON, in the form that every Keras from 2.4 on reads.
    ///
    /// # Errors
    /// Where an argument is impossible, or Keras 2 has no such activation.
    pub fn to_json(&self) -> Result<String> {
        let config = ConfigJson::try_from(self)?;
        serde_json::to_string(&config).map_err(|e| Error::file("Keras config", e))
    }
}

impl<'de> Deserialize<'de> for DyConv2D {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        ConfigJson::deserialize(deserializer)?.try_into().map_err(de::Error::custom)
    }
}

impl Serialize for DyConv2D {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        ConfigJson::try_from(self).map_err(ser::Error::custom)?.serialize(serializer)
    }
}

impl TryFrom<ConfigJson> for DyConv2D {
    type Error = Error;

    fn try_from(json: ConfigJson) -> Result<Self> {
        let dialect = read_dtype(&json.dtype)?;
        let default = Self::new(json.filters, json.kernel_size, json.num_experts);
        let initializer = |name, value: &Option<Value>, default| {
            value.as_ref().map_or(Ok(default), |value| initializer::read(name, value))
        };
        let layer = Self {
            name: json.name.unwrap_or(default.name),
            trainable: json.trainable.unwrap_or(default.trainable),
            filters: json.filters,
            kernel_size: json.kernel_size,
            num_experts: json.num_experts,
            strides: json.strides.unwrap_or(default.strides),
            padding: json.padding.as_deref().map_or(Ok(default.padding), read_padding)?,
            data_format: json.data_format.as_deref().map_or(Ok(default.data_format), read_data_format)?,
            dilation_rate: json.dilation_rate.unwrap_or(default.dilation_rate),
            activation: activation::read(&json.activation, dialect)?,
            use_bias: json.use_bias.unwrap_or(default.use_bias),
            kernel_initializer: initializer(
                "kernel_initializer",
                &json.kernel_initializer,
                default.kernel_initializer,
            )?,
            bias_initializer: initializer(
                "bias_initializer",
                &json.bias_initializer,
                default.bias_initializer,
            )?,
            kernel_regularizer: rules::read_regularizer("kernel_regularizer", &json.kernel_regularizer)?,
            bias_regularizer: rules::read_regularizer("bias_regularizer", &json.bias_regularizer)?,
            activity_regularizer: rules::read_regularizer(
                "activity_regularizer",
                &json.activity_regularizer,
            )?,
            kernel_constraint: rules::read_constraint("kernel_constraint", &json.kernel_constraint)?,
            bias_constraint: rules::read_constraint("bias_constraint", &json.bias_constraint)?,
            axis: None,
        };
        // The layer's own axis needs no saying.
        Self { axis: json.axis, ..layer.clone() }.check()?;
        Ok(layer)
    }
}

impl TryFrom<&DyConv2D> for ConfigJson {
    type Error = Error;

    fn try_from(layer: &DyConv2D) -> Result<Self> {
        layer.check()?;
        let padding = if layer.padding == Padding::Same { "same" } else { "valid" };
        Ok(Self {
            name: Some(layer.name.clone()),
            trainable: Some(layer.trainable),
            dtype: json!("float32"),
            filters: layer.filters,
            kernel_size: layer.kernel_size,
            num_experts: layer.num_experts,
            strides: Some(layer.strides),
            padding: Some(padding.to_owned()),
            data_format: Some(data_format(layer.data_format).to_owned()),
            dilation_rate: Some(layer.dilation_rate),
            activation: activation::write(layer.activation)?,
            use_bias: Some(layer.use_bias),
            kernel_initializer: Some(initializer::write(layer.kernel_initializer)),
            bias_initializer: Some(initializer::write(layer.bias_initializer)),
            kernel_regularizer: rules::write_regularizer(layer.kernel_regularizer),
            bias_regularizer: rules::write_regularizer(layer.bias_regularizer),
            activity_regularizer: rules::write_regularizer(layer.activity_regularizer),
            kernel_constraint: rules::write_constraint(layer.kernel_constraint.as_ref()),
            bias_constraint: rules::write_constraint(layer.bias_constraint.as_ref()),
            axis: Some(layer.channel_axis()),
        })
    }
}

/// Only float32 has a counterpart. Keras 3 writes a policy object, Keras 2 a name.
fn read_dtype(dtype: &Value) -> Result<Dialect> {
    let (name, dialect) = match dtype {
        Value::Object(policy) => (policy.get("config").and_then(|c| c.get("name")), Dialect::Keras3),
        other => (Some(other), Dialect::Keras2),
    };
    match name {
        Some(Value::Null) => Ok(dialect),
        Some(Value::String(name)) if name == "float32" => Ok(dialect),
        _ => Err(Error::invalid("dtype", dtype, "float32")),
    }
}

fn read_padding(name: &str) -> Result<Padding> {
    match name {
        "valid" => Ok(Padding::Valid),
        "same" => Ok(Padding::Same),
        _ => Err(Error::invalid("padding", name, "valid or same")),
    }
}

fn read_data_format(name: &str) -> Result<Layout> {
    match name {
        "channels_first" => Ok(Layout::Nchw),
        "channels_last" => Ok(Layout::Nhwc),
        _ => Err(Error::invalid("data_format", name, "channels_first or channels_last")),
    }
}
