//! Convolve, backwards: dW~ of one sample, a register tile of input channels × output channels for each tap.
//!
//! As in the forward the vector runs over output channels and an input is broadcast; but what is summed over are the
//! pixels: each loads its vectors of g once and uses them for every input channel of the tile. Inputs and g lie in panels
//! (`panels.rs`), so that both are read in the order of pixels.
//!
//! ```text
//! dW~  [input channel][tap][vector][lane]      as the experts lie, without their number
//! ```

use crate::lanes::{Lanes, Task};

/// What a tile computes from and into.
#[derive(Debug)]
pub(crate) struct Correlate<'a> {
    /// `[row position][column position][channel]`, of as many channels as the tile has, or more.
    pub(crate) x: &'a [f32],
    /// Floats of a position.
    pub(crate) position: usize,
    /// Positions of a row.
    pub(crate) columns: usize,
    /// Where each tap begins: rows, and columns of each.
    pub(crate) taps: [&'a [usize]; 2],
    /// `[pixel][vector][lane]`
    pub(crate) g: &'a [f32],
    /// Rows and columns of outputs.
    pub(crate) output: [usize; 2],
    /// Written whole.
    pub(crate) sums: &'a mut [f32],
}

/// A compiled tile.
pub(crate) type Kernel<L> = fn(L, &mut Correlate<'_>);

/// The kernel for so many input channels, at most `L::ROWS`, and vectors of output channels.
pub(crate) fn correlate<L: Lanes>(channels: usize, vectors: usize) -> Kernel<L> {
    match vectors {
        1 => by_channels::<L, 1>(channels),
        2 => by_channels::<L, 2>(channels),
        _ => unreachable!("a tile of {vectors} vectors"),
    }
}

/// One arm per number of channels. Those beyond the instruction set's registers aren't compiled.
fn by_channels<L: Lanes, const V: usize>(channels: usize) -> Kernel<L> {
    macro_rules! arms {
        ($($n:literal)+) => {
            match channels {
                $($n => const {
                    if $n <= L::ROWS && V <= L::VECTORS { Some(run::<L, $n, V> as Kernel<L>) } else { None }
                },)+
                _ => None,
            }
        };
    }
    arms!(1 2 3 4 5 6 7 8 9 10 11 12 13 14).expect("a tile within the registers")
}

fn run<L: Lanes, const M: usize, const V: usize>(lanes: L, tile: &mut Correlate<'_>) {
    lanes.vectorize(Tile::<M, V>(tile));
}

struct Tile<'r, 'a, const M: usize, const V: usize>(&'r mut Correlate<'a>);

impl<const M: usize, const V: usize> Task for Tile<'_, '_, M, V> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Correlate { x, position, columns, taps: [rows, taps], g, output: [height, width], ref mut sums } =
            *self.0;
        let tap_count = rows.len() * taps.len();
        let vector = V * L::WIDTH;
        for (r, row) in rows.iter().enumerate() {
            for (c, column) in taps.iter().enumerate() {
                let mut acc = [[lanes.splat(0.0); V]; M];
                for y in 0..height {
                    let x = &x[((row + y) * columns + column) * position..];
                    let g = &g[y * width * vector..][..width * vector];
                    for (x, g) in x.chunks(position).zip(g.chunks_exact(vector)) {
                        let x: &[f32; M] = x.first_chunk().expect("the channels of a position");
                        let mut gradient = [lanes.splat(0.0); V];
                        for v in 0..V {
                            gradient[v] = lanes.load(&g[v * L::WIDTH..]);
                        }
                        for m in 0..M {
                            let x = lanes.splat(x[m]);
                            for v in 0..V {
                                acc[m][v] = lanes.mul_add(x, gradient[v], acc[m][v]);
                            }
                        }
                    }
                }
                let tap = r * taps.len() + c;
                for m in 0..M {
                    let sums = &mut sums[(m * tap_count + tap) * vector..][..vector];
                    for v in 0..V {
                        lanes.store(acc[m][v], &mut sums[v * L::WIDTH..]);
                    }
                }
            }
        }
    }
}
