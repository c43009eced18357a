//! Kernels, strides and dilations of any kind: every output looks for the taps that fall within the image.

use std::ops::Range;

use super::super::store_sums;
use super::Outputs;
use crate::lanes::{Lanes, Task};
use crate::plan::Plan;

/// All outputs of a block.
pub(super) struct AnyTaps<'a, 't>(pub(super) Outputs<'a, 't>);

impl Task for AnyTaps<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Outputs { plan, input, rows, weights, offset, clamp: [low, high], residual, out, sums } = self.0;
        let (config, width) = (&plan.config, plan.geometry.output[1]);
        let ([_, kw], [stride_y, stride_x]) = (config.kernel_size(), config.stride());
        let [dilation_y, dilation_x] = config.dilation();
        let [before_y, before_x] = plan.geometry.before;
        let mut total = lanes.splat(0.0);
        for y in rows {
            let mut row_total = lanes.splat(0.0);
            for x in 0..width {
                let mut sum = lanes.load(offset);
                for ky in inside(plan, 0, y) {
                    let row = (y * stride_y + ky * dilation_y - before_y) * plan.geometry.input[1];
                    for kx in inside(plan, 1, x) {
                        let at = (row + x * stride_x + kx * dilation_x - before_x) * input.pixel;
                        let value = lanes.load_partial(&input.x[at..][..input.channels]);
                        let weight = lanes.load(&weights[(ky * kw + kx) * L::WIDTH..]);
                        sum = lanes.mul_add(value, weight, sum);
                    }
                }
                let pixel = y * width + x;
                if let Some(residual) = residual {
                    let residual = &residual.x[pixel * residual.pixel..][..input.channels];
                    sum = lanes.add(sum, lanes.load_partial(residual));
                }
                let sum = lanes.min(lanes.splat(high), lanes.max(lanes.splat(low), sum));
                lanes.store_partial(sum, out.row_mut(pixel));
                row_total = lanes.add(row_total, sum);
            }
            total = lanes.add(total, row_total);
        }
        store_sums(lanes, total, sums);
    }
}

/// The taps of output `o` that fall within the image, along one axis.
#[inline(always)]
fn inside(plan: &Plan, axis: usize, o: usize) -> Range<usize> {
    let (config, geometry) = (&plan.config, &plan.geometry);
    let (kernel, dilation, input) =
        (config.kernel_size()[axis], config.dilation()[axis], geometry.input[axis]);
    let (start, before) = (o * config.stride()[axis], geometry.before[axis]);
    let first = before.saturating_sub(start).div_ceil(dilation).min(kernel);
    let end = (input + before).saturating_sub(start).div_ceil(dilation).min(kernel);
    first..end.max(first)
}
