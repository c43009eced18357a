//! Stride 1 with outputs as large as inputs: a plane is one run of pixels, rows and all, read where it lies.
//!
//! In such a run a tap is a fixed distance, `(ky − r)·width + (kx − r)`. The rows of taps are taken by loading from there;
//! the columns only afterwards, by sliding what they gave along the lanes, since a load at every odd place takes twice as
//! long as an aligned one and the multiply-adds are few. What slides into a pixel from another row is cut away before.
//!
//! ```text
//! column(kx)[p] = Σ_ky w[ky][kx]·x[p + (ky − r)·width], 0 where p is too near the edge for kx
//! y[p]          = Σ_kx column(kx)[p + kx − r]
//! ```
//!
//! Near its two ends a plane is read from a copy with zeros around it; a small plane as a whole.

use std::ops::Range;

use super::Planes;
use crate::lanes::{Lanes, Task};

/// How the planes of one image size are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// From a pixel to the last row of taps.
    reach: usize,
    /// Floats of a copy: zeros as far as taps reach, its vectors' pixels, and as far again.
    copied: usize,
    /// Vectors that are read from a copy, from the plane, and from a second copy.
    segments: [Range<usize>; 3],
    /// For every column of taps and pixel of a row, and beyond its end by a vector: all bits where the output that the
    /// pixel would go to is in the same row.
    masks: Vec<u32>,
}

impl Ends {
    pub(super) fn new(taps: usize, [height, width]: [usize; 2], vector: usize) -> Self {
        let (pixels, reach) = (height * width, taps / 2 * width);
        let (first, all) = (reach.div_ceil(vector), pixels.div_ceil(vector));
        let end = pixels.saturating_sub(reach) / vector;
        let [first, end] = if first < end { [first, end] } else { [all, all] };
        let stays =
            |kx: usize, x: usize| (x % width + taps / 2).checked_sub(kx).is_some_and(|output| output < width);
        let mask = |kx| (0..width + vector).map(move |x| if stays(kx, x) { !0 } else { 0 });
        Self {
            reach,
            copied: first.max(all - end) * vector + 2 * reach,
            segments: [0..first, first..end, end..all],
            masks: (0..taps).flat_map(mask).collect(),
        }
    }

    /// Floats of the copies of a block's planes.
    pub(super) fn scratch(&self, channels: usize) -> usize {
        channels * self.copies()
    }

    fn copies(&self) -> usize {
        if self.segments[2].is_empty() { self.copied } else { 2 * self.copied }
    }

    /// Copies the ends of a plane.
    #[inline(always)]
    fn copy<L: Lanes>(&self, lanes: L, x: &[f32], copies: &mut [f32]) {
        let (head, tail) = copies.split_at_mut(self.copied);
        copy(lanes, &[], &mut head[..self.reach]);
        copy(lanes, x, &mut head[self.reach..]);
        if !self.segments[2].is_empty() {
            copy(lanes, &x[self.segments[2].start * L::WIDTH - self.reach..], tail);
        }
    }
}

/// Copies floats, and zeros where there are no more.
#[inline(always)]
fn copy<L: Lanes>(lanes: L, x: &[f32], out: &mut [f32]) {
    let whole = x.len() / L::WIDTH;
    for (i, out) in out.chunks_mut(L::WIDTH).enumerate() {
        let v = match i {
            _ if i < whole => lanes.load(&x[i * L::WIDTH..]),
            _ if i == whole => lanes.load_partial(&x[i * L::WIDTH..]),
            _ => lanes.splat(0.0),
        };
        lanes.store_partial(v, out);
    }
}

/// `K` × `K` taps, `K` 3 or 5.
pub(super) struct Flat<'a, const K: usize>(pub(super) Planes<'a>, pub(super) &'a Ends);

impl<const K: usize> Task for Flat<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self(Planes { plan, input, weights, offset, clamp, residual, out, sums, scratch }, ends) = self;
        let (width, pixels) = (plan.geometry.input[1], plan.pixels());
        let copies = scratch.scratch(ends.scratch(out.len() / pixels));
        // All of them first, so that no load waits for a store.
        for (lane, copies) in copies.chunks_exact_mut(ends.copies()).enumerate() {
            ends.copy(lanes, input.plane(plan, lane), copies);
        }
        let (masks, step) = (bytemuck::cast_slice(&ends.masks), L::WIDTH % width);
        let copies = copies.chunks_exact(ends.copies());
        for (lane, (out, copies)) in out.chunks_exact_mut(pixels).zip(copies).enumerate() {
            let mut taps = [[lanes.splat(0.0); K]; K];
            for ky in 0..K {
                for kx in 0..K {
                    taps[ky][kx] = lanes.splat(weights[(ky * K + kx) * L::WIDTH + lane]);
                }
            }
            let mut channel = Channel {
                width,
                step,
                masks,
                taps,
                offset: lanes.splat(offset[lane]),
                residual: residual.map(|residual| &residual[lane * pixels..][..pixels]),
                clamp: clamp.map(|bound| lanes.splat(bound)),
                out,
                last: [lanes.splat(0.0); K],
                sum: lanes.splat(0.0),
                total: lanes.splat(0.0),
                phase: 0,
            };
            let (head, tail) = copies.split_at(ends.copied);
            for (i, vectors) in ends.segments.iter().enumerate().filter(|(_, vectors)| !vectors.is_empty()) {
                let x = match i {
                    0 => head,
                    1 => &input.plane(plan, lane)[vectors.start * L::WIDTH - ends.reach..],
                    _ => tail,
                };
                channel.advance(lanes, x, vectors.clone());
            }
            let total = channel.finish(lanes);
            if let Some(sum) = sums.get_mut(lane) {
                *sum = lanes.reduce_add(total);
            }
        }
    }
}

/// One channel on its way along the plane.
struct Channel<'a, L: Lanes, const K: usize> {
    width: usize,
    /// A vector, in columns.
    step: usize,
    masks: &'a [f32],
    taps: [[L::V; K]; K],
    offset: L::V,
    residual: Option<&'a [f32]>,
    clamp: [L::V; 2],
    out: &'a mut [f32],
    /// What the columns of taps gave at the vector before.
    last: [L::V; K],
    /// What that vector's outputs come to so far.
    sum: L::V,
    /// The sum of all outputs so far, lane by lane.
    total: L::V,
    /// The next vector's first column in its row.
    phase: usize,
}

impl<L: Lanes, const K: usize> Channel<'_, L, K> {
    /// Takes the next vectors, from `x`, which begins with the first row of taps of the first of them; each completes
    /// the one before.
    #[inline(always)]
    fn advance(&mut self, lanes: L, x: &[f32], vectors: Range<usize>) {
        let len = vectors.len() * L::WIDTH;
        let mut rows: [&[f32]; K] = [&[]; K];
        for ky in 0..K {
            rows[ky] = &x[ky * self.width..][..len];
        }
        let period = self.width + L::WIDTH;
        let mut masks: [&[f32]; K] = [&[]; K];
        for kx in 0..K {
            masks[kx] = &self.masks[kx * period..][..period];
        }
        for (i, vector) in vectors.enumerate() {
            let place = i * L::WIDTH..i * L::WIDTH + L::WIDTH;
            let mut columns = [lanes.splat(0.0); K];
            for ky in 0..K {
                let row = lanes.load(&rows[ky][place.clone()]);
                for kx in 0..K {
                    columns[kx] = match ky {
                        0 => lanes.mul(row, self.taps[ky][kx]),
                        _ => lanes.mul_add(row, self.taps[ky][kx], columns[kx]),
                    };
                }
            }
            for kx in 0..K {
                if kx != K / 2 {
                    let mask = &masks[kx][self.phase..self.phase + L::WIDTH];
                    columns[kx] = lanes.and(columns[kx], lanes.load(mask));
                }
            }
            if let Some(before) = vector.checked_sub(1) {
                let sum = self.complete(lanes, columns, before * L::WIDTH);
                self.total = lanes.add(self.total, sum);
                lanes.store(sum, &mut self.out[before * L::WIDTH..]);
            }
            self.sum = lanes.add(self.offset, columns[K / 2]);
            for kx in 0..K / 2 {
                let slid = match K / 2 - kx {
                    1 => lanes.slide_up::<1>(self.last[kx], columns[kx]),
                    _ => lanes.slide_up::<2>(self.last[kx], columns[kx]),
                };
                self.sum = lanes.add(self.sum, slid);
            }
            self.last = columns;
            self.phase += self.step;
            if self.phase >= self.width {
                self.phase -= self.width;
            }
        }
    }

    /// Stores the last vector, and gives the sum of all outputs, lane by lane.
    #[inline(always)]
    fn finish(mut self, lanes: L) -> L::V {
        let start = (self.out.len() - 1) / L::WIDTH * L::WIDTH;
        let sum = self.complete(lanes, [lanes.splat(0.0); K], start);
        let last = &mut self.out[start..];
        lanes.store_partial(sum, last);
        lanes.add(self.total, lanes.keep(sum, last.len()))
    }

    /// The outputs of the vector before, which begin with pixel `start`, with what slides in from `next`.
    #[inline(always)]
    fn complete(&mut self, lanes: L, next: [L::V; K], start: usize) -> L::V {
        let mut sum = self.sum;
        for kx in K / 2 + 1..K {
            let slid = match kx - K / 2 {
                1 => lanes.slide_down::<1>(self.last[kx], next[kx]),
                _ => lanes.slide_down::<2>(self.last[kx], next[kx]),
            };
            sum = lanes.add(sum, slid);
        }
        if let Some(residual) = self.residual {
            sum = lanes.add(sum, lanes.load_partial(&residual[start..]));
        }
        lanes.min(self.clamp[1], lanes.max(self.clamp[0], sum))
    }
}
