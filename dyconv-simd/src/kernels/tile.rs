//! Step 4's inner loop: one register tile of pixels × output channels.
//!
//! The vector runs over output channels, pixels are broadcast. Per step of the reduction a tile loads its weights
//! once and uses each for every pixel: 14 pixels × 2 vectors are 28 accumulators of AVX-512's 32 registers. Every tile
//! size is its own function, so that accumulators are registers and not memory.
//!
//! Two ways of finding a pixel's values: [`windows`], where pixels of a row are neighbours and a table says where each
//! step of the reduction begins; and [`strided`], where each pixel is a row of its own and the reduction runs along it.

use super::ahead::{Ahead, lines_per_step};
use crate::lanes::{Lanes, Task};

/// What a tile computes from and into.
#[derive(Debug)]
pub(crate) struct Tile<'a> {
    /// Input, beginning with the tile's first value.
    pub(crate) x: &'a [f32],
    /// Floats from one row of the tile to the next ([`windows`]), or from pixel to pixel ([`strided`]).
    pub(crate) step: usize,
    /// Where in `x` each step of the reduction begins; unused by [`strided`], which counts.
    pub(crate) offsets: &'a [usize],
    /// `[step][vector][lane]`
    pub(crate) panel: &'a [f32],
    /// `[pixel][vector][lane]`, the sums.
    pub(crate) sums: &'a mut [f32],
    /// What is needed soon: its cache lines are asked for, spread over the steps.
    pub(crate) ahead: &'a [f32],
    /// Whether `sums` holds those of earlier steps; else it is only written.
    pub(crate) resume: bool,
}

/// A compiled tile.
pub(crate) type Kernel<L> = fn(L, Tile<'_>);

/// The kernel for `rows` × `columns` neighbouring pixels, `rows` 1 or 2, at most `L::ROWS` pixels.
pub(crate) fn windows<L: Lanes>(rows: usize, columns: usize, vectors: usize) -> Kernel<L> {
    match (rows, vectors) {
        (1, 1) => windows_of::<L, 1, 1>(columns),
        (1, 2) => windows_of::<L, 1, 2>(columns),
        (2, 1) => windows_of::<L, 2, 1>(columns),
        (2, 2) => windows_of::<L, 2, 2>(columns),
        _ => unreachable!("a tile of {rows} rows and {vectors} vectors"),
    }
}

/// The kernel for `pixels` pixels, each a row of its own, at most `L::ROWS`.
pub(crate) fn strided<L: Lanes>(pixels: usize, vectors: usize) -> Kernel<L> {
    match vectors {
        1 => strided_of::<L, 1>(pixels),
        2 => strided_of::<L, 2>(pixels),
        _ => unreachable!("a tile of {vectors} vectors"),
    }
}

/// The most pixels of a [`strided`] tile. With more than twelve the compiler, which holds on to each pixel's place,
/// keeps sums in memory.
pub(crate) const STRIDED_ROWS: usize = 12;

/// One arm per tile size. Those beyond the instruction set's registers aren't compiled.
macro_rules! by_size {
    ($size:expr, $kernel:ident::<$lanes:ident, $r:ident, $v:ident>, $($n:literal)+) => {
        match $size {
            $($n => const {
                if $r * $n <= $lanes::ROWS && $v <= $lanes::VECTORS {
                    Some($kernel::<$lanes, $r, $n, $v> as Kernel<$lanes>)
                } else {
                    None
                }
            },)+
            _ => None,
        }
    };
}

fn windows_of<L: Lanes, const R: usize, const V: usize>(columns: usize) -> Kernel<L> {
    let kernel = by_size!(columns, run_windows::<L, R, V>, 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    kernel.expect("a tile within the registers")
}

fn strided_of<L: Lanes, const V: usize>(pixels: usize) -> Kernel<L> {
    const ONE: usize = 1;
    let kernel = by_size!(pixels, run_strided::<L, ONE, V>, 1 2 3 4 5 6 7 8 9 10 11 12);
    kernel.expect("a tile within the registers")
}

fn run_windows<L: Lanes, const R: usize, const C: usize, const V: usize>(lanes: L, tile: Tile<'_>) {
    lanes.vectorize(Windows::<R, C, V>(tile));
}

fn run_strided<L: Lanes, const R: usize, const C: usize, const V: usize>(lanes: L, tile: Tile<'_>) {
    const { assert!(R == 1) };
    lanes.vectorize(Strided::<C, V>(tile));
}

struct Windows<'a, const R: usize, const C: usize, const V: usize>(Tile<'a>);

impl<const R: usize, const C: usize, const V: usize> Task for Windows<'_, R, C, V> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Tile { x, step, offsets, panel, ahead, sums, resume } = self.0;
        let mut ahead = Ahead::new(ahead, panel, offsets.len(), lines_per_step(R * C * V));
        let mut acc: [[[L::V; V]; C]; R] = [[[lanes.splat(0.0); V]; C]; R];
        if resume {
            for r in 0..R {
                acc[r] = load_sums(lanes, &sums[r * C * V * L::WIDTH..]);
            }
        }
        for (&offset, weights) in offsets.iter().zip(panel.chunks_exact(V * L::WIDTH)) {
            ahead.step(lanes);
            let mut w = [lanes.splat(0.0); V];
            for v in 0..V {
                w[v] = lanes.load(&weights[v * L::WIDTH..]);
            }
            for r in 0..R {
                let pixels: &[f32; C] = x[offset + r * step..].first_chunk().expect("a row of the tile");
                for c in 0..C {
                    let pixel = lanes.splat(pixels[c]);
                    for v in 0..V {
                        acc[r][c][v] = lanes.mul_add(pixel, w[v], acc[r][c][v]);
                    }
                }
            }
        }
        for r in 0..R {
            store_sums(lanes, acc[r], &mut sums[r * C * V * L::WIDTH..]);
        }
    }
}

struct Strided<'a, const M: usize, const V: usize>(Tile<'a>);

impl<const M: usize, const V: usize> Task for Strided<'_, M, V> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Tile { x, step, panel, ahead, sums, resume, .. } = self.0;
        let steps = panel.len() / (V * L::WIDTH);
        let mut ahead = Ahead::new(ahead, panel, steps, lines_per_step(M * V));
        // All rows have as many values as the loop has steps, so no check is left inside it.
        let mut pixels: [&[f32]; M] = [&[]; M];
        for m in 0..M {
            pixels[m] = &x[m * step..][..steps];
        }
        let mut acc: [[L::V; V]; M] = [[lanes.splat(0.0); V]; M];
        if resume {
            acc = load_sums(lanes, sums);
        }
        for (k, weights) in (0..steps).zip(panel.chunks_exact(V * L::WIDTH)) {
            ahead.step(lanes);
            let mut w = [lanes.splat(0.0); V];
            for v in 0..V {
                w[v] = lanes.load(&weights[v * L::WIDTH..]);
            }
            for m in 0..M {
                let pixel = lanes.splat(pixels[m][k]);
                for v in 0..V {
                    acc[m][v] = lanes.mul_add(pixel, w[v], acc[m][v]);
                }
            }
        }
        store_sums(lanes, acc, sums);
    }
}

#[inline(always)]
fn load_sums<L: Lanes, const M: usize, const V: usize>(lanes: L, sums: &[f32]) -> [[L::V; V]; M] {
    let mut acc = [[lanes.splat(0.0); V]; M];
    for (m, sums) in (0..M).zip(sums.chunks_exact(V * L::WIDTH)) {
        for v in 0..V {
            acc[m][v] = lanes.load(&sums[v * L::WIDTH..]);
        }
    }
    acc
}

#[inline(always)]
fn store_sums<L: Lanes, const M: usize, const V: usize>(lanes: L, acc: [[L::V; V]; M], sums: &mut [f32]) {
    for (m, sums) in (0..M).zip(sums.chunks_exact_mut(V * L::WIDTH)) {
        for v in 0..V {
            lanes.store(acc[m][v], &mut sums[v * L::WIDTH..]);
        }
    }
}
