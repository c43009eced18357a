//! Step 4's inner loop: one register tile of pixels × output channels.
//!
//! The vector runs over output channels, pixels are broadcast. Per step of the reduction a tile loads its weights
//! once and uses each for every pixel: 14 pixels × 2 vectors are 28 accumulators of AVX-512's 32 registers. Every tile
//! size is its own function, so that accumulators are registers and not memory, from b~ to the stored output.
//!
//! Two ways of finding a pixel's values: [`windows`], where pixels of a row are neighbours and a table says where each
//! step of the reduction begins; and [`strided`], where each pixel is a row of its own and the reduction runs along it.

use super::ahead::{Ahead, lines_per_few, lines_per_step};
use super::finish::{Finish, Place};
use crate::lanes::{Lanes, Task};

/// What a tile, or a run of them, computes from and into.
#[derive(Debug)]
pub(crate) struct Tile<'a, 't> {
    /// How many tiles, each to the right of the one before.
    pub(crate) count: usize,
    /// Input, beginning with the first tile's first value.
    pub(crate) x: &'a [f32],
    /// Floats from one row of the tile to the next ([`windows`]), or from pixel to pixel (the others).
    pub(crate) step: usize,
    /// Where in `x` each step of the reduction begins; unused by [`strided`], which counts.
    pub(crate) offsets: &'a [usize],
    /// Of [`grouped`](super::grouped::grouped) tiles, where each lane finds each input channel, `[input channel][lane]`.
    pub(crate) places: &'a [u32],
    /// `[step][vector][lane]`
    pub(crate) panel: &'a [f32],
    /// Of [`strided`] tiles, what to do once they are done.
    pub(crate) rounds: Option<Rounds>,
    /// What is needed soon: its cache lines are asked for, spread over the steps.
    pub(crate) ahead: &'a [f32],
    /// What the sums begin with, `[vector][lane]`.
    pub(crate) offset: &'a [f32],
    /// `[pixel][vector][lane]`: where the sums wait for the next step, or to be finished.
    pub(crate) sums: &'a mut [f32],
    /// Whether `sums` holds those of earlier steps.
    pub(crate) resume: bool,
    /// Where the sums go from registers.
    pub(crate) store: Option<Store<'a, 't>>,
}

/// The same tiles with other numbers, time after time: Winograd's pairs of points. To begin with each anew would take as
/// long as a dozen of its steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub(crate) count: usize,
    /// Floats of a panel.
    pub(crate) panel: usize,
    /// Floats from one's panel, input and sums to the next one's.
    pub(crate) apart: Apart,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Apart {
    pub(crate) panel: usize,
    pub(crate) x: usize,
    pub(crate) sums: usize,
}

/// Where a tile goes that leaves registers for the output.
#[derive(Debug)]
pub(crate) struct Store<'a, 't> {
    pub(crate) finish: &'a mut Finish<'t>,
    /// Its first row.
    pub(crate) place: Place,
    /// Lines from one row to the next.
    pub(crate) row: usize,
}

impl Tile<'_, '_> {
    /// The rounds, of which there is one where nothing else is said.
    #[inline(always)]
    pub(super) fn rounds(&self) -> Rounds {
        let apart = Apart { panel: 0, x: 0, sums: 0 };
        self.rounds.unwrap_or(Rounds { count: 1, panel: self.panel.len(), apart })
    }

    /// The end of one of [`strided`] tiles, whose sums wait `at` floats from where they begin.
    #[inline(always)]
    pub(super) fn end<L: Lanes, const M: usize, const V: usize>(
        &mut self,
        lanes: L,
        acc: [[[L::V; V]; M]; 1],
        at: usize,
    ) {
        end(lanes, acc, self.sums.get_mut(at..).unwrap_or_default(), &mut self.store);
        if let Some(store) = &mut self.store {
            store.place.line += M;
        }
    }

    /// Goes on to the next tile, `pixels` pixels and `floats` of the input to the right.
    #[inline(always)]
    pub(super) fn advance(&mut self, pixels: usize, floats: usize, sums: usize) {
        self.x = self.x.get(floats..).unwrap_or_default();
        self.sums = std::mem::take(&mut self.sums).get_mut(sums..).unwrap_or_default();
        if let Some(store) = &mut self.store {
            store.place.line += pixels;
        }
    }
}

/// A compiled tile.
pub(crate) type Kernel<L> = fn(L, &mut Tile<'_, '_>);

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

fn run_windows<L: Lanes, const R: usize, const C: usize, const V: usize>(lanes: L, tile: &mut Tile<'_, '_>) {
    lanes.vectorize(Windows::<R, C, V>(tile));
}

fn run_strided<L: Lanes, const R: usize, const C: usize, const V: usize>(lanes: L, tile: &mut Tile<'_, '_>) {
    const { assert!(R == 1) };
    lanes.vectorize(Strided::<C, V>(tile));
}

struct Windows<'r, 'a, 't, const R: usize, const C: usize, const V: usize>(&'r mut Tile<'a, 't>);

impl<const R: usize, const C: usize, const V: usize> Task for Windows<'_, '_, '_, R, C, V> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let tile = self.0;
        let (offsets, panel, step) = (tile.offsets, tile.panel, tile.step);
        let mut ahead = Ahead::new(tile.ahead, panel, offsets.len() * tile.count, lines_per_step(R * C * V));
        for _ in 0..tile.count {
            let x = tile.x;
            let mut acc: [[[L::V; V]; C]; R] = [[[lanes.splat(0.0); V]; C]; R];
            for (r, acc) in acc.iter_mut().enumerate() {
                *acc = begin(lanes, tile, r * C * V * L::WIDTH);
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
            end(lanes, acc, tile.sums, &mut tile.store);
            tile.advance(C, C, R * C * V * L::WIDTH);
        }
    }
}

struct Strided<'r, 'a, 't, const M: usize, const V: usize>(&'r mut Tile<'a, 't>);

impl<const M: usize, const V: usize> Task for Strided<'_, '_, '_, M, V> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let tile = self.0;
        let (step, Rounds { count, panel, apart }) = (tile.step, tile.rounds());
        let steps = panel / (V * L::WIDTH);
        let mut ahead = Ahead::new(tile.ahead, tile.panel, steps * count * tile.count, lines_per_few(M * V));
        for round in 0..count {
            let panel = &tile.panel[round * apart.panel..][..panel];
            for i in 0..tile.count {
                let pixels = rows::<M>(&tile.x[round * apart.x + i * M * step..], step, steps);
                let at = round * apart.sums + i * M * V * L::WIDTH;
                let mut acc: [[L::V; V]; M] = begin(lanes, tile, at);
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
                tile.end(lanes, [acc], at);
            }
        }
    }
}

/// `M` pixels, each a row of its own. All have as many values as the loop has steps, so no check is left inside it.
#[inline(always)]
pub(super) fn rows<const M: usize>(x: &[f32], step: usize, steps: usize) -> [&[f32]; M] {
    let mut pixels: [&[f32]; M] = [&[]; M];
    for m in 0..M {
        pixels[m] = &x[m * step..][..steps];
    }
    pixels
}

/// What sums begin with: b~ and shift, or what earlier steps left, from `at` on.
#[inline(always)]
pub(super) fn begin<L: Lanes, const M: usize, const V: usize>(
    lanes: L,
    tile: &Tile<'_, '_>,
    at: usize,
) -> [[L::V; V]; M] {
    if tile.resume {
        return waiting(lanes, &tile.sums[at..]);
    }
    let mut start = [lanes.splat(0.0); V];
    for (v, start) in start.iter_mut().enumerate() {
        *start = lanes.load(&tile.offset[v * L::WIDTH..]);
    }
    [start; M]
}

/// As [`begin`], with one value per line.
#[inline(always)]
pub(super) fn begin_lines<L: Lanes, const M: usize, const V: usize>(
    lanes: L,
    offset: &[f32],
    resume: bool,
    sums: &[f32],
) -> [[L::V; V]; M] {
    if resume {
        return waiting(lanes, sums);
    }
    let offset: &[f32; M] = offset.first_chunk().expect("a value per line");
    let mut acc = [[lanes.splat(0.0); V]; M];
    for m in 0..M {
        acc[m] = [lanes.splat(offset[m]); V];
    }
    acc
}

/// What earlier steps left.
#[inline(always)]
fn waiting<L: Lanes, const M: usize, const V: usize>(lanes: L, sums: &[f32]) -> [[L::V; V]; M] {
    let sums = &sums[..M * V * L::WIDTH];
    let mut acc = [[lanes.splat(0.0); V]; M];
    for m in 0..M {
        for v in 0..V {
            acc[m][v] = lanes.load(&sums[(m * V + v) * L::WIDTH..]);
        }
    }
    acc
}

/// To the output, or to where sums wait.
#[inline(always)]
pub(super) fn end<L: Lanes, const R: usize, const M: usize, const V: usize>(
    lanes: L,
    acc: [[[L::V; V]; M]; R],
    sums: &mut [f32],
    store: &mut Option<Store<'_, '_>>,
) {
    if let Some(Store { finish, place, row }) = store {
        finish.store(lanes, acc[0], *place);
        if R > 1 {
            finish.store(lanes, acc[R - 1], Place { line: place.line + *row, ..*place });
        }
        return;
    }
    let sums = &mut sums[..R * M * V * L::WIDTH];
    for r in 0..R {
        for m in 0..M {
            for v in 0..V {
                lanes.store(acc[r][m][v], &mut sums[((r * M + m) * V + v) * L::WIDTH..]);
            }
        }
    }
}
