//! Vectors of f32, one zero-sized token per instruction set.
//!
//! A token can only be made where its instructions exist, so every operation on it is safe. Kernels are generic over
//! [`Lanes`], entered through [`Lanes::vectorize`], and marked `#[inline(always)]` all the way down: an operation that
//! isn't inlined into a function with the right `target_feature` becomes a call, and a kernel of calls runs at a
//! thirtieth of its speed.

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "std::arch intrinsics; each use is covered by the token that detection made")]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "std::arch intrinsics; each use is covered by the token that detection made")]
mod avx512;
mod portable;
#[cfg(test)]
mod tests;
mod transpose;

use std::fmt::Debug;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;
pub(crate) use transpose::transpose;

/// The widest vector of any instruction set, in floats.
pub(crate) const MAX_WIDTH: usize = 16;

/// Whether `count` vectors of `width` floats, each `apart` after the one before, lie within `len` floats.
#[inline(always)]
fn within(len: usize, [count, apart, width]: [usize; 3]) -> bool {
    let last = apart.checked_mul(count.saturating_sub(1));
    count == 0 || last.and_then(|last| last.checked_add(width)).is_some_and(|end| end <= len)
}

/// A piece of work that is compiled once per instruction set.
pub(crate) trait Task {
    /// What it gives.
    type Output;

    /// Does the work. Mark every implementation `#[inline(always)]`.
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// What kernels ask of an instruction set, and nothing else.
pub(crate) trait Lanes: Copy + Debug + Send + Sync + 'static {
    /// A vector.
    type V: Copy;
    /// Half a vector.
    type Half: Copy;
    /// Where each lane of a vector comes from.
    type Places: Copy;
    /// Floats in a vector.
    const WIDTH: usize;
    /// Rows (pixels) of the widest register tile; see `kernels::tile`.
    const ROWS: usize;
    /// Vectors (of output channels) of a register tile.
    const VECTORS: usize;
    /// Channels of the widest tile whose vector runs over pixels; see `kernels::across`.
    const CHANNELS: usize;
    /// Vectors (of pixels) of such a tile.
    const PIXEL_VECTORS: usize;
    /// What [`Lanes::pick`] takes, in multiply-adds.
    const PICK: usize;

    /// Runs a task with this instruction set enabled.
    fn vectorize<T: Task>(self, task: T) -> T::Output;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::V;
    /// The first `WIDTH` floats.
    fn load(self, src: &[f32]) -> Self::V;
    /// `count` vectors, each `apart` floats after the one before, and zeros for the others. One check for all, and
    /// nothing where they don't fit.
    fn load_apart<const N: usize>(self, src: &[f32], apart: usize, count: usize) -> Option<[Self::V; N]>;
    /// The first `WIDTH` floats, or as many as there are; 0 in the other lanes.
    fn load_partial(self, src: &[f32]) -> Self::V;
    /// The first `WIDTH` bf16s.
    fn load_bf16(self, src: &[u16]) -> Self::V;
    /// Two vectors of bf16s that alternate: the first is the even ones of 2 · `WIDTH`.
    fn load_bf16_pair(self, src: &[u16]) -> [Self::V; 2];
    /// The first `WIDTH` f16s; finite ones.
    fn load_f16(self, src: &[u16]) -> Self::V;
    /// Writes the first `WIDTH` floats.
    fn store(self, v: Self::V, dst: &mut [f32]);
    /// Writes the first `count` of these vectors, each `apart` floats after the one before. One check for all, and
    /// nothing where they don't fit: a panic here would be a call in the middle of a loop.
    fn store_apart<const N: usize>(
        self,
        vectors: [Self::V; N],
        dst: &mut [f32],
        apart: usize,
        count: usize,
    ) -> Option<()>;
    /// Writes the first `WIDTH` floats, or as many as there is room for.
    fn store_partial(self, v: Self::V, dst: &mut [f32]);
    /// a + b
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a − b
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// a · b
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a / b
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// √v
    fn sqrt(self, v: Self::V) -> Self::V;
    /// v · 2^n for whole `n` of at most 252 in magnitude, rounded once or, where the result is subnormal, twice.
    fn scale(self, v: Self::V, n: Self::V) -> Self::V;
    /// a · b + c, fused where the instruction set can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger; a NaN in `b` goes through.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller; a NaN in `b` goes through.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a` where `x` is more than 0, else, and where it is NaN, `b`.
    fn if_positive(self, x: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// The bits that are set in both.
    fn and(self, a: Self::V, b: Self::V) -> Self::V;
    /// `v`, each lane `N` places further up, behind the last `N` lanes of `before`; `N` is 1 or 2.
    fn slide_up<const N: usize>(self, before: Self::V, v: Self::V) -> Self::V;
    /// `v`, each lane `N` places further down, before the first `N` lanes of `after`; `N` is 1 or 2.
    fn slide_down<const N: usize>(self, v: Self::V, after: Self::V) -> Self::V;
    /// Of the lanes of `a` and then `b`: those at even places, those at odd places.
    fn deinterleave(self, a: Self::V, b: Self::V) -> (Self::V, Self::V);
    /// The first `WIDTH` places, each less than `WIDTH`.
    fn places(self, places: &[u32]) -> Self::Places;
    /// Of each place the lane of `v` that is there.
    fn pick(self, v: Self::V, places: Self::Places) -> Self::V;
    /// The sum of all lanes, in one order.
    fn reduce_add(self, v: Self::V) -> f32;
    /// The first `len` lanes; 0 in the others.
    fn keep(self, v: Self::V, len: usize) -> Self::V;
    /// The first `WIDTH / 2` floats.
    fn load_half(self, src: &[f32]) -> Self::Half;
    /// The low half.
    fn low(self, v: Self::V) -> Self::Half;
    /// a · b + c, fused where the instruction set can.
    fn mul_add_half(self, a: Self::Half, b: Self::Half, c: Self::Half) -> Self::Half;
    /// A half as a vector; 0 in the other lanes.
    fn widen(self, half: Self::Half) -> Self::V;
    /// Rows to columns of the first `WIDTH` vectors; the others are left alone.
    fn transpose(self, rows: [Self::V; MAX_WIDTH]) -> [Self::V; MAX_WIDTH];
    /// Asks for the cache line `at` floats from where `src` begins, which needn't be within it. Changes nothing.
    fn prefetch(self, src: &[f32], at: usize);
}
