//! Keras's activations ⇄ ours.

use serde_json::{Value, json};

use super::object::Object;
use crate::{Activation, Error, Result};

const PARAMETER: &str = "activation";
const EXPECTED: &str =
    "linear, relu, relu6, leaky_relu, sigmoid, tanh, hard_sigmoid, hard_silu, silu, gelu or elu";

/// The slopes of the function and of the layer.
const FUNCTION_SLOPE: f64 = 0.2;
const LAYER_SLOPE: f64 = 0.3;

/// Which library's meaning a name has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Keras2,
    Keras3,
}

pub(super) fn read(value: &Value, dialect: Dialect) -> Result<Activation> {
    match Object::read(PARAMETER, value)? {
        None => Ok(Activation::None),
        Some(object) if value.is_object() && is_layer(&object.class) => layer(object, dialect),
        Some(object) => {
            let activation = function(&object, dialect)?;
            object.fields.finish()?;
            Ok(activation)
        }
    }
}

fn function(object: &Object, dialect: Dialect) -> Result<Activation> {
    Ok(match object.class.as_str() {
        "linear" => Activation::None,
        "relu" => Activation::Relu,
        "relu6" => Activation::Relu6,
        "leaky_relu" => Activation::LeakyRelu { slope: FUNCTION_SLOPE },
        "sigmoid" => Activation::Sigmoid,
        "tanh" => Activation::Tanh,
        "hard_sigmoid" if dialect == Dialect::Keras3 => Activation::HardSigmoid,
        "hard_sigmoid" => Activation::KerasHardSigmoid,
        "hard_silu" | "hard_swish" => Activation::HardSwish,
        "silu" | "swish" => Activation::Silu,
        "gelu" => Activation::Gelu,
        "elu" => Activation::Elu,
        _ => return object.refuse(EXPECTED),
    })
}

fn is_layer(class: &str) -> bool {
    class.starts_with(|c: char| c.is_ascii_uppercase())
}

/// An activation given as a layer.
fn layer(object: Object, dialect: Dialect) -> Result<Activation> {
    let Object { class, mut fields } = object;
    fields.ignore(&["name", "trainable", "dtype"]);
    let activation = match class.as_str() {
        "Activation" => read(&fields.value("activation"), dialect)?,
        "LeakyReLU" => {
            // Keras 2 says alpha, Keras 3 negative_slope.
            let alpha = fields.number("alpha", LAYER_SLOPE)?;
            Activation::LeakyRelu { slope: fields.number("negative_slope", alpha)? }
        }
        "ReLU" => {
            fields.fixed("threshold", 0.0)?;
            let slope = fields.nullable_number("negative_slope")?.unwrap_or(0.0);
            match (fields.nullable_number("max_value")?, slope) {
                (None, 0.0) => Activation::Relu,
                (None, slope) => Activation::LeakyRelu { slope },
                (Some(6.0), 0.0) => Activation::Relu6,
                (Some(max), _) => {
                    let expected = "null, or 6 without negative_slope";
                    return Err(Error::invalid("activation.max_value", max, expected));
                }
            }
        }
        "ELU" => {
            fields.fixed("alpha", 1.0)?;
            Activation::Elu
        }
        _ => {
            return Err(Error::invalid(
                PARAMETER,
                class,
                format!("{EXPECTED}, or the layer LeakyReLU, ReLU or ELU"),
            ));
        }
    };
    fields.finish()?;
    Ok(activation)
}

/// In Keras 2's words.
pub(super) fn write(activation: Activation) -> Result<Value> {
    Ok(match activation {
        Activation::None => json!("linear"),
        Activation::LeakyRelu { slope: FUNCTION_SLOPE } => json!("leaky_relu"),
        Activation::LeakyRelu { slope } => Object::write("LeakyReLU", json!({ "alpha": slope })),
        Activation::KerasHardSigmoid => json!("hard_sigmoid"),
        Activation::HardSwish => json!("hard_silu"),
        Activation::HardSigmoid => {
            let expected = "one that Keras 2 has; its hard_sigmoid is clip(0.2x + 0.5, 0, 1)";
            return Err(Error::invalid(PARAMETER, activation.name(), expected));
        }
        Activation::Relu
        | Activation::Relu6
        | Activation::Sigmoid
        | Activation::Tanh
        | Activation::Silu
        | Activation::Gelu
        | Activation::Elu => json!(activation.name()),
    })
}
