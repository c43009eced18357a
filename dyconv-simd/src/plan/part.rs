//! How a layer is divided among threads: by blocks of output channels, and each block's pixels in parts where there are
//! too few blocks to keep all threads busy.
//!
//! Every part aggregates the block's panels for itself. With Winograd every thread transforms the input that it needs for
//! itself, too, and so takes several blocks at a time: what one core has just written comes slowly to another. A sum is
//! never divided, and an output is the same whichever tile it falls in, so neither the cut nor the number of threads has an
//! influence on a result.

use std::ops::Range;

use super::winograd::Tiles;
use super::{Kernel, Plan, Reading};

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

/// What a thread computes in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Division {
    /// Blocks of output channels.
    pub(crate) blocks: usize,
    /// The number of parts into which their pixels are cut.
    pub(crate) parts: usize,
}

/// What aggregating a weight from one expert costs, in multiply-adds that use it: it is loaded from a second-level cache.
const AGGREGATE: usize = 2;

/// Runs of small blocks that each thread computes, for balance.
const RUNS: usize = 4;

/// What transforming a vector of weights takes, in multiply-adds of a vector: aggregating nine taps, which come from a
/// second-level cache, and 36 stores.
const TRANSFORM_WEIGHTS: usize = 150;

/// The same of a vector of a tile's inputs: 36 loads and stores.
const TRANSFORM_INPUT: usize = 340;

impl Plan {
    /// How `groups` groups of samples, each with `blocks` blocks, are divided, so that `threads` threads are done soonest;
    /// their pixels only where they are `divisible`.
    pub(crate) fn division(&self, threads: usize, [groups, blocks]: [usize; 2], divisible: bool) -> Division {
        match &self.reading {
            Reading::Tiles(_) if threads < 2 => Division { blocks, parts: 1 },
            Reading::Tiles(tiles) => self.tile_division(tiles, threads, [groups, blocks], divisible),
            // A block takes less than a microsecond, little more than giving it out.
            Reading::Planes(_) | Reading::Channels => {
                Division { blocks: (groups * blocks).div_ceil(RUNS * threads).min(blocks), parts: 1 }
            }
            _ if divisible => Division { blocks: 1, parts: self.parts(threads, groups * blocks) },
            _ => Division { blocks: 1, parts: 1 },
        }
    }

    /// As [`Plan::division`], in rows of tiles.
    fn tile_division(
        &self,
        tiles: &Tiles,
        threads: usize,
        [groups, blocks]: [usize; 2],
        divisible: bool,
    ) -> Division {
        let rows = tiles.rows.len();
        let vectors = self.reduction_channels * self.traits.vectors;
        let products = tiles.products() / rows * vectors;
        let weights = TRANSFORM_WEIGHTS * vectors;
        let input =
            TRANSFORM_INPUT * tiles.columns.len() * self.reduction_channels.div_ceil(self.traits.width);
        let time = |&Division { blocks: each, parts }: &Division| {
            let rows = rows.div_ceil(parts);
            let item = each * (rows * products + weights) + rows * input;
            (groups * blocks.div_ceil(each) * parts).div_ceil(threads) * item
        };
        let most = if divisible { rows.min(threads) } else { 1 };
        let divisions =
            (1..=most).flat_map(|parts| (1..=blocks).rev().map(move |blocks| Division { blocks, parts }));
        divisions.min_by_key(time).unwrap_or(Division { blocks, parts: 1 })
    }

    /// Into how many parts every one of `blocks` blocks is cut, so that `threads` threads are done soonest.
    fn parts(&self, threads: usize, blocks: usize) -> usize {
        let divisible =
            matches!(self.kernel, Kernel::Direct | Kernel::Pointwise | Kernel::Across | Kernel::Grouped);
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
            let (rows, columns) = match (&self.reading, height) {
                (Reading::Tiles(tiles), _) => (tiles.outputs(start..end), 0..width),
                (_, 1) => (0..1, start * columns..(end * columns).min(width)),
                _ => (start * rows..(end * rows).min(height), 0..width),
            };
            let first = rows.start * width + columns.start;
            Part { rows, columns, first }
        })
    }

    /// What parts consist of, so that none has more patches than it must: how many there are, and pixels of each, at most.
    fn units(&self) -> [usize; 2] {
        let ([height, width], [rows, columns]) = (self.grid, self.patch);
        if let Reading::Tiles(tiles) = &self.reading {
            return [tiles.rows.len(), tiles.size.outputs() * width];
        }
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
        let direct = Some(Kernel::Direct).filter(|_| config.groups() == 1 && !config.is_pointwise());
        Plan::choose(&config, [image, image], AVX512, Precision::F32, None, direct).unwrap()
    }

    fn tiled(channels: usize, image: usize) -> Plan {
        let config = square(channels).experts(4).attention(Attention::Given).build().unwrap();
        let kernel = Some(Kernel::WinogradF4);
        Plan::choose(&config, [image, image], AVX512, Precision::F32, None, kernel).unwrap()
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
    fn tiles_are_divided_where_threads_do_the_least_twice() {
        let division = |blocks, parts| Division { blocks, parts };
        let table = [
            // Rows of many tiles.
            (tiled(64, 56), 2, [1, 2], division(2, 2)),
            (tiled(64, 56), 4, [1, 2], division(1, 2)),
            // Many blocks.
            (tiled(256, 14), 2, [1, 8], division(4, 1)),
            (tiled(512, 7), 4, [1, 16], division(4, 1)),
            // Samples enough.
            (tiled(64, 56), 2, [8, 2], division(2, 1)),
            (tiled(64, 56), 1, [1, 2], division(2, 1)),
        ];
        for (plan, threads, work, want) in table {
            assert_eq!(plan.division(threads, work, true), want, "{} channels", plan.out_channels);
        }
        assert_eq!(tiled(64, 56).division(2, [1, 2], false), division(1, 1));
    }

    #[test]
    fn small_blocks_are_given_out_in_runs() {
        let plan = plan(square(960).groups(960), 7);
        for (threads, work, blocks) in
            [(1, [1, 60], 15), (2, [1, 60], 8), (2, [32, 60], 60), (64, [1, 60], 1)]
        {
            assert_eq!(plan.division(threads, work, true), Division { blocks, parts: 1 });
        }
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
        let plan = tiled(64, 14);
        let rows: Vec<_> = plan.cut(3).map(|part| part.rows).collect();
        assert_eq!(rows, [0..4, 4..8, 8..14]);
    }
}
