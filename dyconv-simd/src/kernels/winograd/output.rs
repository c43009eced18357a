//! y = A·M·Aᵀ: sums become outputs.

use super::transform::{POINTS, output};
use crate::buffer::Buffer;
use crate::kernels::finish::{Finish, Place};
use crate::lanes::{Lanes, Task};
use crate::pack::Block;
use crate::plan::{Cut, Tiles};

/// A block of tile rows of a block of output channels.
pub(super) struct Rows<'a> {
    pub(super) tiles: &'a Tiles,
    pub(super) rows: &'a [Cut],
    /// Rows of outputs before those that there is room for.
    pub(super) before: usize,
    /// Columns of outputs.
    pub(super) width: usize,
    pub(super) block: &'a Block,
}

/// Transforms M and finishes what it becomes.
pub(super) fn transform_output<L: Lanes>(
    lanes: L,
    Rows { tiles, rows, before, width, block }: Rows<'_>,
    (m, offset): (&[f32], &[f32]),
    scratch: &mut Buffer,
    finish: &mut Finish<'_>,
) {
    let block_lanes = block.vectors * L::WIDTH;
    let apart = tiles.m_apart(block_lanes);
    let direct = finish.is_direct();
    let strip = scratch.scratch(if direct { 0 } else { tiles.strip_len(width, block_lanes) });
    for (r, down) in rows.iter().enumerate() {
        let line = (down.start - before) * width;
        let starts = tiles.starts(rows, r, apart, block_lanes);
        for (c, across) in tiles.columns.iter().enumerate() {
            let to = if direct { To::Output(&mut *finish) } else { To::Strip(&mut *strip) };
            let tile = Tile {
                m,
                down: tiles.size.points() * apart,
                starts: starts.map(|start| start + c * block_lanes),
                offset,
                block,
                width,
                line: if direct { line } else { 0 } + across.start,
                to,
            };
            of_size(lanes, [down.outputs, across.outputs], tile);
        }
        if !direct {
            let place = Place { line, lane: 0, lanes: block.channels };
            finish.tile(lanes, &strip[..down.outputs * width * block_lanes], block.vectors, place);
        }
    }
}

/// Where outputs go.
enum To<'a, 'f> {
    /// To the output, clamped.
    Output(&'a mut Finish<'f>),
    /// To memory, `[row][column][vector][lane]`, to be finished as a whole.
    Strip(&'a mut [f32]),
}

/// A tile of M and its outputs.
struct Tile<'a, 'f> {
    m: &'a [f32],
    /// From one row's point to the next.
    down: usize,
    /// Where each column's point is.
    starts: [usize; POINTS],
    offset: &'a [f32],
    block: &'a Block,
    width: usize,
    /// Pixels before the tile's first, where it goes.
    line: usize,
    to: To<'a, 'f>,
}

/// One arm per size.
fn of_size<L: Lanes>(lanes: L, size: [usize; 2], tile: Tile<'_, '_>) {
    macro_rules! sizes {
        ($(($r:literal $c:literal))+) => {
            match size {
                $([$r, $c] => lanes.vectorize(Sized::<$r, $c>(tile)).expect("sums that a tile has"),)+
                _ => unreachable!("a tile of {size:?} outputs"),
            }
        };
    }
    sizes!((1 1)(1 2)(1 3)(1 4)(2 1)(2 2)(2 3)(2 4)(3 1)(3 2)(3 3)(3 4)(4 1)(4 2)(4 3)(4 4));
}

struct Sized<'a, 'f, const R: usize, const C: usize>(Tile<'a, 'f>);

impl<const R: usize, const C: usize> Task for Sized<'_, '_, R, C> {
    /// Nothing where the tile isn't what it says.
    type Output = Option<()>;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Option<()> {
        let Tile { m, down, starts, offset, block, width, line, mut to } = self.0;
        for vector in 0..block.vectors {
            let lane = vector * L::WIDTH;
            let zero = lanes.splat(0.0);
            // Outputs of rows, column by column.
            let mut columns = [[zero; 4]; POINTS];
            for q in 0..C + 2 {
                let column = lanes.load_apart(m.get(starts[q] + lane..)?, down, R + 2)?;
                columns[q] = output::<L, R>(lanes, column);
            }
            let offset = lanes.load(&offset[lane..]);
            // No loop, so that nothing need be zeroed.
            let outputs = [
                pixels::<L, C>(lanes, &columns, 0, offset),
                pixels::<L, C>(lanes, &columns, 1, offset),
                pixels::<L, C>(lanes, &columns, 2, offset),
                pixels::<L, C>(lanes, &columns, 3, offset),
            ];
            for (i, &pixels) in outputs.iter().enumerate().take(R) {
                let line = line + i * width;
                match &mut to {
                    To::Output(finish) => {
                        let place = Place { line, lane, lanes: L::WIDTH.min(block.channels - lane) };
                        finish.store(lanes, pixels, place);
                    }
                    To::Strip(strip) => {
                        for j in 0..C {
                            let at = (line + j) * block.vectors * L::WIDTH + lane;
                            lanes.store(pixels[j][0], &mut strip[at..]);
                        }
                    }
                }
            }
        }
        Some(())
    }
}

/// A row of outputs, of its products' transformed columns.
#[inline(always)]
fn pixels<L: Lanes, const C: usize>(
    lanes: L,
    columns: &[[L::V; 4]; POINTS],
    i: usize,
    offset: L::V,
) -> [[L::V; 1]; C] {
    let zero = lanes.splat(0.0);
    let mut row = [zero; POINTS];
    for q in 0..C + 2 {
        row[q] = columns[q][i];
    }
    let row = output::<L, C>(lanes, row);
    let mut pixels = [[zero]; C];
    for j in 0..C {
        pixels[j] = [lanes.add(row[j], offset)];
    }
    pixels
}
