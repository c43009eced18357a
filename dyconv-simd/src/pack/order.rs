//! Where each output channel of each expert lies, and the way there and back.

use super::{Block, Packed};
use crate::buffer::Buffer;

/// Where one output channel of one expert lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Its first number in `[expert][output channel][…]`.
    pub(crate) plain: usize,
    /// Its first number as packed.
    pub(crate) packed: usize,
    /// From one number to the next as packed.
    pub(crate) step: usize,
}

/// Where an expert's lane lies among a vector's experts: of `[experts, lanes of a vector]`, the expert and its lane.
pub(super) type Interleaving = fn([usize; 2], usize, usize) -> usize;

/// `[expert][lane]`
pub(super) fn singly([_, width]: [usize; 2], expert: usize, lane: usize) -> usize {
    expert * width + lane
}

/// `[pair of experts][lane][of the pair]`, an odd last expert's `[lane]`.
pub(super) fn in_pairs([experts, width]: [usize; 2], expert: usize, lane: usize) -> usize {
    let first = expert & !1;
    if first + 1 < experts { first * width + 2 * lane + expert % 2 } else { expert * width + lane }
}

/// Every output channel of every expert, with so many numbers for each.
pub(super) fn rows(
    blocks: &[Block],
    vector: [usize; 2],
    numbers: usize,
    interleaving: Interleaving,
) -> impl Iterator<Item = Row> {
    let [experts, width] = vector;
    let channels = out_channels(blocks);
    blocks.iter().flat_map(move |block| {
        let start = block.lanes_before * numbers * experts;
        let each = (0..experts).flat_map(|expert| (0..block.channels).map(move |lane| (expert, lane)));
        each.map(move |(expert, lane)| Row {
            plain: (expert * channels + block.first + lane) * numbers,
            packed: start + lane / width * experts * width + interleaving(vector, expert, lane % width),
            step: block.vectors * experts * width,
        })
    })
}

/// Output channels of all blocks.
pub(super) fn out_channels(blocks: &[Block]) -> usize {
    blocks.iter().map(|block| block.channels).sum()
}

/// Writes numbers from their plain order to where they lie.
fn scatter(rows: impl Iterator<Item = Row>, numbers: usize, plain: &[f32], packed: &mut [f32]) {
    for row in rows {
        for (k, value) in plain[row.plain..][..numbers].iter().enumerate() {
            packed[row.packed + k * row.step] = *value;
        }
    }
}

impl Packed {
    /// Every output channel of every expert, of packed f32's with so many numbers for each: weights have as many as are
    /// summed, biases one.
    pub(crate) fn rows(&self, numbers: usize) -> impl Iterator<Item = Row> {
        rows(&self.blocks, [self.experts, self.width], numbers, singly)
    }

    /// What is to lie like weights or biases, from the order of case files.
    pub(crate) fn pack(&self, numbers: usize, plain: &[f32]) -> Buffer {
        let mut buffer = Buffer::zeros(self.lanes() * self.experts * numbers);
        scatter(self.rows(numbers), numbers, plain, buffer.as_mut_slice());
        buffer
    }

    /// The same backwards.
    pub(crate) fn unpack(&self, numbers: usize, data: &[f32]) -> Vec<f32> {
        let mut plain = vec![0.0; self.experts * out_channels(&self.blocks) * numbers];
        for row in self.rows(numbers) {
            for (k, value) in plain[row.plain..][..numbers].iter_mut().enumerate() {
                *value = data[row.packed + k * row.step];
            }
        }
        plain
    }

    /// Packs other weights of the same configuration, in f32's and without a scale.
    pub(crate) fn repack(&mut self, weight: &[f32]) {
        let rows = rows(&self.blocks, [self.experts, self.width], self.reduction, singly);
        scatter(rows, self.reduction, weight, self.weights.get_mut());
    }
}
