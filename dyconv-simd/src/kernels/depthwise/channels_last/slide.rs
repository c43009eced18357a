//! Square kernels of three or five taps with a stride of one or two: a window slides along some rows of outputs at once.
//!
//! Every input is loaded once per band and multiplied by all the taps that it falls under, in all rows. Where those
//! outputs aren't complete yet, their sums are pending in registers, as many per row as outputs share a column:
//!
//! ```text
//! column        0   1   2   3   4          three taps, stride 1: column 2 is tap 2 of output 0, which is then complete,
//! output 0     [0   1   2]                 tap 1 of output 1 and tap 0 of output 2
//! output 1         [0   1   2]
//! output 2             [0   1   2]
//! ```

use super::super::store_sums;
use super::Outputs;
use crate::lanes::{Lanes, Task};

/// All outputs of a block, `K` × `K` taps, stride `S`.
///
/// Bounds are left out where there are none: their instructions take turns with multiply-adds, of which there are few.
pub(super) fn slide<L: Lanes, const K: usize, const S: usize>(lanes: L, outputs: Outputs<'_, '_>) {
    if outputs.clamp == [f32::NEG_INFINITY, f32::INFINITY] {
        lanes.vectorize(Slide::<K, S, false>(outputs));
    } else {
        lanes.vectorize(Slide::<K, S, true>(outputs));
    }
}

struct Slide<'a, 't, const K: usize, const S: usize, const CLAMPED: bool>(Outputs<'a, 't>);

impl<const K: usize, const S: usize, const CLAMPED: bool> Task for Slide<'_, '_, K, S, CLAMPED> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Outputs { plan, input, ref rows, weights, offset, clamp, .. } = self.0;
        let rows = rows.clone();
        let mut taps = [[lanes.splat(0.0); K]; K];
        for ky in 0..K {
            for kx in 0..K {
                taps[ky][kx] = lanes.load(&weights[(ky * K + kx) * L::WIDTH..]);
            }
        }
        let kernel = Window::<L, K, CLAMPED> {
            taps,
            offset: lanes.load(offset),
            clamp: clamp.map(|bound| lanes.splat(bound)),
        };
        let ([height, _], before) = (plan.geometry.input, plan.geometry.before[0]);
        let whole = input.channels == L::WIDTH;
        let mut out = self.0;
        let mut total = lanes.splat(0.0);
        let narrow = whole && plan.geometry.output[1] <= NARROW;
        let most = if narrow { const { most::<L, K>() } } else { 2 };
        let mut y = rows.start;
        while y < rows.end {
            let band = most.min(rows.end - y);
            let inside = y * S >= before && (y + band - 1) * S + K <= height + before;
            let sums = match (band, whole) {
                (4, _) if inside => kernel.band::<S, 4, true, true>(lanes, &mut out, y),
                (4, _) => kernel.band::<S, 4, true, false>(lanes, &mut out, y),
                (3, _) => kernel.band::<S, 3, true, false>(lanes, &mut out, y),
                (2, true) if inside => kernel.band::<S, 2, true, true>(lanes, &mut out, y),
                (2, true) => kernel.band::<S, 2, true, false>(lanes, &mut out, y),
                (2, false) => kernel.band::<S, 2, false, false>(lanes, &mut out, y),
                (_, true) => kernel.band::<S, 1, true, false>(lanes, &mut out, y),
                (_, false) => kernel.band::<S, 1, false, false>(lanes, &mut out, y),
            };
            total = lanes.add(total, sums);
            y += band;
        }
        store_sums(lanes, total, out.sums);
    }
}

/// Four rows instead of two pay where rows are at most so long: they begin less often.
const NARROW: usize = 32;

/// The most rows of outputs in a band: what 32 registers hold the taps and pending sums of, or sixteen.
const fn most<L: Lanes, const K: usize>() -> usize {
    if K == 3 && L::ROWS > 12 { 4 } else { 2 }
}

/// The most rows of input under a band: four rows of outputs, three taps, stride 2.
const INPUT_ROWS: usize = 9;

/// What stays in registers.
struct Window<L: Lanes, const K: usize, const CLAMPED: bool> {
    taps: [[L::V; K]; K],
    offset: L::V,
    clamp: [L::V; 2],
}

impl<L: Lanes, const K: usize, const CLAMPED: bool> Window<L, K, CLAMPED> {
    /// `R` rows of outputs from `y` on, and their sums. Where vectors are full, and where no row falls outside, nothing needs
    /// to be asked.
    #[inline(always)]
    fn band<const S: usize, const R: usize, const FULL: bool, const INSIDE: bool>(
        &self,
        lanes: L,
        outputs: &mut Outputs<'_, '_>,
        y: usize,
    ) -> L::V {
        let Outputs { plan, input, residual, ref mut out, .. } = *outputs;
        let (under, pending) = (const { (R - 1) * S + K }, const { K.div_ceil(S) });
        let ([height, columns], [_, width], [before_y, before_x]) =
            (plan.geometry.input, plan.geometry.output, plan.geometry.before);
        // Empty where a row falls outside the image.
        let mut lines: [&[f32]; INPUT_ROWS] = [&[]; INPUT_ROWS];
        let len = (columns - 1) * input.pixel + input.channels;
        for i in 0..under {
            let row = (y * S + i).wrapping_sub(before_y);
            if INSIDE || row < height {
                lines[i] = &input.x[row * columns * input.pixel..][..len];
            }
        }
        let mut sums = [[self.offset; K]; R];
        let mut total = lanes.splat(0.0);
        // The last outputs are complete some steps after they began.
        for step in 0..width + pending - 1 {
            for phase in 0..S {
                let column = (step * S + phase).wrapping_sub(before_x);
                if column >= columns {
                    continue;
                }
                let at = column * input.pixel;
                for i in 0..under {
                    if !INSIDE && lines[i].is_empty() {
                        continue;
                    }
                    let value = match FULL {
                        true => lanes.load(&lines[i][at..at + L::WIDTH]),
                        false => lanes.load_partial(&lines[i][at..][..input.channels]),
                    };
                    for r in 0..R {
                        if i < r * S || i - r * S >= K {
                            continue;
                        }
                        for p in 0..pending {
                            let kx = phase + p * S;
                            if kx < K {
                                sums[r][p] = lanes.mul_add(value, self.taps[i - r * S][kx], sums[r][p]);
                            }
                        }
                    }
                }
            }
            if step >= pending - 1 {
                for r in 0..R {
                    let pixel = (y + r) * width + step + 1 - pending;
                    let mut sum = sums[r][pending - 1];
                    if let Some(residual) = residual {
                        let residual = &residual.x[pixel * residual.pixel..][..input.channels];
                        sum = lanes.add(sum, lanes.load_partial(residual));
                    }
                    if CLAMPED {
                        sum = lanes.min(self.clamp[1], lanes.max(self.clamp[0], sum));
                    }
                    total = lanes.add(total, sum);
                    if FULL {
                        lanes.store(sum, out.row_mut(pixel));
                    } else {
                        lanes.store_partial(sum, out.row_mut(pixel));
                    }
                }
            }
            for r in 0..R {
                for p in (1..pending).rev() {
                    sums[r][p] = sums[r][p - 1];
                }
                sums[r][0] = self.offset;
            }
        }
        total
    }
}
