//! AVX2 with FMA and F16C, which every CPU with AVX2 has: eight lanes, sixteen registers.

use std::arch::x86_64::{
    __m128, __m128i, __m256, __m256i, _CMP_GT_OQ, _MM_HINT_T1, _mm_add_ps, _mm_add_ss, _mm_castps_si128,
    _mm_cvtss_f32, _mm_fmadd_ps, _mm_loadu_ps, _mm_loadu_si128, _mm_movehl_ps, _mm_prefetch, _mm_shuffle_ps,
    _mm_storel_epi64, _mm_storeu_ps, _mm256_add_epi32, _mm256_add_ps, _mm256_alignr_epi8, _mm256_and_ps,
    _mm256_and_si256, _mm256_blendv_ps, _mm256_castpd_ps, _mm256_castps_pd, _mm256_castps_si256,
    _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cvtepu16_epi32, _mm256_cvtph_ps,
    _mm256_cvtps_epi32, _mm256_div_ps, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_maskload_ps, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps,
    _mm256_permute2f128_ps, _mm256_permute4x64_pd, _mm256_permutevar8x32_ps, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_shuffle_ps, _mm256_slli_epi32, _mm256_sqrt_ps,
    _mm256_srai_epi32, _mm256_storeu_ps, _mm256_sub_epi32, _mm256_sub_ps, _mm256_unpackhi_ps,
    _mm256_unpacklo_ps, _mm256_zextps128_ps256,
};

use super::{Lanes, MAX_WIDTH, Task, within};

/// Proof that this CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// The token, where the CPU has the instructions.
    pub(crate) fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        all.then_some(Self(()))
    }
}

/// Eight set words, then eight clear ones: eight words from 8 − n on are the mask of n lanes.
static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

/// The mask of the first `len` lanes.
#[inline(always)]
fn mask(_: Avx2, len: usize) -> __m256i {
    let words: &[i32; 8] = MASKS[8 - len.min(8)..].first_chunk().expect("sixteen words hold eight");
    // SAFETY: the token proves AVX, and `words` is eight readable words.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

impl Lanes for Avx2 {
    type V = __m256;
    type Half = __m128;
    type Places = __m256i;
    const WIDTH: usize = 8;
    // 6 × 2 accumulators, 2 weights and a broadcast are 15 of 16 registers.
    const ROWS: usize = 6;
    const VECTORS: usize = 2;
    // 4 × 3 accumulators, 3 vectors of pixels and a broadcast are all 16.
    const CHANNELS: usize = 4;
    const PIXEL_VECTORS: usize = 3;
    const PICK: usize = 1;

    #[inline]
    fn vectorize<T: Task>(self, task: T) -> T::Output {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn enabled<T: Task>(lanes: Avx2, task: T) -> T::Output {
            task.run(lanes)
        }
        // SAFETY: the token proves AVX2, FMA and F16C.
        unsafe { enabled(self, task) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: the token proves AVX.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, src: &[f32]) -> __m256 {
        let src: &[f32; 8] = src.first_chunk().expect("a whole vector");
        // SAFETY: the token proves AVX, and `src` is eight readable floats.
        unsafe { _mm256_loadu_ps(src.as_ptr()) }
    }

    #[inline(always)]
    fn load_apart<const N: usize>(self, src: &[f32], apart: usize, count: usize) -> Option<[__m256; N]> {
        if !within(src.len(), [count, apart, 8]) {
            return None;
        }
        let mut vectors = [self.splat(0.0); N];
        for (i, vector) in vectors.iter_mut().enumerate().take(count) {
            // SAFETY: the vector lies within `src`, as was just checked.
            let from = unsafe { src.as_ptr().add(i * apart) };
            // SAFETY: the token proves AVX, and `from` is as many readable floats as `vector` has.
            *vector = unsafe { _mm256_loadu_ps(from) };
        }
        Some(vectors)
    }

    #[inline(always)]
    fn load_partial(self, src: &[f32]) -> __m256 {
        if src.len() >= 8 {
            return self.load(src);
        }
        let mask = mask(self, src.len());
        // SAFETY: the token proves AVX, and the mask covers no more floats than `src` has.
        unsafe { _mm256_maskload_ps(src.as_ptr(), mask) }
    }

    #[inline(always)]
    fn load_bf16(self, src: &[u16]) -> __m256 {
        let src: &[u16; 8] = src.first_chunk().expect("a whole vector");
        // SAFETY: the token proves AVX2, and `src` is eight readable halves.
        let halves = unsafe { _mm_loadu_si128(src.as_ptr().cast()) };
        // SAFETY: the token proves AVX2.
        unsafe { widened_bf16(halves) }
    }

    #[inline(always)]
    fn load_bf16_pair(self, src: &[u16]) -> [__m256; 2] {
        let src: &[u16; 16] = src.first_chunk().expect("two whole vectors");
        // SAFETY: the token proves AVX2, and `src` is sixteen readable halves.
        let words = unsafe { _mm256_loadu_si256(src.as_ptr().cast()) };
        // SAFETY: the token proves AVX2.
        unsafe { split_bf16(words) }
    }

    #[inline(always)]
    fn load_f16(self, src: &[u16]) -> __m256 {
        let src: &[u16; 8] = src.first_chunk().expect("a whole vector");
        // SAFETY: the token proves AVX2, and `src` is eight readable halves.
        let halves = unsafe { _mm_loadu_si128(src.as_ptr().cast()) };
        // SAFETY: the token proves F16C.
        unsafe { _mm256_cvtph_ps(halves) }
    }

    #[inline(always)]
    fn store(self, v: __m256, dst: &mut [f32]) {
        let dst: &mut [f32; 8] = dst.first_chunk_mut().expect("room for a whole vector");
        // SAFETY: the token proves AVX, and `dst` is eight writable floats.
        unsafe { _mm256_storeu_ps(dst.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn store_apart<const N: usize>(
        self,
        vectors: [__m256; N],
        dst: &mut [f32],
        apart: usize,
        count: usize,
    ) -> Option<()> {
        if !within(dst.len(), [count, apart, 8]) {
            return None;
        }
        for (i, &vector) in vectors.iter().enumerate().take(count) {
            // SAFETY: the vector lies within `dst`, as was just checked.
            let to = unsafe { dst.as_mut_ptr().add(i * apart) };
            // SAFETY: the token proves AVX, and `to` is as many writable floats as `vector` has.
            unsafe { _mm256_storeu_ps(to, vector) }
        }
        Some(())
    }

    #[inline(always)]
    fn store_partial(self, v: __m256, dst: &mut [f32]) {
        // A masked store takes a dozen times as long as a whole one on some CPUs.
        if dst.len() >= 8 {
            return self.store(v, dst);
        }
        // SAFETY: the token proves AVX.
        unsafe { store_less_than_eight(v, dst) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX.
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    fn sqrt(self, v: __m256) -> __m256 {
        // SAFETY: the token proves AVX.
        unsafe { _mm256_sqrt_ps(v) }
    }

    #[inline(always)]
    fn scale(self, v: __m256, n: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { scale(v, n) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the token proves FMA.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX.
        unsafe { _mm256_min_ps(a, b) }
    }

    #[inline(always)]
    fn if_positive(self, x: __m256, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX.
        unsafe { if_positive(x, a, b) }
    }

    #[inline(always)]
    fn and(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX.
        unsafe { _mm256_and_ps(a, b) }
    }

    #[inline(always)]
    fn slide_up<const N: usize>(self, before: __m256, v: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { slide_up::<N>(before, v) }
    }

    #[inline(always)]
    fn slide_down<const N: usize>(self, v: __m256, after: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { slide_down::<N>(v, after) }
    }

    #[inline(always)]
    fn deinterleave(self, a: __m256, b: __m256) -> (__m256, __m256) {
        // SAFETY: the token proves AVX2.
        unsafe { deinterleave(a, b) }
    }

    #[inline(always)]
    fn places(self, places: &[u32]) -> __m256i {
        let places: &[u32; 8] = places.first_chunk().expect("a place for each lane");
        // SAFETY: the token proves AVX, and these are as many readable words as a vector has.
        unsafe { _mm256_loadu_si256(places.as_ptr().cast()) }
    }

    #[inline(always)]
    fn pick(self, v: __m256, places: __m256i) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_permutevar8x32_ps(v, places) }
    }

    #[inline(always)]
    fn reduce_add(self, v: __m256) -> f32 {
        // SAFETY: the token proves AVX.
        unsafe { reduce(v) }
    }

    #[inline(always)]
    fn keep(self, v: __m256, len: usize) -> __m256 {
        let mask = mask(self, len);
        // SAFETY: the token proves AVX.
        let mask = unsafe { _mm256_castsi256_ps(mask) };
        // SAFETY: the token proves AVX.
        unsafe { _mm256_and_ps(mask, v) }
    }

    #[inline(always)]
    fn load_half(self, src: &[f32]) -> __m128 {
        let src: &[f32; 4] = src.first_chunk().expect("half a vector");
        // SAFETY: the token proves AVX, and `src` is four readable floats.
        unsafe { _mm_loadu_ps(src.as_ptr()) }
    }

    #[inline(always)]
    fn low(self, v: __m256) -> __m128 {
        // SAFETY: the token proves AVX.
        unsafe { _mm256_castps256_ps128(v) }
    }

    #[inline(always)]
    fn mul_add_half(self, a: __m128, b: __m128, c: __m128) -> __m128 {
        // SAFETY: the token proves FMA.
        unsafe { _mm_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn widen(self, half: __m128) -> __m256 {
        // SAFETY: the token proves AVX.
        unsafe { _mm256_zextps128_ps256(half) }
    }

    #[inline(always)]
    fn transpose(self, rows: [__m256; MAX_WIDTH]) -> [__m256; MAX_WIDTH] {
        // SAFETY: the token proves AVX.
        unsafe { transpose8(rows) }
    }

    #[inline(always)]
    fn prefetch(self, src: &[f32], at: usize) {
        // SAFETY: a prefetch reads nothing that the program can see and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(src.as_ptr().wrapping_add(at).cast()) }
    }
}

/// The halves that meet are brought together, then bytes shifted through them.
#[target_feature(enable = "avx2")]
#[inline]
fn if_positive(x: __m256, a: __m256, b: __m256) -> __m256 {
    _mm256_blendv_ps(b, a, _mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_setzero_ps()))
}

#[target_feature(enable = "avx2")]
#[inline]
fn slide_up<const N: usize>(before: __m256, v: __m256) -> __m256 {
    const { assert!(N == 1 || N == 2) };
    let between = _mm256_castps_si256(_mm256_permute2f128_ps::<0x21>(before, v));
    let v = _mm256_castps_si256(v);
    _mm256_castsi256_ps(match N {
        1 => _mm256_alignr_epi8::<12>(v, between),
        _ => _mm256_alignr_epi8::<8>(v, between),
    })
}

#[target_feature(enable = "avx2")]
#[inline]
fn slide_down<const N: usize>(v: __m256, after: __m256) -> __m256 {
    const { assert!(N == 1 || N == 2) };
    let between = _mm256_castps_si256(_mm256_permute2f128_ps::<0x21>(v, after));
    let v = _mm256_castps_si256(v);
    _mm256_castsi256_ps(match N {
        1 => _mm256_alignr_epi8::<4>(between, v),
        _ => _mm256_alignr_epi8::<8>(between, v),
    })
}

/// Within each half first, then pairs change places.
#[target_feature(enable = "avx2")]
#[inline]
fn deinterleave(a: __m256, b: __m256) -> (__m256, __m256) {
    let even = _mm256_castps_pd(_mm256_shuffle_ps::<0x88>(a, b));
    let odd = _mm256_castps_pd(_mm256_shuffle_ps::<0xdd>(a, b));
    let in_order = |v| _mm256_castpd_ps(_mm256_permute4x64_pd::<0xd8>(v));
    (in_order(even), in_order(odd))
}

/// Twice by about half as many powers, each of which is a number.
#[target_feature(enable = "avx2")]
#[inline]
fn scale(v: __m256, n: __m256) -> __m256 {
    let n = _mm256_cvtps_epi32(n);
    let half = _mm256_srai_epi32::<1>(n);
    let power = |n| {
        let exponent = _mm256_add_epi32(n, _mm256_set1_epi32(127));
        _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
    };
    _mm256_mul_ps(_mm256_mul_ps(v, power(half)), power(_mm256_sub_epi32(n, half)))
}

/// Each half becomes a word's upper half.
#[target_feature(enable = "avx2")]
#[inline]
fn widened_bf16(halves: __m128i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
}

/// Words' lower halves, then their upper ones.
#[target_feature(enable = "avx2")]
#[inline]
fn split_bf16(words: __m256i) -> [__m256; 2] {
    let upper = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
    [_mm256_castsi256_ps(_mm256_slli_epi32::<16>(words)), _mm256_castsi256_ps(_mm256_and_si256(words, upper))]
}

/// Four floats, then two, then one, as the length says.
#[target_feature(enable = "avx")]
#[inline]
fn store_less_than_eight(v: __m256, dst: &mut [f32]) {
    let mut four = _mm256_castps256_ps128(v);
    let (fours, rest) = dst.as_chunks_mut::<4>();
    if let Some(chunk) = fours.first_mut() {
        // SAFETY: `chunk` is four writable floats.
        unsafe { _mm_storeu_ps(chunk.as_mut_ptr(), four) }
        four = _mm256_extractf128_ps::<1>(v);
    }
    let (twos, rest) = rest.as_chunks_mut::<2>();
    if let Some(chunk) = twos.first_mut() {
        let two = _mm_castps_si128(four);
        // SAFETY: `chunk` is two writable floats.
        unsafe { _mm_storel_epi64(chunk.as_mut_ptr().cast(), two) }
        four = _mm_movehl_ps(four, four);
    }
    if let Some(last) = rest.first_mut() {
        *last = _mm_cvtss_f32(four);
    }
}

/// Halves added to halves, down to one lane.
#[target_feature(enable = "avx")]
#[inline]
fn reduce(v: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

/// Pairs, then quadruples, then halves change places.
#[target_feature(enable = "avx")]
#[inline]
fn transpose8(r: [__m256; MAX_WIDTH]) -> [__m256; MAX_WIDTH] {
    let mut pairs = r;
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    let mut fours = pairs;
    for i in [0, 4] {
        fours[i] = _mm256_shuffle_ps::<0x44>(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm256_shuffle_ps::<0xee>(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm256_shuffle_ps::<0x44>(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm256_shuffle_ps::<0xee>(pairs[i + 1], pairs[i + 3]);
    }
    let mut columns = fours;
    for i in 0..4 {
        columns[i] = _mm256_permute2f128_ps::<0x20>(fours[i], fours[i + 4]);
        columns[i + 4] = _mm256_permute2f128_ps::<0x31>(fours[i], fours[i + 4]);
    }
    columns
}
