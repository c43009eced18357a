//! The register tile turned around: the vector runs over pixels, weights are broadcast.
//!
//! Where there are few output channels nothing of a vector is left empty, and channels-first outputs are stored as they
//! are. Per step of the reduction a tile loads its pixels once and uses them for every channel: 24 channels × 1 vector
//! with AVX-512, which broadcasts as it multiplies, 4 × 3 with AVX2. Fewer channels, as groups have, take up to three
//! vectors at a time.

use super::ahead::Ahead;
use super::tile::{Store, begin_lines, end};
use crate::lanes::{Lanes, Task};

/// What a tile of some channels of a block computes from and into.
#[derive(Debug)]
pub(crate) struct Across<'a, 't> {
    /// How many tiles, each to the right of the one before.
    pub(crate) count: usize,
    /// Input, beginning with the first pixel.
    pub(crate) x: &'a [f32],
    /// Pixels of a tile, neighbours in `x`.
    pub(crate) pixels: usize,
    /// Where in `x` each step of the reduction begins.
    pub(crate) offsets: &'a [usize],
    /// `[step][lane]`, of the whole block.
    pub(crate) panel: &'a [f32],
    /// Lanes of the block.
    pub(crate) lanes: usize,
    /// The first channel.
    pub(crate) first: usize,
    /// What is needed soon; see `Tile`.
    pub(crate) ahead: &'a [f32],
    /// What the sums begin with, `[lane]`, of the whole block.
    pub(crate) offset: &'a [f32],
    /// `[channel][vector][lane]`: where the sums wait for the next step, or to be finished.
    pub(crate) sums: &'a mut [f32],
    /// From one tile's sums to the next one's.
    pub(crate) apart: usize,
    /// Whether `sums` holds those of earlier steps.
    pub(crate) resume: bool,
    /// Where the sums go from registers.
    pub(crate) store: Option<Store<'a, 't>>,
}

/// A compiled tile.
type Kernel<L> = fn(L, &mut Across<'_, '_>);

/// The most vectors of pixels of a tile.
const MOST_VECTORS: usize = 3;

/// How many vectors of pixels a tile of so many channels takes, where the widest is `most` channels × vectors: as many as
/// there are sums for.
pub(crate) fn pixel_vectors(channels: usize, most: [usize; 2]) -> usize {
    (most[0] * most[1] / channels.clamp(1, most[0])).min(MOST_VECTORS)
}

/// The kernel for `channels` channels, at most `L::CHANNELS`, and `vectors` vectors of pixels, as many as
/// [`pixel_vectors`] or fewer, the last one `whole` or not.
pub(crate) fn across<L: Lanes>(channels: usize, vectors: usize, whole: bool) -> Kernel<L> {
    match (vectors, whole) {
        (1, true) => across_of::<L, 1, true>(channels),
        (1, false) => across_of::<L, 1, false>(channels),
        (2, true) => across_of::<L, 2, true>(channels),
        (2, false) => across_of::<L, 2, false>(channels),
        (3, true) => across_of::<L, 3, true>(channels),
        (3, false) => across_of::<L, 3, false>(channels),
        _ => unreachable!("a tile of {vectors} vectors"),
    }
}

fn across_of<L: Lanes, const V: usize, const WHOLE: bool>(channels: usize) -> Kernel<L> {
    macro_rules! by_channels {
        ($($n:literal)+) => {
            match channels {
                $($n => const {
                    if $n <= L::CHANNELS && $n * V <= L::CHANNELS * L::PIXEL_VECTORS {
                        Some(run_across::<L, $n, V, WHOLE> as Kernel<L>)
                    } else {
                        None
                    }
                },)+
                _ => None,
            }
        };
    }
    let kernel = by_channels!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24);
    kernel.expect("a tile within the registers")
}

fn run_across<L: Lanes, const M: usize, const V: usize, const WHOLE: bool>(
    lanes: L,
    tile: &mut Across<'_, '_>,
) {
    lanes.vectorize(Run::<M, V, WHOLE>(tile));
}

struct Run<'r, 'a, 't, const M: usize, const V: usize, const WHOLE: bool>(&'r mut Across<'a, 't>);

impl<const M: usize, const V: usize, const WHOLE: bool> Task for Run<'_, '_, '_, M, V, WHOLE> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let tile = self.0;
        let (offsets, panel, first, pixels) = (tile.offsets, tile.panel, tile.first, tile.pixels);
        let mut ahead = Ahead::new(tile.ahead, panel, offsets.len() * tile.count, 1);
        for _ in 0..tile.count {
            let x = tile.x;
            let mut acc: [[L::V; V]; M] = begin_lines(lanes, &tile.offset[first..], tile.resume, tile.sums);
            for (&start, weights) in offsets.iter().zip(panel.chunks_exact(tile.lanes)) {
                ahead.step(lanes);
                let mut values = [lanes.splat(0.0); V];
                if WHOLE {
                    let row = &x[start..][..V * L::WIDTH];
                    for v in 0..V {
                        values[v] = lanes.load(&row[v * L::WIDTH..]);
                    }
                } else {
                    let row = &x[start..][..pixels];
                    for v in 0..V - 1 {
                        values[v] = lanes.load(&row[v * L::WIDTH..]);
                    }
                    values[V - 1] = lanes.load_partial(&row[(V - 1) * L::WIDTH..]);
                }
                let weights: &[f32; M] = weights[first..].first_chunk().expect("channels of the block");
                for m in 0..M {
                    let weight = lanes.splat(weights[m]);
                    for v in 0..V {
                        acc[m][v] = lanes.mul_add(weight, values[v], acc[m][v]);
                    }
                }
            }
            end(lanes, [acc], tile.sums, &mut tile.store);
            tile.advance();
        }
    }
}

impl Across<'_, '_> {
    /// Goes on to the next tile.
    #[inline(always)]
    fn advance(&mut self) {
        self.x = self.x.get(self.pixels..).unwrap_or_default();
        self.sums = std::mem::take(&mut self.sums).get_mut(self.apart..).unwrap_or_default();
        if let Some(store) = &mut self.store {
            store.place.lane += self.pixels;
        }
    }
}

/// Channels of a block, cut evenly into tiles: first channel and how many.
pub(crate) fn parts<L: Lanes>(_: L, channels: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = channels.div_ceil(L::CHANNELS);
    (0..parts).map(move |part| {
        let [first, end] = [part, part + 1].map(|part| part * channels / parts);
        (first, end - first)
    })
}
