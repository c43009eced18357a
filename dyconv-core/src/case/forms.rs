//! The JSON form of every value of the `config` entry, checked first: serde's own messages name neither the
//! key nor, always, the value; and it takes other forms for objects and names, such as `["mlp", 2, …]` and
//! `{"relu": null}`.

use serde_json::Value;

use crate::{Error, Result};

/// What may stand at a key.
#[derive(Clone, Copy)]
enum Form {
    Count,
    Pair,
    Number,
    Flag,
    Name(&'static [&'static str]),
    Nullable(&'static [(&'static str, Form)]),
    Padding,
}

use Form::{Count, Flag, Name, Nullable, Number, Pair};

const KEYS: &[(&str, Form)] = &[
    ("in_channels", Count),
    ("out_channels", Count),
    ("kernel_size", Pair),
    ("stride", Pair),
    ("dilation", Pair),
    ("padding", Form::Padding),
    ("groups", Count),
    ("experts", Count),
    ("bias", Flag),
    ("layout", Name(&["nchw", "nhwc"])),
    ("attention", Nullable(ATTENTION)),
    ("batch_norm", Nullable(&[("epsilon", Number), ("keep", Number)])),
    ("activation", Name(ACTIVATIONS)),
    ("mode", Name(&["inference", "training"])),
];

const ATTENTION: &[(&str, Form)] = &[
    ("kind", Name(&["mlp", "linear", "given"])),
    ("hidden", Count),
    ("squash", Name(&["softmax", "sigmoid"])),
    ("temperature", Number),
];

const ACTIVATIONS: &[&str] = &[
    "none",
    "relu",
    "relu6",
    "leaky_relu",
    "sigmoid",
    "tanh",
    "hard_sigmoid",
    "hard_swish",
    "silu",
    "gelu",
    "elu",
];

/// Checks the form of what is there. That all keys are there, and no others, is left to serde.
pub(super) fn check(config: &Value) -> Result<()> {
    if !config.is_object() {
        return Err(invalid("config", config, "an object"));
    }
    check_keys("", config, KEYS)
}

fn check_keys(prefix: &str, object: &Value, keys: &[(&str, Form)]) -> Result<()> {
    keys.iter()
        .filter_map(|&(key, form)| Some((key, form, object.get(key)?)))
        .try_for_each(|(key, form, value)| form.check(&format!("{prefix}{key}"), value))
}

impl Form {
    fn check(self, path: &str, value: &Value) -> Result<()> {
        match self {
            Count if value.is_u64() => Ok(()),
            Count => Err(invalid(path, value, "a whole number")),
            Pair => match value.as_array().map(Vec::as_slice) {
                Some([height, width]) => {
                    Count.check(&format!("{path}[0]"), height)?;
                    Count.check(&format!("{path}[1]"), width)
                }
                _ => Err(invalid(path, value, "two whole numbers, [height, width]")),
            },
            Number if value.is_number() => Ok(()),
            Number => Err(invalid(path, value, "a number")),
            Flag if value.is_boolean() => Ok(()),
            Flag => Err(invalid(path, value, "true or false")),
            Name(names) if value.as_str().is_some_and(|name| names.contains(&name)) => Ok(()),
            Name(names) => Err(invalid(path, value, &format!("one of {}", names.join(", ")))),
            Nullable(_) if value.is_null() => Ok(()),
            Nullable(keys) if value.is_object() => check_keys(&format!("{path}."), value, keys),
            Nullable(_) => Err(invalid(path, value, "an object or null")),
            Self::Padding => check_padding(path, value),
        }
    }
}

fn check_padding(path: &str, value: &Value) -> Result<()> {
    const SIDES: [&str; 4] = ["top", "bottom", "left", "right"];
    let is_rule = value.as_str().is_some_and(|rule| ["same", "valid"].contains(&rule));
    let knows_sides =
        value.as_object().is_some_and(|sides| sides.keys().all(|key| SIDES.contains(&key.as_str())));
    let are_sides = knows_sides && SIDES.iter().all(|side| value.get(side).is_some());
    if !(is_rule || are_sides) {
        let expected = "\"same\", \"valid\" or an object with top, bottom, left and right";
        return Err(invalid(path, value, expected));
    }
    check_keys("padding.", value, &SIDES.map(|side| (side, Count)))
}

/// An error that shows no more than the beginning of a value.
fn invalid(path: &str, value: &Value, expected: &str) -> Error {
    const SHOWN: usize = 60;
    let text = value.to_string();
    let value: String = text.chars().take(SHOWN).collect();
    let more = if value.len() < text.len() { "…" } else { "" };
    Error::invalid(path, format!("{value}{more}"), expected)
}
