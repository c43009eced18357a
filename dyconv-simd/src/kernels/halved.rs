//! Tiles whose last vector is at most half full, as a vector of half the length.
//!
//! 24 output channels are a vector and a half of AVX-512; as two vectors a quarter of the work would be for nothing. Pixels
//! are found as [`strided`](super::tile::strided) tiles find them.

use super::ahead::{Ahead, lines_per_step};
use super::tile::{Kernel, Rounds, STRIDED_ROWS, Tile, begin, rows};
use crate::lanes::{Lanes, Task};

/// Whether the channels of a block are more than one vector and at most one and a half.
pub(crate) fn fits<L: Lanes>(_: L, channels: usize) -> bool {
    (L::WIDTH + 1..=L::WIDTH + L::WIDTH / 2).contains(&channels)
}

/// The kernel for `pixels` pixels, each a row of its own, at most [`STRIDED_ROWS`] and `L::ROWS`.
pub(crate) fn halved<L: Lanes>(pixels: usize) -> Kernel<L> {
    macro_rules! by_pixels {
        ($($n:literal)+) => {
            match pixels {
                $($n => const {
                    if $n <= L::ROWS && L::VECTORS > 1 { Some(run::<L, $n> as Kernel<L>) } else { None }
                },)+
                _ => None,
            }
        };
    }
    const { assert!(STRIDED_ROWS == 12) };
    by_pixels!(1 2 3 4 5 6 7 8 9 10 11 12).expect("a tile within the registers")
}

fn run<L: Lanes, const M: usize>(lanes: L, tile: &mut Tile<'_, '_>) {
    lanes.vectorize(Halved::<M>(tile));
}

struct Halved<'r, 'a, 't, const M: usize>(&'r mut Tile<'a, 't>);

impl<const M: usize> Task for Halved<'_, '_, '_, M> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let tile = self.0;
        let (step, Rounds { count, panel, apart }) = (tile.step, tile.rounds());
        let steps = panel / (2 * L::WIDTH);
        let mut ahead = Ahead::new(tile.ahead, tile.panel, steps * count * tile.count, lines_per_step(2 * M));
        for round in 0..count {
            let panel = &tile.panel[round * apart.panel..][..panel];
            for i in 0..tile.count {
                let pixels = rows::<M>(&tile.x[round * apart.x + i * M * step..], step, steps);
                let at = round * apart.sums + i * M * 2 * L::WIDTH;
                let start: [[L::V; 2]; M] = begin(lanes, tile, at);
                let mut whole = [lanes.splat(0.0); M];
                let mut half = [lanes.low(lanes.splat(0.0)); M];
                for m in 0..M {
                    whole[m] = start[m][0];
                    half[m] = lanes.low(start[m][1]);
                }
                for (k, weights) in (0..steps).zip(panel.chunks_exact(2 * L::WIDTH)) {
                    ahead.step(lanes);
                    let (first, second) = (lanes.load(weights), lanes.load_half(&weights[L::WIDTH..]));
                    for m in 0..M {
                        let pixel = lanes.splat(pixels[m][k]);
                        whole[m] = lanes.mul_add(pixel, first, whole[m]);
                        half[m] = lanes.mul_add_half(lanes.low(pixel), second, half[m]);
                    }
                }
                let mut acc = [[lanes.splat(0.0); 2]; M];
                for m in 0..M {
                    acc[m] = [whole[m], lanes.widen(half[m])];
                }
                tile.end(lanes, [acc], at);
            }
        }
    }
}
