//! Keras's regularisers and constraints ⇄ ours.

use serde_json::{Value, json};

use super::object::Object;
use crate::{Constraint, Regularizer, Result};

pub(super) fn read_regularizer(parameter: &str, value: &Value) -> Result<Option<Regularizer>> {
    let Some(object) = Object::read(parameter, value)? else {
        return Ok(None);
    };
    // The function l1_l2 and the class L1L2 have different defaults.
    let both = if object.class == "l1_l2" { 0.01 } else { 0.0 };
    let spelling = object.spelling();
    if !["l1", "l2", "l1l2"].contains(&spelling.as_str()) {
        return object.refuse("l1, l2 or l1_l2");
    }
    let mut fields = object.fields;
    let regularizer = match spelling.as_str() {
        "l1" => Regularizer { l1: fields.number("l1", 0.01)?, l2: 0.0 },
        "l2" => Regularizer { l1: 0.0, l2: fields.number("l2", 0.01)? },
        _ => Regularizer { l1: fields.number("l1", both)?, l2: fields.number("l2", both)? },
    };
    fields.finish()?;
    regularizer.check(parameter)?;
    Ok(Some(regularizer))
}

/// As L1L2, which every Keras has.
pub(super) fn write_regularizer(regularizer: Option<Regularizer>) -> Value {
    regularizer
        .map_or(Value::Null, |Regularizer { l1, l2 }| Object::write("L1L2", json!({ "l1": l1, "l2": l2 })))
}

pub(super) fn read_constraint(parameter: &str, value: &Value) -> Result<Option<Constraint>> {
    let Some(object) = Object::read(parameter, value)? else {
        return Ok(None);
    };
    let spelling = object.spelling();
    if !["maxnorm", "nonneg", "unitnorm", "minmaxnorm"].contains(&spelling.as_str()) {
        return object.refuse("max_norm, non_neg, unit_norm or min_max_norm");
    }
    let mut fields = object.fields;
    let constraint = match spelling.as_str() {
        "maxnorm" => {
            Constraint::MaxNorm { max: fields.number("max_value", 2.0)?, axes: fields.axes("axis")? }
        }
        "unitnorm" => Constraint::UnitNorm { axes: fields.axes("axis")? },
        "minmaxnorm" => Constraint::MinMaxNorm {
            min: fields.number("min_value", 0.0)?,
            max: fields.number("max_value", 1.0)?,
            rate: fields.number("rate", 1.0)?,
            axes: fields.axes("axis")?,
        },
        _ => Constraint::NonNeg,
    };
    fields.finish()?;
    constraint.check(parameter)?;
    Ok(Some(constraint))
}

pub(super) fn write_constraint(constraint: Option<&Constraint>) -> Value {
    let axis = |axes: &[i64]| match axes {
        [axis] => json!(axis),
        axes => json!(axes),
    };
    match constraint {
        None => Value::Null,
        Some(Constraint::NonNeg) => Object::write("NonNeg", json!({})),
        Some(Constraint::MaxNorm { max, axes }) => {
            Object::write("MaxNorm", json!({ "max_value": max, "axis": axis(axes) }))
        }
        Some(Constraint::UnitNorm { axes }) => Object::write("UnitNorm", json!({ "axis": axis(axes) })),
        Some(Constraint::MinMaxNorm { min, max, rate, axes }) => {
            let config = json!({ "min_value": min, "max_value": max, "rate": rate, "axis": axis(axes) });
            Object::write("MinMaxNorm", config)
        }
    }
}
