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

use std::ops::Range;

use bytemuck::Pod;
use dyconv_core::{BatchNormParams, Config, DyConv2d, Error, Precision, Result};

use crate::buffer::Buffer;
use crate::isa::Traits;
use crate::store::Store;
use dyconv_core::round;

/// Which kernels can read a packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Blocks of output channels that share their input channels: all others.
    Shared,
    /// Blocks of one vector of output channels, each with the input channels of its own group: depthwise, narrow groups.
    Lanewise,
}

/// Bytes of a weight.
pub(crate) fn word_bytes(precision: Precision) -> usize {
    match precision {
        Precision::Bf16 | Precision::F16 => size_of::<u16>(),
        _ => size_of::<f32>(),
    }
}

/// A block of output channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// First input channel that the block reads.
    pub(crate) input: usize,
    /// First output channel.
    pub(crate) first: usize,
    /// Output channels.
    pub(crate) channels: usize,
    /// Vectors that hold them.
    pub(crate) vectors: usize,
    /// Lanes of all blocks before.
    pub(crate) lanes_before: usize,
}

/// A piece of packed weights.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Weights<'a> {
    F32(&'a [f32]),
    Bf16(&'a [u16]),
    F16(&'a [u16]),
}

impl Weights<'_> {
    /// Some of them.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        match self {
            Self::F32(weights) => Self::F32(&weights[range]),
            Self::Bf16(weights) => Self::Bf16(&weights[range]),
            Self::F16(weights) => Self::F16(&weights[range]),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(weights) => weights.len(),
            Self::Bf16(weights) | Self::F16(weights) => weights.len(),
        }
    }
}

/// Where one output channel of one expert lies, in f32's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Its first number in `[expert][output channel][…]`.
    pub(crate) plain: usize,
    /// Its first number as packed.
    pub(crate) packed: usize,
    /// From one number to the next as packed.
    pub(crate) step: usize,
}

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
        let lanes = blocks.last().map_or(0, |b| b.lanes_before + b.vectors * traits.width);
        let norm = layer.params().batch_norm.as_ref().filter(|_| fold);
        let scale = norm.map(|norm| scale(config, norm));
        let len = lanes * config.reduction_len() * config.experts();
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
        let scale = scale.as_deref();
        packed.pack_weights(&layer.params().weight, config, scale)?;
        if let Some(bias) = &layer.params().bias {
            packed.bias = Some(packed.pack_bias(bias, config, scale));
        }
        if let (Some(norm), Some(scale)) = (norm, scale) {
            let shift = |o: usize| f64::from(norm.bias[o]) - f64::from(norm.running_mean[o]) * scale[o];
            packed.shift = Some(packed.pack_shift(shift));
        }
        Ok(packed)
    }

    /// The experts' weights for `channels` input channels of a block from `from` on.
    pub(crate) fn weights(&self, block: &Block, from: usize, channels: usize) -> Weights<'_> {
        let piece = self.piece(block, from, channels);
        match self.precision {
            Precision::Bf16 => Weights::Bf16(&self.weights.get()[piece]),
            Precision::F16 => Weights::F16(&self.weights.get()[piece]),
            _ => Weights::F32(&self.weights.get()[piece]),
        }
    }

    fn piece(&self, block: &Block, from: usize, channels: usize) -> Range<usize> {
        let step = self.taps * block.vectors * self.experts * self.width;
        let start = block.lanes_before * self.reduction * self.experts + from * step;
        start..start + channels * step
    }

    /// The cache lines of as many weights as [`Packed::weights`] gives, from where they end: what a run needs next.
    /// Nothing where these were the last.
    pub(crate) fn after(&self, block: &Block, from: usize, channels: usize) -> &[f32] {
        let piece = self.piece(block, from, channels);
        self.lines(piece.end..piece.end + piece.len())
    }

    /// The cache lines of what [`Packed::weights`] gives.
    pub(crate) fn within(&self, block: &Block, from: usize, channels: usize) -> &[f32] {
        self.lines(self.piece(block, from, channels))
    }

    fn lines(&self, words: Range<usize>) -> &[f32] {
        // Where weights take 16 bits, two are a float.
        let per_float = size_of::<f32>() / word_bytes(self.precision);
        let lines = self.weights.lines();
        &lines[(words.start / per_float).min(lines.len())..(words.end / per_float).min(lines.len())]
    }

    /// Which weights those of [`Packed::weights`] are among all.
    pub(crate) fn place(&self, block: &Block, from: usize, channels: usize) -> Range<usize> {
        self.piece(block, from, channels)
    }

    /// A block's weights for some input channels, which are f32's.
    pub(crate) fn weights_of(&self, block: &Block, from: usize, channels: usize) -> &[f32] {
        &self.weights.get()[self.piece(block, from, channels)]
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

    /// Every output channel of every expert, of packed f32's with so many numbers for each: weights have as many as are
    /// summed, biases one.
    pub(crate) fn rows(&self, numbers: usize) -> impl Iterator<Item = Row> {
        let (experts, width) = (self.experts, self.width);
        let channels: usize = self.blocks.iter().map(|block| block.channels).sum();
        self.blocks.iter().flat_map(move |block| {
            let start = block.lanes_before * numbers * experts;
            pairs(experts, block.channels).map(move |(expert, lane)| Row {
                plain: (expert * channels + block.first + lane) * numbers,
                packed: start + (lane / width * experts + expert) * width + lane % width,
                step: block.vectors * experts * width,
            })
        })
    }

    /// Numbers of an output channel's weights.
    pub(crate) fn reduction(&self) -> usize {
        self.reduction
    }

    /// What lies like weights or biases, in the order of case files.
    pub(crate) fn unpack(&self, numbers: usize, data: &[f32]) -> Vec<f32> {
        let channels: usize = self.blocks.iter().map(|block| block.channels).sum();
        let mut plain = vec![0.0; self.experts * channels * numbers];
        for row in self.rows(numbers) {
            for (k, value) in plain[row.plain..][..numbers].iter_mut().enumerate() {
                *value = data[row.packed + k * row.step];
            }
        }
        plain
    }

    /// Packs other weights of the same configuration, in f32's and without a scale.
    pub(crate) fn repack(&mut self, weight: &[f32]) {
        let reduction = self.reduction;
        let rows: Vec<Row> = self.rows(reduction).collect();
        let packed = self.all_weights_mut();
        for Row { plain, packed: first, step } in rows {
            for (k, &w) in weight[plain..][..reduction].iter().enumerate() {
                packed[first + k * step] = w;
            }
        }
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

    fn pack_weights(&mut self, weight: &[f32], config: &Config, scale: Option<&[f64]>) -> Result<()> {
        match self.precision {
            Precision::Bf16 => self.pack_each(weight, config, scale, bf16_place, round::bf16),
            Precision::F16 => self.pack_each(weight, config, scale, place, round::f16),
            _ => self.pack_each(weight, config, scale, place, |w| Some(w as f32)),
        }
    }

    /// `place` says where in a vector's experts a lane of one lies.
    fn pack_each<T: Pod>(
        &mut self,
        weight: &[f32],
        config: &Config,
        scale: Option<&[f64]>,
        place: impl Fn([usize; 2], usize, usize) -> usize,
        round: impl Fn(f64) -> Option<T>,
    ) -> Result<()> {
        let Self { experts, width, reduction, precision, .. } = *self;
        let out_channels = config.out_channels();
        let packed = self.weights.get_mut();
        for block in &self.blocks {
            let start = block.lanes_before * reduction * experts;
            for (expert, lane) in pairs(experts, block.channels) {
                let o = block.first + lane;
                let row = &weight[(expert * out_channels + o) * reduction..][..reduction];
                let place = place([experts, width], expert, lane % width);
                for (k, &w) in row.iter().enumerate() {
                    let vector = k * block.vectors + lane / width;
                    let w = scaled(w, scale, o);
                    packed[start + vector * experts * width + place] =
                        round(w).ok_or_else(|| beyond(precision, w, [expert, o]))?;
                }
            }
        }
        Ok(())
    }

    fn pack_bias(&self, bias: &[f32], config: &Config, scale: Option<&[f64]>) -> Buffer {
        let mut buffer = Buffer::zeros(self.lanes() * self.experts);
        let packed = buffer.as_mut_slice();
        for block in &self.blocks {
            for (expert, lane) in pairs(self.experts, block.channels) {
                let o = block.first + lane;
                let vector = lane / self.width * self.experts + expert;
                let at = block.lanes_before * self.experts + vector * self.width + lane % self.width;
                packed[at] = scaled(bias[expert * config.out_channels() + o], scale, o) as f32;
            }
        }
        buffer
    }

    fn pack_shift(&self, shift: impl Fn(usize) -> f64) -> Buffer {
        let mut buffer = Buffer::zeros(self.lanes());
        for block in &self.blocks {
            for lane in 0..block.channels {
                buffer.as_mut_slice()[block.lanes_before + lane] = shift(block.first + lane) as f32;
            }
        }
        buffer
    }

    fn lanes(&self) -> usize {
        self.blocks.last().map_or(0, |b| b.lanes_before + b.vectors * self.width)
    }
}

/// gamma / sqrt(σ² + ε)
pub(crate) fn scale(config: &Config, norm: &BatchNormParams) -> Vec<f64> {
    let epsilon = config.batch_norm().map_or(0.0, |norm| norm.epsilon);
    let pairs = norm.weight.iter().zip(&norm.running_var);
    pairs.map(|(&gamma, &var)| f64::from(gamma) / (f64::from(var) + epsilon).sqrt()).collect()
}

/// The blocks of a layer, ascending and together all output channels.
pub(crate) fn blocks(config: &Config, family: Family, traits: Traits) -> Vec<Block> {
    let (groups, per_group, vectors) = match family {
        Family::Shared => (config.groups(), config.out_channels_per_group(), traits.vectors),
        Family::Lanewise => (1, config.out_channels(), 1),
    };
    let mut blocks = Vec::new();
    let mut lanes_before = 0;
    for group in 0..groups {
        let input = group * config.in_channels_per_group();
        for start in (0..per_group).step_by(vectors * traits.width) {
            let channels = (vectors * traits.width).min(per_group - start);
            let vectors = channels.div_ceil(traits.width);
            blocks.push(Block { input, first: group * per_group + start, channels, vectors, lanes_before });
            lanes_before += vectors * traits.width;
        }
    }
    blocks
}

fn pairs(outer: usize, inner: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..outer).flat_map(move |a| (0..inner).map(move |b| (a, b)))
}

fn scaled(w: f32, scale: Option<&[f64]>, o: usize) -> f64 {
    f64::from(w) * scale.map_or(1.0, |scale| scale[o])
}

/// `[expert][lane]`
fn place([_, width]: [usize; 2], expert: usize, lane: usize) -> usize {
    expert * width + lane
}

/// `[pair of experts][lane][of the pair]`, an odd last expert's `[lane]`.
fn bf16_place([experts, width]: [usize; 2], expert: usize, lane: usize) -> usize {
    let first = expert & !1;
    if first + 1 < experts { first * width + 2 * lane + expert % 2 } else { expert * width + lane }
}

fn beyond(precision: Precision, w: f64, [expert, channel]: [usize; 2]) -> Error {
    let (largest, name) = round::largest(precision);
    Error::invalid(
        format!("a weight of expert {expert}, output channel {channel}"),
        w,
        format!("at most {largest:e} in magnitude, the largest {name}, with batch norm's scale folded in"),
    )
}

#[cfg(test)]
mod tests {
    use dyconv_core::{Attention, Options, Params};

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
