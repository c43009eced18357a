//! Where sums become outputs: residual (step 6), activation (step 7), the output's channel sums, the store.
//!
//! A tile is `[line][vector][lane]`: lines of pixels with the vector over channels, or lines of channels with the vector
//! over pixels. The output is a matrix, a row per pixel (channels last) or per channel (channels first). Where lines are
//! rows they are stored as they are, from registers where nothing but a clamp is left to do; else a tile goes through
//! memory, and where lines are columns it is turned over on its way.

use dyconv_core::Activation;

use super::activate::{activate, bounds};
use super::output::Columns;
use crate::lanes::{Lanes, MAX_WIDTH, Task};

/// What happens to the tiles of a block.
#[derive(Debug)]
pub(crate) struct Finish<'a> {
    /// The block's output.
    pub(crate) output: Columns<'a>,
    /// The sample's residual, from where the block begins.
    pub(crate) residual: Option<&'a [f32]>,
    /// From one row of the residual to the next.
    pub(crate) stride: usize,
    pub(crate) activation: Activation,
    /// Whether lines of tiles are columns of the output.
    pub(crate) turned: bool,
    /// The output's channel sums so far, empty where nobody asked.
    pub(crate) sums: Running<'a>,
}

/// Channel sums that grow tile by tile, in the order of tiles, lane by lane.
#[derive(Debug)]
pub(crate) enum Running<'a> {
    Unasked,
    /// Channels last: `[channel]`, and a vector more.
    Channels(&'a mut [f32]),
    /// Channels first: `[channel][lane]`.
    Pixels(&'a mut [f32]),
}

/// A part of the block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The first line.
    pub(crate) line: usize,
    /// The first lane.
    pub(crate) lane: usize,
    /// Lanes that are part of the block.
    pub(crate) lanes: usize,
}

impl Finish<'_> {
    /// Whether tiles may be stored from registers, by [`Finish::store`].
    pub(crate) fn is_direct(&self) -> bool {
        !self.turned && self.residual.is_none() && bounds(self.activation).is_some()
    }

    /// Clamps and stores a tile whose lines are rows.
    #[inline(always)]
    pub(crate) fn store<L: Lanes, const M: usize, const V: usize>(
        &mut self,
        lanes: L,
        mut tile: [[L::V; V]; M],
        place: Place,
    ) {
        let [low, high] = bounds(self.activation).unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
        let (low, high) = (lanes.splat(low), lanes.splat(high));
        for m in 0..M {
            for v in 0..V {
                tile[m][v] = lanes.min(high, lanes.max(low, tile[m][v]));
            }
        }
        self.sums.tile(lanes, tile, place);
        let mut output = self.output.part([place.line, place.lane], [M, place.lanes]);
        if place.lanes == V * L::WIDTH {
            for m in 0..M {
                let row = output.row_mut(m);
                for v in 0..V {
                    lanes.store(tile[m][v], &mut row[v * L::WIDTH..]);
                }
            }
        } else {
            for m in 0..M {
                let row = output.row_mut(m);
                for v in 0..V - 1 {
                    lanes.store(tile[m][v], &mut row[v * L::WIDTH..]);
                }
                lanes.store_partial(tile[m][V - 1], &mut row[(V - 1) * L::WIDTH..]);
            }
        }
    }

    /// Finishes a tile in memory, of vectors `width` floats apart.
    pub(crate) fn tile<L: Lanes>(&mut self, lanes: L, tile: &[f32], vectors: usize, place: Place) {
        let task = Through { finish: self, tile, vectors, place };
        lanes.vectorize(task);
    }
}

/// A tile on its way through memory.
struct Through<'a, 'f> {
    finish: &'a mut Finish<'f>,
    tile: &'a [f32],
    vectors: usize,
    place: Place,
}

impl Task for Through<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let lines = self.tile.len() / (self.vectors * L::WIDTH);
        for vector in 0..self.vectors {
            let from = vector * L::WIDTH;
            let inside = L::WIDTH.min(self.place.lanes - from);
            let (line, lane) = (self.place.line, self.place.lane + from);
            if !self.finish.turned {
                for l in 0..lines {
                    let sum = lanes.load(&self.tile[(l * self.vectors + vector) * L::WIDTH..]);
                    self.row(lanes, sum, [line + l, lane], inside);
                }
                continue;
            }
            for first in (0..lines).step_by(L::WIDTH) {
                let height = L::WIDTH.min(lines - first);
                let mut square = [lanes.splat(0.0); MAX_WIDTH];
                for (l, row) in square.iter_mut().enumerate().take(L::WIDTH) {
                    if l < height {
                        let at = ((first + l) * self.vectors + vector) * L::WIDTH;
                        *row = lanes.load(&self.tile[at..]);
                    }
                }
                let square = lanes.transpose(square);
                for (l, &column) in square.iter().enumerate().take(L::WIDTH) {
                    if l < inside {
                        self.row(lanes, column, [lane + l, line + first], height);
                    }
                }
            }
        }
    }
}

impl Through<'_, '_> {
    /// Finishes neighbours in a row of the output.
    #[inline(always)]
    fn row<L: Lanes>(&mut self, lanes: L, sum: L::V, [row, column]: [usize; 2], width: usize) {
        let finish = &mut *self.finish;
        let mut y = sum;
        if let Some(residual) = finish.residual {
            y = lanes.add(y, lanes.load_partial(&residual[row * finish.stride + column..][..width]));
        }
        y = activate(lanes, finish.activation, y);
        match &mut finish.sums {
            Running::Unasked => {}
            Running::Channels(sums) => grow(lanes, &mut sums[column..], lanes.keep(y, width)),
            Running::Pixels(sums) => grow(lanes, &mut sums[row * L::WIDTH..], lanes.keep(y, width)),
        }
        lanes.store_partial(y, &mut finish.output.row_mut(row)[column..][..width]);
    }
}

impl<'a> Running<'a> {
    /// Zeros in `scratch`, which it makes large enough, for a block of `vectors` vectors of channels.
    pub(crate) fn new<L: Lanes>(
        _: L,
        vectors: usize,
        channels_first: bool,
        scratch: &'a mut crate::buffer::Buffer,
    ) -> Self {
        // A tile's last vector may reach beyond the block's.
        let floats = if channels_first { vectors * L::WIDTH * L::WIDTH } else { (vectors + 1) * L::WIDTH };
        let zeros = scratch.scratch(floats);
        zeros.fill(0.0);
        if channels_first { Self::Pixels(zeros) } else { Self::Channels(zeros) }
    }

    /// Adds a tile that is stored as it lies.
    #[inline(always)]
    fn tile<L: Lanes, const M: usize, const V: usize>(
        &mut self,
        lanes: L,
        tile: [[L::V; V]; M],
        place: Place,
    ) {
        match self {
            Self::Unasked => {}
            Self::Channels(sums) => {
                for v in 0..V {
                    let mut sum = tile[0][v];
                    for m in 1..M {
                        sum = lanes.add(sum, tile[m][v]);
                    }
                    grow(lanes, &mut sums[place.lane + v * L::WIDTH..], sum);
                }
            }
            Self::Pixels(sums) => {
                for m in 0..M {
                    let mut sum = lanes.keep(tile[m][V - 1], place.lanes - (V - 1) * L::WIDTH);
                    for v in 0..V - 1 {
                        sum = lanes.add(sum, tile[m][v]);
                    }
                    grow(lanes, &mut sums[(place.line + m) * L::WIDTH..], sum);
                }
            }
        }
    }

    /// The sums of as many channels as there is room for.
    pub(crate) fn finish<L: Lanes>(self, lanes: L, out: &mut [f32]) {
        match self {
            Self::Unasked => {}
            Self::Channels(sums) => out.copy_from_slice(&sums[..out.len()]),
            Self::Pixels(sums) => {
                for (out, sums) in out.iter_mut().zip(sums.chunks_exact(L::WIDTH)) {
                    *out = lanes.vectorize(Reduce(sums));
                }
            }
        }
    }
}

struct Reduce<'a>(&'a [f32]);

impl Task for Reduce<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> f32 {
        lanes.reduce_add(lanes.load(self.0))
    }
}

/// Adds to a running sum in memory.
#[inline(always)]
fn grow<L: Lanes>(lanes: L, sum: &mut [f32], by: L::V) {
    let sum = &mut sum[..L::WIDTH];
    lanes.store(lanes.add(lanes.load(sum), by), sum);
}
