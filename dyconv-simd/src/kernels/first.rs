//! The first tile of a step aggregates the panel that the others read.
//!
//! Aggregation waits for experts from a second- or third-level cache, with nothing to multiply meanwhile. Where a tile's
//! sums and π fit the registers together, its multiply-adds fill that time. The panel has the same bits either way.

use super::aggregate::{Bf16, F16, F32, Stored};
use super::tile::{STRIDED_ROWS, Tile, begin, end, rows};
use crate::lanes::{Lanes, Task};
use crate::pack::Weights;

/// Fewer pixels don't fill the time.
const FEWEST_PIXELS: usize = 4;

/// Whether sums of `pixels` × two vectors, π, weights, a pixel and what widens 16 bits fit the registers that hold the sums
/// and weights of a tile, and two more. With windows, whose places are checked in the loop, the compiler needs one more
/// beside many experts or wide ones.
const fn fits<L: Lanes, S: Stored>(pixels: usize, experts: usize, windows: bool) -> bool {
    let wide = if size_of::<S::Word>() < size_of::<f32>() { 2 } else { 0 };
    let places = if windows && (wide > 0 || experts > 4) { 1 } else { 0 };
    L::VECTORS == 2 && pixels <= L::ROWS && 2 * pixels + experts + wide + places + 3 < (L::ROWS + 1) * 2 + 2
}

/// What a panel is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Experts<'a> {
    pub(crate) weights: Weights<'a>,
    pub(crate) pi: &'a [f32],
}

/// Aggregates `experts` into `panel`, computes one tile of `pixels` with it on the way, and goes on to the next: a
/// [`strided`](super::tile::strided) one, or, where it has offsets, one of a single row of [`windows`](super::tile::windows).
/// Does nothing, and says so, where there is no such kernel.
pub(crate) fn first<L: Lanes>(
    lanes: L,
    pixels: usize,
    tile: &mut Tile<'_, '_>,
    experts: Experts<'_>,
    panel: &mut [f32],
) -> bool {
    let pi = experts.pi;
    match experts.weights {
        Weights::F32(words) => by_pixels::<L, F32>(lanes, pixels, First { tile, words, pi, panel }),
        Weights::Bf16(words) => by_pixels::<L, Bf16>(lanes, pixels, First { tile, words, pi, panel }),
        Weights::F16(words) => by_pixels::<L, F16>(lanes, pixels, First { tile, words, pi, panel }),
    }
}

struct First<'r, 'a, 't, W> {
    tile: &'r mut Tile<'a, 't>,
    words: &'r [W],
    pi: &'r [f32],
    panel: &'r mut [f32],
}

fn by_pixels<L: Lanes, S: Stored>(lanes: L, pixels: usize, first: First<'_, '_, '_, S::Word>) -> bool {
    macro_rules! by_pixels {
        ($($n:literal)+) => {
            match pixels {
                $($n => by_experts::<L, S, $n>(lanes, first),)+
                _ => false,
            }
        };
    }
    const { assert!(FEWEST_PIXELS == 4 && STRIDED_ROWS == 12) };
    by_pixels!(4 5 6 7 8 9 10 11 12)
}

fn by_experts<L: Lanes, S: Stored, const M: usize>(lanes: L, first: First<'_, '_, '_, S::Word>) -> bool {
    match first.tile.offsets.is_empty() {
        true => by_reading::<L, S, M, false>(lanes, first),
        false => by_reading::<L, S, M, true>(lanes, first),
    }
}

fn by_reading<L: Lanes, S: Stored, const M: usize, const WINDOWS: bool>(
    lanes: L,
    first: First<'_, '_, '_, S::Word>,
) -> bool {
    match *first.pi {
        [a, b] if const { fits::<L, S>(M, 2, WINDOWS) } => {
            lanes.vectorize(Run::<S, M, 2, WINDOWS> { first, pi: [a, b] })
        }
        [a, b, c, d] if const { fits::<L, S>(M, 4, WINDOWS) } => {
            lanes.vectorize(Run::<S, M, 4, WINDOWS> { first, pi: [a, b, c, d] });
        }
        [a, b, c, d, e, f, g, h] if const { fits::<L, S>(M, 8, WINDOWS) } => {
            lanes.vectorize(Run::<S, M, 8, WINDOWS> { first, pi: [a, b, c, d, e, f, g, h] });
        }
        _ => return false,
    }
    true
}

struct Run<'r, 'a, 't, S: Stored, const M: usize, const K: usize, const WINDOWS: bool> {
    first: First<'r, 'a, 't, S::Word>,
    pi: [f32; K],
}

impl<S: Stored, const M: usize, const K: usize, const WINDOWS: bool> Task
    for Run<'_, '_, '_, S, M, K, WINDOWS>
{
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let First { tile, words, panel, .. } = self.first;
        let pi = self.pi.map(|weight| lanes.splat(weight));
        let steps = panel.len() / (2 * L::WIDTH);
        let x = tile.x;
        let (pixels, offsets) = match WINDOWS {
            true => ([&[][..]; M], &tile.offsets[..steps]),
            false => (rows::<M>(x, tile.step, steps), &[][..]),
        };
        let mut acc: [[L::V; 2]; M] = begin(lanes, tile, 0);
        let experts = words.chunks_exact(2 * K * L::WIDTH);
        for ((k, words), out) in (0..steps).zip(experts).zip(panel.chunks_exact_mut(2 * L::WIDTH)) {
            let mut w = [lanes.splat(0.0); 2];
            for v in 0..2 {
                w[v] = S::sum(lanes, &words[v * K * L::WIDTH..], pi);
                lanes.store(w[v], &mut out[v * L::WIDTH..]);
            }
            let window: Option<&[f32; M]> = match WINDOWS {
                true => x[offsets[k]..].first_chunk(),
                false => None,
            };
            for m in 0..M {
                let pixel = match WINDOWS {
                    true => window.expect("a row of the tile")[m],
                    false => pixels[m][k],
                };
                let pixel = lanes.splat(pixel);
                for v in 0..2 {
                    acc[m][v] = lanes.mul_add(pixel, w[v], acc[m][v]);
                }
            }
        }
        end(lanes, [acc], tile.sums, &mut tile.store);
        let floats = if WINDOWS { M } else { M * tile.step };
        tile.advance(M, floats, M * 2 * L::WIDTH);
        tile.count -= 1;
    }
}
