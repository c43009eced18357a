//! Every operation of every token that this machine can make, against scalar arithmetic.

use super::{Lanes, MAX_WIDTH, Portable, Task, transpose};

/// Runs a check with each token.
fn on_every_isa(check: impl Fn(&dyn Fn(Probe) -> Vec<f32>, Facts)) {
    fn entry<L: Lanes>(lanes: L) -> (impl Fn(Probe) -> Vec<f32>, Facts) {
        let facts = Facts { width: L::WIDTH, rows: L::ROWS, vectors: L::VECTORS };
        (move |probe| lanes.vectorize(probe), facts)
    }
    let (run, facts) = entry(Portable);
    check(&run, facts);
    #[cfg(target_arch = "x86_64")]
    {
        if let Some((run, facts)) = super::Avx2::detect().map(entry) {
            check(&run, facts);
        }
        if let Some((run, facts)) = super::Avx512::detect().map(entry) {
            check(&run, facts);
        }
    }
}

#[derive(Clone, Copy)]
struct Facts {
    width: usize,
    rows: usize,
    vectors: usize,
}

/// One operation on slices: what goes in and out of the vectors is plain memory.
#[derive(Clone)]
enum Probe {
    Add(Vec<f32>, Vec<f32>),
    Sub(Vec<f32>, Vec<f32>),
    Mul(Vec<f32>, Vec<f32>),
    Div(Vec<f32>, Vec<f32>),
    Scale(Vec<f32>, f32),
    MulAdd(Vec<f32>, Vec<f32>, Vec<f32>),
    Max(Vec<f32>, Vec<f32>),
    Min(Vec<f32>, Vec<f32>),
    Sqrt(Vec<f32>),
    IfPositive(Vec<f32>, Vec<f32>, Vec<f32>),
    Splat(f32),
    Reduce(Vec<f32>),
    LoadPartial(Vec<f32>),
    Bf16(Vec<u16>),
    Bf16Pair(Vec<u16>, usize),
    F16(Vec<u16>),
    StorePartial(Vec<f32>, usize),
    Prefetch(Vec<f32>),
    /// The first so many of three vectors, written so many floats apart.
    StoreApart([Vec<f32>; 3], usize, usize),
    /// So many of three vectors, read so many floats apart.
    LoadApart(Vec<f32>, usize, usize),
    And(Vec<f32>, Vec<f32>),
    SlideUp(usize, Vec<f32>, Vec<f32>),
    SlideDown(usize, Vec<f32>, Vec<f32>),
    Deinterleave(bool, Vec<f32>, Vec<f32>),
    Pick(Vec<f32>, Vec<u32>),
    Keep(Vec<f32>, usize),
    /// Multiplies and adds halves: of a vector, of a splat, of a load.
    Halves(Vec<f32>, f32, Vec<f32>),
}

impl Task for Probe {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Vec<f32> {
        let mut out = vec![-7.0; L::WIDTH];
        let whole = match self {
            Self::StoreApart(x, apart, count) => {
                let mut out = vec![0.0; 2 * apart + L::WIDTH];
                let x = x.each_ref().map(|x| lanes.load(x));
                let short = count * L::WIDTH - 1;
                assert!(lanes.store_apart(x, &mut out[..short], L::WIDTH, count).is_none());
                lanes.store_apart(x, &mut out, apart, count).expect("room");
                return out;
            }
            Self::LoadApart(x, apart, count) => {
                let short = &x[..(count - 1) * apart + L::WIDTH - 1];
                assert!(lanes.load_apart::<3>(short, apart, count).is_none());
                let vectors = lanes.load_apart::<3>(&x, apart, count).expect("enough");
                let mut out = vec![-7.0; 3 * L::WIDTH];
                for (v, out) in vectors.into_iter().zip(out.chunks_exact_mut(L::WIDTH)) {
                    lanes.store(v, out);
                }
                return out;
            }
            Self::Add(a, b) => lanes.add(lanes.load(&a), lanes.load(&b)),
            Self::Sub(a, b) => lanes.sub(lanes.load(&a), lanes.load(&b)),
            Self::Mul(a, b) => lanes.mul(lanes.load(&a), lanes.load(&b)),
            Self::Div(a, b) => lanes.div(lanes.load(&a), lanes.load(&b)),
            Self::Scale(a, n) => lanes.scale(lanes.load(&a), lanes.splat(n)),
            Self::MulAdd(a, b, c) => lanes.mul_add(lanes.load(&a), lanes.load(&b), lanes.load(&c)),
            Self::Max(a, b) => lanes.max(lanes.load(&a), lanes.load(&b)),
            Self::Min(a, b) => lanes.min(lanes.load(&a), lanes.load(&b)),
            Self::Sqrt(a) => lanes.sqrt(lanes.load(&a)),
            Self::IfPositive(x, a, b) => lanes.if_positive(lanes.load(&x), lanes.load(&a), lanes.load(&b)),
            Self::Splat(x) => lanes.splat(x),
            Self::Reduce(a) => lanes.splat(lanes.reduce_add(lanes.load(&a))),
            Self::LoadPartial(a) => lanes.load_partial(&a),
            Self::Bf16(a) => lanes.load_bf16(&a),
            Self::Bf16Pair(a, which) => lanes.load_bf16_pair(&a)[which],
            Self::F16(a) => lanes.load_f16(&a),
            Self::StorePartial(a, len) => {
                let len = len.min(out.len());
                lanes.store_partial(lanes.load(&a), &mut out[..len]);
                return out;
            }
            Self::And(a, b) => lanes.and(lanes.load(&a), lanes.load(&b)),
            Self::SlideUp(1, a, b) => lanes.slide_up::<1>(lanes.load(&a), lanes.load(&b)),
            Self::SlideUp(_, a, b) => lanes.slide_up::<2>(lanes.load(&a), lanes.load(&b)),
            Self::SlideDown(1, a, b) => lanes.slide_down::<1>(lanes.load(&a), lanes.load(&b)),
            Self::SlideDown(_, a, b) => lanes.slide_down::<2>(lanes.load(&a), lanes.load(&b)),
            Self::Deinterleave(odd, a, b) => {
                let parted = lanes.deinterleave(lanes.load(&a), lanes.load(&b));
                if odd { parted.1 } else { parted.0 }
            }
            Self::Pick(a, places) => lanes.pick(lanes.load(&a), lanes.places(&places)),
            Self::Keep(a, len) => lanes.keep(lanes.load(&a), len),
            Self::Halves(a, b, c) => {
                let (a, b) = (lanes.low(lanes.load(&a)), lanes.low(lanes.splat(b)));
                lanes.widen(lanes.mul_add_half(a, b, lanes.load_half(&c)))
            }
            Self::Prefetch(a) => {
                lanes.prefetch(&a, 0);
                lanes.prefetch(&a, usize::MAX);
                lanes.load(&a)
            }
        };
        lanes.store(whole, &mut out);
        out
    }
}

/// Small dyadic numbers of both signs: sums and products are exact, fused or not.
fn ramp(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37 + seed * 11) % 29) as f32 * 0.25 - 3.0).collect()
}

fn zip(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> Vec<f32> {
    a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
}

#[test]
fn arithmetic_acts_lane_by_lane() {
    on_every_isa(|run, Facts { width, .. }| {
        for seed in 0..8 {
            let [a, b, c] = [0, 1, 2].map(|i| ramp(width, seed * 3 + i));
            assert_eq!(run(Probe::Add(a.clone(), b.clone())), zip(&a, &b, |a, b| a + b));
            assert_eq!(run(Probe::Sub(a.clone(), b.clone())), zip(&a, &b, |a, b| a - b));
            assert_eq!(run(Probe::Mul(a.clone(), b.clone())), zip(&a, &b, |a, b| a * b));
            let products = zip(&a, &b, |a, b| a * b);
            let sums = zip(&products, &c, |p, c| p + c);
            assert_eq!(run(Probe::MulAdd(a.clone(), b.clone(), c)), sums);
            assert_eq!(run(Probe::Max(a.clone(), b.clone())), zip(&a, &b, f32::max));
            assert_eq!(run(Probe::Min(a.clone(), b.clone())), zip(&a, &b, f32::min));
            assert_eq!(run(Probe::Prefetch(a.clone())), a);
        }
    });
}

#[test]
fn quotients_and_powers_of_two_are_rounded_as_scalars_are() {
    on_every_isa(|run, Facts { width, .. }| {
        for seed in 0..8 {
            let [a, b] =
                [0, 1].map(|i| ramp(width, seed * 2 + i).iter().map(|x| x + 0.1).collect::<Vec<_>>());
            assert_eq!(run(Probe::Div(a.clone(), b.clone())), zip(&a, &b, |a, b| a / b));
            for n in -252..=252 {
                let want: Vec<f32> = a.iter().map(|&a| (f64::from(a) * f64::powi(2.0, n)) as f32).collect();
                let got = run(Probe::Scale(a.clone(), n as f32));
                for (got, want) in got.iter().zip(want) {
                    let last = if want.is_subnormal() { f32::from_bits(1) } else { 0.0 };
                    assert!(*got == want || (got - want).abs() <= last, "2^{n}: {got:e}, expected {want:e}");
                }
            }
        }
        for (v, n) in [(f32::INFINITY, -252.0), (f32::NEG_INFINITY, 0.0)] {
            assert_eq!(run(Probe::Scale(vec![v; width], n)), vec![v; width]);
        }
        for (v, n) in [(f32::NAN, 3.0), (f32::NAN, f32::NAN)] {
            assert!(run(Probe::Scale(vec![v; width], n)).iter().all(|x| x.is_nan()));
        }
    });
}

#[test]
fn roots_are_rounded_and_choices_are_by_sign() {
    on_every_isa(|run, Facts { width, .. }| {
        let a: Vec<f32> = ramp(width, 4).iter().map(|x| x.abs() + 0.1).collect();
        assert_eq!(run(Probe::Sqrt(a.clone())), a.iter().map(|x| x.sqrt()).collect::<Vec<_>>());
        let least = f32::from_bits(1);
        for (x, chosen) in
            [(least, 1.0), (f32::INFINITY, 1.0), (0.0, 2.0), (-0.0, 2.0), (-least, 2.0), (f32::NAN, 2.0)]
        {
            let [x, a, b] = [x, 1.0, 2.0].map(|value| vec![value; width]);
            assert_eq!(run(Probe::IfPositive(x, a, b)), vec![chosen; width]);
        }
    });
}

#[test]
fn splat_fills_and_reduce_adds_every_lane() {
    on_every_isa(|run, Facts { width, .. }| {
        assert_eq!(run(Probe::Splat(1.5)), vec![1.5; width]);
        for lane in 0..width {
            let mut one = vec![0.0; width];
            one[lane] = 2.5;
            assert_eq!(run(Probe::Reduce(one)), vec![2.5; width]);
        }
        let all = ramp(width, 5);
        assert_eq!(run(Probe::Reduce(all.clone())), vec![all.iter().sum::<f32>(); width]);
    });
}

#[test]
fn max_and_min_let_a_nan_in_the_second_operand_through() {
    on_every_isa(|run, Facts { width, .. }| {
        let nan = vec![f32::NAN; width];
        for bound in [f32::NEG_INFINITY, 0.0, 6.0, f32::INFINITY] {
            let bounds = vec![bound; width];
            assert!(run(Probe::Max(bounds.clone(), nan.clone())).iter().all(|x| x.is_nan()));
            assert!(run(Probe::Min(bounds, nan.clone())).iter().all(|x| x.is_nan()));
        }
    });
}

#[test]
fn partial_loads_and_stores_touch_no_other_lane() {
    on_every_isa(|run, Facts { width, .. }| {
        for len in 0..=width + 3 {
            let src = ramp(len, 1);
            let mut want = vec![0.0; width];
            let loaded = len.min(width);
            want[..loaded].copy_from_slice(&src[..loaded]);
            assert_eq!(run(Probe::LoadPartial(src)), want);

            let all = ramp(width, 2);
            let mut want = vec![-7.0; width];
            want[..loaded].copy_from_slice(&all[..loaded]);
            assert_eq!(run(Probe::StorePartial(all, len)), want);
        }
    });
}

#[test]
fn and_keeps_or_clears_whole_lanes_even_of_nan() {
    on_every_isa(|run, Facts { width, .. }| {
        let mask: Vec<f32> = (0..width).map(|i| f32::from_bits(if i % 3 == 0 { 0 } else { !0 })).collect();
        for value in [1.5, -0.0, f32::INFINITY, f32::NAN] {
            let got = run(Probe::And(vec![value; width], mask.clone()));
            for (got, mask) in got.iter().zip(&mask) {
                assert_eq!(got.to_bits(), value.to_bits() & mask.to_bits());
            }
        }
    });
}

#[test]
fn every_finite_16_bit_number_is_loaded_as_itself() {
    let bf16 = |bits: u16| f32::from_bits(u32::from(bits) << 16).to_bits();
    let f16 = |bits: u16| {
        let (exponent, digits) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
        let magnitude = match exponent {
            0 => digits * f32::powi(2.0, -24),
            _ => (digits + 1024.0) * f32::powi(2.0, exponent - 25),
        };
        magnitude.to_bits() | u32::from(bits >> 15) << 31
    };
    let bits = |floats: Vec<f32>| -> Vec<u32> { floats.into_iter().map(f32::to_bits).collect() };
    on_every_isa(|run, Facts { width, .. }| {
        for start in (0..1 << 16).step_by(2 * width) {
            let halves: Vec<u16> = (0..2 * width).map(|i| (start + i) as u16).collect();
            if halves[0] & 0x7f80 < 0x7f80 {
                let each = |from: usize, step: usize| -> Vec<u32> {
                    halves[from..].iter().step_by(step).take(width).map(|&half| bf16(half)).collect()
                };
                assert_eq!(bits(run(Probe::Bf16(halves.clone()))), each(0, 1));
                for which in [0, 1] {
                    assert_eq!(bits(run(Probe::Bf16Pair(halves.clone(), which))), each(which, 2));
                }
            }
            if halves[0] & 0x7c00 < 0x7c00 {
                let want: Vec<u32> = halves.iter().take(width).map(|&half| f16(half)).collect();
                assert_eq!(bits(run(Probe::F16(halves))), want);
            }
        }
    });
}

#[test]
fn lanes_slide_from_vector_to_vector_and_part_by_place() {
    on_every_isa(|run, Facts { width, .. }| {
        let both: Vec<f32> = (0..2 * width).map(|i| i as f32).collect();
        let (a, b) = both.split_at(width);
        for n in [1, 2] {
            assert_eq!(run(Probe::SlideUp(n, a.to_vec(), b.to_vec())), both[width - n..][..width]);
            assert_eq!(run(Probe::SlideDown(n, a.to_vec(), b.to_vec())), both[n..][..width]);
        }
        for odd in [false, true] {
            let want: Vec<f32> = both.iter().copied().skip(usize::from(odd)).step_by(2).collect();
            assert_eq!(run(Probe::Deinterleave(odd, a.to_vec(), b.to_vec())), want);
        }
    });
}

#[test]
fn lanes_are_picked_from_anywhere() {
    on_every_isa(|run, Facts { width, .. }| {
        let a: Vec<f32> = (0..width).map(|i| i as f32 + 0.5).collect();
        for by in 0..width {
            for from in 0..width {
                let places: Vec<u32> = (0..width).map(|lane| ((lane * by + from) % width) as u32).collect();
                let want: Vec<f32> = places.iter().map(|&place| a[place as usize]).collect();
                assert_eq!(run(Probe::Pick(a.clone(), places)), want);
            }
        }
    });
}

#[test]
fn lanes_are_kept_and_halves_multiplied_and_added() {
    on_every_isa(|run, Facts { width, .. }| {
        let [a, b] = [3, 4].map(|seed| ramp(width, seed));
        for len in 0..=width + 1 {
            let kept = a.iter().enumerate().map(|(lane, &x)| if lane < len { x } else { 0.0 });
            assert_eq!(run(Probe::Keep(a.clone(), len)), kept.collect::<Vec<_>>());
        }
        let halves = a.iter().zip(&b[..width / 2]).map(|(a, b)| a * 0.5 + b);
        let want: Vec<f32> = halves.chain(vec![0.0; width / 2]).collect();
        assert_eq!(run(Probe::Halves(a, 0.5, b)), want);
    });
}

#[test]
fn a_register_tile_fits_the_registers_and_a_vector_the_widest() {
    on_every_isa(|_, Facts { width, rows, vectors }| {
        assert!(width <= MAX_WIDTH && width.is_power_of_two());
        assert!((1..=width).contains(&rows) && (1..=2).contains(&vectors));
    });
}

#[test]
fn transpose_turns_every_size_over_and_writes_nothing_else() {
    fn check<L: Lanes>(lanes: L) {
        for rows in 0..=2 * L::WIDTH + 1 {
            for columns in [0, 1, 3, L::WIDTH - 1, L::WIDTH, L::WIDTH + 1, 2 * L::WIDTH + 5] {
                let (src_stride, dst_stride) = (columns + 2, rows + 3);
                let src: Vec<f32> = (0..rows * src_stride).map(|i| i as f32).collect();
                let mut dst = vec![-1.0; columns * dst_stride];
                transpose(lanes, (&src, src_stride), (&mut dst, dst_stride), [rows, columns]);
                for (i, &got) in dst.iter().enumerate() {
                    let (c, r) = (i / dst_stride, i % dst_stride);
                    let want = if r < rows { src[r * src_stride + c] } else { -1.0 };
                    assert_eq!(got, want, "{rows}×{columns}, element {c}, {r}");
                }
            }
        }
    }
    check(Portable);
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(lanes) = super::Avx2::detect() {
            check(lanes);
        }
        if let Some(lanes) = super::Avx512::detect() {
            check(lanes);
        }
    }
}

#[test]
fn vectors_apart_lie_where_they_are_said_to() {
    on_every_isa(|run, Facts { width, .. }| {
        let x = [1, 2, 3].map(|seed| ramp(width, seed));
        for count in 1..=3 {
            let stored = run(Probe::StoreApart(x.clone(), 50, count));
            for (i, &got) in stored.iter().enumerate() {
                let want = x[..count].get(i / 50).and_then(|x| x.get(i % 50));
                assert_eq!(got, *want.unwrap_or(&0.0));
            }
            let loaded = run(Probe::LoadApart(stored, 50, count));
            for (i, (got, want)) in loaded.chunks_exact(width).zip(&x).enumerate() {
                assert!(if i < count { got == want } else { got.iter().all(|&x| x == 0.0) });
            }
        }
    });
}

#[test]
fn vectors_that_reach_beyond_a_slice_are_refused() {
    for (len, apart, wanted) in
        [(90, 37, true), (89, 37, false), (16, 0, true), (15, 0, false), (90, usize::MAX, false)]
    {
        assert_eq!(super::within(len, [3, apart, 16]), wanted, "{len}, {apart}");
    }
}
