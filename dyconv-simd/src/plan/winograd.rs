//! How an output is cut into Winograd tiles, and where everything about them lies.
//!
//! A tile of m outputs along an axis is computed from the values of two polynomials at m + 2 points, always the first of
//! 0, 1, −1, ∞, 2, −2 (with three points, which determine a kernel of three taps, no ∞ is missed). So tiles of all sizes
//! share the transformed weights, and an axis is cut into the fewest tiles, evenly: 14 = 4 + 4 + 3 + 3, 7 = 4 + 3. A
//! smaller tile has no part in the products at the points that it lacks.
//!
//! ```text
//! V  [step][block of tile rows][row point][column point][tile][input channel of the step]
//! U  [row point][column point][input channel of the step][vector][lane]
//! M  [block of tile rows][row point][column point][tile][vector][lane]
//! ```
//!
//! All of it belongs to the thread that computes the tiles: V of one group's input channels, U of one block of output
//! channels and one step, M of one block.
//!
//! From one pair of points to the next it is an odd number of cache lines: a transform writes or reads all pairs at once,
//! and with a power of two they would compete for the same few places of a first-level cache.

use std::ops::Range;
use std::slice::Chunks;

use dyconv_core::{Config, Error, Geometry, Result};

use crate::isa::Traits;

/// The most outputs of a tile along an axis.
pub(crate) const MOST: usize = 4;

/// A tile along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Its first output.
    pub(crate) start: usize,
    /// How many there are.
    pub(crate) outputs: usize,
}

impl Cut {
    /// Inputs, and points.
    pub(crate) fn points(self) -> usize {
        self.outputs + 2
    }
}

/// The largest tiles of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// F(2×2, 3×3)
    Two,
    /// F(4×4, 3×3)
    Four,
}

impl Size {
    pub(crate) fn outputs(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => MOST,
        }
    }

    /// Points along an axis.
    pub(crate) fn points(self) -> usize {
        self.outputs() + 2
    }
}

/// Pairs of points, one after another, at which as many tiles have a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alike {
    /// The first of them.
    pub(crate) first: usize,
    /// How many they are.
    pub(crate) pairs: usize,
    /// Tiles.
    pub(crate) count: usize,
}

/// An output cut into tiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tiles {
    pub(crate) size: Size,
    /// The largest first.
    pub(crate) rows: Vec<Cut>,
    /// The largest first.
    pub(crate) columns: Vec<Cut>,
    /// Rows of tiles that are computed one after another, from the transformed input to outputs.
    pub(crate) block: usize,
    /// Floats of V's rows: the channels of a step, in whole vectors.
    pub(crate) row: usize,
    /// Steps of the reduction.
    pub(crate) steps: usize,
}

/// What a block of tile rows reads of V and keeps in M may take. It goes by once, pair of points by pair, so it may be half
/// of a second-level cache of 1 MiB; the larger it is, the less often it reads U.
const BLOCK_BYTES: usize = 512 << 10;

/// Transformed weights take at most this: they stay in such a cache while all tiles use them, beside the experts of the next
/// step that come meanwhile. With fewer channels to a step, sums would go to M and back more often.
const U_BYTES: usize = 320 << 10;

/// A cache line, in floats.
const LINE: usize = 16;

impl Tiles {
    /// # Errors
    /// Where V is larger than memory can be.
    pub(crate) fn new(size: Size, config: &Config, geometry: &Geometry, traits: Traits) -> Result<Self> {
        let [rows, columns] = geometry.output.map(|extent| cuts(extent, size.outputs()));
        let channels = config.in_channels_per_group();
        let step = step(size, channels, traits);
        let (row, lanes) = (step.next_multiple_of(traits.width), traits.vectors * traits.width);
        let tile_row = size.points().pow(2) * columns.len() * (row + lanes) * size_of::<f32>();
        let blocks = rows.len().div_ceil((BLOCK_BYTES / tile_row).max(1));
        let tiles = Self {
            size,
            block: rows.len().div_ceil(blocks),
            rows,
            columns,
            row,
            steps: channels.div_ceil(step),
        };
        let v = (tiles.steps * blocks) as f64 * (size.points().pow(2) * tile_row) as f64;
        if v > isize::MAX as f64 {
            return Err(Error::OutOfMemory { requested: u64::MAX, in_use: 0, budget: isize::MAX as u64 });
        }
        Ok(tiles)
    }

    /// Input channels of a step.
    pub(crate) fn step(&self, channels: usize) -> usize {
        self.row.min(channels)
    }

    /// The rows of tiles that compute these outputs, which begin and end with one, in blocks.
    pub(crate) fn blocks(&self, outputs: &Range<usize>) -> Chunks<'_, Cut> {
        let [start, end] =
            [outputs.start, outputs.end].map(|output| self.rows.partition_point(|cut| cut.start < output));
        self.rows[start..end].chunks(self.block)
    }

    /// The outputs of some rows of tiles.
    pub(crate) fn outputs(&self, rows: Range<usize>) -> Range<usize> {
        let end = |row: usize| self.rows[..row].last().map_or(0, |cut| cut.start + cut.outputs);
        end(rows.start)..end(rows.end)
    }

    /// Tiles of a block that have a part at a pair of points: rows of tiles times columns.
    pub(crate) fn at(&self, block: &[Cut], [row, column]: [usize; 2]) -> [usize; 2] {
        [having(block, row), having(&self.columns, column)]
    }

    /// All pairs of points, those that follow each other with as many tiles together.
    pub(crate) fn alike(&self, block: &[Cut]) -> impl Iterator<Item = Alike> {
        let points = self.size.points();
        let down: [usize; MOST + 2] = std::array::from_fn(|point| having(block, point));
        let across: [usize; MOST + 2] = std::array::from_fn(|point| having(&self.columns, point));
        let count = move |pair: usize| down[pair / points] * across[pair % points];
        let mut next = 0;
        std::iter::from_fn(move || {
            let first = next;
            while next < points * points && count(next) == count(first) {
                next += 1;
            }
            (next > first).then(|| Alike { first, pairs: next - first, count: count(first) })
        })
    }

    /// Where the first of a row of tiles lies at each column's point, in a block whose tiles have `row` floats each and
    /// whose pairs of points are `apart` floats apart.
    pub(crate) fn starts(&self, block: &[Cut], r: usize, apart: usize, row: usize) -> [usize; MOST + 2] {
        std::array::from_fn(|q| q * apart + r * self.at(block, [0, q])[1] * row)
    }

    /// Floats from one pair of points to the next where each tile has `row` of them.
    fn apart(&self, row: usize) -> usize {
        odd_lines(self.block * self.columns.len() * row)
    }

    /// The same of V.
    pub(crate) fn v_apart(&self) -> usize {
        self.apart(self.row)
    }

    /// The same of M, where an output block has so many lanes.
    pub(crate) fn m_apart(&self, lanes: usize) -> usize {
        self.apart(lanes)
    }

    /// The same of U.
    pub(crate) fn u_apart(&self, lanes: usize) -> usize {
        odd_lines(self.row * lanes)
    }

    /// Pairs of points.
    pub(crate) fn pairs(&self) -> usize {
        self.size.points().pow(2)
    }

    /// Floats of V of a block of tile rows and one step.
    pub(crate) fn v_block(&self) -> usize {
        self.pairs() * self.v_apart()
    }

    /// Floats of V of so many blocks of tile rows.
    pub(crate) fn v_len(&self, blocks: usize) -> usize {
        self.steps * blocks * self.v_block()
    }

    /// Floats of M of a block of tile rows.
    pub(crate) fn m_block(&self, lanes: usize) -> usize {
        self.pairs() * self.m_apart(lanes)
    }

    /// Floats of M: of one of so many blocks, or of all where sums wait for the next step.
    pub(crate) fn m_len(&self, blocks: usize, lanes: usize) -> usize {
        let waiting = if self.steps > 1 { blocks } else { 1 };
        waiting * self.m_block(lanes)
    }

    /// Floats of U.
    pub(crate) fn u_len(&self, lanes: usize) -> usize {
        self.pairs() * self.u_apart(lanes)
    }

    /// Outputs of a row of tiles, of so many channels each.
    pub(crate) fn strip_len(&self, width: usize, lanes: usize) -> usize {
        self.size.outputs() * width * lanes
    }

    /// Products of a channel with a channel: pairs of points of all tiles.
    pub(crate) fn products(&self) -> usize {
        let points = |cuts: &[Cut]| cuts.iter().map(|cut| cut.points()).sum::<usize>();
        points(&self.rows) * points(&self.columns)
    }

    /// The tiles in words: `F(4×4)+F(3×3)`.
    pub(crate) fn name(&self) -> String {
        let has = |outputs: &usize| self.rows.iter().chain(&self.columns).any(|cut| cut.outputs == *outputs);
        let sizes: Vec<String> = (1..=MOST).rev().filter(has).map(|m| format!("F({m}×{m})")).collect();
        sizes.join("+")
    }
}

/// Input channels of a step: whole vectors, so that steps of V begin with one.
fn step(size: Size, channels: usize, traits: Traits) -> usize {
    let channel = size.points().pow(2) * traits.vectors * traits.width * size_of::<f32>();
    let most = (U_BYTES / channel / traits.width * traits.width).max(traits.width);
    let steps = channels.div_ceil(most);
    channels.div_ceil(steps).next_multiple_of(traits.width).min(channels)
}

/// The fewest tiles of at most so many outputs, evenly, the largest first.
fn cuts(extent: usize, most: usize) -> Vec<Cut> {
    let count = extent.div_ceil(most);
    let (each, more) = (extent / count, extent % count);
    let cut = |i: usize| Cut { start: i * each + i.min(more), outputs: each + usize::from(i < more) };
    (0..count).map(cut).collect()
}

/// How many tiles, which are the first, have a part at a point.
fn having(cuts: &[Cut], point: usize) -> usize {
    cuts.partition_point(|cut| cut.points() > point)
}

/// At least so many floats, as an odd number of cache lines.
fn odd_lines(floats: usize) -> usize {
    (floats.div_ceil(LINE) | 1) * LINE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_is_cut_evenly_the_largest_first() {
        let outputs = |extent, most| cuts(extent, most).iter().map(|cut| cut.outputs).collect::<Vec<_>>();
        assert_eq!(outputs(14, 4), [4, 4, 3, 3]);
        assert_eq!(outputs(7, 4), [4, 3]);
        assert_eq!(outputs(5, 4), [3, 2]);
        assert_eq!(outputs(7, 2), [2, 2, 2, 1]);
        for extent in 1..70 {
            for most in [2, 4] {
                let cuts = cuts(extent, most);
                let mut next = 0;
                for cut in &cuts {
                    assert_eq!(cut.start, next);
                    assert!((1..=most).contains(&cut.outputs));
                    next += cut.outputs;
                }
                assert!(next == extent && cuts.is_sorted_by_key(|cut| MOST - cut.outputs));
            }
        }
    }

    #[test]
    fn pairs_of_points_with_as_many_tiles_go_together() {
        let options = dyconv_core::Options::new(8, 8).kernel_size([3, 3]);
        let config = options.padding(dyconv_core::Padding::Same).build().unwrap();
        let alike = |image: usize| {
            let geometry = config.geometry(image, image).unwrap();
            let tiles = Tiles::new(Size::Four, &config, &geometry, crate::plan::tests::AVX512).unwrap();
            let alike: Vec<_> = tiles.alike(&tiles.rows).collect();
            for Alike { first, pairs, count } in &alike {
                for pair in *first..first + pairs {
                    let [down, across] = tiles.at(&tiles.rows, [pair / 6, pair % 6]);
                    assert_eq!(down * across, *count);
                }
            }
            alike
        };
        assert_eq!(alike(8), [Alike { first: 0, pairs: 36, count: 4 }]);
        let seven = alike(7);
        assert_eq!(
            seven.iter().map(|alike| alike.pairs).collect::<Vec<_>>(),
            [5, 1, 5, 1, 5, 1, 5, 1, 5, 6, 1]
        );
    }

    #[test]
    fn rows_of_tiles_are_found_by_their_outputs() {
        let options = dyconv_core::Options::new(64, 64).kernel_size([3, 3]);
        let config = options.padding(dyconv_core::Padding::Same).build().unwrap();
        let geometry = config.geometry(14, 14).unwrap();
        let tiles = Tiles::new(Size::Four, &config, &geometry, crate::plan::tests::AVX512).unwrap();
        assert_eq!(tiles.outputs(1..3), 4..11);
        let rows: Vec<Cut> = tiles.blocks(&(4..11)).flatten().copied().collect();
        assert_eq!(rows, [Cut { start: 4, outputs: 4 }, Cut { start: 8, outputs: 3 }]);
        assert_eq!(tiles.blocks(&tiles.outputs(0..4)).flatten().count(), 4);
    }

    #[test]
    fn smaller_tiles_have_no_part_at_the_last_points() {
        let cuts = cuts(14, 4);
        let counts: Vec<usize> = (0..6).map(|point| having(&cuts, point)).collect();
        assert_eq!(counts, [4, 4, 4, 4, 4, 2]);
    }

    #[test]
    fn pairs_of_points_are_an_odd_number_of_lines_apart() {
        for floats in [1, 16, 17, 64, 1000, 1024] {
            let apart = odd_lines(floats);
            assert!(apart >= floats && apart < floats + 2 * LINE && apart / LINE % 2 == 1);
        }
    }
}
