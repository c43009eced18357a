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
        for top in (0..rows).step_by(L::WIDTH) {
            let height = L::WIDTH.min(rows - top);
            for left in (0..columns).step_by(L::WIDTH) {
                let width = L::WIDTH.min(columns - left);
                let mut square = [lanes.splat(0.0); MAX_WIDTH];
                for (r, row) in square.iter_mut().enumerate().take(L::WIDTH) {
                    if r < height {
                        *row = lanes.load_partial(&src[(top + r) * src_stride + left..][..width]);
                    }
                }
                let square = lanes.transpose(square);
                for (c, &column) in square.iter().enumerate().take(L::WIDTH) {
                    if c < width {
                        lanes.store_partial(column, &mut dst[(left + c) * dst_stride + top..][..height]);
                    }
                }
            }
        }
    }
}
