//! How an output is cut into rectangles that fit the registers.

use std::ops::Range;

use dyconv_core::{Config, Layout};

use super::{Kernel, Part, Plan};
use crate::isa::Traits;
use crate::kernels::across::pixel_vectors;
use crate::kernels::grouped::most_pixels;
use crate::kernels::mixing;
use crate::kernels::tile::STRIDED_ROWS;

/// A rectangle of pixels that one register tile computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patch {
    pub(crate) y: usize,
    pub(crate) x: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Patch {
    pub(crate) fn pixels(self) -> usize {
        self.rows * self.columns
    }
}

impl Plan {
    /// Pixels of the output.
    pub(crate) fn pixels(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    /// Pixels of the largest patch.
    pub(crate) fn patch_pixels(&self) -> usize {
        self.patch[0] * self.patch[1]
    }

    /// Pixels of a part whose sums are in memory at once, counted in whole vectors where those run over pixels, and once
    /// per expert where those are mixed: all of them, where they wait for the next step.
    pub(crate) fn waiting(&self, part: &Part) -> usize {
        let (whole, each) = match self.kernel {
            Kernel::Across => (self.traits.width, 1),
            Kernel::Mixing => (1, self.config.experts()),
            _ => (1, 1),
        };
        if self.step < self.reduction_channels {
            part.rows.len() * part.columns.len().next_multiple_of(whole) * each
        } else {
            self.patch_pixels().next_multiple_of(whole) * each
        }
    }

    /// A part of the output cut into patches, row by row: of even width, or of whole vectors where those run over pixels. Each
    /// comes with how many of its size, at most `most`, follow each other from it on.
    pub(crate) fn runs(&self, part: &Part, most: usize) -> impl Iterator<Item = (Patch, usize)> + use<> {
        let Part { rows: Range { start: top, end: bottom }, columns: Range { start: left, .. }, .. } = *part;
        let (width, [rows, columns]) = (part.columns.len(), self.patch);
        // How many patches of how many columns, twice.
        let [first, second] = match self.kernel {
            Kernel::Across => [(width / columns, columns), (1, width % columns)],
            _ => {
                let cuts = width.div_ceil(columns);
                // The smaller ones first, of which one may have registers left for π; see `kernels/first.rs`.
                [(cuts - width % cuts, width / cuts), (width % cuts, width / cuts + 1)]
            }
        };
        let parts = [(0, first), (first.0 * first.1, second)];
        (top..bottom).step_by(rows).flat_map(move |y| {
            parts.into_iter().filter(|(_, (count, columns))| count * columns > 0).flat_map(
                move |(start, (count, columns))| {
                    (0..count).step_by(most).map(move |i| {
                        let x = left + start + i * columns;
                        let patch = Patch { y, x, rows: rows.min(bottom - y), columns };
                        (patch, most.min(count - i))
                    })
                },
            )
        })
    }
}

/// Pixels of a register tile.
pub(super) fn rows(kernel: Kernel, config: &Config, traits: Traits) -> usize {
    match (kernel, config.layout()) {
        (Kernel::Pointwise, Layout::Nhwc) => traits.rows.min(STRIDED_ROWS),
        (Kernel::Grouped, _) => most_pixels(traits.rows, traits.vectors),
        _ => traits.rows,
    }
}

/// Channels and vectors of pixels of a tile whose vector runs over pixels.
pub(super) fn across(config: &Config, traits: Traits) -> [usize; 2] {
    let channels = config.out_channels_per_group().min(traits.across[0]);
    [channels, pixel_vectors(channels, traits.across)]
}

/// The most rows and columns of a patch: a row cut evenly, or two short rows at once; whole vectors of a row where those
/// run over pixels.
pub(super) fn patch(kernel: Kernel, grid: [usize; 2], config: &Config, traits: Traits) -> [usize; 2] {
    match kernel {
        Kernel::Across => [1, (across(config, traits)[1] * traits.width).min(grid[1])],
        Kernel::Grouped => [1, even(grid, rows(kernel, config, traits))[1]],
        Kernel::Mixing => even(grid, mixing::pixels(config.experts(), [traits.rows, traits.vectors])),
        _ => even(grid, rows(kernel, config, traits)),
    }
}

fn even([height, width]: [usize; 2], most: usize) -> [usize; 2] {
    let columns = width.div_ceil(width.div_ceil(most));
    let rows = if height > 1 && 2 * columns <= most { 2 } else { 1 };
    [rows, columns]
}

#[cfg(test)]
mod tests {
    use dyconv_core::{Options, Precision};

    use super::*;
    use crate::plan::tests::{AVX2, AVX512, PORTABLE};

    #[test]
    fn patches_cover_every_pixel_once_within_the_registers() {
        for height in 1..9 {
            for width in 1..40 {
                for traits in [AVX512, AVX2, PORTABLE] {
                    let config = Options::new(1, 1).kernel_size([1, 1]).build().unwrap();
                    let geometry = config.geometry(height, width).unwrap();
                    for kernel in [Kernel::Direct, Kernel::Pointwise, Kernel::Across, Kernel::Mixing] {
                        let plan = Plan::new(kernel, &config, geometry, traits, Precision::F32).unwrap();
                        let mut seen = vec![0; plan.pixels()];
                        for (run, count) in plan.runs(&plan.whole(), 3) {
                            assert!((1..=3).contains(&count));
                            let most = match kernel {
                                Kernel::Across => 3 * traits.width,
                                _ => traits.rows,
                            };
                            assert!(run.pixels() <= most && run.pixels() <= plan.patch_pixels());
                            for y in run.y..run.y + run.rows {
                                for x in run.x..run.x + count * run.columns {
                                    seen[y * plan.grid[1] + x] += 1;
                                }
                            }
                        }
                        assert!(seen.iter().all(|&count| count == 1), "{height}×{width}");
                    }
                }
            }
        }
    }

    #[test]
    fn few_channels_take_more_vectors_of_pixels() {
        let tile = |channels, groups, traits| {
            across(&Options::new(channels, channels).groups(groups).build().unwrap(), traits)
        };
        for (channels, groups, wanted) in
            [(96, 1, [24, 1]), (12, 1, [12, 2]), (128, 16, [8, 3]), (128, 32, [4, 3])]
        {
            assert_eq!(tile(channels, groups, AVX512), wanted);
        }
        assert_eq!([tile(96, 1, AVX2), tile(2, 1, AVX2)], [[4, 3], [2, 3]]);
        assert_eq!([tile(96, 1, PORTABLE), tile(3, 1, PORTABLE)], [[6, 1], [3, 2]]);
    }

    #[test]
    fn seven_by_seven_takes_two_rows_and_wide_rows_are_cut_evenly() {
        assert_eq!(even([7, 7], 14), [2, 7]);
        assert_eq!(even([56, 56], 14), [1, 14]);
        assert_eq!(even([10, 15], 14), [1, 8]);
        assert_eq!(even([1, 49], 14), [1, 13]);
    }
}
