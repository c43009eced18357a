//! Matrices turned over, a square of vectors at a time: how layouts meet.

use super::{Lanes, MAX_WIDTH, Task};

/// Writes `dst[c·dst_stride + r] = src[r·src_stride + c]` for `r < rows`, `c < columns`.
pub(crate) fn transpose<L: Lanes>(
    lanes: L,
    (src, src_stride): (&[f32], usize),
    (dst, dst_stride): (&mut [f32], usize),
    [rows, columns]: [usize; 2],
) {
    lanes.vectorize(Transpose { src, src_stride, dst, dst_stride, rows, columns });
}

struct Transpose<'a> {
    src: &'a [f32],
    src_stride: usize,
    dst: &'a mut [f32],
    dst_stride: usize,
    rows: usize,
    columns: usize,
}

impl Task for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { src, src_stride, dst, dst_stride, rows, columns } = self;
        let [height, width] = [rows, columns].map(|extent| L::WIDTH.min(extent));
        for top in (0..rows).step_by(L::WIDTH) {
            for left in (0..columns).step_by(L::WIDTH) {
                // The last square begins within the one before, so that it is whole, too.
                let (top, left) = (top.min(rows - height), left.min(columns - width));
                let src = &src[top * src_stride + left..];
                let dst = &mut dst[left * dst_stride + top..];
                if height == L::WIDTH && width == L::WIDTH {
                    whole(lanes, (src, src_stride), (dst, dst_stride));
                } else {
                    partial(lanes, (src, src_stride), (dst, dst_stride), [height, width]);
                }
            }
        }
    }
}

/// A whole square.
#[inline(always)]
fn whole<L: Lanes>(lanes: L, (src, src_stride): (&[f32], usize), (dst, dst_stride): (&mut [f32], usize)) {
    let mut square = [lanes.splat(0.0); MAX_WIDTH];
    for r in 0..L::WIDTH {
        square[r] = lanes.load(&src[r * src_stride..]);
    }
    let square = lanes.transpose(square);
    for c in 0..L::WIDTH {
        lanes.store(square[c], &mut dst[c * dst_stride..]);
    }
}

/// A square of a matrix that has fewer rows or columns.
#[inline(always)]
fn partial<L: Lanes>(
    lanes: L,
    (src, src_stride): (&[f32], usize),
    (dst, dst_stride): (&mut [f32], usize),
    [height, width]: [usize; 2],
) {
    let mut square = [lanes.splat(0.0); MAX_WIDTH];
    for (r, row) in square.iter_mut().enumerate().take(height) {
        *row = lanes.load_partial(&src[r * src_stride..][..width]);
    }
    let square = lanes.transpose(square);
    for (c, &column) in square.iter().enumerate().take(width) {
        lanes.store_partial(column, &mut dst[c * dst_stride..][..height]);
    }
}
