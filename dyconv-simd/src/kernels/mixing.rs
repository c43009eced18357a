//! Steps 3 and 4 the other way round, for outputs of very few pixels: y = Σ π_k·(W_k ⋆ x).
//!
//! Aggregating takes a multiply-add per expert's weight, and so does a pixel of K convolutions; but those need no panel
//! to be written and read again, and keep K sums in flight where one pixel alone would wait for its own. Experts are read
//! as they lie, once per tile, whose sums (pixels × vectors × experts) are registers until the last step mixes them.
//!
//! ```text
//! sums  [tile][vector][expert][pixel][lane]
//! ```

use dyconv_core::Layout;

use super::aggregate::{Bf16, F16, F32, Stored};
use super::convolve::{Work, channel_offsets, finish};
use super::finish::{Place, Running};
use crate::lanes::{Lanes, Task};
use crate::pack::{Block, Packed, Weights};
use crate::plan::{Plan, Reading};
use crate::stream::Scratch;

/// The most pixels of a tile: with more, aggregating is cheaper.
pub(crate) const MOST_PIXELS: usize = 2;

/// Whether `sums` sums of each of `pixels` pixels, and a value of each, fit the registers that hold the sums and weights of
/// a tile of `rows` × `vectors`, with one to spare for widening 16 bits.
const fn fits(pixels: usize, sums: usize, [rows, vectors]: [usize; 2]) -> bool {
    pixels * (sums + 1) < (rows + 1) * vectors
}

/// The most pixels of a tile of so many experts, where a tile of whole outputs has `rows` × `vectors` sums: all that fit
/// the registers together, so that experts are read in one go.
pub(crate) fn pixels(experts: usize, [rows, vectors]: [usize; 2]) -> usize {
    (1..=MOST_PIXELS).rev().find(|&pixels| fits(pixels, vectors * experts, [rows, vectors])).unwrap_or(1)
}

/// Computes a block, for samples that share its experts.
///
/// Input channels are taken in steps whose experts stay in cache while every tile and sample reads them.
pub(crate) fn mixing<L: Lanes>(
    lanes: L,
    plan: &Plan,
    packed: &Packed,
    block: &Block,
    work: &mut [Option<Work<'_>>],
    scratch: &mut Scratch,
) {
    let vector = block.vectors * L::WIDTH;
    let Scratch { panel, offset, sums, running, .. } = scratch;
    let offset = offset.scratch(vector);
    let mixed = panel.scratch(plan.patch_pixels() * vector);
    let whole = plan.whole();
    let waiting = plan.waiting(&whole) * vector;
    let sums = sums.scratch(work.iter().flatten().count() * waiting);
    for from in (0..plan.reduction_channels).step_by(plan.step) {
        let channels = plan.step.min(plan.reduction_channels - from);
        let last = from + channels == plan.reduction_channels;
        let step = Step { plan, block, experts: packed.weights(block, from, channels), from, channels };
        for (work, sums) in work.iter_mut().flatten().zip(sums.chunks_exact_mut(waiting)) {
            let Work { sample, target, sums: channel_sums } = work;
            if last {
                channel_offsets(lanes, packed, block, sample, offset);
            }
            let running = match last && !channel_sums.is_empty() {
                true => Running::new(lanes, block.vectors, plan.config.layout() == Layout::Nchw, running),
                false => Running::Unasked,
            };
            let mut finish = finish(plan, block, sample, target, running);
            let pi = sample.pi.unwrap_or(&[1.0]);
            let mut at = 0;
            for (patch, _) in plan.runs(&whole, 1) {
                let tile = [patch.x, patch.columns];
                let sums = &mut sums[at..][..patch.columns * pi.len() * vector];
                step.tile(lanes, sample.x, tile, sums);
                if last {
                    let mixed = &mut mixed[..patch.columns * vector];
                    lanes.vectorize(Mix { sums, pi, offset, mixed: &mut *mixed, pixels: patch.columns });
                    let place = Place { line: patch.x, lane: 0, lanes: block.channels };
                    finish.tile(lanes, mixed, block.vectors, place);
                }
                if plan.step < plan.reduction_channels {
                    at += sums.len();
                }
            }
            if last {
                finish.sums.finish(lanes, channel_sums);
            }
        }
    }
}

/// Some input channels of a block.
struct Step<'a> {
    plan: &'a Plan,
    block: &'a Block,
    experts: Weights<'a>,
    /// The first of the channels.
    from: usize,
    channels: usize,
}

impl Step<'_> {
    /// Adds them to the sums of `count` pixels from the `first` on.
    fn tile<L: Lanes>(&self, lanes: L, x: &[f32], [first, count]: [usize; 2], sums: &mut [f32]) {
        let Reading::Points { offsets, pixel: [row, column], channel } = &self.plan.reading else {
            unreachable!("a plan that mixes reads points")
        };
        let x = &x[(self.block.input + self.from) * channel..];
        let width = self.plan.geometry.output[1];
        let mut starts = [0; MOST_PIXELS];
        for (start, pixel) in starts.iter_mut().zip(first..first + count) {
            *start = pixel / width * row + pixel % width * column;
        }
        let offsets = &offsets[..self.channels * self.plan.config.taps()];
        let reads = Reads { x, starts: &starts[..count], offsets, resume: self.from > 0 };
        match self.experts {
            Weights::F32(experts) => reads.each::<L, F32>(lanes, experts, self.block.vectors, sums),
            Weights::Bf16(experts) => reads.each::<L, Bf16>(lanes, experts, self.block.vectors, sums),
            Weights::F16(experts) => reads.each::<L, F16>(lanes, experts, self.block.vectors, sums),
        }
    }
}

/// The pixels of a tile.
#[derive(Clone, Copy)]
struct Reads<'a> {
    x: &'a [f32],
    /// Where in `x` each pixel begins.
    starts: &'a [usize],
    /// How much further each step of the reduction is.
    offsets: &'a [usize],
    /// Whether there are sums of earlier steps.
    resume: bool,
}

impl Reads<'_> {
    /// A piece at a time.
    fn each<L: Lanes, S: Stored>(self, lanes: L, words: &[S::Word], vectors: usize, sums: &mut [f32]) {
        let pixels = self.starts.len();
        let experts = sums.len() / (pixels * vectors * L::WIDTH);
        let [high, wide] = piece::<L>(pixels, vectors, experts);
        for vector in (0..vectors).step_by(high) {
            for first in (0..experts).step_by(wide) {
                let wide = wide.min(experts - first);
                let at = (vector * experts + first) * L::WIDTH;
                let sums = &mut sums[at * pixels..][..high * wide * pixels * L::WIDTH];
                let stride = vectors * experts * L::WIDTH;
                let mut piece = Piece::<S> { reads: self, words: &words[at..], stride, sums };
                kernel::<L, S>(pixels, high, wide)(lanes, &mut piece);
            }
        }
    }
}

/// How many vectors and experts are computed at once: all, where their sums fit the registers, else some experts of one
/// vector, an even number, as bf16s lie in pairs.
fn piece<L: Lanes>(pixels: usize, vectors: usize, experts: usize) -> [usize; 2] {
    let fits = |sums| fits(pixels, sums, [L::ROWS, L::VECTORS]);
    match experts {
        1..=4 | 8 if fits(vectors * experts) => [vectors, experts],
        8 if fits(8) => [1, 8],
        _ => [1, 4],
    }
}

/// Some experts of some vectors, for the pixels of a tile.
struct Piece<'a, S: Stored> {
    reads: Reads<'a>,
    /// The experts, beginning with the piece's first.
    words: &'a [S::Word],
    /// From one step of the reduction to the next.
    stride: usize,
    /// `[vector][expert][pixel][lane]`
    sums: &'a mut [f32],
}

/// A compiled piece.
type Kernel<L, S> = fn(L, &mut Piece<'_, S>);

fn kernel<L: Lanes, S: Stored>(pixels: usize, vectors: usize, experts: usize) -> Kernel<L, S> {
    match pixels {
        1 => kernel_of::<L, S, 1>(vectors, experts),
        2 => kernel_of::<L, S, 2>(vectors, experts),
        _ => unreachable!("a tile of {pixels} pixels"),
    }
}

fn kernel_of<L: Lanes, S: Stored, const M: usize>(vectors: usize, experts: usize) -> Kernel<L, S> {
    macro_rules! by_size {
        ($($v:literal $k:literal),+) => {
            match (vectors, experts) {
                $(($v, $k) => const {
                    if $v <= L::VECTORS && fits(M, $v * $k, [L::ROWS, L::VECTORS]) {
                        Some(run::<L, S, M, $v, $k> as Kernel<L, S>)
                    } else {
                        None
                    }
                },)+
                _ => None,
            }
        };
    }
    let kernel = by_size!(1 1, 1 2, 1 3, 1 4, 1 8, 2 1, 2 2, 2 3, 2 4, 2 8);
    kernel.expect("a piece within the registers")
}

fn run<L: Lanes, S: Stored, const M: usize, const V: usize, const K: usize>(
    lanes: L,
    piece: &mut Piece<'_, S>,
) {
    lanes.vectorize(Run::<S, M, V, K>(piece));
}

struct Run<'r, 'a, S: Stored, const M: usize, const V: usize, const K: usize>(&'r mut Piece<'a, S>);

impl<S: Stored, const M: usize, const V: usize, const K: usize> Task for Run<'_, '_, S, M, V, K> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Piece { reads: Reads { x, starts, offsets, resume }, words, stride, sums } = self.0;
        let mut pixels: [&[f32]; M] = [&[]; M];
        for m in 0..M {
            pixels[m] = &x[starts[m]..];
        }
        let sums = &mut sums[..V * K * M * L::WIDTH];
        let mut acc = [[[lanes.splat(0.0); M]; K]; V];
        if *resume {
            for v in 0..V {
                for k in 0..K {
                    for m in 0..M {
                        acc[v][k][m] = lanes.load(&sums[((v * K + k) * M + m) * L::WIDTH..]);
                    }
                }
            }
        }
        for (&offset, words) in offsets.iter().zip(words.chunks(*stride)) {
            let words = &words[..V * K * L::WIDTH];
            let mut values = [lanes.splat(0.0); M];
            for m in 0..M {
                values[m] = lanes.splat(pixels[m][offset]);
            }
            for v in 0..V {
                let experts = S::each::<L, K>(lanes, &words[v * K * L::WIDTH..]);
                for k in 0..K {
                    for m in 0..M {
                        acc[v][k][m] = lanes.mul_add(values[m], experts[k], acc[v][k][m]);
                    }
                }
            }
        }
        for v in 0..V {
            for k in 0..K {
                for m in 0..M {
                    lanes.store(acc[v][k][m], &mut sums[((v * K + k) * M + m) * L::WIDTH..]);
                }
            }
        }
    }
}

/// `mixed[pixel][vector][lane]` = b~ + shift + Σ π_k·sums
struct Mix<'a> {
    sums: &'a [f32],
    pi: &'a [f32],
    offset: &'a [f32],
    mixed: &'a mut [f32],
    pixels: usize,
}

impl Task for Mix<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { sums, pi, offset, mixed, pixels } = self;
        let vector = pi.len() * pixels * L::WIDTH;
        let line = mixed.len() / pixels;
        for (v, (sums, offset)) in sums.chunks_exact(vector).zip(offset.chunks_exact(L::WIDTH)).enumerate() {
            for m in 0..pixels {
                let mut y = lanes.load(offset);
                for (k, &weight) in pi.iter().enumerate() {
                    // An infinite π would have made infinities of both signs of the experts' weights.
                    let weight = if weight.is_finite() { weight } else { f32::NAN };
                    let sum = lanes.load(&sums[(k * pixels + m) * L::WIDTH..]);
                    y = lanes.mul_add(lanes.splat(weight), sum, y);
                }
                lanes.store(y, &mut mixed[m * line + v * L::WIDTH..]);
            }
        }
    }
}
