//! What will be needed soon is asked for while something else is computed.
//!
//! Lines are spread evenly over a tile's steps: a burst of them would only queue up, and what the tile itself loads
//! would wait behind it. There is no branch in it, since across one the compiler moves a step's loads and then keeps
//! sums in memory: every step asks for as many lines, the same ones again where there are fewer of them than steps.

use crate::lanes::Lanes;

/// Floats in a cache line.
pub(crate) const LINE: usize = 16;

/// How many lines a step of so many multiply-adds can ask for.
pub(crate) const fn lines_per_step(multiply_adds: usize) -> usize {
    if multiply_adds < 16 { 1 } else { multiply_adds / 8 }
}

/// The same where a step is of few pixels of many channels, [`strided`](super::tile::strided): where multiply-adds are very
/// few there are the more experts for each. Winograd's four tiles × two vectors at 7 × 7 need more than one line.
pub(crate) const fn lines_per_few(multiply_adds: usize) -> usize {
    if multiply_adds <= 8 { 2 } else { lines_per_step(multiply_adds) }
}

/// Asks for lines: as many *runs* of neighbouring lines, side by side, as a step asks for.
pub(crate) struct Ahead<'a> {
    lines: &'a [f32],
    runs: usize,
    /// From the beginning of a run to the next, in floats.
    apart: usize,
    /// Where in its run each is, and how much further after every step, in 1 / 2^32 of a line.
    at: u64,
    rate: u64,
}

impl<'a> Ahead<'a> {
    /// `near` is what is loaded anyway, asked for where there are no lines. Make `runs` a constant.
    #[inline(always)]
    pub(crate) fn new(lines: &'a [f32], near: &'a [f32], steps: usize, runs: usize) -> Self {
        let length = lines.len() / (LINE * runs);
        let lines = if length > 0 { lines } else { near };
        let rate = ((length as u64) << 32) / steps.max(1) as u64;
        Self { lines, runs, apart: length * LINE, at: 0, rate: rate.min(1 << 32) }
    }

    #[inline(always)]
    pub(crate) fn step<L: Lanes>(&mut self, lanes: L) {
        let at = (self.at >> 32) as usize * LINE;
        for run in 0..self.runs {
            lanes.prefetch(self.lines, at + run * self.apart);
        }
        self.at += self.rate;
    }
}
