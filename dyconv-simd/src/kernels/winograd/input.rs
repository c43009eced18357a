//! V = B·x·Bᵀ of the tiles of a block, once for all output channels and threads: the vector over input channels.

use std::ops::Range;

use dyconv_core::{Geometry, Layout};

use super::transform::{POINTS, input};
use crate::buffer::Buffer;
use crate::lanes::{Lanes, Task, transpose};
use crate::plan::{Cut, Tiles};

/// A sample's input, and which part of it a block of tile rows is computed from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) layout: Layout,
    /// Channels of the whole sample.
    pub(crate) in_channels: usize,
    pub(crate) geometry: &'a Geometry,
    /// The first channel of the step, and how many it has.
    pub(crate) channels: [usize; 2],
}

/// Writes a block's V, `[row point][column point][tile][channel]`.
pub(crate) fn transform_input<L: Lanes>(
    lanes: L,
    tiles: &Tiles,
    block: usize,
    image: Image<'_>,
    scratch: &mut Buffer,
    v: &mut [f32],
) {
    let Image { x, layout, in_channels, geometry, channels: [first, channels] } = image;
    let [height, width] = geometry.input;
    let block = tiles.blocks().nth(block).unwrap_or_default();
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
                starts: std::array::from_fn(|q| {
                    let before = r * tiles.at(block, [0, q])[1] + c;
                    q * tiles.v_apart() + before * tiles.row
                }),
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
                $([$r, $c] => lanes.vectorize(Sized::<$r, $c>(tile)),)+
                _ => unreachable!("a tile of {size:?} outputs"),
            }
        };
    }
    sizes!((1 1)(1 2)(1 3)(1 4)(2 1)(2 2)(2 3)(2 4)(3 1)(3 2)(3 3)(3 4)(4 1)(4 2)(4 3)(4 4));
}

struct Sized<'a, const R: usize, const C: usize>(Tile<'a>);

impl<const R: usize, const C: usize> Task for Sized<'_, R, C> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Tile { x, strides, inside: [rows, columns], channels, v, down, starts } = self.0;
        for first in (0..channels).step_by(L::WIDTH) {
            let zero = lanes.splat(0.0);
            let mut points = [[zero; POINTS]; POINTS];
            for r in 0..R + 2 {
                let mut values = [zero; POINTS];
                for c in 0..C + 2 {
                    if rows.contains(&r) && columns.contains(&c) {
                        let at = (r - rows.start) * strides[0] + (c - columns.start) * strides[1] + first;
                        values[c] = match first + L::WIDTH <= channels {
                            true => lanes.load(&x[at..]),
                            false => lanes.load_partial(&x[at..][..channels - first]),
                        };
                    }
                }
                points[r] = input::<L, C>(lanes, values);
            }
            for q in 0..C + 2 {
                let mut column = [zero; POINTS];
                for r in 0..R + 2 {
                    column[r] = points[r][q];
                }
                let column = input::<L, R>(lanes, column);
                for p in 0..R + 2 {
                    lanes.store(column[p], &mut v[p * down + starts[q] + first..]);
                }
            }
        }
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
