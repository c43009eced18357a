//! Where a block of output channels of one sample goes.
//!
//! Channels first, a block is a run of whole planes. Channels last, it is a few columns of every row (pixel). Where
//! threads compute its pixels in parts these are columns of planes, or rows. What different threads compute lies
//! interleaved: the only place where slices can't say that threads don't meet. [`Columns`] says it instead: a matrix is
//! cut into rectangles, each given away once, and each gives out only its own.

use std::marker::PhantomData;
use std::slice;

use dyconv_core::Layout;

/// Cuts one sample's output among `blocks`, numbers of channels that are together all of them, and each block among
/// `parts`, the same of pixels. A piece has a row for each pixel or, channels first, each channel.
pub(crate) fn split<'a, B: Iterator<Item = usize>, P: Iterator<Item = usize> + Clone>(
    layout: Layout,
    sample: &'a mut [f32],
    pixels: usize,
    blocks: B,
    parts: P,
) -> impl Iterator<Item = Columns<'a>> + use<'a, B, P> {
    let channels = sample.len() / pixels;
    let mut rest = match layout {
        Layout::Nchw => Columns::new(sample, pixels),
        Layout::Nhwc => Columns::new(sample, channels),
    };
    blocks.flat_map(move |channels| {
        let mut block = match layout {
            Layout::Nchw => rest.take_rows(channels),
            Layout::Nhwc => rest.take_columns(channels),
        };
        parts.clone().map(move |pixels| match layout {
            Layout::Nchw => block.take_columns(pixels),
            Layout::Nhwc => block.take_rows(pixels),
        })
    })
}

/// Some columns of some rows of a matrix, and the right to write them.
#[derive(Debug)]
pub(crate) struct Columns<'a> {
    base: *mut f32,
    rows: usize,
    stride: usize,
    start: usize,
    width: usize,
    matrix: PhantomData<&'a mut [f32]>,
}

// SAFETY: a piece reaches only its own elements, which were given to it alone, and floats may cross threads.
unsafe impl Send for Columns<'_> {}

impl<'a> Columns<'a> {
    /// The whole rows of `stride` floats that `matrix` has.
    pub(crate) fn new(matrix: &'a mut [f32], stride: usize) -> Self {
        let rows = matrix.len().checked_div(stride).unwrap_or(0);
        Self { base: matrix.as_mut_ptr(), rows, stride, start: 0, width: stride, matrix: PhantomData }
    }

    /// Gives its first `rows` rows away.
    fn take_rows(&mut self, rows: usize) -> Self {
        assert!(rows <= self.rows, "rows are given away once");
        let piece = Self { rows, ..*self };
        // SAFETY: `rows` is at most how many there are, so this is within the matrix, or just past its end.
        self.base = unsafe { self.base.add(rows * self.stride) };
        self.rows -= rows;
        piece
    }

    /// Gives its first `width` columns away.
    fn take_columns(&mut self, width: usize) -> Self {
        assert!(width <= self.width, "columns are given away once");
        let piece = Self { width, ..*self };
        self.start += width;
        self.width -= width;
        piece
    }
}

impl Columns<'_> {
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// All of it, where rows have nothing but this piece's columns: whole planes.
    pub(crate) fn planes(&mut self) -> &mut [f32] {
        assert_eq!(self.width, self.stride, "whole rows");
        // SAFETY: the matrix that `base` points to has `rows` rows of `stride` floats, all of which are this piece's, which
        // is borrowed mutably for as long as the slice.
        unsafe { slice::from_raw_parts_mut(self.base, self.rows * self.stride) }
    }

    #[inline(always)]
    fn offset(&self, row: usize) -> usize {
        assert!(row < self.rows, "a row of the matrix");
        row * self.stride + self.start
    }

    /// All of it.
    pub(crate) fn whole(&mut self) -> Columns<'_> {
        Columns { ..*self }
    }

    /// Some of its channels, from `first` on.
    pub(crate) fn channels(&mut self, layout: Layout, first: usize, channels: usize) -> Columns<'_> {
        let [rows, width] = [self.rows, self.width];
        match layout {
            Layout::Nchw => self.part([first, 0], [channels, width]),
            Layout::Nhwc => self.part([0, first], [rows, channels]),
        }
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
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let offset = self.offset(row);
        // SAFETY: `offset` is within the matrix that `base` points to, as `row` < `rows` and `start` < `stride`.
        let start = unsafe { self.base.add(offset) };
        // SAFETY: `width` floats follow within the row; they were given to this piece alone,
        // which is borrowed mutably for as long as the slice.
        unsafe { slice::from_raw_parts_mut(start, self.width) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_belongs_to_one_piece() {
        let (blocks, parts) = ([3, 1, 4], [2, 3]);
        for layout in Layout::ALL {
            let mut out = vec![0.0; 8 * 5];
            std::thread::scope(|scope| {
                let pieces = split(layout, &mut out, 5, blocks.into_iter(), parts.into_iter());
                for (i, mut piece) in pieces.enumerate() {
                    scope.spawn(move || {
                        for row in 0..piece.rows() {
                            piece.row_mut(row).iter_mut().for_each(|x| *x += i as f32 + 1.0);
                        }
                        let (channels, pixels) = (blocks[i / 2], parts[i % 2]);
                        let extent = [piece.rows(), piece.row_mut(0).len()];
                        assert_eq!(
                            extent,
                            if layout == Layout::Nchw { [channels, pixels] } else { [pixels, channels] }
                        );
                    });
                }
            });
            for (i, &got) in out.iter().enumerate() {
                let [channel, pixel] = if layout == Layout::Nchw { [i / 5, i % 5] } else { [i % 8, i / 8] };
                let want =
                    [1.0, 1.0, 1.0, 3.0, 5.0, 5.0, 5.0, 5.0][channel] + if pixel < 2 { 0.0 } else { 1.0 };
                assert_eq!(got, want);
            }
        }
    }

    #[test]
    fn a_part_reaches_its_own_elements_and_no_others() {
        let mut out: Vec<f32> = (0..20).map(|i| i as f32).collect();
        let mut whole = Columns::new(&mut out, 5).take_columns(4);
        let mut part = whole.part([1, 2], [2, 2]);
        assert_eq!((part.row_mut(0).to_vec(), part.row_mut(1)), (vec![7.0, 8.0], &mut [12.0, 13.0][..]));
        part.row_mut(1).fill(0.0);
        assert_eq!(whole.channels(Layout::Nchw, 3, 1).row_mut(0), &mut [15.0, 16.0, 17.0, 18.0]);
        assert_eq!(whole.channels(Layout::Nhwc, 1, 2).row_mut(3), &mut [16.0, 17.0]);
        assert_eq!(out.iter().filter(|&&x| x == 0.0).count(), 3);
        let mut planes = [1.0; 6];
        Columns::new(&mut planes, 3).take_rows(1).planes().fill(0.0);
        assert_eq!(planes, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_part_ends_within_the_piece() {
        for (from, extent) in [([3, 0], [2, 1]), ([5, 0], [0, 1]), ([0, 2], [1, 3]), ([0, 5], [1, 0])] {
            let part = move || Columns::new(&mut [0.0; 20], 5).take_columns(4).part(from, extent).rows;
            assert!(std::panic::catch_unwind(part).is_err(), "{from:?}, {extent:?}");
        }
    }

    #[test]
    #[should_panic(expected = "columns are given away once")]
    fn more_columns_than_there_are_cannot_be_taken() {
        split(Layout::Nhwc, &mut [0.0; 8], 2, [3, 2].into_iter(), [2].into_iter()).for_each(drop);
    }

    #[test]
    #[should_panic(expected = "rows are given away once")]
    fn more_rows_than_there_are_cannot_be_taken() {
        split(Layout::Nhwc, &mut [0.0; 8], 2, [4].into_iter(), [1, 2].into_iter()).for_each(drop);
    }

    #[test]
    #[should_panic(expected = "a row of the matrix")]
    fn rows_beyond_the_last_cannot_be_reached() {
        for mut piece in split(Layout::Nhwc, &mut [0.0; 8], 2, [4].into_iter(), [1, 1].into_iter()) {
            piece.row_mut(1)[0] = 1.0;
        }
    }

    #[test]
    #[should_panic(expected = "whole rows")]
    fn planes_that_others_share_are_not_given_whole() {
        Columns::new(&mut [0.0; 8], 4).take_columns(2).planes().fill(0.0);
    }
}
