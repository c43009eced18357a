//! Convolve, backwards, where every output channel has one input channel: dW~ of a vector of channels, several taps at a
//! time. Nothing is broadcast; each pixel loads g once and an input for every tap.

use super::convolve::Correlate;
use crate::lanes::{Lanes, Task};

/// Taps at a time.
const TAPS: usize = 9;

/// Computes every tap of a vector of channels; its panel of inputs has a vector for every position.
pub(crate) fn correlate_channels<L: Lanes>(lanes: L, tile: &mut Correlate<'_>) {
    let [rows, columns] = tile.taps;
    let offset = |tap: usize| {
        (rows[tap / columns.len()] * tile.columns + columns[tap % columns.len()]) * tile.position
    };
    let taps = rows.len() * columns.len();
    for first in (0..taps).step_by(TAPS) {
        let count = TAPS.min(taps - first);
        let mut offsets = [0; TAPS];
        for (tap, at) in offsets.iter_mut().enumerate().take(count) {
            *at = offset(first + tap);
        }
        let (x, g, extent) = (tile.x, tile.g, (tile.output, tile.columns));
        let sums = &mut tile.sums[first * L::WIDTH..][..count * L::WIDTH];
        macro_rules! by_count {
            ($($n:literal)+) => {
                match count {
                    $($n => lanes.vectorize(Taps::<$n> { x, offsets, g, extent, sums }),)+
                    _ => unreachable!("{count} taps at a time"),
                }
            };
        }
        by_count!(1 2 3 4 5 6 7 8 9);
    }
}

struct Taps<'a, const T: usize> {
    x: &'a [f32],
    offsets: [usize; TAPS],
    g: &'a [f32],
    extent: ([usize; 2], usize),
    sums: &'a mut [f32],
}

impl<const T: usize> Task for Taps<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { x, offsets, g, extent: ([height, width], columns), sums } = self;
        let line = width * L::WIDTH;
        let mut acc = [lanes.splat(0.0); T];
        for y in 0..height {
            let mut inputs: [&[f32]; T] = [&[]; T];
            for t in 0..T {
                inputs[t] = &x[offsets[t] + y * columns * L::WIDTH..][..line];
            }
            let g = &g[y * line..][..line];
            for at in (0..line).step_by(L::WIDTH) {
                let gradient = lanes.load(&g[at..]);
                for t in 0..T {
                    acc[t] = lanes.mul_add(gradient, lanes.load(&inputs[t][at..]), acc[t]);
                }
            }
        }
        for t in 0..T {
            lanes.store(acc[t], &mut sums[t * L::WIDTH..]);
        }
    }
}
