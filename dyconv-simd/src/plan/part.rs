//! How a block's pixels are divided among threads where there are too few blocks to keep all of them busy.
//!
//! Every part aggregates the block's panels for itself. A sum is never divided, and an output is the same whichever tile
//! it falls in, so neither the cut nor the number of threads has an influence on a result.

use std::ops::Range;

use super::{Kernel, Plan};

/// Some pixels of the grid, one after another: whole rows, or, where there is one row, some of its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
    /// The first pixel.
    pub(crate) first: usize,
}

impl Part {
    pub(crate) fn pixels(&self) -> usize {
        self.rows.len() * self.columns.len()
    }
}

/// What aggregating a weight from one expert costs, in multiply-adds that use it: it is loaded from a second-level cache.
const AGGREGATE: usize = 2;

impl Plan {
    /// Into how many parts every one of `blocks` blocks is cut, so that `threads` threads are done soonest.
    pub(crate) fn parts(&self, threads: usize, blocks: usize) -> usize {
        let divisible = matches!(self.kernel, Kernel::Direct | Kernel::Pointwise | Kernel::Across);
        if threads < 2 || !divisible {
            return 1;
        }
        let [units, unit_pixels] = self.units();
        let aggregation = AGGREGATE * self.config.experts();
        let time = |parts: usize| {
            let part = units.div_ceil(parts) * unit_pixels + aggregation;
            // In the end a thread waits for half a part.
            (blocks * parts).div_ceil(threads) * part + part / 2
        };
        (1..=units.min(4 * threads)).min_by_key(|&parts| time(parts)).unwrap_or(1)
    }

    /// All pixels.
    pub(crate) fn whole(&self) -> Part {
        let [height, width] = self.grid;
        Part { rows: 0..height, columns: 0..width, first: 0 }
    }

    /// The grid, cut into so many parts.
    pub(crate) fn cut(&self, parts: usize) -> impl Iterator<Item = Part> + Clone {
        let ([height, width], [rows, columns]) = (self.grid, self.patch);
        let [units, _] = self.units();
        (0..parts).map(move |part| {
            let [start, end] = [part, part + 1].map(|part| part * units / parts);
            let (rows, columns) = match height {
                1 => (0..1, start * columns..(end * columns).min(width)),
                _ => (start * rows..(end * rows).min(height), 0..width),
            };
            let first = rows.start * width + columns.start;
            Part { rows, columns, first }
        })
    }

    /// What parts consist of, so that none has more patches than it must: how many there are, and pixels of each.
    fn units(&self) -> [usize; 2] {
        let ([height, width], [rows, columns]) = (self.grid, self.patch);
        if height == 1 { [width.div_ceil(columns), columns] } else { [height.div_ceil(rows), rows * width] }
    }
}

#[cfg(test)]
mod tests {
    use dyconv_core::{Attention, Layout, Options, Padding, Precision};

    use super::*;
    use crate::plan::tests::AVX512;

    fn plan(options: Options, image: usize) -> Plan {
        let config = options.experts(4).attention(Attention::Given).layout(Layout::Nhwc).build().unwrap();
        Plan::choose(&config, [image, image], AVX512, Precision::F32, None, None).unwrap()
    }

    fn square(channels: usize) -> Options {
        Options::new(channels, channels).kernel_size([3, 3]).padding(Padding::Same)
    }

    #[test]
    fn few_large_blocks_are_divided_and_many_or_small_ones_are_not() {
        let one_block = plan(Options::new(96, 24), 56);
        assert_eq!(one_block.parts(1, 1), 1);
        for threads in 2..9 {
            let parts = one_block.parts(threads, 1);
            assert!((threads..=4 * threads).contains(&parts), "{threads} threads, {parts} parts");
        }
        assert_eq!(plan(square(512), 7).parts(2, 16), 1);
        assert_eq!(plan(square(512), 2).parts(8, 16), 1);
        assert_eq!(plan(square(96).groups(96), 56).parts(8, 6), 1, "depthwise");
        // Three blocks for two threads.
        assert!(plan(Options::new(192, 96), 28).parts(2, 3) > 1);
    }

    #[test]
    fn parts_follow_each_other_and_cover_every_pixel_once() {
        for (options, image) in [(square(64), 9), (square(64), 56), (Options::new(64, 64), 7)] {
            let plan = plan(options, image);
            for parts in 1..=plan.units()[0] {
                assert_eq!(plan.cut(1).collect::<Vec<_>>(), [plan.whole()]);
                let mut next = 0;
                for part in plan.cut(parts) {
                    assert_eq!(part.first, next);
                    next += part.pixels();
                    let covered: usize =
                        plan.runs(&part, 2).map(|(patch, count)| count * patch.pixels()).sum();
                    assert_eq!(covered, part.pixels());
                }
                assert_eq!(next, plan.pixels());
            }
        }
    }
}
