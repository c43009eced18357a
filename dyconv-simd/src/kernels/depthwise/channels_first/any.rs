//! Kernels, strides and dilations of any kind: each input plane is copied with its padding, so that every tap of
//! neighbouring outputs is one contiguous read.
//!
//! In the copy, output `(y, x)` is `y·row + x` after where a tap begins, whatever the stride. Where rows are hardly
//! longer than the outputs', the whole plane is one run of outputs, a few of which lie between rows and are dropped: a
//! row of seven would fill less than half a vector. Else every row is a run.

use super::Planes;
use crate::kernels::direct::{Segment, Window};
use crate::lanes::{Lanes, Task};
use crate::plan::Plan;

/// Vectors computed at a time.
const TILE: usize = 4;

/// Any taps.
pub(super) fn run<L: Lanes>(lanes: L, planes: Planes<'_>, window: &Window, offsets: &[usize]) {
    let Planes { plan, input, weights, offset, clamp, residual, out, sums: channel_sums, scratch: buffer } =
        planes;
    let (copy, sums) = buffer
        .scratch(scratch(window, plan.geometry.output[0], L::WIDTH))
        .split_at_mut(window.len() + TILE * L::WIDTH);
    // The padding lies at the same place for every channel.
    copy.fill(0.0);
    let mut copied = None;
    for (lane, out) in out.chunks_exact_mut(plan.pixels()).enumerate() {
        let channel = (input.first + lane) / input.multiplier;
        if copied != Some(channel) {
            let (x, width) = (input.plane(plan, lane), plan.geometry.input[1]);
            lanes.vectorize(Copy { window, x, width, copy });
            copied = Some(channel);
        }
        for run in runs(plan, window, L::WIDTH) {
            let (weights, offset) = (&weights[lane..], offset[lane]);
            lanes.vectorize(Run { copy, offsets, weights, offset, run, sums });
        }
        let residual = residual.map(|residual| &residual[lane * out.len()..][..out.len()]);
        let (width, row) = (plan.geometry.output[1], window.row);
        let total = lanes.vectorize(Finish { sums, row, width, residual, clamp, out });
        if let Some(sum) = channel_sums.get_mut(lane) {
            *sum = total;
        }
    }
}

/// Floats of the copy and of the sums, each with room for the last tile's overhang.
pub(super) fn scratch(window: &Window, rows: usize, vector: usize) -> usize {
    window.len() + rows * window.row + 2 * TILE * vector
}

/// Copies one channel; the padding around it is there.
struct Copy<'a> {
    window: &'a Window,
    x: &'a [f32],
    width: usize,
    copy: &'a mut [f32],
}

impl Task for Copy<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { window, x, width, copy } = self;
        for (&source, row) in window.sources.iter().zip(copy.chunks_exact_mut(window.row)) {
            let Some(y) = source else { continue };
            for Segment { at, inside, first, step, .. } in &window.columns.segments {
                let out = &mut row[at + inside.start..at + inside.end];
                if out.is_empty() {
                    continue;
                }
                let input = &x[y * width + first..];
                if *step == 1 {
                    let input = input[..out.len()].chunks(L::WIDTH);
                    for (out, input) in out.chunks_mut(L::WIDTH).zip(input) {
                        lanes.store_partial(lanes.load_partial(input), out);
                    }
                } else {
                    out.iter_mut().zip(input.iter().step_by(*step)).for_each(|(out, &x)| *out = x);
                }
            }
        }
    }
}

/// The outputs as they lie in the copy: one run, or one for each row where that takes fewer vectors.
fn runs(plan: &Plan, window: &Window, vector: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let [height, width] = plan.geometry.output;
    let whole = (height - 1) * window.row + width;
    let one = whole.div_ceil(vector) <= height * width.div_ceil(vector);
    let (count, len) = if one { (1, whole) } else { (height, width) };
    let row = window.row;
    (0..count).map(move |y| y * row..y * row + len)
}

/// A run of outputs of one channel.
struct Run<'a> {
    copy: &'a [f32],
    /// Where each tap begins.
    offsets: &'a [usize],
    /// A weight every `WIDTH` floats.
    weights: &'a [f32],
    offset: f32,
    run: std::ops::Range<usize>,
    /// As they lie in the copy.
    sums: &'a mut [f32],
}

impl Task for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { copy, offsets, weights, offset, run, sums } = self;
        for start in run.step_by(TILE * L::WIDTH) {
            let mut tile = [lanes.splat(offset); TILE];
            for (&tap, weight) in offsets.iter().zip(weights.chunks(L::WIDTH)) {
                let weight = lanes.splat(weight[0]);
                let values = copy[tap + start..][..TILE * L::WIDTH].chunks_exact(L::WIDTH);
                for (sum, values) in tile.iter_mut().zip(values) {
                    *sum = lanes.mul_add(weight, lanes.load(values), *sum);
                }
            }
            let out = sums[start..][..TILE * L::WIDTH].chunks_exact_mut(L::WIDTH);
            for (&sum, out) in tile.iter().zip(out) {
                lanes.store(sum, out);
            }
        }
    }
}

/// Step 6 of one channel, the bounds of step 7, and the store; gives the channel's sum.
struct Finish<'a> {
    sums: &'a [f32],
    /// From one row of sums to the next.
    row: usize,
    width: usize,
    residual: Option<&'a [f32]>,
    clamp: [f32; 2],
    out: &'a mut [f32],
}

impl Task for Finish<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> f32 {
        let Self { sums, row, width, residual, clamp, out } = self;
        let [low, high] = clamp.map(|bound| lanes.splat(bound));
        let mut total = lanes.splat(0.0);
        for (y, out) in out.chunks_exact_mut(width).enumerate() {
            let sums = &sums[y * row..][..width];
            let residual = residual.map(|residual| &residual[y * width..][..width]);
            for (i, out) in out.chunks_mut(L::WIDTH).enumerate() {
                let mut sum = lanes.load_partial(&sums[i * L::WIDTH..]);
                if let Some(residual) = residual {
                    sum = lanes.add(sum, lanes.load_partial(&residual[i * L::WIDTH..]));
                }
                let sum = lanes.min(high, lanes.max(low, sum));
                lanes.store_partial(sum, out);
                total = lanes.add(total, lanes.keep(sum, out.len()));
            }
        }
        lanes.reduce_add(total)
    }
}
