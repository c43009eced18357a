//! How Keras writes an object: by name, or as class and config.

use serde_json::{Map, Value};

use crate::{Error, Result};

/// A class and its arguments. By name alone there are none.
pub(super) struct Object {
    pub(super) class: String,
    pub(super) fields: Fields,
}

/// Arguments that haven't been taken yet.
pub(super) struct Fields {
    parameter: String,
    map: Map<String, Value>,
}

impl Object {
    /// `"glorot_uniform"`, `{"class_name": "GlorotUniform", "config": {…}}` or null.
    pub(super) fn read(parameter: &str, value: &Value) -> Result<Option<Self>> {
        let unreadable = || {
            let expected = "null, a name, or an object with `class_name` and `config`";
            Error::invalid(parameter, short(value), expected)
        };
        let object = match value {
            Value::Null => return Ok(None),
            Value::String(name) => return Ok(Some(Self::named(parameter, name))),
            Value::Object(object) => object,
            _ => return Err(unreadable()),
        };
        // Keras 3 adds where the class lives, which its name says well enough.
        let known = ["class_name", "config", "module", "registered_name"];
        if let Some(key) = object.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(Error::invalid(format!("{parameter}.{key}"), "present", "no such key"));
        }
        match (object.get("class_name"), object.get("config")) {
            (Some(Value::String(class)), Some(Value::Object(map))) => {
                let fields = Fields { parameter: parameter.to_owned(), map: map.clone() };
                Ok(Some(Self { class: class.clone(), fields }))
            }
            (Some(Value::String(class)), Some(Value::String(name))) if class == "function" => {
                Ok(Some(Self::named(parameter, name)))
            }
            _ => Err(unreadable()),
        }
    }

    fn named(parameter: &str, name: &str) -> Self {
        Self { class: name.to_owned(), fields: Fields { parameter: parameter.to_owned(), map: Map::new() } }
    }

    /// The class in the one spelling that `HeNormal` and `he_normal` share.
    pub(super) fn spelling(&self) -> String {
        self.class.chars().filter(|&c| c != '_').flat_map(char::to_lowercase).collect()
    }

    /// The refusal of a class that has no counterpart here.
    pub(super) fn refuse<T>(&self, expected: &str) -> Result<T> {
        Err(Error::invalid(&self.fields.parameter, &self.class, expected))
    }

    /// Class and config in the form that every Keras reads.
    pub(super) fn write(class: &str, config: Value) -> Value {
        serde_json::json!({ "class_name": class, "config": config })
    }
}

impl Fields {
    /// Takes a number, or the default where it's absent.
    pub(super) fn number(&mut self, key: &str, default: f64) -> Result<f64> {
        self.take(key, |value| value.as_f64(), "a number").map(|value| value.unwrap_or(default))
    }

    /// Takes a number that may be null.
    pub(super) fn nullable_number(&mut self, key: &str) -> Result<Option<f64>> {
        self.skip_null(key);
        self.take(key, |value| value.as_f64(), "a number or null")
    }

    /// Takes an integer that may be null.
    pub(super) fn nullable_integer(&mut self, key: &str) -> Result<Option<i64>> {
        self.skip_null(key);
        self.take(key, |value| value.as_i64(), "an integer or null")
    }

    /// Takes a word, or the default where it's absent.
    pub(super) fn word(&mut self, key: &str, default: &str) -> Result<String> {
        let word = self.take(key, |value| value.as_str().map(str::to_owned), "a word")?;
        Ok(word.unwrap_or_else(|| default.to_owned()))
    }

    /// Takes an integer or a list of integers, or 0 where it's absent.
    pub(super) fn axes(&mut self, key: &str) -> Result<Vec<i64>> {
        let read = |value: &Value| match value {
            Value::Array(axes) => axes.iter().map(Value::as_i64).collect(),
            one => one.as_i64().map(|axis| vec![axis]),
        };
        Ok(self.take(key, read, "an integer or a list of integers")?.unwrap_or_else(|| vec![0]))
    }

    /// Takes an inner value as it is.
    pub(super) fn value(&mut self, key: &str) -> Value {
        self.map.remove(key).unwrap_or_default()
    }

    /// Takes what has no bearing, such as the name of a layer object.
    pub(super) fn ignore(&mut self, keys: &[&str]) {
        keys.iter().for_each(|key| drop(self.map.remove(*key)));
    }

    /// Takes an argument that must have this one value, where it's there.
    pub(super) fn fixed(&mut self, key: &str, only: f64) -> Result<()> {
        let value = self.nullable_number(key)?.unwrap_or(only);
        if value == only {
            return Ok(());
        }
        Err(Error::invalid(self.path(key), value, format!("{only}")))
    }

    /// Takes an argument that must be null, where it's there.
    pub(super) fn null(&mut self, key: &str) -> Result<()> {
        self.skip_null(key);
        match self.map.get(key) {
            Some(value) => Err(Error::invalid(self.path(key), short(value), "null")),
            None => Ok(()),
        }
    }

    /// Refuses what hasn't been taken.
    pub(super) fn finish(self) -> Result<()> {
        match self.map.keys().next() {
            Some(key) => Err(Error::invalid(self.path(key), "present", "no such key")),
            None => Ok(()),
        }
    }

    fn skip_null(&mut self, key: &str) {
        if self.map.get(key).is_some_and(Value::is_null) {
            self.map.remove(key);
        }
    }

    fn take<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&Value) -> Option<T>,
        expected: &str,
    ) -> Result<Option<T>> {
        let Some(value) = self.map.remove(key) else {
            return Ok(None);
        };
        match read(&value) {
            Some(read) => Ok(Some(read)),
            None => Err(Error::invalid(self.path(key), short(&value), expected)),
        }
    }

    fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.parameter)
    }
}

/// The start of a JSON text that may be long.
fn short(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}
