//! Blocks of narrow groups: output channels of one group that a thread computes at four pixels, in registers alone.
//!
//! | | channels × pixels | loads per product |
//! | --- | --- | --- |
//! | quad | 4 × 4 | 1/2 |
//! | panel | 8 × 4 | 3/8 |
//!
//! A tile loads less per product and asks less often what is padding, but multiplies the rows that a group doesn't have:
//! of four output channels, as in ResNeXt-50's first stage, the smallest tile uses an eighth, and pads 36 products to 48.

use crate::limits::Limits;

/// A block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Block {
    Quad,
    Panel,
}

/// Pixels of a block; of one channel in a depthwise layer.
pub(crate) const PIXELS: u32 = 4;

/// Output channels of the widest group: every block loads the group's input again.
pub(crate) const MOST_ROWS: usize = 32;

impl Block {
    pub(crate) const ALL: [Self; 2] = [Self::Quad, Self::Panel];

    /// Output channels.
    pub(crate) fn rows(self) -> u32 {
        match self {
            Self::Quad => 4,
            Self::Panel => 8,
        }
    }

    /// The constant that `narrow.wgsl` lacks.
    pub(crate) fn wgsl(self) -> &'static str {
        match self {
            Self::Quad => "const QUADS: u32 = 1u;\n",
            Self::Panel => "const QUADS: u32 = 2u;\n",
        }
    }

    /// Time of one product in it, in that of one in a huge tile: instructions, counted. For 16 products a quad has as many
    /// others, which load, compare with the input's bounds and find the next channel; a panel has them for 32.
    fn worth(self) -> f64 {
        match self {
            Self::Quad => 2.0,
            Self::Panel => 1.5,
        }
    }

    /// Time of one product per output, as [`Tile::time`](crate::tile::Tile::time) has it, for `count` groups of `rows`
    /// output channels and `pixels` output pixels.
    pub(crate) fn time(self, rows: usize, pixels: usize, count: usize, limits: &Limits) -> f64 {
        let units = rows.div_ceil(self.rows() as usize) as f64
            * pixels.div_ceil(PIXELS as usize) as f64
            * count as f64;
        let waves = (units / f64::from(limits.busy_threads)).ceil();
        waves * f64::from(self.rows() * PIXELS) * self.worth()
    }

    /// The cheaper one, and its time.
    pub(crate) fn choose(rows: usize, pixels: usize, count: usize, limits: &Limits) -> (Self, f64) {
        let [quad, panel] = Self::ALL.map(|block| (block, block.time(rows, pixels, count, limits)));
        if quad.1 < panel.1 { quad } else { panel }
    }
}
