//! V = B·x·Bᵀ of a block of tile rows, once for all output channels that a thread computes: the vector over input channels.

use std::ops::Range;

use dyconv_core::{Geometry, Layout};

use super::transform::{POINTS, input};
use crate::buffer::Buffer;
use crate::lanes::{Lanes, Task, transpose};
use crate::plan::{Cut, Tiles};

/// A sample's input, and which part of it a block of tile rows is computed from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Image<'a> {
    pub(super) x: &'a [f32],
    pub(super) layout: Layout,
    /// Channels of the whole sample.
    pub(super) in_channels: usize,
    pub(super) geometry: &'a Geometry,
    /// The first channel of the step, and how many it has.
    pub(super) channels: [usize; 2],
}

/// Writes a block's V, `[row point][column point][tile][channel]`.
pub(super) fn transform_input<L: Lanes>(
    lanes: L,
    tiles: &Tiles,
    block: &[Cut],
    image: Image<'_>,
    scratch: &mut Buffer,
    v: &mut [f32],
) {
    let Image { x, layout, in_channels, geometry, channels: [first, channels] } = image;
    let [height, width] = geometry.input;
    for (r, &rows) in block.iter().enumerate() {
        let (inside, start) = inputs(rows, geometry.before[0], height);
        let (source, pixel) = match layout {
            Layout::Nhwc => (&x[(start * width * in_channels + first).min(x.len())..], in_channels),
            Layout::Nchw => {
                let (pixels, row) = (inside.len() * width, channels.next_multiple_of(L::WIDTH));
                let strip = scratch.scratch(pixels * row);
                let planes = (&x[first * height * width + start * width..], height * width);
                transpose(lanes, planes, (&mut *strip, row), [channels, pixels]);
                (&*strip, row)
            }
        };
        let starts = tiles.starts(block, r, tiles.v_apart(), tiles.row);
        for (c, &columns) in tiles.columns.iter().enumerate() {
            let (across, left) = inputs(columns, geometry.before[1], width);
            let inside = if across.is_empty() { 0..0 } else { inside.clone() };
            let tile = Tile {
                x: source.get(left * pixel..).unwrap_or_default(),
                strides: [width * pixel, pixel],
                inside: [inside, across],
                channels,
                v: &mut *v,
                down: tiles.size.points() * tiles.v_apart(),
                starts: starts.map(|start| start + c * tiles.row),
            };
            of_size(lanes, [rows.outputs, columns.outputs], tile);
        }
    }
}

/// Which of a tile's inputs along an axis are no padding, and the first of them in the image.
fn inputs(cut: Cut, before: usize, extent: usize) -> (Range<usize>, usize) {
    let first = before.saturating_sub(cut.start).min(cut.points());
    let end = (before + extent).saturating_sub(cut.start).clamp(first, cut.points());
    (first..end, (cut.start + first).saturating_sub(before).min(extent))
}

/// A tile's inputs, and where its part of V is.
struct Tile<'a> {
    /// From the first input that isn't padding.
    x: &'a [f32],
    /// From row to row, from column to column.
    strides: [usize; 2],
    /// The rows and columns that aren't padding.
    inside: [Range<usize>; 2],
    channels: usize,
    v: &'a mut [f32],
    /// From one row's point to the next.
    down: usize,
    /// Where each column's point is.
    starts: [usize; POINTS],
}

/// One arm per size.
fn of_size<L: Lanes>(lanes: L, size: [usize; 2], tile: Tile<'_>) {
    macro_rules! sizes {
        ($(($r:literal $c:literal))+) => {
            match size {
                $([$r, $c] => lanes.vectorize(Sized::<$r, $c>(tile)).expect("inputs and V that a tile has"),)+
                _ => unreachable!("a tile of {size:?} outputs"),
            }
        };
    }
    sizes!((1 1)(1 2)(1 3)(1 4)(2 1)(2 2)(2 3)(2 4)(3 1)(3 2)(3 3)(3 4)(4 1)(4 2)(4 3)(4 4));
}

struct Sized<'a, const R: usize, const C: usize>(Tile<'a>);

impl<const R: usize, const C: usize> Task for Sized<'_, R, C> {
    /// Nothing where the tile isn't what it says.
    type Output = Option<()>;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Option<()> {
        let mut tile = self.0;
        let whole = tile.channels / L::WIDTH * L::WIDTH;
        let padded = tile.inside != [0..R + 2, 0..C + 2];
        for first in (0..whole).step_by(L::WIDTH) {
            if padded {
                tile.vector::<L, R, C, true>(lanes, first)?;
            } else {
                tile.vector::<L, R, C, false>(lanes, first)?;
            }
        }
        if whole < tile.channels {
            tile.vector::<L, R, C, true>(lanes, whole)?;
        }
        Some(())
    }
}

impl Tile<'_> {
    /// Transforms the vector of channels that begins with channel `first`; `PARTIAL` where inputs are padding, or channels
    /// too few.
    #[inline(always)]
    fn vector<L: Lanes, const R: usize, const C: usize, const PARTIAL: bool>(
        &mut self,
        lanes: L,
        first: usize,
    ) -> Option<()> {
        let zero = lanes.splat(0.0);
        let mut points = [[zero; POINTS]; POINTS];
        // No loop, so that nothing need be zeroed.
        points[0] = self.row::<L, R, C, PARTIAL>(lanes, 0, first)?;
        points[1] = self.row::<L, R, C, PARTIAL>(lanes, 1, first)?;
        points[2] = self.row::<L, R, C, PARTIAL>(lanes, 2, first)?;
        points[3] = self.row::<L, R, C, PARTIAL>(lanes, 3, first)?;
        points[4] = self.row::<L, R, C, PARTIAL>(lanes, 4, first)?;
        points[5] = self.row::<L, R, C, PARTIAL>(lanes, 5, first)?;
        for q in 0..C + 2 {
            let mut column = [zero; POINTS];
            for r in 0..R + 2 {
                column[r] = points[r][q];
            }
            let v = self.v.get_mut(self.starts[q] + first..)?;
            lanes.store_apart(input::<L, R>(lanes, column), v, self.down, R + 2)?;
        }
        Some(())
    }

    /// Transforms a row of such vectors.
    #[inline(always)]
    fn row<L: Lanes, const R: usize, const C: usize, const PARTIAL: bool>(
        &self,
        lanes: L,
        r: usize,
        first: usize,
    ) -> Option<[L::V; POINTS]> {
        let [rows, columns] = &self.inside;
        let mut values = [lanes.splat(0.0); POINTS];
        if r >= R + 2 || (PARTIAL && !rows.contains(&r)) {
            return Some(values);
        }
        let row = self.x.get((r - rows.start) * self.strides[0] + first..)?;
        if !PARTIAL {
            values = lanes.load_apart(row, self.strides[1], C + 2)?;
        }
        for c in 0..C + 2 {
            if PARTIAL && columns.contains(&c) {
                let channels = L::WIDTH.min(self.channels - first);
                let at = (c - columns.start) * self.strides[1];
                values[c] = lanes.load_partial(row.get(at..at + channels)?);
            }
        }
        Some(input::<L, C>(lanes, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_no_input() {
        let cut = |start, outputs| Cut { start, outputs };
        assert_eq!(inputs(cut(0, 4), 1, 7), (1..6, 0));
        assert_eq!(inputs(cut(4, 3), 1, 7), (0..4, 3));
        assert_eq!(inputs(cut(0, 4), 9, 2), (6..6, 0));
        assert_eq!(inputs(cut(12, 2), 9, 2), (0..0, 2));
        assert_eq!(inputs(cut(8, 2), 9, 2), (1..3, 0));
    }
}
