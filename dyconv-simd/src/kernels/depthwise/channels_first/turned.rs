//! Small planes: a vector of them at a time is turned over in cache, convolved with the vector over channels, and turned back.
//!
//! What begins a plane, and what its last vector leaves empty, would take longer than the two turns.

use dyconv_core::Geometry;

use super::super::channels_last::{self, Input, Outputs};
use super::Planes;
use crate::kernels::output::Columns;
use crate::lanes::{Lanes, transpose};

/// Whether planes of outputs are small: what is turned over with a vector of them stays near.
pub(super) fn pays(geometry: &Geometry) -> bool {
    geometry.output[0].saturating_mul(geometry.output[1]) <= 256
}

/// All planes of a block, as many as output channels.
pub(super) fn run<L: Lanes>(lanes: L, planes: Planes<'_>) {
    let Planes { plan, input, weights, offset, clamp, residual, out, sums, scratch } = planes;
    let [pixels, outputs] = [plan.geometry.input, plan.geometry.output].map(|[height, width]| height * width);
    let channels = out.len() / outputs;
    let memory = scratch.scratch(self::scratch(&plan.geometry, L::WIDTH));
    let (x, rest) = memory.split_at_mut(pixels * L::WIDTH);
    let (y, turned) = rest.split_at_mut(outputs * L::WIDTH);
    transpose(lanes, (input.planes(plan), pixels), (x, L::WIDTH), [channels, pixels]);
    // Vectors are whole: what lies in lanes beyond the block's channels goes nowhere.
    let whole = |x| Input { x, pixel: L::WIDTH, channels: L::WIDTH };
    let residual = residual.map(|residual| {
        transpose(lanes, (residual, outputs), (&mut *turned, L::WIDTH), [channels, outputs]);
        whole(turned)
    });
    let work = Outputs {
        plan,
        input: whole(x),
        rows: 0..plan.geometry.output[0],
        weights,
        offset,
        clamp,
        residual: residual.as_ref(),
        out: &mut Columns::new(y, L::WIDTH),
        sums,
    };
    channels_last::convolve(lanes, work);
    transpose(lanes, (y, L::WIDTH), (out, outputs), [outputs, channels]);
}

/// Floats of a vector of planes of inputs, of outputs and of a residual.
pub(super) fn scratch(geometry: &Geometry, vector: usize) -> usize {
    let pixels = |[height, width]: [usize; 2]| height * width;
    (pixels(geometry.input) + 2 * pixels(geometry.output)) * vector
}
