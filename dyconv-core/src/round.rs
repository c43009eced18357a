//! Rounding to 16 bits, to nearest even, straight from f64: a weight that batch norm's scale was folded into is rounded
//! once.

use crate::Precision;

/// A 16-bit format, as IEEE describes one.
struct Format {
    /// Bits of the significand, the hidden one too.
    digits: i32,
    /// The exponent of the smallest normal number; the largest's is its opposite plus one.
    least: i32,
}

const BF16: Format = Format { digits: 8, least: -126 };
const F16: Format = Format { digits: 11, least: -14 };

/// The largest number that `precision` has, and what it is called.
pub fn largest(precision: Precision) -> (f64, &'static str) {
    match precision {
        Precision::Bf16 => (BF16.largest(), "bf16"),
        Precision::F16 => (F16.largest(), "f16"),
        _ => (f64::from(f32::MAX), "f32"),
    }
}

/// The bits of the bf16 nearest to `x`, or `None` where that is no number or beyond the range.
pub fn bf16(x: f64) -> Option<u16> {
    BF16.bits(x)
}

/// The bits of the f16 nearest to `x`, or `None` where that is no number or beyond the range.
pub fn f16(x: f64) -> Option<u16> {
    F16.bits(x)
}

/// The bits of the f16 nearest to `x` as IEEE rounds: infinity beyond the range, NaN for NaN.
#[must_use]
pub fn half(x: f32) -> u16 {
    let bits = x.to_bits();
    let (sign, magnitude) = ((bits >> 16) as u16 & 0x8000, bits & 0x7fff_ffff);
    let exponent = magnitude >> 23;
    // The last place of what stays; half of it less one, and one more where it is odd, is added before the rest goes.
    let rounded = |bits: u32, gone: u32| (bits + (1 << (gone - 1)) - 1 + ((bits >> gone) & 1)) >> gone;
    sign | match magnitude {
        0x7f80_0001.. => 0x7e00,
        // From 65520 on, the middle between the largest number and the next power of two.
        0x477f_f000.. => 0x7c00,
        // Normal numbers: another bias of the exponent.
        0x3880_0000.. => rounded(magnitude - (112 << 23), 13) as u16,
        // In units of 2⁻²⁴; less than half of one is 0.
        _ if exponent < 102 => 0,
        _ => rounded((magnitude & 0x007f_ffff) | 0x0080_0000, 126 - exponent) as u16,
    }
}

/// The number with these bits of an f16.
#[must_use]
pub fn from_half(bits: u16) -> f32 {
    let (sign, magnitude) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff));
    let value = match magnitude {
        0x7c00.. => f32::from_bits(magnitude << 13 | 0x7f80_0000),
        // A significand without its hidden bit, in units of 2⁻²⁴.
        ..0x0400 => magnitude as f32 * 2f32.powi(-24),
        _ => f32::from_bits((magnitude << 13) + (112 << 23)),
    };
    f32::from_bits(value.to_bits() | sign)
}

impl Format {
    fn largest(&self) -> f64 {
        (2.0 - power(1 - self.digits)) * power(1 - self.least)
    }

    fn bits(&self, x: f64) -> Option<u16> {
        let exponent = exponent(x).max(self.least);
        // In units of the last place this is a whole number that f64 holds, and so rounds.
        let unit = power(exponent - self.digits + 1);
        let digits = (x.abs() / unit).round_ties_even();
        if x.is_nan() || digits * unit > self.largest() {
            return None;
        }
        // A significand without its hidden bit is the exponent's lowest bit: subnormal numbers, and ones that rounding
        // carries into the next power of two, come out right.
        let field = ((exponent - self.least) as u16) << (self.digits - 1);
        let sign = if x.is_sign_negative() { 1 << 15 } else { 0 };
        Some(sign | (field + digits as u16))
    }
}

/// ⌊log₂ |x|⌋ of a normal number; less than any format's for a smaller one.
fn exponent(x: f64) -> i32 {
    ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023
}

/// 2ⁿ for a normal result.
fn power(n: i32) -> f64 {
    f64::from_bits(((n + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition of the formats.
    fn value(format: &Format, bits: u16) -> f64 {
        let fraction = format.digits - 1;
        let field = i32::from((bits & 0x7fff) >> fraction);
        let digits = f64::from(bits & ((1 << fraction) - 1));
        let magnitude = match field {
            0 => digits * power(format.least - fraction),
            _ => (digits * power(-fraction) + 1.0) * power(field - 1 + format.least),
        };
        if bits >> 15 == 1 { -magnitude } else { magnitude }
    }

    #[test]
    fn every_number_of_a_format_is_itself_and_halves_go_to_even() {
        for format in [BF16, F16] {
            let infinity = format.bits(format.largest()).unwrap() + 1;
            for bits in 0..infinity {
                for sign in [0, 1 << 15] {
                    assert_eq!(format.bits(value(&format, bits | sign)), Some(bits | sign));
                }
                if bits + 1 == infinity {
                    continue;
                }
                let (low, high) = (value(&format, bits), value(&format, bits + 1));
                let middle = (low + high) / 2.0;
                assert_eq!(format.bits(middle), Some(bits + (bits & 1)), "{bits:#x}");
                assert_eq!(format.bits(middle - (high - low) * 1e-6), Some(bits));
                assert_eq!(format.bits(middle + (high - low) * 1e-6), Some(bits + 1));
            }
        }
    }

    #[test]
    fn what_is_beyond_the_range_has_no_bits() {
        assert_eq!(largest(Precision::F16), (65504.0, "f16"));
        assert_eq!(largest(Precision::Bf16).0, f64::from(f32::from_bits(0x7f7f_0000)));
        // Up to half a unit in the last place more rounds to the largest.
        assert_eq!(f16(65519.9), Some(0x7bff));
        for x in [65520.0, -65520.0, 1e300, f64::INFINITY, f64::NAN] {
            assert_eq!(f16(x), None, "{x}");
        }
        assert_eq!(bf16(f64::from(f32::MAX)), None);
        assert_eq!(bf16(f64::NAN), None);
        assert_eq!((f16(-0.0), bf16(-0.0)), (Some(0x8000), Some(0x8000)));
        assert_eq!((f16(1e-300), bf16(-1e-300)), (Some(0), Some(0x8000)));
    }

    #[test]
    fn halves_are_those_of_the_definition_and_beyond_the_range_infinite() {
        for bits in 0..=u16::MAX {
            let x = from_half(bits);
            match bits & 0x7fff {
                0x7c01.. => assert!(x.is_nan() && half(x) & 0x7fff == 0x7e00),
                0x7c00 => assert_eq!((x.abs(), half(x)), (f32::INFINITY, bits)),
                _ => assert_eq!((f64::from(x), half(x)), (value(&F16, bits), bits)),
            }
        }
        // Every thousandth number of f32, beside the rounding of f64.
        for x in (0..=u32::MAX).step_by(1009).map(f32::from_bits).filter(|x| !x.is_nan()) {
            let infinity = if x.is_sign_negative() { 0xfc00 } else { 0x7c00 };
            assert_eq!(half(x), f16(f64::from(x)).unwrap_or(infinity), "{x:e}");
        }
    }
}
