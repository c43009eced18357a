//! AVX-512: sixteen lanes, thirty-two registers, masks for what is partial.

use std::arch::x86_64::{
    __m256, __m256i, __m512, __m512i, __mmask16, _CMP_GT_OQ, _MM_HINT_T1, _mm_prefetch, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm512_add_ps, _mm512_alignr_epi32, _mm512_and_si512,
    _mm512_castps_si512, _mm512_castps512_ps256, _mm512_castsi512_ps, _mm512_cmp_ps_mask,
    _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_div_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_mask_blend_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
    _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_permutex2var_ps,
    _mm512_permutexvar_ps, _mm512_reduce_add_ps, _mm512_scalef_ps, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setr_epi32, _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_shuffle_ps, _mm512_slli_epi32,
    _mm512_sqrt_ps, _mm512_storeu_ps, _mm512_sub_ps, _mm512_unpackhi_ps, _mm512_unpacklo_ps,
    _mm512_zextps256_ps512,
};

use super::{Lanes, MAX_WIDTH, Task, within};

/// Proof that this CPU has AVX-512's foundation, for vectors of all lengths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The token, where the CPU has the instructions.
    pub(crate) fn detect() -> Option<Self> {
        // What lacks the second (Xeon Phi) has half vectors in half its registers only; what has it has FMA.
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl")).then_some(Self(()))
    }
}

/// The mask of the first `len` lanes.
#[inline(always)]
fn mask(len: usize) -> __mmask16 {
    // At most sixteen bits are set.
    ((1u32 << len.min(16)) - 1) as __mmask16
}

impl Lanes for Avx512 {
    type V = __m512;
    type Half = __m256;
    type Places = __m512i;
    const WIDTH: usize = 16;
    // 14 × 2 accumulators, 2 weights and a broadcast are 31 of 32 registers.
    const ROWS: usize = 14;
    const VECTORS: usize = 2;
    // 24 accumulators and a vector of pixels; weights are broadcast as they are multiplied.
    const CHANNELS: usize = 24;
    const PIXEL_VECTORS: usize = 1;
    const PICK: usize = 1;

    #[inline]
    fn vectorize<T: Task>(self, task: T) -> T::Output {
        #[target_feature(enable = "avx512f,avx512vl")]
        fn enabled<T: Task>(lanes: Avx512, task: T) -> T::Output {
            task.run(lanes)
        }
        // SAFETY: the token proves AVX-512F.
        unsafe { enabled(self, task) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, src: &[f32]) -> __m512 {
        let src: &[f32; 16] = src.first_chunk().expect("a whole vector");
        // SAFETY: the token proves AVX-512F, and `src` is sixteen readable floats.
        unsafe { _mm512_loadu_ps(src.as_ptr()) }
    }

    #[inline(always)]
    fn load_apart<const N: usize>(self, src: &[f32], apart: usize, count: usize) -> Option<[__m512; N]> {
        if !within(src.len(), [count, apart, 16]) {
            return None;
        }
        let mut vectors = [self.splat(0.0); N];
        for (i, vector) in vectors.iter_mut().enumerate().take(count) {
            // SAFETY: the vector lies within `src`, as was just checked.
            let from = unsafe { src.as_ptr().add(i * apart) };
            // SAFETY: the token proves AVX-512F, and `from` is as many readable floats as `vector` has.
            *vector = unsafe { _mm512_loadu_ps(from) };
        }
        Some(vectors)
    }

    #[inline(always)]
    fn load_partial(self, src: &[f32]) -> __m512 {
        // SAFETY: the token proves AVX-512F, and the mask covers no more floats than `src` has.
        unsafe { _mm512_maskz_loadu_ps(mask(src.len()), src.as_ptr()) }
    }

    #[inline(always)]
    fn load_bf16(self, src: &[u16]) -> __m512 {
        let src: &[u16; 16] = src.first_chunk().expect("a whole vector");
        // SAFETY: the token proves AVX-512F, and `src` is sixteen readable halves.
        let halves = unsafe { _mm256_loadu_si256(src.as_ptr().cast()) };
        // SAFETY: the token proves AVX-512F.
        unsafe { widened_bf16(halves) }
    }

    #[inline(always)]
    fn load_bf16_pair(self, src: &[u16]) -> [__m512; 2] {
        let src: &[u16; 32] = src.first_chunk().expect("two whole vectors");
        // SAFETY: the token proves AVX-512F, and `src` is thirty-two readable halves.
        let words = unsafe { _mm512_loadu_si512(src.as_ptr().cast()) };
        // SAFETY: the token proves AVX-512F.
        unsafe { split_bf16(words) }
    }

    #[inline(always)]
    fn load_f16(self, src: &[u16]) -> __m512 {
        let src: &[u16; 16] = src.first_chunk().expect("a whole vector");
        // SAFETY: the token proves AVX-512F, and `src` is sixteen readable halves.
        let halves = unsafe { _mm256_loadu_si256(src.as_ptr().cast()) };
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_cvtph_ps(halves) }
    }

    #[inline(always)]
    fn store(self, v: __m512, dst: &mut [f32]) {
        let dst: &mut [f32; 16] = dst.first_chunk_mut().expect("room for a whole vector");
        // SAFETY: the token proves AVX-512F, and `dst` is sixteen writable floats.
        unsafe { _mm512_storeu_ps(dst.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn store_apart<const N: usize>(
        self,
        vectors: [__m512; N],
        dst: &mut [f32],
        apart: usize,
        count: usize,
    ) -> Option<()> {
        if !within(dst.len(), [count, apart, 16]) {
            return None;
        }
        for (i, &vector) in vectors.iter().enumerate().take(count) {
            // SAFETY: the vector lies within `dst`, as was just checked.
            let to = unsafe { dst.as_mut_ptr().add(i * apart) };
            // SAFETY: the token proves AVX-512F, and `to` is as many writable floats as `vector` has.
            unsafe { _mm512_storeu_ps(to, vector) }
        }
        Some(())
    }

    #[inline(always)]
    fn store_partial(self, v: __m512, dst: &mut [f32]) {
        // SAFETY: the token proves AVX-512F, and the mask covers no more floats than `dst` has.
        unsafe { _mm512_mask_storeu_ps(dst.as_mut_ptr(), mask(dst.len()), v) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn sqrt(self, v: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_sqrt_ps(v) }
    }

    #[inline(always)]
    fn scale(self, v: __m512, n: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_scalef_ps(v, n) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn if_positive(self, x: __m512, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { if_positive(x, a, b) }
    }

    #[inline(always)]
    fn and(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { and(a, b) }
    }

    #[inline(always)]
    fn slide_up<const N: usize>(self, before: __m512, v: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { slide_up::<N>(before, v) }
    }

    #[inline(always)]
    fn slide_down<const N: usize>(self, v: __m512, after: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { slide_down::<N>(v, after) }
    }

    #[inline(always)]
    fn deinterleave(self, a: __m512, b: __m512) -> (__m512, __m512) {
        // SAFETY: the token proves AVX-512F.
        unsafe { deinterleave(a, b) }
    }

    #[inline(always)]
    fn places(self, places: &[u32]) -> __m512i {
        let places: &[u32; 16] = places.first_chunk().expect("a place for each lane");
        // SAFETY: the token proves AVX-512F, and these are as many readable words as a vector has.
        unsafe { _mm512_loadu_si512(places.as_ptr().cast()) }
    }

    #[inline(always)]
    fn pick(self, v: __m512, places: __m512i) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_permutexvar_ps(places, v) }
    }

    #[inline(always)]
    fn reduce_add(self, v: __m512) -> f32 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_reduce_add_ps(v) }
    }

    #[inline(always)]
    fn keep(self, v: __m512, len: usize) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_maskz_mov_ps(mask(len), v) }
    }

    #[inline(always)]
    fn load_half(self, src: &[f32]) -> __m256 {
        let src: &[f32; 8] = src.first_chunk().expect("half a vector");
        // SAFETY: the token proves AVX, and `src` is eight readable floats.
        unsafe { _mm256_loadu_ps(src.as_ptr()) }
    }

    #[inline(always)]
    fn low(self, v: __m512) -> __m256 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_castps512_ps256(v) }
    }

    #[inline(always)]
    fn mul_add_half(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the token proves FMA.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn widen(self, half: __m256) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_zextps256_ps512(half) }
    }

    #[inline(always)]
    fn transpose(self, rows: [__m512; MAX_WIDTH]) -> [__m512; MAX_WIDTH] {
        // SAFETY: the token proves AVX-512F.
        unsafe { transpose16(rows) }
    }

    #[inline(always)]
    fn prefetch(self, src: &[f32], at: usize) {
        // SAFETY: a prefetch reads nothing that the program can see and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(src.as_ptr().wrapping_add(at).cast()) }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn if_positive(x: __m512, a: __m512, b: __m512) -> __m512 {
    _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_setzero_ps()), b, a)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn and(a: __m512, b: __m512) -> __m512 {
    _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), _mm512_castps_si512(b)))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn slide_up<const N: usize>(before: __m512, v: __m512) -> __m512 {
    const { assert!(N == 1 || N == 2) };
    let (before, v) = (_mm512_castps_si512(before), _mm512_castps_si512(v));
    _mm512_castsi512_ps(match N {
        1 => _mm512_alignr_epi32::<15>(v, before),
        _ => _mm512_alignr_epi32::<14>(v, before),
    })
}

#[target_feature(enable = "avx512f")]
#[inline]
fn slide_down<const N: usize>(v: __m512, after: __m512) -> __m512 {
    const { assert!(N == 1 || N == 2) };
    let (v, after) = (_mm512_castps_si512(v), _mm512_castps_si512(after));
    _mm512_castsi512_ps(match N {
        1 => _mm512_alignr_epi32::<1>(after, v),
        _ => _mm512_alignr_epi32::<2>(after, v),
    })
}

#[target_feature(enable = "avx512f")]
#[inline]
fn deinterleave(a: __m512, b: __m512) -> (__m512, __m512) {
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    (_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b))
}

/// Each half becomes a word's upper half.
#[target_feature(enable = "avx512f")]
#[inline]
fn widened_bf16(halves: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
}

/// Words' lower halves, then their upper ones.
#[target_feature(enable = "avx512f")]
#[inline]
fn split_bf16(words: __m512i) -> [__m512; 2] {
    let upper = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
    [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(words)), _mm512_castsi512_ps(_mm512_and_si512(words, upper))]
}

/// Pairs and quadruples change places within each 128 bits, then the 128-bit quarters do, 4 × 4 of them.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose16(r: [__m512; MAX_WIDTH]) -> [__m512; MAX_WIDTH] {
    let mut pairs = r;
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    // Quarter q of `fours[4·g + j]` holds column 4·q + j of rows 4·g to 4·g + 3.
    let mut fours = pairs;
    for i in [0, 4, 8, 12] {
        fours[i] = _mm512_shuffle_ps::<0x44>(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm512_shuffle_ps::<0xee>(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm512_shuffle_ps::<0x44>(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm512_shuffle_ps::<0xee>(pairs[i + 1], pairs[i + 3]);
    }
    let mut columns = fours;
    for j in 0..4 {
        let low_left = _mm512_shuffle_f32x4::<0x88>(fours[j], fours[4 + j]);
        let low_right = _mm512_shuffle_f32x4::<0x88>(fours[8 + j], fours[12 + j]);
        let high_left = _mm512_shuffle_f32x4::<0xdd>(fours[j], fours[4 + j]);
        let high_right = _mm512_shuffle_f32x4::<0xdd>(fours[8 + j], fours[12 + j]);
        columns[j] = _mm512_shuffle_f32x4::<0x88>(low_left, low_right);
        columns[4 + j] = _mm512_shuffle_f32x4::<0x88>(high_left, high_right);
        columns[8 + j] = _mm512_shuffle_f32x4::<0xdd>(low_left, low_right);
        columns[12 + j] = _mm512_shuffle_f32x4::<0xdd>(high_left, high_right);
    }
    columns
}
