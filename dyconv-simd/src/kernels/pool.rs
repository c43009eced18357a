//! Step 1: channel sums, for the mean over all pixels, and max pooling.
//!
//! Every channel is summed in one order that shapes and the vector width decide, whichever thread does it. Pixels are
//! summed in runs and the runs added, which keeps rounding errors from growing with the image.

use dyconv_core::{Error, Handle, Layout, Pool, Result, Shape, Tensor, reference};

use crate::lanes::{Lanes, Task};
use crate::tensor::{Recycled, SimdTensor};
use crate::threads::Threads;

/// Pixels in a run.
const RUN: usize = 64;

/// The sum of every channel of one sample.
pub(crate) fn channel_sums<L: Lanes>(
    lanes: L,
    sample: &[f32],
    shape: Shape,
    layout: Layout,
    out: &mut [f32],
) {
    match layout {
        Layout::Nchw => plane_sums(lanes, sample, shape.pixels(), out),
        Layout::Nhwc => {
            let row = |p: usize| &sample[p * shape.channels()..][..shape.channels()];
            lanes.vectorize(ColumnSums { row, pixels: shape.pixels(), out });
        }
    }
}

fn plane_sums<L: Lanes>(lanes: L, planes: &[f32], pixels: usize, out: &mut [f32]) {
    for (plane, out) in planes.chunks_exact(pixels).zip(out) {
        *out = lanes.vectorize(PlaneSum(plane));
    }
}

/// The sum of one slice.
struct PlaneSum<'a>(&'a [f32]);

impl Task for PlaneSum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> f32 {
        let mut total = lanes.splat(0.0);
        for run in self.0.chunks(RUN * L::WIDTH) {
            // Four sums at a time, since an addition takes about four cycles.
            let mut sums = [lanes.splat(0.0); 4];
            let pieces = run.chunks_exact(4 * L::WIDTH);
            let rest = pieces.remainder();
            for piece in pieces {
                for i in 0..4 {
                    sums[i] = lanes.add(sums[i], lanes.load(&piece[i * L::WIDTH..]));
                }
            }
            for (sum, piece) in sums.iter_mut().zip(rest.chunks(L::WIDTH)) {
                *sum = lanes.add(*sum, lanes.load_partial(piece));
            }
            total = lanes.add(total, lanes.add(lanes.add(sums[0], sums[1]), lanes.add(sums[2], sums[3])));
        }
        lanes.reduce_add(total)
    }
}

/// The sum of every column of some rows, eight vectors of them side by side, so that memory is read in long pieces.
struct ColumnSums<'a, R> {
    row: R,
    pixels: usize,
    out: &'a mut [f32],
}

impl<'r, R: Fn(usize) -> &'r [f32]> Task for ColumnSums<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { row, pixels, out } = self;
        let mut first = 0;
        for out in out.chunks_mut(8 * L::WIDTH) {
            let row = Piece { row: &row, first, columns: out.len() };
            first += out.len();
            // The fewer vectors, the more pixels at a time, since an addition takes about four cycles.
            match out.len().div_ceil(L::WIDTH) {
                1 => columns::<L, _, 1, 4>(lanes, row, pixels, out),
                2 => columns::<L, _, 2, 4>(lanes, row, pixels, out),
                3 => columns::<L, _, 3, 2>(lanes, row, pixels, out),
                4 => columns::<L, _, 4, 2>(lanes, row, pixels, out),
                5 => columns::<L, _, 5, 1>(lanes, row, pixels, out),
                6 => columns::<L, _, 6, 1>(lanes, row, pixels, out),
                7 => columns::<L, _, 7, 1>(lanes, row, pixels, out),
                _ => columns::<L, _, 8, 1>(lanes, row, pixels, out),
            }
        }
    }
}

/// Neighbouring columns of rows.
struct Piece<'a, R> {
    row: &'a R,
    first: usize,
    columns: usize,
}

impl<'r, R: Fn(usize) -> &'r [f32]> Piece<'_, R> {
    /// Adds row `p`, vector by vector, the last of which may be partial.
    #[inline(always)]
    fn add<L: Lanes, const V: usize>(&self, lanes: L, sums: &mut [L::V; V], p: usize) {
        let row = &(self.row)(p)[self.first..][..self.columns];
        let (whole, last) = row.split_at((V - 1) * L::WIDTH);
        for v in 0..V - 1 {
            sums[v] = lanes.add(sums[v], lanes.load(&whole[v * L::WIDTH..]));
        }
        sums[V - 1] = lanes.add(sums[V - 1], lanes.load_partial(last));
    }
}

/// The sums of `V` vectors of columns, `P` pixels at a time.
#[inline(always)]
fn columns<'r, L: Lanes, R: Fn(usize) -> &'r [f32], const V: usize, const P: usize>(
    lanes: L,
    row: Piece<'_, R>,
    pixels: usize,
    out: &mut [f32],
) {
    let mut total = [lanes.splat(0.0); V];
    for start in (0..pixels).step_by(RUN) {
        let end = pixels.min(start + RUN);
        let mut sums = [[lanes.splat(0.0); V]; P];
        let mut p = start;
        while p + P <= end {
            for (i, sums) in sums.iter_mut().enumerate() {
                row.add(lanes, sums, p + i);
            }
            p += P;
        }
        while p < end {
            row.add(lanes, &mut sums[0], p);
            p += 1;
        }
        for sums in sums {
            for v in 0..V {
                total[v] = lanes.add(total[v], sums[v]);
            }
        }
    }
    for (v, out) in (0..V).zip(out.chunks_mut(L::WIDTH)) {
        lanes.store_partial(total[v], out);
    }
}

/// Maxima over windows; padding counts as −∞ and a NaN wins. Rows of windows are divided among threads.
pub(crate) fn max_pool(
    threads: &Threads,
    recycled: &mut Recycled,
    x: &SimdTensor,
    kind: &Pool,
) -> Result<SimdTensor> {
    let Pool::Max { window, stride, padding } = *kind else {
        return Err(Error::invalid("pool", format!("{kind:?}"), "a maximum"));
    };
    let (shape, layout) = (x.shape(), x.layout());
    let shape_of = |batch| Shape::new(batch, 1, shape.height(), shape.width());
    // The reference says which windows are possible, and how many there are, without looking at any pixel.
    let counted = reference::pool(Tensor::zeros(shape_of(0)?, layout).view(), kind)?.shape();
    let out = Shape::new(shape.batch(), shape.channels(), counted.height(), counted.width())?;
    let [rows, columns] = [(shape.height(), 0), (shape.width(), 1)].map(|(input, axis)| {
        move |o: usize| {
            let first = o * stride[axis];
            first.saturating_sub(padding[axis])..(first + window[axis] - padding[axis]).min(input)
        }
    });
    // Channels first, every plane is an image of one channel; channels last, a sample is one of many.
    let (planes, depth) = match layout {
        Layout::Nchw => (shape.channels(), 1),
        Layout::Nhwc => (1, shape.channels()),
    };
    debug_assert_eq!(out.len(), shape.batch() * planes * out.pixels() * depth);
    let input_row = shape.width() * depth;
    let maxima = |(i, row): (usize, &mut [f32])| {
        row.fill(f32::NEG_INFINITY);
        let (plane, y) = (i / out.height(), i % out.height());
        for input_y in rows(y) {
            let input = &x.data()[(plane * shape.height() + input_y) * input_row..][..input_row];
            for (ox, best) in row.chunks_exact_mut(depth).enumerate() {
                for pixel in input.chunks_exact(depth).take(columns(ox).end).skip(columns(ox).start) {
                    best.iter_mut().zip(pixel).for_each(|(best, &x)| *best = larger(*best, x));
                }
            }
        }
    };
    let data = recycled.fill(out.len(), |data| {
        threads.for_each(data.chunks_exact_mut(out.width() * depth).enumerate(), maxima);
    });
    Ok(SimdTensor::new(out, layout, data))
}

/// The larger, or a NaN where there is one.
fn larger(best: f32, x: f32) -> f32 {
    if best > x || best.is_nan() { best } else { x }
}
