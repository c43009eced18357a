//! Tiles of narrow groups: several share a vector of output channels, so every lane reads the inputs of its own.
//!
//! ```text
//! lanes (output channels)       0  1  2  3 | 4  5  6  7      two groups of 4 → 4
//! a pixel's channels            0  1  2  3 | 4  5  6  7      one load
//! channel j of every group      j  j  j  j | 4+j …           picked from it: `places`
//! ```
//!
//! A vector of weights has one of each lane's own, and an input costs a load and a pick where others broadcast one. Where
//! the taps of a kernel's row are neighbours, three of them share each pick. Pixels lie in a padded copy that has channels
//! last, in either layout.

use super::ahead::{Ahead, lines_per_step};
use super::tile::{Kernel, Tile, begin, end};
use crate::lanes::{Lanes, Task};

/// The most pixels of a tile, with one vector of sums for each. A run of taps needs registers for its weights, places and a
/// pixel.
pub(crate) const fn most_pixels(rows: usize, vectors: usize) -> usize {
    let sums = rows * vectors - 2;
    if sums < MOST { sums } else { MOST }
}

const MOST: usize = 12;

/// Taps of a run: neighbours, of which there are so many or one.
pub(crate) const RUN: usize = 3;

/// The kernel for `pixels` pixels of a row, at most [`most_pixels`], and runs of `taps` taps.
pub(crate) fn grouped<L: Lanes>(pixels: usize, taps: usize) -> Kernel<L> {
    match taps {
        1 => grouped_of::<L, 1>(pixels),
        RUN => grouped_of::<L, RUN>(pixels),
        _ => unreachable!("a run of {taps} taps"),
    }
}

fn grouped_of<L: Lanes, const T: usize>(pixels: usize) -> Kernel<L> {
    macro_rules! by_pixels {
        ($($n:literal)+) => {
            match pixels {
                $($n => const {
                    if $n <= most_pixels(L::ROWS, L::VECTORS) { Some(run::<L, $n, T> as Kernel<L>) } else { None }
                },)+
                _ => None,
            }
        };
    }
    const { assert!(MOST == 12) };
    by_pixels!(1 2 3 4 5 6 7 8 9 10 11 12).expect("a tile within the registers")
}

fn run<L: Lanes, const M: usize, const T: usize>(lanes: L, tile: &mut Tile<'_, '_>) {
    lanes.vectorize(Grouped::<M, T>(tile));
}

struct Grouped<'r, 'a, 't, const M: usize, const T: usize>(&'r mut Tile<'a, 't>);

impl<const M: usize, const T: usize> Task for Grouped<'_, '_, '_, M, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let tile = self.0;
        let (offsets, panel, step) = (tile.offsets, tile.panel, tile.step);
        let steps = panel.len() / (T * L::WIDTH) * tile.count;
        let mut ahead = Ahead::new(tile.ahead, panel, steps, lines_per_step(T * M));
        let channel = offsets.len() * T * L::WIDTH;
        for _ in 0..tile.count {
            let mut acc: [[L::V; 1]; M] = begin(lanes, tile, 0);
            for (places, panel) in tile.places.chunks_exact(L::WIDTH).zip(panel.chunks_exact(channel)) {
                let places = lanes.places(places);
                for (&offset, weights) in offsets.iter().zip(panel.chunks_exact(T * L::WIDTH)) {
                    ahead.step(lanes);
                    let mut w = [lanes.splat(0.0); T];
                    for t in 0..T {
                        w[t] = lanes.load(&weights[t * L::WIDTH..]);
                    }
                    let x = tile.x.get(offset..).unwrap_or_default();
                    let Some(x) = lanes.load_apart::<{ MOST + RUN - 1 }>(x, step, M + T - 1) else { break };
                    for p in 0..M + T - 1 {
                        let pixel = lanes.pick(x[p], places);
                        for t in 0..T {
                            // The output whose tap `t` is there.
                            if p >= t && p - t < M {
                                acc[p - t][0] = lanes.mul_add(pixel, w[t], acc[p - t][0]);
                            }
                        }
                    }
                }
            }
            end(lanes, [acc], tile.sums, &mut tile.store);
            tile.advance(M, M * step, M * L::WIDTH);
        }
    }
}
