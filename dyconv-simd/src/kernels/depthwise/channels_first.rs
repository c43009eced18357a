//! The vector over pixels of one channel: weights are broadcast, and each input plane is copied with its padding, so
//! that every tap of a row of outputs is one contiguous read.

use dyconv_core::{Activation, Layout, Shape};

use super::Work;
use crate::buffer::Buffer;
use crate::kernels::activate::activate;
use crate::kernels::direct::{Window, copy_row};
use crate::kernels::output::Target;
use crate::lanes::{Lanes, Task};
use crate::plan::Plan;

pub(super) fn run<L: Lanes>(lanes: L, work: Work<'_, '_>, plane: &mut Buffer) {
    let Work { plan, block, sample, weights, offset, target } = work;
    let Target::Planes(planes) = target else { return };
    let Some(window) = &plan.copy else { return };
    let [height, width] = plan.geometry.input;
    let input = height * width;
    let multiplier = plan.config.out_channels_per_group();
    // The last reads of the last row may run a vector past its end.
    let copy = plane.scratch(window.len() + L::WIDTH);
    let mut copied = None;
    for (lane, out) in planes.chunks_exact_mut(plan.pixels()).enumerate() {
        let channel = (block.first + lane) / multiplier;
        if copied != Some(channel) {
            copy_plane(lanes, window, &sample.x[channel * input..][..input], [height, width], copy);
            copied = Some(channel);
        }
        let residual = sample.residual.map(|r| &r[(block.first + lane) * plan.pixels()..][..plan.pixels()]);
        lanes.vectorize(Plane {
            plan,
            window,
            copy,
            weights: &weights[lane..],
            offset: offset[lane],
            residual,
            activation: sample.activation,
            out,
        });
    }
}

fn copy_plane<L: Lanes>(lanes: L, window: &Window, x: &[f32], [height, width]: [usize; 2], copy: &mut [f32]) {
    // One channel of an image that exists.
    let Ok(shape) = Shape::new(1, 1, height, width) else { return };
    for (position, row) in copy.chunks_exact_mut(window.row).take(window.rows.len).enumerate() {
        copy_row(lanes, window, (x, shape, Layout::Nchw), position, row);
    }
}

/// All outputs of one channel.
struct Plane<'a> {
    plan: &'a Plan,
    window: &'a Window,
    copy: &'a [f32],
    /// A weight every `WIDTH` floats.
    weights: &'a [f32],
    offset: f32,
    residual: Option<&'a [f32]>,
    activation: Activation,
    out: &'a mut [f32],
}

impl Task for Plane<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let width = self.plan.geometry.output[1];
        for (y, row) in self.out.chunks_exact_mut(width).enumerate() {
            for (i, out) in row.chunks_mut(L::WIDTH).enumerate() {
                let x = i * L::WIDTH;
                let mut sum = lanes.splat(self.offset);
                let mut tap = 0;
                for rows in &self.window.rows.offsets {
                    for column in &self.window.columns.offsets {
                        let read = &self.copy[(rows + y) * self.window.row + column + x..];
                        let weight = lanes.splat(self.weights[tap * L::WIDTH]);
                        sum = lanes.mul_add(weight, lanes.load(read), sum);
                        tap += 1;
                    }
                }
                if let Some(residual) = self.residual {
                    sum = lanes.add(sum, lanes.load_partial(&residual[y * width + x..][..out.len()]));
                }
                lanes.store_partial(activate(lanes, self.activation, sum), out);
            }
        }
    }
}
