//! How experts lie on the device: as floats, or rounded to 16 bits and widened where a kernel reads them.
//! Sums are f32 in any case, and biases are floats.

use dyconv_core::{Config, Error, Precision, Result, round};

use crate::pack::Packing;

/// A form of four weights, `Quad` in WGSL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stored {
    F32,
    /// Two to a word; a shift widens them.
    Bf16,
    /// Two to a word, widened by `unpack2x16float`: on any device.
    F16,
    /// The same bits, for devices with `shader-f16`.
    NativeF16,
}

impl Stored {
    pub(crate) const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::F16, Self::NativeF16];

    /// The form for a precision; `None` for one that isn't known.
    pub(crate) fn new(precision: Precision, has_f16: bool) -> Option<Self> {
        match precision {
            Precision::F32 => Some(Self::F32),
            Precision::Bf16 => Some(Self::Bf16),
            Precision::F16 if has_f16 => Some(Self::NativeF16),
            Precision::F16 => Some(Self::F16),
            _ => None,
        }
    }

    /// What defines `Quad` and `widen`, and the directive that it needs at the module's start.
    pub(crate) fn wgsl(self) -> &'static str {
        match self {
            Self::F32 => include_str!("../shaders/stored/f32.wgsl"),
            Self::Bf16 => include_str!("../shaders/stored/bf16.wgsl"),
            Self::F16 => include_str!("../shaders/stored/f16.wgsl"),
            Self::NativeF16 => include_str!("../shaders/stored/f16_native.wgsl"),
        }
    }

    /// 32-bit words of one expert before its bias, whole vec4s of floats.
    pub(crate) fn bias(self, packing: &Packing) -> usize {
        match self {
            Self::F32 => packing.bias,
            Self::Bf16 | Self::F16 | Self::NativeF16 => (packing.bias / 2).next_multiple_of(4),
        }
    }

    /// 32-bit words from one expert to the next.
    pub(crate) fn stride(self, packing: &Packing) -> usize {
        self.bias(packing) + packing.stride - packing.bias
    }

    /// Refuses an expert, `[Cout][Cin/G][tap]`, of which a weight is beyond the format's range.
    pub(crate) fn check(self, expert: usize, weights: &[f32], config: &Config) -> Result<()> {
        let (precision, bits): (_, fn(f64) -> Option<u16>) = match self {
            Self::F32 => return Ok(()),
            Self::Bf16 => (Precision::Bf16, round::bf16),
            Self::F16 | Self::NativeF16 => (Precision::F16, round::f16),
        };
        let (largest, name) = round::largest(precision);
        match weights.iter().position(|&weight| bits(f64::from(weight)).is_none()) {
            None => Ok(()),
            Some(at) => Err(Error::invalid(
                format!("a weight of expert {expert}, output channel {}", at / config.reduction_len()),
                weights[at],
                format!("at most {largest:e} in magnitude, the largest {name}"),
            )),
        }
    }

    /// A packed expert, checked before, as words; its floats from `bias` on stay floats.
    pub(crate) fn encode(self, packed: &[f32], bias: usize) -> Vec<u32> {
        let bits: fn(f64) -> Option<u16> = match self {
            Self::F32 => return packed.iter().map(|weight| weight.to_bits()).collect(),
            Self::Bf16 => round::bf16,
            Self::F16 | Self::NativeF16 => round::f16,
        };
        let (weights, biases) = packed.split_at(bias);
        let half = |weight: f32| u32::from(bits(f64::from(weight)).unwrap_or_default());
        let mut words: Vec<u32> =
            weights.chunks_exact(2).map(|pair| half(pair[0]) | half(pair[1]) << 16).collect();
        words.resize(words.len().next_multiple_of(4), 0);
        words.extend(biases.iter().map(|bias| bias.to_bits()));
        words
    }
}

#[cfg(test)]
mod tests {
    use dyconv_core::Options;

    use super::*;

    #[test]
    fn halves_lie_two_to_a_word_the_first_one_lower_and_biases_stay_floats() {
        let packed = [1.0, -2.0, 0.5, 0.0, 0.1, 0.0, 0.0, 0.0];
        let bias = [0.1f32.to_bits(), 0, 0, 0];
        assert_eq!(Stored::Bf16.encode(&packed, 4), [&[0xc000_3f80, 0x3f00, 0, 0][..], &bias].concat());
        assert_eq!(Stored::F16.encode(&packed, 4), [&[0xc000_3c00, 0x3800, 0, 0][..], &bias].concat());
        assert_eq!(Stored::F32.encode(&packed[..1], 0), [0x3f80_0000]);
    }

    #[test]
    fn a_weight_beyond_the_range_is_refused_by_name() {
        let config = Options::new(2, 2).build().unwrap();
        let weights = [1.0, 2.0, 3.0, 7e4];
        let error = Stored::F16.check(1, &weights, &config).unwrap_err();
        let want = "a weight of expert 1, output channel 1 is 70000; expected at most 6.5504e4 in magnitude, the largest f16";
        assert_eq!(error.to_string(), want);
        assert_eq!(Stored::Bf16.check(1, &weights, &config), Ok(()));
    }
}
