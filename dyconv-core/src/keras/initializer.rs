//! Keras's initialisers ⇄ ours.

use serde_json::{Map, Value, json};

use super::KerasInitializer;
use super::object::{Fields, Object};
use crate::{Distribution, Error, Fan, Initializer, Result};

const NAMED: [(&str, Initializer); 6] = [
    ("GlorotUniform", Initializer::GLOROT_UNIFORM),
    ("GlorotNormal", Initializer::GLOROT_NORMAL),
    ("HeUniform", Initializer::HE_UNIFORM),
    ("HeNormal", Initializer::HE_NORMAL),
    ("LecunUniform", Initializer::LECUN_UNIFORM),
    ("LecunNormal", Initializer::LECUN_NORMAL),
];

pub(super) fn read(parameter: &str, value: &Value) -> Result<KerasInitializer> {
    let Some(object) = Object::read(parameter, value)? else {
        return Err(Error::invalid(parameter, "null", "an initializer"));
    };
    let spelling = object.spelling();
    let named = NAMED.iter().find(|(class, _)| class.to_lowercase() == spelling);
    let classes =
        ["zeros", "ones", "constant", "randomnormal", "randomuniform", "truncatednormal", "variancescaling"];
    // Keras 2 has short names for some.
    let class = match spelling.as_str() {
        "zero" => "zeros",
        "one" => "ones",
        "normal" => "randomnormal",
        "uniform" => "randomuniform",
        other => other,
    };
    if named.is_none() && !classes.contains(&class) {
        return object.refuse("zeros, ones, constant, random_normal, random_uniform, truncated_normal, variance_scaling, or glorot, he or lecun, uniform or normal");
    }
    let mut fields = object.fields;
    let seed = fields.nullable_integer("seed")?;
    let initializer = match named {
        Some((_, initializer)) => {
            no_axes(&mut fields)?;
            *initializer
        }
        None => general(class, &mut fields)?,
    };
    fields.finish()?;
    initializer.check(parameter)?;
    Ok(KerasInitializer { initializer, seed })
}

fn general(class: &str, fields: &mut Fields) -> Result<Initializer> {
    Ok(match class {
        "zeros" => Initializer::Zeros,
        "ones" => Initializer::Ones,
        "constant" => Initializer::Constant { value: fields.number("value", 0.0)? },
        "randomnormal" => Initializer::RandomNormal {
            mean: fields.number("mean", 0.0)?,
            std: fields.number("stddev", 0.05)?,
        },
        "truncatednormal" => Initializer::TruncatedNormal {
            mean: fields.number("mean", 0.0)?,
            std: fields.number("stddev", 0.05)?,
        },
        "randomuniform" => Initializer::RandomUniform {
            min: fields.number("minval", -0.05)?,
            max: fields.number("maxval", 0.05)?,
        },
        _ => {
            no_axes(fields)?;
            Initializer::VarianceScaling {
                scale: fields.number("scale", 1.0)?,
                fan: fan(&fields.word("mode", "fan_in")?)?,
                distribution: distribution(&fields.word("distribution", "truncated_normal")?)?,
            }
        }
    })
}

/// Keras 3's own choice of axes for fans, which per expert has no meaning.
fn no_axes(fields: &mut Fields) -> Result<()> {
    fields.null("input_axes")?;
    fields.null("output_axes")
}

fn fan(mode: &str) -> Result<Fan> {
    match mode {
        "fan_in" => Ok(Fan::In),
        "fan_out" => Ok(Fan::Out),
        "fan_avg" => Ok(Fan::Average),
        _ => Err(Error::invalid("mode", mode, "fan_in, fan_out or fan_avg")),
    }
}

fn distribution(name: &str) -> Result<Distribution> {
    match name {
        "uniform" => Ok(Distribution::Uniform),
        // Keras 2 says normal and draws a truncated one.
        "normal" | "truncated_normal" => Ok(Distribution::TruncatedNormal),
        "untruncated_normal" => Ok(Distribution::Normal),
        _ => Err(Error::invalid(
            "distribution",
            name,
            "uniform, normal, truncated_normal or untruncated_normal",
        )),
    }
}

pub(super) fn write(keras: KerasInitializer) -> Value {
    let KerasInitializer { initializer, seed } = keras;
    let named = NAMED.iter().find(|(_, named)| *named == initializer).map(|(class, _)| *class);
    let (class, config) = match initializer {
        Initializer::Zeros => return Object::write("Zeros", json!({})),
        Initializer::Ones => return Object::write("Ones", json!({})),
        Initializer::Constant { value } => return Object::write("Constant", json!({ "value": value })),
        Initializer::RandomNormal { mean, std } => ("RandomNormal", json!({ "mean": mean, "stddev": std })),
        Initializer::TruncatedNormal { mean, std } => {
            ("TruncatedNormal", json!({ "mean": mean, "stddev": std }))
        }
        Initializer::RandomUniform { min, max } => ("RandomUniform", json!({ "minval": min, "maxval": max })),
        Initializer::VarianceScaling { .. } if named.is_some() => (named.unwrap_or_default(), json!({})),
        Initializer::VarianceScaling { scale, fan, distribution } => {
            let mode = match fan {
                Fan::In => "fan_in",
                Fan::Out => "fan_out",
                Fan::Average => "fan_avg",
            };
            let distribution = match distribution {
                Distribution::Uniform => "uniform",
                Distribution::TruncatedNormal => "truncated_normal",
                Distribution::Normal => "untruncated_normal",
            };
            ("VarianceScaling", json!({ "scale": scale, "mode": mode, "distribution": distribution }))
        }
    };
    let mut config = match config {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    config.insert("seed".to_owned(), json!(seed));
    Object::write(class, Value::Object(config))
}
