//! The vector over channels: weights and input are both vectors, and the input is read where it lies. Taps outside
//! the image are left out, so there is no padded copy; outputs whose taps all fall inside are computed several at a
//! time, to use each weight more than once.

use super::{Work, taps_inside};
use crate::buffer::Buffer;
use crate::kernels::activate::activate;
use crate::kernels::output::Target;
use crate::lanes::{Lanes, Task};
use crate::plan::Plan;

/// Outputs computed at a time.
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
    for y in 0..plan.geometry.output[0] {
        let row = Row { plan, x, pixel, y, weights, offset, channels: block.channels, first: block.first };
        let residual = sample.residual;
        if block.channels == L::WIDTH {
            lanes.vectorize(WholeRow::<true> { row, residual, activation: sample.activation, target });
        } else {
            lanes.vectorize(WholeRow::<false> { row, residual, activation: sample.activation, target });
        }
    }
}

#[derive(Clone, Copy)]
struct Row<'a> {
    plan: &'a Plan,
    /// Input of the block's channels: a pixel every `pixel` floats.
    x: &'a [f32],
    pixel: usize,
    y: usize,
    weights: &'a [f32],
    offset: &'a [f32],
    channels: usize,
    first: usize,
}

/// One row of outputs; `WHOLE` where the block's channels fill the vector.
struct WholeRow<'a, 't, const WHOLE: bool> {
    row: Row<'a>,
    residual: Option<&'a [f32]>,
    activation: dyconv_core::Activation,
    target: &'a mut Target<'t>,
}

impl<const WHOLE: bool> Task for WholeRow<'_, '_, WHOLE> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let plan = self.row.plan;
        let (width, taps) = (plan.geometry.output[1], plan.config.kernel_size()[1]);
        let mut x = 0;
        while x < width {
            // Where the first and the last of a tile have all their taps inside, so have those between.
            let inside = x + TILE <= width
                && taps_inside(plan, 1, x).len() == taps
                && taps_inside(plan, 1, x + TILE - 1).len() == taps;
            if inside {
                self.tile::<L, TILE>(lanes, x);
                x += TILE;
            } else {
                self.tile::<L, 1>(lanes, x);
                x += 1;
            }
        }
    }
}

impl<const WHOLE: bool> WholeRow<'_, '_, WHOLE> {
    #[inline(always)]
    fn tile<L: Lanes, const T: usize>(&mut self, lanes: L, x0: usize) {
        let Row { plan, x, pixel, y, weights, offset, channels, .. } = self.row;
        let (config, geometry) = (&plan.config, &plan.geometry);
        let ([stride_y, stride_x], [dilation_y, dilation_x]) = (config.stride(), config.dilation());
        let columns = taps_inside(plan, 1, x0);
        let mut sums = [lanes.load(offset); T];
        for ky in taps_inside(plan, 0, y) {
            let input_row = (y * stride_y + ky * dilation_y - geometry.before[0]) * geometry.input[1];
            for kx in columns.clone() {
                let w = lanes.load(&weights[(ky * config.kernel_size()[1] + kx) * L::WIDTH..]);
                let column = x0 * stride_x + kx * dilation_x - geometry.before[1];
                let first = &x[(input_row + column) * pixel..];
                for (t, sum) in sums.iter_mut().enumerate() {
                    let x = &first[t * stride_x * pixel..];
                    let x = if WHOLE { lanes.load(x) } else { lanes.load_partial(&x[..channels]) };
                    *sum = lanes.mul_add(x, w, *sum);
                }
            }
        }
        let Target::Columns(out) = &mut *self.target else { return };
        for (t, &sum) in sums.iter().enumerate() {
            let p = y * geometry.output[1] + x0 + t;
            let mut sum = sum;
            if let Some(residual) = self.residual {
                let start = p * plan.out_channels + self.row.first;
                sum = lanes.add(sum, lanes.load_partial(&residual[start..][..channels]));
            }
            lanes.store_partial(activate(lanes, self.activation, sum), out.row_mut(p));
        }
    }
}
