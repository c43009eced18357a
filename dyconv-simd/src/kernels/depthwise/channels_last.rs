//! The vector over channels: weights and input are both vectors, and the input is read where it lies. Taps outside
//! the image are left out, so there is no padded copy. Several outputs of a row are computed at a time; with three taps
//! and a stride of one or two, as almost everywhere, an input is loaded once for all taps that it falls under.

use std::ops::Range;

use dyconv_core::Activation;

use super::{Work, taps_inside};
use crate::buffer::Buffer;
use crate::kernels::activate::activate;
use crate::kernels::output::Target;
use crate::lanes::{Lanes, MAX_WIDTH, Task};
use crate::plan::Plan;

/// The most outputs computed at a time.
const TILE: usize = 8;

pub(super) fn run<L: Lanes>(lanes: L, work: Work<'_, '_>, plane: &mut Buffer) {
    let Work { plan, block, sample, weights, offset, target } = work;
    let config = &plan.config;
    let (channels, multiplier) = (config.in_channels(), config.out_channels_per_group());
    let pixels = plan.geometry.input[0] * plan.geometry.input[1];
    // With a multiplier the lanes read input channels more than once: spread them out first.
    let (x, pixel) = if multiplier == 1 {
        (&sample.x[block.first..], channels)
    } else {
        let spread = plane.scratch(pixels * L::WIDTH);
        for (out, x) in spread.chunks_exact_mut(L::WIDTH).zip(sample.x.chunks_exact(channels)) {
            for (lane, out) in out.iter_mut().enumerate().take(block.channels) {
                *out = x[(block.first + lane) / multiplier];
            }
        }
        (&*spread, L::WIDTH)
    };
    let ([_, stride], [_, dilation], [_, taps]) = (config.stride(), config.dilation(), config.kernel_size());
    let row = match (taps, dilation, stride) {
        (3, 1, 1) => row::<L, 3, 1>,
        (3, 1, 2) => row::<L, 3, 2>,
        _ => row::<L, 0, 0>,
    };
    for y in 0..plan.geometry.output[0] {
        let (residual, activation) = (sample.residual, sample.activation);
        let (first, channels) = (block.first, block.channels);
        let rows = taps_inside(plan, 0, y);
        row(
            lanes,
            Row { plan, x, pixel, y, rows, weights, offset, channels, first, residual, activation, target },
        );
    }
}

fn row<L: Lanes, const TAPS: usize, const STRIDE: usize>(lanes: L, row: Row<'_, '_>) {
    lanes.vectorize(Taps::<'_, '_, TAPS, STRIDE>(row));
}

/// The output of a tile, if any, that reads this column with this tap.
#[inline(always)]
fn output_of<const STRIDE: usize, const T: usize>(column: usize, tap: usize) -> Option<usize> {
    let t = column.checked_sub(tap)?.checked_div(STRIDE)?;
    (t < T && t * STRIDE + tap == column).then_some(t)
}

/// One row of outputs of a block.
struct Row<'a, 't> {
    plan: &'a Plan,
    /// Input of the block's channels: a pixel every `pixel` floats.
    x: &'a [f32],
    pixel: usize,
    y: usize,
    /// The rows of taps that fall within the image.
    rows: Range<usize>,
    weights: &'a [f32],
    offset: &'a [f32],
    channels: usize,
    /// The block's first channel.
    first: usize,
    residual: Option<&'a [f32]>,
    activation: Activation,
    target: &'a mut Target<'t>,
}

/// A row with as many taps and such a stride; any where they are 0.
struct Taps<'a, 't, const TAPS: usize, const STRIDE: usize>(Row<'a, 't>);

impl<const TAPS: usize, const STRIDE: usize> Task for Taps<'_, '_, TAPS, STRIDE> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let (config, geometry) = (&self.0.plan.config, &self.0.plan.geometry);
        let (stride, reach) = (config.stride()[1], config.reach()[1]);
        let ([_, input], [_, width], [_, before]) = (geometry.input, geometry.output, geometry.before);
        let mut x = 0;
        while x < width {
            // Where vectors are full and no tap of that many outputs falls outside, nothing needs to be asked.
            let inside = |outputs: usize| {
                self.0.channels == L::WIDTH
                    && x + outputs <= width
                    && x * stride >= before
                    && (x + outputs - 1) * stride + reach <= input + before
            };
            x += match width - x {
                // Eight sums and what they need are more than sixteen registers.
                _ if L::ROWS >= TILE && inside(TILE) => self.tile::<L, TILE, true>(lanes, x),
                _ if L::ROWS < TILE && inside(4) => self.tile::<L, 4, true>(lanes, x),
                7 => self.tile::<L, 7, false>(lanes, x),
                4.. => self.tile::<L, 4, false>(lanes, x),
                _ => self.tile::<L, 1, false>(lanes, x),
            };
        }
    }
}

impl<const TAPS: usize, const STRIDE: usize> Taps<'_, '_, TAPS, STRIDE> {
    /// `T` outputs from `x0` on.
    #[inline(always)]
    fn tile<L: Lanes, const T: usize, const INSIDE: bool>(&mut self, lanes: L, x0: usize) -> usize {
        let Row { plan, x, pixel, y, ref rows, weights, offset, channels, .. } = self.0;
        let (config, geometry) = (&plan.config, &plan.geometry);
        let ([_, kw], [stride_y, stride_x]) = (config.kernel_size(), config.stride());
        let [dilation_y, dilation_x] = config.dilation();
        let width = geometry.input[1];
        // Columns left of the image wrap around to beyond its right end.
        let start = (x0 * stride_x).wrapping_sub(geometry.before[1]);
        let mut sums = [lanes.load(offset); T];
        for ky in rows.clone() {
            let input_y = y * stride_y + ky * dilation_y - geometry.before[0];
            let input = &x[input_y * width * pixel..];
            let input = if INSIDE { &input[start * pixel..] } else { input };
            let value = |column: usize| {
                if INSIDE {
                    return Some(lanes.load(&input[column * pixel..]));
                }
                let column = start.wrapping_add(column);
                (column < width).then(|| lanes.load_partial(&input[column * pixel..][..channels]))
            };
            let weights = &weights[ky * kw * L::WIDTH..];
            if TAPS == 0 {
                for k in 0..kw {
                    let w = lanes.load(&weights[k * L::WIDTH..]);
                    for (t, sum) in sums.iter_mut().enumerate() {
                        if let Some(value) = value(t * stride_x + k * dilation_x) {
                            *sum = lanes.mul_add(value, w, *sum);
                        }
                    }
                }
                continue;
            }
            let mut w = [lanes.splat(0.0); TAPS];
            for (k, w) in w.iter_mut().enumerate() {
                *w = lanes.load(&weights[k * L::WIDTH..]);
            }
            let mut rest = input;
            for column in 0..(T - 1) * STRIDE + TAPS {
                let value = if INSIDE {
                    // Step by step, so that one place and not one per column is kept.
                    rest = if column > 0 { &rest[pixel..] } else { rest };
                    lanes.load(rest)
                } else {
                    let Some(value) = value(column) else { continue };
                    value
                };
                for (k, &w) in w.iter().enumerate() {
                    if let Some(t) = output_of::<STRIDE, T>(column, k) {
                        sums[t] = lanes.mul_add(value, w, sums[t]);
                    }
                }
            }
        }
        self.finish(lanes, x0, sums)
    }

    /// Steps 6 and 7, and the store.
    #[inline(always)]
    fn finish<L: Lanes, const T: usize>(&mut self, lanes: L, x0: usize, sums: [L::V; T]) -> usize {
        let Row { plan, y, channels, first, residual, activation, ref mut target, .. } = self.0;
        let Target::Columns(out) = &mut **target else { return T };
        // Through memory: activations that call functions would else keep the sums there all along.
        let mut waiting = [0.0; TILE * MAX_WIDTH];
        for (sum, waiting) in sums.into_iter().zip(waiting.chunks_exact_mut(L::WIDTH)) {
            lanes.store(sum, waiting);
        }
        for (t, sum) in waiting.chunks_exact(L::WIDTH).enumerate().take(T) {
            let pixel = y * plan.geometry.output[1] + x0 + t;
            let mut sum = lanes.load(sum);
            if let Some(residual) = residual {
                let start = pixel * plan.out_channels + first;
                sum = lanes.add(sum, lanes.load_partial(&residual[start..][..channels]));
            }
            lanes.store_partial(activate(lanes, activation, sum), out.row_mut(pixel));
        }
        T
    }
}
