//! Experts in the order that kernels read them.
//!
//! Output channels are cut into *blocks* of as many vectors as a register tile has. Within a block the experts are
//! interleaved vector by vector, so that aggregation is one linear pass and what it writes is already packed:
//!
//! ```text
//! weights  [block][input channel][tap][vector][expert][lane]        aggregated: [input channel][tap][vector][lane]
//!   bf16   [block][input channel][tap][vector][pair of experts][lane][of the pair], an odd last expert's [lane]
//! bias     [block][vector][expert][lane]                            aggregated: [vector][lane]
//! shift    [block][vector][lane]                                    added to the aggregated bias
//! ```
//!
//! Lanes beyond a block's channels hold 0 and are never written out. Any range of input channels of a block is one
//! contiguous piece. A static layer's packed weights *are* its panels. Batch norm's scale is folded into weights and
//! bias, its shift kept apart, which is exact for every π; a trainable layer keeps batch norm out.
//!
//! Weights may take 16 bits: rounded to nearest even, once, with the scale folded in. Bias and shift stay f32. Parameters
//! are finite, as the layer was checked; a weight that isn't a finite number of its format is refused.

mod block;
mod fill;
mod order;
mod weights;

use std::ops::Range;

use dyconv_core::{DyConv2d, Precision, Result};

pub(crate) use self::block::{Block, Family, blocks};
pub(crate) use self::weights::{Weights, word_bytes};
use crate::buffer::Buffer;
use crate::isa::Traits;
use crate::store::Store;

/// A layer's experts, biases and shift, packed.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) family: Family,
    pub(crate) blocks: Vec<Block>,
    weights: Store,
    precision: Precision,
    bias: Option<Buffer>,
    shift: Option<Buffer>,
    experts: usize,
    width: usize,
    taps: usize,
    reduction: usize,
}

impl Packed {
    /// # Errors
    /// Where a weight is beyond the precision's range.
    pub(crate) fn new(
        layer: &DyConv2d,
        family: Family,
        traits: Traits,
        precision: Precision,
        fold: bool,
    ) -> Result<Self> {
        let config = layer.config();
        let blocks = blocks(config, family, traits);
        let len = lanes(&blocks, traits.width) * config.reduction_len() * config.experts();
        let mut packed = Self {
            family,
            blocks,
            weights: match precision {
                Precision::Bf16 | Precision::F16 => Store::zeros::<u16>(len),
                _ => Store::zeros::<f32>(len),
            },
            precision,
            bias: None,
            shift: None,
            experts: config.experts(),
            width: traits.width,
            taps: config.taps(),
            reduction: config.reduction_len(),
        };
        packed.fill(layer, fold)?;
        Ok(packed)
    }

    /// The experts' weights for `channels` input channels of a block from `from` on.
    pub(crate) fn weights(&self, block: &Block, from: usize, channels: usize) -> Weights<'_> {
        let place = self.place(block, from, channels);
        match self.precision {
            Precision::Bf16 => Weights::Bf16(&self.weights.get()[place]),
            Precision::F16 => Weights::F16(&self.weights.get()[place]),
            _ => Weights::F32(&self.weights.get()[place]),
        }
    }

    /// Which weights those of [`Packed::weights`] are among all.
    pub(crate) fn place(&self, block: &Block, from: usize, channels: usize) -> Range<usize> {
        let step = self.taps * block.vectors * self.experts * self.width;
        let start = block.lanes_before * self.reduction * self.experts + from * step;
        start..start + channels * step
    }

    /// The cache lines of as many weights as [`Packed::weights`] gives, from where they end: what a run needs next.
    /// Nothing where these were the last.
    pub(crate) fn after(&self, block: &Block, from: usize, channels: usize) -> &[f32] {
        let place = self.place(block, from, channels);
        self.lines(place.end..place.end + place.len())
    }

    /// The cache lines of what [`Packed::weights`] gives.
    pub(crate) fn within(&self, block: &Block, from: usize, channels: usize) -> &[f32] {
        self.lines(self.place(block, from, channels))
    }

    fn lines(&self, words: Range<usize>) -> &[f32] {
        // Where weights take 16 bits, two are a float.
        let per_float = size_of::<f32>() / word_bytes(self.precision);
        let lines = self.weights.lines();
        &lines[(words.start / per_float).min(lines.len())..(words.end / per_float).min(lines.len())]
    }

    /// A block's weights for some input channels, which are f32's.
    pub(crate) fn weights_of(&self, block: &Block, from: usize, channels: usize) -> &[f32] {
        &self.weights.get()[self.place(block, from, channels)]
    }

    /// Blocks, and all weights to be changed.
    pub(crate) fn parts_mut(&mut self) -> (&[Block], &mut [f32]) {
        (&self.blocks, self.weights.get_mut())
    }

    /// All weights, which are f32's.
    pub(crate) fn all_weights(&self) -> &[f32] {
        self.weights.get()
    }

    /// The same, to be changed.
    pub(crate) fn all_weights_mut(&mut self) -> &mut [f32] {
        self.weights.get_mut()
    }

    /// All biases.
    pub(crate) fn all_biases(&self) -> Option<&[f32]> {
        self.bias.as_ref().map(Buffer::as_slice)
    }

    /// The same, to be changed.
    pub(crate) fn all_biases_mut(&mut self) -> Option<&mut [f32]> {
        self.bias.as_mut().map(Buffer::as_mut_slice)
    }

    /// Numbers of an output channel's weights.
    pub(crate) fn reduction(&self) -> usize {
        self.reduction
    }

    /// The experts' biases of a block.
    pub(crate) fn bias(&self, block: &Block) -> Option<&[f32]> {
        let range = block.lanes_before * self.experts..;
        Some(&self.bias.as_ref()?.as_slice()[range][..block.vectors * self.experts * self.width])
    }

    /// Batch norm's shift of a block.
    pub(crate) fn shift(&self, block: &Block) -> Option<&[f32]> {
        Some(&self.shift.as_ref()?.as_slice()[block.lanes_before..][..block.vectors * self.width])
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        let small: usize = [&self.bias, &self.shift].into_iter().flatten().map(Buffer::bytes).sum();
        self.weights.bytes() + small
    }

    fn lanes(&self) -> usize {
        lanes(&self.blocks, self.width)
    }
}

/// Lanes of all blocks.
fn lanes(blocks: &[Block], width: usize) -> usize {
    blocks.last().map_or(0, |block| block.lanes_before + block.vectors * width)
}

#[cfg(test)]
mod tests {
    use dyconv_core::{Attention, Options, Params, round};

    use super::*;

    const TRAITS: Traits = Traits { width: 4, rows: 3, vectors: 2, across: [6, 1], pick: 1, last_level: 0 };

    fn layer(groups: usize) -> DyConv2d {
        let options = Options::new(2 * groups, 11 * groups).groups(groups).kernel_size([1, 3]);
        let config = options.experts(3).bias(true).attention(Attention::Given).build().unwrap();
        // Whole numbers that bf16 has.
        let weight: Vec<f32> = (0..3 * config.expert_len()).map(|i| (i % 200) as f32 + 1.0).collect();
        let bias = Some((0..3 * config.out_channels()).map(|i| -(i as f32) - 1.0).collect());
        DyConv2d::new(config, Params { weight, bias, attention: None, batch_norm: None }).unwrap()
    }

    #[test]
    fn blocks_are_ascending_and_cover_every_output_channel_once() {
        for family in [Family::Shared, Family::Lanewise] {
            for groups in 1..4 {
                let config = *layer(groups).config();
                let mut next = 0;
                for block in blocks(&config, family, TRAITS) {
                    assert_eq!(block.first, next);
                    assert!(block.channels <= block.vectors * TRAITS.width);
                    next += block.channels;
                }
                assert_eq!(next, config.out_channels());
            }
        }
    }

    /// The experts of 16 bits by their drawing, in f32's.
    fn drawn(packed: &Packed, block: &Block) -> Vec<f32> {
        let float = |bits: u16| f32::from_bits(u32::from(bits) << 16);
        match packed.weights(block, 1, 1) {
            Weights::F32(panel) => panel.to_vec(),
            // Small whole numbers, whose f16s are read as the test of rounding proves them.
            Weights::F16(panel) => {
                let number = |w: u16| (0..512).find(|&n| round::f16(f64::from(n)) == Some(w)).unwrap();
                panel.iter().map(|&w| number(w) as f32).collect()
            }
            // Three experts of four lanes: a pair, and one.
            Weights::Bf16(panel) => {
                let vector = |v: &[u16]| {
                    let pair = |which: usize| (0..4).map(move |lane| 2 * lane + which);
                    pair(0).chain(pair(1)).chain(8..12).map(|i| float(v[i])).collect::<Vec<_>>()
                };
                panel.chunks_exact(12).flat_map(vector).collect()
            }
        }
    }

    #[test]
    fn every_weight_lies_where_the_drawing_says_and_other_lanes_are_zero() {
        let layer = layer(2);
        for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
            let packed = Packed::new(&layer, Family::Shared, TRAITS, precision, true).unwrap();
            let mut seen = 0;
            for block in &packed.blocks {
                for (at, got) in drawn(&packed, block).into_iter().enumerate() {
                    let (lane, rest) = (at % 4, at / 4);
                    let (expert, rest) = (rest % 3, rest / 3);
                    let (vector, tap) = (rest % block.vectors, rest / block.vectors);
                    let channel = vector * 4 + lane;
                    let row = (expert * 22 + block.first + channel) * 6;
                    let want =
                        if channel < block.channels { ((row + 3 + tap) % 200) as f32 + 1.0 } else { 0.0 };
                    assert_eq!(got, want, "{precision:?}");
                    seen += usize::from(want != 0.0);
                }
                let bias = packed.bias(block).unwrap();
                assert_eq!(bias[4], -((22 + block.first) as f32) - 1.0);
            }
            assert_eq!(seen, 3 * 22 * 3);
        }
    }

    #[test]
    fn what_is_packed_lies_as_the_layers_own_and_comes_back() {
        let layer = layer(2);
        let params = layer.params();
        for family in [Family::Shared, Family::Lanewise] {
            let mut packed = Packed::new(&layer, family, TRAITS, Precision::F32, true).unwrap();
            let weights = packed.pack(packed.reduction(), &params.weight);
            assert_eq!(weights.as_slice(), packed.all_weights());
            assert_eq!(packed.unpack(packed.reduction(), weights.as_slice()), params.weight);
            let biases = packed.all_biases().unwrap();
            assert_eq!(packed.unpack(1, biases), *params.bias.as_ref().unwrap());
            let twice: Vec<f32> = params.weight.iter().map(|w| 2.0 * w).collect();
            packed.repack(&twice);
            assert_eq!(packed.unpack(packed.reduction(), packed.all_weights()), twice);
        }
    }

    #[test]
    fn what_is_needed_next_begins_where_a_piece_ends() {
        let config = Options::new(128, 96).experts(4).kernel_size([3, 3]).attention(Attention::Given);
        let config = config.build().unwrap();
        let weight = (0..4 * config.expert_len()).map(|i| i as f32).collect();
        let layer = Params { weight, bias: None, attention: None, batch_norm: None };
        let layer = DyConv2d::new(config, layer).unwrap();
        let traits = Traits { width: 16, rows: 14, vectors: 2, across: [24, 1], pick: 1, last_level: 0 };
        for precision in [Precision::F32, Precision::Bf16] {
            let packed = Packed::new(&layer, Family::Shared, traits, precision, true).unwrap();
            let [first, second, third] = *packed.blocks else { panic!("three blocks") };
            for (block, from, next, start) in [(first, 0, first, 64), (second, 64, third, 0)] {
                let bytes = match packed.weights(&next, start, 64) {
                    Weights::F32(weights) => bytemuck::cast_slice::<f32, u8>(weights),
                    Weights::Bf16(weights) | Weights::F16(weights) => bytemuck::cast_slice(weights),
                };
                assert_eq!(bytemuck::cast_slice::<f32, u8>(packed.after(&block, from, 64)), bytes);
            }
            assert!(packed.after(&third, 64, 64).is_empty());
        }
    }

    #[test]
    fn a_weight_beyond_the_range_is_refused_by_name() {
        let config = Options::new(1, 2).experts(2).attention(Attention::Given).build().unwrap();
        let params =
            Params { weight: vec![1.0, 2.0, 3.0, 7e4], bias: None, attention: None, batch_norm: None };
        let layer = DyConv2d::new(config, params).unwrap();
        let error = Packed::new(&layer, Family::Shared, TRAITS, Precision::F16, true).unwrap_err();
        let want = "a weight of expert 1, output channel 1 is 70000; expected at most 6.5504e4 in magnitude, the largest \
                    f16, with batch norm's scale folded in";
        assert_eq!(error.to_string(), want);
    }
}
