//! Stride 2: a row's even and odd pixels are parted as they are loaded, so that every tap of neighbouring outputs is a
//! vector of one of them, perhaps slid along by a lane.
//!
//! Column `kx` of the taps reads input `2·x + kx − before`, which is pixel `x + q` of the even or the odd ones; what all
//! columns with one `q` give is summed first and slid once.

use super::Planes;
use crate::lanes::{Lanes, Task};

/// `K` × `K` taps, `BEFORE` columns of padding on the left; `q` is −1, 0 or 1.
pub(super) struct Halves<'a, const K: usize, const BEFORE: usize>(pub(super) Planes<'a>);

impl<const K: usize, const BEFORE: usize> Task for Halves<'_, K, BEFORE> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let planes = self.0;
        let plan = planes.plan;
        let ([height, columns], [_, width]) = (plan.geometry.input, plan.geometry.output);
        let clamp = planes.clamp.map(|bound| lanes.splat(bound));
        for (lane, out) in planes.out.chunks_exact_mut(plan.pixels()).enumerate() {
            let mut taps = [[lanes.splat(0.0); K]; K];
            for ky in 0..K {
                for kx in 0..K {
                    taps[ky][kx] = lanes.splat(planes.weights[(ky * K + kx) * L::WIDTH + lane]);
                }
            }
            let x = planes.input.plane(plan, lane);
            let offset = lanes.splat(planes.offset[lane]);
            let mut total = lanes.splat(0.0);
            for (y, out) in out.chunks_exact_mut(width).enumerate() {
                let mut rows: [&[f32]; K] = [&[]; K];
                for ky in 0..K {
                    let row = (2 * y + ky).wrapping_sub(plan.geometry.before[0]);
                    if row < height {
                        rows[ky] = &x[row * columns..][..columns];
                    }
                }
                let start = (lane * plan.geometry.output[0] + y) * width;
                let residual = planes.residual.map(|residual| &residual[start..][..width]);
                let row =
                    Row::<L, K, BEFORE> { rows, taps, offset, clamp, residual, out, total: lanes.splat(0.0) };
                total = lanes.add(total, row.run(lanes));
            }
            if let Some(sum) = planes.sums.get_mut(lane) {
                *sum = lanes.reduce_add(total);
            }
        }
    }
}

/// One row of outputs.
struct Row<'a, L: Lanes, const K: usize, const BEFORE: usize> {
    /// Empty where outside the image.
    rows: [&'a [f32]; K],
    taps: [[L::V; K]; K],
    offset: L::V,
    clamp: [L::V; 2],
    residual: Option<&'a [f32]>,
    out: &'a mut [f32],
    /// Their sum so far, lane by lane.
    total: L::V,
}

/// `q` of a column of taps, plus 1, and whether it reads the odd pixels.
const fn place(kx: usize, before: usize) -> (usize, bool) {
    let at = kx + 2 - before;
    (at / 2, at % 2 == 1)
}

impl<L: Lanes, const K: usize, const BEFORE: usize> Row<'_, L, K, BEFORE> {
    /// Writes all of it, and gives the sum, lane by lane.
    #[inline(always)]
    fn run(mut self, lanes: L) -> L::V {
        let zero = lanes.splat(0.0);
        let (mut last, mut sum) = ([zero; 3], zero);
        let width = self.out.len();
        for x in (0..width).step_by(L::WIDTH) {
            let slides = self.slides(lanes, x);
            if x > 0 {
                let sum = lanes.add(sum, lanes.slide_down::<1>(last[2], slides[2]));
                self.finish(lanes, x - L::WIDTH, sum);
            }
            sum = lanes.add(slides[1], lanes.slide_up::<1>(last[0], slides[0]));
            last = slides;
        }
        // Pixels beyond the last vector, where the image has any.
        let end = width.next_multiple_of(L::WIDTH);
        let next = if place(K - 1, BEFORE).0 == 2 { self.slides(lanes, end) } else { [zero; 3] };
        let sum = lanes.add(sum, lanes.slide_down::<1>(last[2], next[2]));
        self.finish(lanes, end - L::WIDTH, sum);
        self.total
    }

    /// The sums for each `q`.
    #[inline(always)]
    fn slides(&self, lanes: L, x: usize) -> [L::V; 3] {
        let mut slides = [lanes.splat(0.0), self.offset, lanes.splat(0.0)];
        for ky in 0..K {
            let row = self.rows[ky].get(2 * x..).unwrap_or_default();
            let (low, high) = match row.split_at_checked(L::WIDTH) {
                Some((low, [])) => (lanes.load(low), lanes.splat(0.0)),
                Some((low, high)) => (lanes.load(low), lanes.load_partial(high)),
                None if row.is_empty() => continue,
                None => (lanes.load_partial(row), lanes.splat(0.0)),
            };
            let (even, odd) = lanes.deinterleave(low, high);
            for kx in 0..K {
                let (q, is_odd) = place(kx, BEFORE);
                let pixels = if is_odd { odd } else { even };
                slides[q] = lanes.mul_add(pixels, self.taps[ky][kx], slides[q]);
            }
        }
        slides
    }

    #[inline(always)]
    fn finish(&mut self, lanes: L, x: usize, mut sum: L::V) {
        if let Some(residual) = self.residual {
            sum = lanes.add(sum, lanes.load_partial(&residual[x..]));
        }
        let sum = lanes.min(self.clamp[1], lanes.max(self.clamp[0], sum));
        let out = &mut self.out[x..];
        if out.len() >= L::WIDTH {
            self.total = lanes.add(self.total, sum);
            lanes.store(sum, out);
        } else {
            self.total = lanes.add(self.total, lanes.keep(sum, out.len()));
            lanes.store_partial(sum, out);
        }
    }
}
