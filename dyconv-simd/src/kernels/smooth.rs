//! Step 7's smooth functions, lane by lane without a branch, all through one polynomial: e^r − 1 near 0.
//!
//! With x = n·ln 2 + r and |r| at most half of ln 2, e^x is 2^n·e^r. Where 1 is close, as in tanh and elu near 0, e^x − 1 is
//! taken as 2^n·(e^r − 1) + (2^n − 1), which loses no digits. Coefficients are Chebyshev interpolations, made with 40
//! digits. What the results are off by is stated and tested below. NaN goes through; beyond the range of f32 there is
//! infinity, or 0.

use std::f32::consts::LOG2_E;

use crate::lanes::Lanes;

/// Adding it leaves no digits after the point: 1.5·2^23.
const WHOLE: f32 = 12_582_912.0;

/// ln 2 in two parts, the first of few enough digits that whole numbers of them are exact.
const LN_2: [f32; 2] = [0.693_145_75, 1.428_606_8e-6];

/// (e^r − 1 − r) / r² for |r| ≤ ln 2 / 2, the highest power first; off by at most 6.6e-8.
const EXP: [f32; 5] = [1.392_625_1e-3, 8.363_233e-3, 4.166_655_4e-2, 1.666_657_7e-1, 0.5];

/// Where Φ(−x) is less than the least number.
const TAIL: f32 = 15.0;

/// How fast `t` = 1 / (1 + x·`SLOPE`) falls.
const SLOPE: f32 = 0.25;

/// Φ(−x)·e^(x²/2) / t as a polynomial in `t` for 0 ≤ x ≤ `TAIL`, the highest power first; off by at most 2.8e-9.
const NORMAL: [f32; 10] = [
    1.607_147_3e-2,
    -6.022_585e-2,
    4.611_994e-2,
    3.507_515_4e-2,
    7.866_203e-3,
    8.885_936e-2,
    7.138_857e-2,
    9.561_157e-2,
    9.948_557e-2,
    9.974_801_3e-2,
];

/// 1 / (1 + e^−x)
#[inline(always)]
pub(crate) fn sigmoid<L: Lanes>(lanes: L, x: L::V) -> L::V {
    let e = exp_m1(lanes, negative(lanes, x));
    lanes.div(lanes.splat(1.0), lanes.add(lanes.splat(2.0), e))
}

/// (e^2x − 1) / (e^2x + 1), which is ±1 from 10 on.
#[inline(always)]
pub(super) fn tanh<L: Lanes>(lanes: L, x: L::V) -> L::V {
    let x = lanes.min(lanes.splat(10.0), lanes.max(lanes.splat(-10.0), x));
    let e = exp_m1(lanes, lanes.add(x, x));
    lanes.div(e, lanes.add(lanes.splat(2.0), e))
}

/// x, or e^x − 1 where x is negative: one of the two terms is 0.
#[inline(always)]
pub(super) fn elu<L: Lanes>(lanes: L, x: L::V) -> L::V {
    let zero = lanes.splat(0.0);
    lanes.add(lanes.max(zero, x), exp_m1(lanes, lanes.min(zero, x)))
}

/// x·Φ(x) = max(x, 0) − |x|·Φ(−|x|), in which nothing cancels.
#[inline(always)]
pub(super) fn gelu<L: Lanes>(lanes: L, x: L::V) -> L::V {
    let magnitude = lanes.min(lanes.splat(TAIL), lanes.max(negative(lanes, x), x));
    let below = lanes.mul(magnitude, normal_tail(lanes, magnitude));
    lanes.sub(lanes.max(lanes.splat(0.0), x), below)
}

/// Φ(−x) for 0 ≤ x ≤ `TAIL`.
#[inline(always)]
pub(crate) fn normal_tail<L: Lanes>(lanes: L, x: L::V) -> L::V {
    let t = lanes.div(lanes.splat(1.0), lanes.mul_add(lanes.splat(SLOPE), x, lanes.splat(1.0)));
    let scale = lanes.mul(t, polynomial(lanes, NORMAL, t));
    // What rounding took from x² counts for more the larger that is.
    let square = lanes.mul(x, x);
    let rest = lanes.mul_add(x, x, negative(lanes, square));
    let half = lanes.splat(-0.5);
    let e = exp(lanes, lanes.mul(half, square));
    lanes.mul(scale, lanes.mul_add(e, lanes.mul(half, rest), e))
}

/// e^x
#[inline(always)]
pub(crate) fn exp<L: Lanes>(lanes: L, x: L::V) -> L::V {
    let (n, e) = reduced(lanes, x);
    lanes.scale(lanes.add(lanes.splat(1.0), e), n)
}

/// e^x − 1
#[inline(always)]
fn exp_m1<L: Lanes>(lanes: L, x: L::V) -> L::V {
    let (n, e) = reduced(lanes, x);
    let power = lanes.scale(lanes.splat(1.0), n);
    lanes.add(lanes.scale(e, n), lanes.sub(power, lanes.splat(1.0)))
}

/// n and e^r − 1.
#[inline(always)]
fn reduced<L: Lanes>(lanes: L, x: L::V) -> (L::V, L::V) {
    // Beyond these it's 0 and infinity.
    let x = lanes.min(lanes.splat(89.0), lanes.max(lanes.splat(-104.0), x));
    let n = lanes.mul_add(x, lanes.splat(LOG2_E), lanes.splat(WHOLE));
    let n = lanes.sub(n, lanes.splat(WHOLE));
    let r = lanes.mul_add(n, lanes.splat(-LN_2[0]), x);
    let r = lanes.mul_add(n, lanes.splat(-LN_2[1]), r);
    let square = lanes.mul(r, r);
    (n, lanes.mul_add(square, polynomial(lanes, EXP, r), r))
}

/// The highest power first.
#[inline(always)]
fn polynomial<L: Lanes, const N: usize>(lanes: L, coefficients: [f32; N], x: L::V) -> L::V {
    let mut sum = lanes.splat(coefficients[0]);
    for coefficient in &coefficients[1..] {
        sum = lanes.mul_add(sum, x, lanes.splat(*coefficient));
    }
    sum
}

#[inline(always)]
fn negative<L: Lanes>(lanes: L, x: L::V) -> L::V {
    lanes.sub(lanes.splat(0.0), x)
}

#[cfg(test)]
mod tests {
    use std::f64::consts::FRAC_1_SQRT_2;

    use dyconv_core::{Activation, reference};

    use crate::isa::{Isa, OnLanes};
    use crate::kernels::activate::activate;
    use crate::lanes::{Lanes, Task};

    struct Map<'a>(Activation, &'a mut [f32]);

    impl OnLanes for Map<'_> {
        type Output = ();

        fn run<L: Lanes>(self, lanes: L) {
            lanes.vectorize(self);
        }
    }

    impl Task for Map<'_> {
        type Output = ();

        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) {
            for x in self.1.chunks_exact_mut(L::WIDTH) {
                lanes.store(activate(lanes, self.0, lanes.load(x)), x);
            }
        }
    }

    fn map(isa: Isa, activation: Activation, x: &[f32]) -> Vec<f32> {
        let mut y = x.to_vec();
        isa.token().unwrap().dispatch(Map(activation, &mut y));
        y
    }

    /// Numbers of every magnitude and sign, and many of the magnitudes that matter.
    fn sweep() -> Vec<f32> {
        let everywhere = (0..=u32::MAX).step_by(65_521).map(f32::from_bits).filter(|x| x.is_finite());
        let near = (0..200_000).map(|i| (i as f32 - 100_000.0) * 2.1e-4);
        let all: Vec<f32> = everywhere.chain(near).collect();
        all[..all.len() / 16 * 16].to_vec()
    }

    #[test]
    fn results_are_off_by_a_few_of_their_last_digits() {
        // Of the result, in units of ε; in the far tail of gelu also of what e^(−x²/2) makes of x² unfused.
        let table = [
            (Activation::Sigmoid, 1.5),
            (Activation::Tanh, 1.5),
            (Activation::Silu, 2.0),
            (Activation::Elu, 1.0),
            (Activation::Gelu, 4.0),
        ];
        let x = sweep();
        for isa in Isa::available() {
            for (activation, digits) in table {
                let tail = if isa == Isa::Portable && activation == Activation::Gelu { 0.5 } else { 0.0 };
                let mut worst = (0.0, 0.0);
                for (&x, y) in x.iter().zip(map(isa, activation, &x)) {
                    let (x, y) = (f64::from(x), f64::from(y));
                    let want = match activation {
                        // The reference's form cancels where x is negative.
                        Activation::Gelu => x * 0.5 * libm::erfc(-x * FRAC_1_SQRT_2),
                        _ => reference::activate(activation, x),
                    };
                    let relative = f64::from(f32::EPSILON) * (digits + tail * x * x) * want.abs();
                    // What is multiplied with x may have been subnormal.
                    let least = 2.0 * f64::from(f32::MIN_POSITIVE) * x.abs().max(1.0);
                    let off = (y - want).abs() / (relative + least);
                    if off > worst.0 || off.is_nan() {
                        worst = (off, x);
                    }
                }
                assert!(
                    worst.0 <= 1.0,
                    "simd-{isa}, {activation:?}: {} of the bound at {:e}",
                    worst.0,
                    worst.1
                );
            }
        }
    }

    #[test]
    fn extremes_are_what_they_tend_to_and_nan_goes_through() {
        let (infinity, nan) = (f32::INFINITY, f32::NAN);
        let x = [infinity, f32::MAX, 1e9, -infinity, f32::MIN, -1e9, 0.0, nan];
        let table = [
            (Activation::Sigmoid, [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.5]),
            (Activation::Tanh, [1.0, 1.0, 1.0, -1.0, -1.0, -1.0, 0.0]),
            (Activation::Elu, [infinity, f32::MAX, 1e9, -1.0, -1.0, -1.0, 0.0]),
            (Activation::Silu, [infinity, f32::MAX, 1e9, nan, 0.0, 0.0, 0.0]),
            (Activation::Gelu, [infinity, f32::MAX, 1e9, 0.0, 0.0, 0.0, 0.0]),
        ];
        for isa in Isa::available() {
            for (activation, want) in table {
                let got = map(isa, activation, &[x, x].concat());
                for (i, (got, want)) in got.iter().zip(want.into_iter().chain([nan]).cycle()).enumerate() {
                    let same = *got == want || (got.is_nan() && want.is_nan());
                    assert!(same, "simd-{isa}, {activation:?} of {}: {got}", x[i % 8]);
                }
            }
        }
    }
}
