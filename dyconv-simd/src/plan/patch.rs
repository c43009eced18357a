//! How an output is cut into rectangles that fit the registers.

use dyconv_core::{Config, Layout};

use super::{Kernel, Plan};
use crate::isa::Traits;
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

    /// The output cut into patches of even width, row by row.
    pub(crate) fn patches(&self) -> impl Iterator<Item = Patch> {
        let ([height, width], [rows, columns]) = (self.grid, self.patch);
        let cuts = width.div_ceil(columns);
        (0..height).step_by(rows).flat_map(move |y| {
            (0..cuts).map(move |cut| {
                let [x, end] = [cut, cut + 1].map(|cut| cut * (width / cuts) + cut.min(width % cuts));
                Patch { y, x, rows: rows.min(height - y), columns: end - x }
            })
        })
    }
}

/// Pixels of a register tile.
pub(super) fn rows(kernel: Kernel, config: &Config, traits: Traits) -> usize {
    match (kernel, config.layout()) {
        (Kernel::Pointwise, Layout::Nhwc) => traits.rows.min(STRIDED_ROWS),
        _ => traits.rows,
    }
}

/// The most rows and columns of a patch: a row cut evenly, or two short rows at once.
pub(super) fn patch([height, width]: [usize; 2], most: usize) -> [usize; 2] {
    let columns = width.div_ceil(width.div_ceil(most));
    let rows = if height > 1 && 2 * columns <= most { 2 } else { 1 };
    [rows, columns]
}

#[cfg(test)]
mod tests {
    use dyconv_core::Options;

    use super::*;
    use crate::plan::tests::{AVX2, AVX512, PORTABLE};

    #[test]
    fn patches_cover_every_pixel_once_within_the_registers() {
        for height in 1..9 {
            for width in 1..40 {
                for traits in [AVX512, AVX2, PORTABLE] {
                    let config = Options::new(1, 1).kernel_size([1, 1]).build().unwrap();
                    let geometry = config.geometry(height, width).unwrap();
                    for kernel in [Kernel::Direct, Kernel::Pointwise] {
                        let plan = Plan::new(kernel, &config, geometry, traits).unwrap();
                        let mut seen = vec![0; plan.pixels()];
                        for patch in plan.patches() {
                            assert!(patch.pixels() <= traits.rows && patch.pixels() <= plan.patch_pixels());
                            for y in patch.y..patch.y + patch.rows {
                                for x in patch.x..patch.x + patch.columns {
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
    fn seven_by_seven_takes_two_rows_and_wide_rows_are_cut_evenly() {
        assert_eq!(patch([7, 7], 14), [2, 7]);
        assert_eq!(patch([56, 56], 14), [1, 14]);
        assert_eq!(patch([10, 15], 14), [1, 8]);
        assert_eq!(patch([1, 49], 14), [1, 13]);
    }
}
