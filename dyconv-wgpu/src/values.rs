//! How activations lie on the device: as floats, or rounded to 16 bits where a kernel stores them and widened where one
//! loads them. Sums are f32 in any case, and so is all that isn't an activation: π, means, statistics, parts of sums.

use std::borrow::Cow;

use dyconv_core::{Error, Precision, Result, round};

use crate::stored::Stored;

/// A form of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Values {
    F32,
    /// Two to a word, on any device: a thread writes its half of a word atomically.
    F16,
    /// The same bits, for devices with `shader-f16`.
    NativeF16,
}

impl Values {
    pub(crate) const ALL: [Self; 3] = [Self::F32, Self::F16, Self::NativeF16];

    /// The form for a precision.
    pub(crate) fn new(precision: Precision, has_f16: bool) -> Result<Self> {
        match precision {
            Precision::F32 => Ok(Self::F32),
            Precision::F16 if has_f16 => Ok(Self::NativeF16),
            Precision::F16 => Ok(Self::F16),
            other => Err(Error::invalid("activations", other, "f32 or f16")),
        }
    }

    pub(crate) fn precision(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::F16 | Self::NativeF16 => Precision::F16,
        }
    }

    /// Bytes of a value.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::NativeF16 => 2,
        }
    }

    /// 32-bit words that hold so many.
    pub(crate) fn words(self, len: usize) -> usize {
        match self {
            Self::F32 => len,
            Self::F16 | Self::NativeF16 => len.div_ceil(2),
        }
    }

    /// The form of kernels that move values in bits, two to a word on any device.
    pub(crate) fn in_bits(self) -> Self {
        if self == Self::F32 { Self::F32 } else { Self::F16 }
    }

    /// Whether a device that has these activations may have experts stored so: it has f16 or not.
    pub(crate) fn goes_with(self, stored: Stored) -> bool {
        !matches!((self, stored), (Self::F16, Stored::NativeF16) | (Self::NativeF16, Stored::F16))
    }

    /// What defines `Word`, `Words`, `word_of`, `value_of` and `four_values`.
    pub(crate) fn load(self) -> &'static str {
        match self {
            Self::F32 => include_str!("../shaders/values/load_f32.wgsl"),
            Self::F16 => include_str!("../shaders/values/load_f16.wgsl"),
            Self::NativeF16 => include_str!("../shaders/values/load_f16_native.wgsl"),
        }
    }

    /// What defines `Written` and `store`.
    pub(crate) fn store(self) -> &'static str {
        macro_rules! shaders {
            ($($name:literal),*) => { concat!($(include_str!(concat!("../shaders/values/", $name, ".wgsl")), "\n"),*) };
        }
        match self {
            Self::F32 => shaders!["store_f32"],
            Self::F16 => shaders!["half", "put_f16", "store_f16"],
            Self::NativeF16 => shaders!["half", "store_f16_native"],
        }
    }

    /// What defines `word_of`, `bits_of`, `Written` and `put`, and the bits of infinity.
    pub(crate) fn bits(self) -> &'static str {
        match self {
            Self::F32 => include_str!("../shaders/values/bits_f32.wgsl"),
            Self::F16 | Self::NativeF16 => concat!(
                include_str!("../shaders/values/put_f16.wgsl"),
                "\n",
                include_str!("../shaders/values/bits_f16.wgsl")
            ),
        }
    }

    /// The host's values as words.
    pub(crate) fn encode(self, host: &[f32]) -> Cow<'_, [u32]> {
        match self {
            Self::F32 => Cow::Borrowed(bytemuck::cast_slice(host)),
            Self::F16 | Self::NativeF16 => {
                let half = |value: &f32| u32::from(round::half(*value));
                let word = |pair: &[f32]| half(&pair[0]) | pair.get(1).map_or(0, half) << 16;
                host.chunks(2).map(word).collect()
            }
        }
    }

    /// The first `len` values in words that a device had.
    pub(crate) fn decode(self, words: Vec<f32>, len: usize) -> Vec<f32> {
        match self {
            Self::F32 => words,
            Self::F16 | Self::NativeF16 => {
                let halves = |word: &f32| [word.to_bits() as u16, (word.to_bits() >> 16) as u16];
                words.iter().flat_map(halves).map(round::from_half).take(len).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_lie_two_to_a_word_and_come_back_nearest() {
        for values in [Values::F16, Values::NativeF16] {
            let words = values.encode(&[1.0, -2.0, 65520.0]);
            assert_eq!(words[..], [0xc000_3c00, 0x7c00]);
            assert_eq!(values.words(3), 2);
            let words = words.iter().map(|word| f32::from_bits(*word)).collect();
            assert_eq!(values.decode(words, 3), [1.0, -2.0, f32::INFINITY]);
        }
        assert_eq!(Values::F32.encode(&[1.0])[..], [0x3f80_0000]);
    }

    #[test]
    fn other_precisions_are_refused_by_name() {
        let error = Values::new(Precision::Bf16, true).unwrap_err();
        assert_eq!(error.to_string(), "activations is bf16; expected f32 or f16");
        assert_eq!(Values::new(Precision::F16, false), Ok(Values::F16));
        assert_eq!(Values::new(Precision::F16, true), Ok(Values::NativeF16));
    }
}
