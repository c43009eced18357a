//! Where a block of output channels of one sample goes.
//!
//! Channels first, a block is a run of whole planes. Channels last, it is a few columns of every row (pixel), and
//! blocks that different threads compute lie interleaved: the only place where slices can't say that threads don't
//! meet. [`Columns`] says it instead: a matrix is cut into columns once, and each piece gives out only its own.

use std::marker::PhantomData;
use std::slice;

use dyconv_core::Layout;

use crate::pack::Block;

/// A block's share of one sample's output.
#[derive(Debug)]
pub(crate) enum Target<'a> {
    /// `[channel][pixel]`
    Planes(&'a mut [f32]),
    /// `[pixel]` rows of the block's channels.
    Columns(Columns<'a>),
}

impl Target<'_> {
    /// The block as a matrix: a row for each pixel, or, channels first, for each channel.
    pub(crate) fn matrix(&mut self, pixels: usize) -> Columns<'_> {
        match self {
            Self::Planes(planes) => Cut::new(planes, pixels).take(pixels),
            Self::Columns(columns) => columns.part([0, 0], [columns.rows, columns.width]),
        }
    }
}

/// Cuts one sample's output among blocks, which are ascending and together all channels.
pub(crate) fn split<'a>(
    layout: Layout,
    sample: &'a mut [f32],
    pixels: usize,
    blocks: &'a [Block],
) -> impl Iterator<Item = (&'a Block, Target<'a>)> {
    let (mut planes, mut columns) = match layout {
        Layout::Nchw => (sample, Cut::new(&mut [], 0)),
        Layout::Nhwc => {
            let channels = sample.len() / pixels;
            (Default::default(), Cut::new(sample, channels))
        }
    };
    blocks.iter().map(move |block| {
        let target = match layout {
            Layout::Nchw => {
                let (head, tail) = std::mem::take(&mut planes).split_at_mut(block.channels * pixels);
                planes = tail;
                Target::Planes(head)
            }
            Layout::Nhwc => Target::Columns(columns.take(block.channels)),
        };
        (block, target)
    })
}

/// A matrix whose columns are given away from the left, each once.
struct Cut<'a> {
    base: *mut f32,
    rows: usize,
    stride: usize,
    taken: usize,
    matrix: PhantomData<&'a mut [f32]>,
}

// SAFETY: the columns that aren't given away yet are its alone, and floats may cross threads.
unsafe impl Send for Cut<'_> {}

impl<'a> Cut<'a> {
    /// The whole rows of `stride` floats that `matrix` has.
    fn new(matrix: &'a mut [f32], stride: usize) -> Self {
        let rows = matrix.len().checked_div(stride).unwrap_or(0);
        Self { base: matrix.as_mut_ptr(), rows, stride, taken: 0, matrix: PhantomData }
    }

    /// The next `width` columns.
    fn take(&mut self, width: usize) -> Columns<'a> {
        assert!(width <= self.stride - self.taken, "columns are given away once");
        let start = self.taken;
        self.taken += width;
        Columns { base: self.base, rows: self.rows, stride: self.stride, start, width, matrix: PhantomData }
    }
}

/// Some columns of a matrix, and the right to write them.
#[derive(Debug)]
pub(crate) struct Columns<'a> {
    base: *mut f32,
    rows: usize,
    stride: usize,
    start: usize,
    width: usize,
    matrix: PhantomData<&'a mut [f32]>,
}

// SAFETY: a piece reaches only its own columns, which `Cut` gave to it alone, and floats may cross threads.
unsafe impl Send for Columns<'_> {}

impl Columns<'_> {
    #[inline(always)]
    fn offset(&self, row: usize) -> usize {
        assert!(row < self.rows, "a row of the matrix");
        row * self.stride + self.start
    }

    /// Some of its rows, from `row` on, and of their columns, from `column` on.
    #[inline(always)]
    pub(crate) fn part(&mut self, [row, column]: [usize; 2], [rows, width]: [usize; 2]) -> Columns<'_> {
        assert!(row <= self.rows && rows <= self.rows - row, "rows of the piece");
        assert!(column <= self.width && width <= self.width - column, "columns of the piece");
        // SAFETY: `row` ≤ `rows`, so this is within the matrix that `base` points to, or just past its end.
        let base = unsafe { self.base.add(row * self.stride) };
        Columns { base, rows, stride: self.stride, start: self.start + column, width, matrix: PhantomData }
    }

    /// This piece's columns of a row.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        let offset = self.offset(row);
        // SAFETY: `offset` is within the matrix that `base` points to, as `row` < `rows` and `start` < `stride`.
        let start = unsafe { self.base.add(offset) };
        // SAFETY: `Cut::take` checked that `width` floats follow within the row, and gave them to this piece alone,
        // which is borrowed for as long as the slice.
        unsafe { slice::from_raw_parts(start, self.width) }
    }

    /// This piece's columns of a row, to be written.
    #[inline(always)]
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let offset = self.offset(row);
        // SAFETY: `offset` is within the matrix that `base` points to, as `row` < `rows` and `start` < `stride`.
        let start = unsafe { self.base.add(offset) };
        // SAFETY: `Cut::take` checked that `width` floats follow within the row, and gave them to this piece alone,
        // which is borrowed mutably for as long as the slice.
        unsafe { slice::from_raw_parts_mut(start, self.width) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(widths: &[usize]) -> Vec<Block> {
        let mut first = 0;
        let place = |&channels: &usize| {
            let block = Block { input: 0, first, channels, vectors: 1, lanes_before: 0 };
            first += channels;
            block
        };
        widths.iter().map(place).collect()
    }

    #[test]
    fn every_element_belongs_to_one_block() {
        let blocks = blocks(&[3, 1, 4]);
        for layout in Layout::ALL {
            let mut out = vec![0.0; 8 * 5];
            std::thread::scope(|scope| {
                for (block, target) in split(layout, &mut out, 5, &blocks) {
                    scope.spawn(move || match target {
                        Target::Planes(planes) => {
                            planes.iter_mut().for_each(|x| *x += block.first as f32 + 1.0)
                        }
                        Target::Columns(mut columns) => {
                            for row in 0..5 {
                                columns.row_mut(row).iter_mut().for_each(|x| *x += block.first as f32 + 1.0);
                                assert_eq!(columns.row(row).len(), block.channels);
                            }
                        }
                    });
                }
            });
            for (i, &got) in out.iter().enumerate() {
                let channel = if layout == Layout::Nchw { i / 5 } else { i % 8 };
                assert_eq!(got, [1.0, 1.0, 1.0, 4.0, 5.0, 5.0, 5.0, 5.0][channel]);
            }
        }
    }

    #[test]
    fn a_part_reaches_its_own_elements_and_no_others() {
        let mut out: Vec<f32> = (0..20).map(|i| i as f32).collect();
        let mut whole = Cut::new(&mut out, 5).take(4);
        let mut part = whole.part([1, 2], [2, 2]);
        assert_eq!((part.row(0), part.row(1)), (&[7.0, 8.0][..], &[12.0, 13.0][..]));
        part.row_mut(1).fill(0.0);
        assert_eq!(out.iter().filter(|&&x| x == 0.0).count(), 3);
        let mut planes = [0.0; 6];
        assert_eq!(Target::Planes(&mut planes).matrix(3).row(1).len(), 3);
    }

    #[test]
    fn a_part_ends_within_the_piece() {
        for (from, extent) in [([3, 0], [2, 1]), ([5, 0], [0, 1]), ([0, 2], [1, 3]), ([0, 5], [1, 0])] {
            let part = move || Cut::new(&mut [0.0; 20], 5).take(4).part(from, extent).rows;
            assert!(std::panic::catch_unwind(part).is_err(), "{from:?}, {extent:?}");
        }
    }

    #[test]
    #[should_panic(expected = "columns are given away once")]
    fn more_columns_than_there_are_cannot_be_taken() {
        split(Layout::Nhwc, &mut [0.0; 8], 2, &blocks(&[3, 2])).for_each(drop);
    }

    #[test]
    #[should_panic(expected = "a row of the matrix")]
    fn rows_beyond_the_last_cannot_be_reached() {
        let mut out = [0.0; 8];
        for (_, target) in split(Layout::Nhwc, &mut out, 2, &blocks(&[4])) {
            if let Target::Columns(mut columns) = target {
                columns.row_mut(2)[0] = 1.0;
            }
        }
    }
}
