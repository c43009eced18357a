//! The floor that every machine has: `wide`, which chose its instructions when this crate was built (SSE2 on x86-64,
//! NEON on aarch64, simd128 in a browser). Multiply-add is fused only where the build allows it.

use wide::{f32x4, f32x8, i32x8};

use super::{Lanes, MAX_WIDTH, Task, within};

/// The token of the portable lanes; needs no proof.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

impl Lanes for Portable {
    type V = f32x8;
    type Half = f32x4;
    type Places = [usize; 8];
    const WIDTH: usize = 8;
    // 6 × 8 floats are 12 SSE registers; with the weights and a broadcast that is all 16.
    const ROWS: usize = 6;
    const VECTORS: usize = 1;
    // As above, with channels for rows.
    const CHANNELS: usize = 6;
    const PIXEL_VECTORS: usize = 1;
    // Through memory, lane by lane.
    const PICK: usize = 30;

    #[inline]
    fn vectorize<T: Task>(self, task: T) -> T::Output {
        task.run(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> f32x8 {
        f32x8::splat(x)
    }

    #[inline(always)]
    fn load(self, src: &[f32]) -> f32x8 {
        f32x8::new(*src.first_chunk().expect("a whole vector"))
    }

    #[inline(always)]
    fn load_apart<const N: usize>(self, src: &[f32], apart: usize, count: usize) -> Option<[f32x8; N]> {
        if !within(src.len(), [count, apart, 8]) {
            return None;
        }
        let mut vectors = [self.splat(0.0); N];
        for (i, vector) in vectors.iter_mut().enumerate().take(count) {
            *vector = self.load(&src[i * apart..]);
        }
        Some(vectors)
    }

    #[inline(always)]
    fn load_partial(self, src: &[f32]) -> f32x8 {
        if let Some(whole) = src.first_chunk() {
            return f32x8::new(*whole);
        }
        let mut lanes = [0.0; 8];
        lanes[..src.len()].copy_from_slice(src);
        f32x8::new(lanes)
    }

    #[inline(always)]
    fn load_bf16(self, src: &[u16]) -> f32x8 {
        let src: &[u16; 8] = src.first_chunk().expect("a whole vector");
        f32x8::new(src.map(bf16))
    }

    #[inline(always)]
    fn load_bf16_pair(self, src: &[u16]) -> [f32x8; 2] {
        let src: &[u16; 16] = src.first_chunk().expect("two whole vectors");
        [0, 1].map(|which| f32x8::new(std::array::from_fn(|lane| bf16(src[2 * lane + which]))))
    }

    #[inline(always)]
    fn load_f16(self, src: &[u16]) -> f32x8 {
        let src: &[u16; 8] = src.first_chunk().expect("a whole vector");
        f32x8::new(src.map(f16))
    }

    #[inline(always)]
    fn store(self, v: f32x8, dst: &mut [f32]) {
        *dst.first_chunk_mut().expect("room for a whole vector") = v.to_array();
    }

    #[inline(always)]
    fn store_apart<const N: usize>(
        self,
        vectors: [f32x8; N],
        dst: &mut [f32],
        apart: usize,
        count: usize,
    ) -> Option<()> {
        if !within(dst.len(), [count, apart, 8]) {
            return None;
        }
        for (i, &vector) in vectors.iter().enumerate().take(count) {
            self.store(vector, &mut dst[i * apart..]);
        }
        Some(())
    }

    #[inline(always)]
    fn store_partial(self, v: f32x8, dst: &mut [f32]) {
        let lanes = v.to_array();
        match dst.first_chunk_mut() {
            Some(whole) => *whole = lanes,
            None => dst.copy_from_slice(&lanes[..dst.len()]),
        }
    }

    #[inline(always)]
    fn add(self, a: f32x8, b: f32x8) -> f32x8 {
        a + b
    }

    #[inline(always)]
    fn sub(self, a: f32x8, b: f32x8) -> f32x8 {
        a - b
    }

    #[inline(always)]
    fn mul(self, a: f32x8, b: f32x8) -> f32x8 {
        a * b
    }

    #[inline(always)]
    fn div(self, a: f32x8, b: f32x8) -> f32x8 {
        a / b
    }

    #[inline(always)]
    fn sqrt(self, v: f32x8) -> f32x8 {
        v.sqrt()
    }

    #[inline(always)]
    fn scale(self, v: f32x8, n: f32x8) -> f32x8 {
        // Twice by about half as many powers, each of which is a number.
        let n = n.round_int();
        let half: i32x8 = n >> 1_i32;
        let power = |n: i32x8| {
            let bits: i32x8 = (n + i32x8::splat(127)) << 23_i32;
            f32x8::new(bits.to_array().map(|bits| f32::from_bits(bits.cast_unsigned())))
        };
        v * power(half) * power(n - half)
    }

    #[inline(always)]
    fn mul_add(self, a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn max(self, a: f32x8, b: f32x8) -> f32x8 {
        a.fast_max(b)
    }

    #[inline(always)]
    fn min(self, a: f32x8, b: f32x8) -> f32x8 {
        a.fast_min(b)
    }

    #[inline(always)]
    fn if_positive(self, x: f32x8, a: f32x8, b: f32x8) -> f32x8 {
        x.simd_gt(f32x8::splat(0.0)).select(a, b)
    }

    #[inline(always)]
    fn and(self, a: f32x8, b: f32x8) -> f32x8 {
        a & b
    }

    #[inline(always)]
    fn slide_up<const N: usize>(self, before: f32x8, v: f32x8) -> f32x8 {
        let (before, v) = (before.to_array(), v.to_array());
        f32x8::new(std::array::from_fn(|i| if i < N { before[8 - N + i] } else { v[i - N] }))
    }

    #[inline(always)]
    fn slide_down<const N: usize>(self, v: f32x8, after: f32x8) -> f32x8 {
        let (v, after) = (v.to_array(), after.to_array());
        f32x8::new(std::array::from_fn(|i| if i + N < 8 { v[i + N] } else { after[i + N - 8] }))
    }

    #[inline(always)]
    fn deinterleave(self, a: f32x8, b: f32x8) -> (f32x8, f32x8) {
        let (a, b) = (a.to_array(), b.to_array());
        let every_other = |odd: usize| {
            f32x8::new(std::array::from_fn(|i| if i < 4 { a[2 * i + odd] } else { b[2 * i - 8 + odd] }))
        };
        (every_other(0), every_other(1))
    }

    #[inline(always)]
    fn places(self, places: &[u32]) -> [usize; 8] {
        std::array::from_fn(|lane| places[lane] as usize % 8)
    }

    #[inline(always)]
    fn pick(self, v: f32x8, places: [usize; 8]) -> f32x8 {
        let v = v.to_array();
        f32x8::new(places.map(|place| v[place]))
    }

    #[inline(always)]
    fn reduce_add(self, v: f32x8) -> f32 {
        let v = v.to_array();
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }

    #[inline(always)]
    fn keep(self, v: f32x8, len: usize) -> f32x8 {
        let mut lanes = v.to_array();
        lanes[len.min(8)..].fill(0.0);
        f32x8::new(lanes)
    }

    #[inline(always)]
    fn load_half(self, src: &[f32]) -> f32x4 {
        f32x4::new(*src.first_chunk().expect("half a vector"))
    }

    #[inline(always)]
    fn low(self, v: f32x8) -> f32x4 {
        f32x4::new(*v.to_array().first_chunk().expect("eight lanes"))
    }

    #[inline(always)]
    fn mul_add_half(self, a: f32x4, b: f32x4, c: f32x4) -> f32x4 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn widen(self, half: f32x4) -> f32x8 {
        let [a, b, c, d] = half.to_array();
        f32x8::new([a, b, c, d, 0.0, 0.0, 0.0, 0.0])
    }

    #[inline(always)]
    fn transpose(self, mut rows: [f32x8; MAX_WIDTH]) -> [f32x8; MAX_WIDTH] {
        let columns = f32x8::transpose(*rows.first_chunk().expect("MAX_WIDTH is at least 8"));
        rows[..8].copy_from_slice(&columns);
        rows
    }

    #[inline(always)]
    fn prefetch(self, _src: &[f32], _at: usize) {}
}

/// The upper half of an f32.
#[inline(always)]
fn bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// An f32 with the same digits has an exponent that is 112 less; subnormal f16s are subnormal then, and come out right.
#[inline(always)]
fn f16(bits: u16) -> f32 {
    const SCALE: f32 = f32::from_bits((127 + 112) << 23);
    (f32::from_bits(u32::from(bits & 0x7fff) << 13) * SCALE).copysign(bf16(bits))
}
