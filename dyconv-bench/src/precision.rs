//! How experts are stored, or activations, as users type it and records say it.

use std::fmt;

use dyconv_core::Precision;
use serde::{Deserialize, Serialize};

/// The names of [`Precision`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// 32-bit floats.
    #[default]
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    F16,
}

impl Storage {
    /// Bytes of a number.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// Distance from 1 to the next number.
    #[must_use]
    pub fn epsilon(self) -> f64 {
        match self {
            Self::F32 => f64::from(f32::EPSILON),
            Self::Bf16 => 2f64.powi(-7),
            Self::F16 => 2f64.powi(-10),
        }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Precision::from(*self).fmt(f)
    }
}

impl From<Storage> for Precision {
    fn from(storage: Storage) -> Self {
        match storage {
            Storage::F32 => Self::F32,
            Storage::Bf16 => Self::Bf16,
            Storage::F16 => Self::F16,
        }
    }
}

impl From<Precision> for Storage {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::Bf16 => Self::Bf16,
            Precision::F16 => Self::F16,
            _ => Self::F32,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn one_name_for_users_records_and_tables() {
        for storage in Storage::value_variants() {
            let name = storage.to_string();
            assert_eq!(serde_json::to_string(storage).unwrap(), format!("\"{name}\""));
            assert_eq!(storage.to_possible_value().unwrap().get_name(), name);
        }
    }
}
