//! 3×3 kernels by Winograd: fewer multiply-adds, for transforms of input, weights and output.
//!
//! ```text
//! for each part of the output and run of blocks of output channels, by one thread:
//!   x ─ B·x·Bᵀ ─► V   once for all of these blocks                                             (input.rs)
//!   for each block, step by step of input channels:
//!     experts ─ Σ π_k·W_k ─ G·W~·Gᵀ ─► U   taps in registers                                   (weights.rs)
//!     for each pair of points, all tiles at once:   M += V·U, a product of matrices            (here)
//!   M ─ A·M·Aᵀ ─► + b~ + shift, residual, activation ─► y   after the last step                (output.rs)
//! ```
//!
//! Where V, U and M lie: `plan/winograd.rs`. Experts are aggregated in space and not transformed beforehand: that would
//! multiply the bytes to be read by four.

mod input;
mod output;
mod transform;
mod weights;

use self::input::{Image, transform_input};
use self::output::{Rows, transform_output};
use self::weights::{Into, transform_weights};
use super::ahead::LINE;
use super::convolve::{Sample, Work, channel_offsets, finish};
use super::finish::Running;
use super::halved;
use super::tile::{Apart, Rounds, STRIDED_ROWS, Tile, strided};
use crate::buffer::Buffer;
use crate::lanes::Lanes;
use crate::pack::{Block, Packed};
use crate::plan::{Alike, Cut, Part, Plan, Tiles};
use crate::stream::Scratch;

/// Computes a part of some blocks of output channels, for samples that share their experts.
pub(crate) fn winograd<L: Lanes>(
    lanes: L,
    (plan, tiles): (&Plan, &Tiles),
    packed: &Packed,
    (blocks, part): (&[Block], &Part),
    work: &mut [Option<Work<'_>>],
    scratch: &mut Scratch,
) {
    let first = blocks.first().map_or(0, |block| block.first);
    let v_len = tiles.v_len(tiles.blocks(&part.rows).len());
    let mut v = std::mem::take(&mut scratch.tiles);
    let v_all = v.scratch(work.iter().flatten().count() * v_len);
    // Blocks of a group read the same input channels.
    for blocks in blocks.chunk_by(|a, b| a.input == b.input) {
        for (Work { sample, .. }, v) in work.iter().flatten().zip(v_all.chunks_exact_mut(v_len)) {
            transform_sample(lanes, (plan, tiles), part, blocks[0].input, sample, &mut scratch.plane, v);
        }
        for block in blocks {
            let run = Run { plan, tiles, packed, block, part, first, v: v_all };
            run.block(lanes, work, scratch);
        }
    }
    scratch.tiles = v;
}

/// V of a group's input channels, of which `input` is the first.
fn transform_sample<L: Lanes>(
    lanes: L,
    (plan, tiles): (&Plan, &Tiles),
    part: &Part,
    input: usize,
    sample: &Sample<'_>,
    scratch: &mut Buffer,
    v: &mut [f32],
) {
    let mut pieces = v.chunks_exact_mut(tiles.v_block());
    for from in (0..plan.reduction_channels).step_by(plan.step) {
        let image = Image {
            x: sample.x,
            layout: plan.config.layout(),
            in_channels: plan.config.in_channels(),
            geometry: &plan.geometry,
            channels: [input + from, plan.step.min(plan.reduction_channels - from)],
        };
        for (rows, v) in tiles.blocks(&part.rows).zip(&mut pieces) {
            transform_input(lanes, tiles, rows, image, scratch, v);
        }
    }
}

/// How many channels before they are read experts are asked for once more.
const NEAR: usize = 4;

/// A block of output channels.
struct Run<'a> {
    plan: &'a Plan,
    tiles: &'a Tiles,
    packed: &'a Packed,
    block: &'a Block,
    part: &'a Part,
    /// The first of the channels that outputs have room for.
    first: usize,
    /// V of every sample.
    v: &'a [f32],
}

impl Run<'_> {
    fn block<L: Lanes>(&self, lanes: L, work: &mut [Option<Work<'_>>], scratch: &mut Scratch) {
        let Self { plan, tiles, packed, block, part, .. } = *self;
        let block_lanes = block.vectors * L::WIDTH;
        let row_blocks = tiles.blocks(&part.rows).len();
        let (v_len, m_len) = (tiles.v_len(row_blocks), tiles.m_len(row_blocks, block_lanes));
        let (v_step, m_block) = (row_blocks * tiles.v_block(), tiles.m_block(block_lanes));
        let count = work.iter().flatten().count();
        let Scratch { panel, offset, sums, running, plane, .. } = scratch;
        let u = panel.scratch(tiles.u_len(block_lanes));
        let (offset, zeros) = offset.scratch(2 * block_lanes).split_at_mut(block_lanes);
        zeros.fill(0.0);
        let sums = sums.scratch(count * m_len);
        for (step, from) in (0..plan.reduction_channels).step_by(plan.step).enumerate() {
            let channels = plan.step.min(plan.reduction_channels - from);
            let last = from + channels == plan.reduction_channels;
            let weights = packed.weights(block, from, channels);
            // While this step's weights are used the next one's come nearer. What comes from afar is late then, and asked
            // for again a few channels before it is read.
            let mut ahead = Share::new(packed.after(block, from, channels), count * tiles.products());
            let near = match plan.streams(2 * packed.bytes()) {
                true if channels > NEAR => packed.within(block, from + NEAR, channels - NEAR),
                _ => &[],
            };
            let memory = self.v.chunks_exact(v_len).zip(sums.chunks_exact_mut(m_len));
            for (i, (Work { sample, target, sums: channel_sums }, (v, m))) in
                work.iter_mut().flatten().zip(memory).enumerate()
            {
                // A static layer's are the same for all samples.
                if i == 0 || sample.pi.is_some() {
                    let pi = sample.pi.unwrap_or(&[1.0]);
                    let ahead = if i == 0 { near } else { &[] };
                    let into =
                        Into { u: &mut *u, apart: tiles.u_apart(block_lanes), vectors: block.vectors, ahead };
                    transform_weights(lanes, tiles.size, weights, pi, into);
                }
                if last {
                    channel_offsets(lanes, packed, block, sample, offset);
                }
                let own = block.first - self.first;
                let channel_sums = match last && !channel_sums.is_empty() {
                    true => &mut channel_sums[own..][..block.channels],
                    false => &mut [],
                };
                let running = match channel_sums.is_empty() {
                    true => Running::Unasked,
                    false => Running::new(lanes, block.vectors, plan.channels_first(), running),
                };
                let mut target = target.channels(plan.config.layout(), own, block.channels);
                let mut finish = finish(plan, block, sample, &mut target, running);
                let v = v[step * v_step..].chunks_exact(tiles.v_block());
                for (b, (rows, v)) in tiles.blocks(&part.rows).zip(v).enumerate() {
                    let m = &mut m[if tiles.steps > 1 { b * m_block } else { 0 }..][..m_block];
                    let product =
                        Product { tiles, rows, block, v, channels, u, zeros, resume: from > 0, m: &mut *m };
                    product.run(lanes, &mut ahead);
                    if last {
                        let rows = Rows { tiles, rows, before: part.rows.start, width: plan.grid[1], block };
                        transform_output(lanes, rows, (m, offset), plane, &mut finish);
                    }
                }
                if last {
                    finish.sums.finish(lanes, channel_sums);
                }
            }
        }
    }
}

/// Cache lines of the experts that are needed next, given out evenly over the work of a step.
struct Share<'a> {
    lines: &'a [f32],
    work: usize,
    done: usize,
    given: usize,
}

impl<'a> Share<'a> {
    fn new(lines: &'a [f32], work: usize) -> Self {
        Self { lines, work, done: 0, given: 0 }
    }

    /// Those that are due while so much work is done.
    fn next(&mut self, work: usize) -> &'a [f32] {
        self.done += work;
        let due = self.lines.len() / LINE * self.done / self.work * LINE;
        &self.lines[std::mem::replace(&mut self.given, due)..due]
    }
}

/// M += V·U of a block of tile rows.
struct Product<'a> {
    tiles: &'a Tiles,
    rows: &'a [Cut],
    block: &'a Block,
    v: &'a [f32],
    /// Input channels of the step.
    channels: usize,
    u: &'a [f32],
    zeros: &'a [f32],
    /// Whether M holds the sums of earlier steps.
    resume: bool,
    m: &'a mut [f32],
}

impl Product<'_> {
    fn run<L: Lanes>(self, lanes: L, ahead: &mut Share<'_>) {
        let Self { tiles, rows, block, v, channels, u, zeros, resume, m } = self;
        let block_lanes = block.vectors * L::WIDTH;
        let (v_apart, u_apart, m_apart) =
            (tiles.v_apart(), tiles.u_apart(block_lanes), tiles.m_apart(block_lanes));
        let alike = tiles.alike(rows);
        for Alike { first, pairs, count } in alike {
            let apart = Apart { panel: u_apart, x: v_apart, sums: m_apart };
            let rounds = Some(Rounds { count: pairs, panel: channels * block_lanes, apart });
            let panel = &u[first * u_apart..];
            let (mut v, mut m) = (&v[first * v_apart..], &mut m[first * m_apart..]);
            for (pixels, count) in even(count, STRIDED_ROWS.min(L::ROWS)) {
                let kernel = if halved::fits(lanes, block.channels) {
                    halved::halved::<L>(pixels)
                } else {
                    strided::<L>(pixels, block.vectors)
                };
                let mut tile = Tile {
                    count,
                    x: v,
                    step: tiles.row,
                    offsets: &[],
                    places: &[],
                    panel,
                    rounds,
                    ahead: ahead.next(pairs * pixels * count),
                    offset: zeros,
                    sums: &mut *m,
                    resume,
                    store: None,
                };
                kernel(lanes, &mut tile);
                v = &v[pixels * count * tiles.row..];
                m = &mut m[pixels * count * block_lanes..];
            }
        }
    }
}

/// `all` in the fewest parts of at most `most`, evenly: how large, and how many of that size.
fn even(all: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = all.div_ceil(most).max(1);
    let (each, more) = (all / parts, all % parts);
    [(each + 1, more), (each, parts - more)].into_iter().filter(|&(size, count)| size > 0 && count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_even_and_all() {
        for all in 0..100 {
            for most in [6, 12] {
                let parts: Vec<_> = even(all, most).collect();
                assert_eq!(parts.iter().map(|(size, count)| size * count).sum::<usize>(), all);
                assert!(parts.iter().all(|&(size, _)| size <= most));
            }
        }
    }

    #[test]
    fn lines_are_given_out_once_and_all() {
        let lines: Vec<f32> = (0..160).map(|i| i as f32).collect();
        let mut share = Share::new(&lines, 7);
        let given: Vec<f32> = [2, 1, 4].into_iter().flat_map(|work| share.next(work).to_vec()).collect();
        assert_eq!(given, lines);
    }
}
