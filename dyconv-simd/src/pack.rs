//! Experts in the order that kernels read them.
//!
//! Output channels are cut into *blocks* of as many vectors as a register tile has. Within a block the experts are
//! interleaved vector by vector, so that aggregation is one linear pass and what it writes is already packed:
//!
//! ```text
//! weights  [block][input channel][tap][vector][expert][lane]        aggregated: [input channel][tap][vector][lane]
//! bias     [block][vector][expert][lane]                            aggregated: [vector][lane]
//! shift    [block][vector][lane]                                    added to the aggregated bias
//! ```
//!
//! Lanes beyond a block's channels hold 0 and are never written out. Any range of input channels of a block is one
//! contiguous piece. A static layer's packed weights *are* its panels. Batch norm's scale is folded into weights and
//! bias, its shift kept apart, which is exact for every π; a trainable layer keeps batch norm out.

use dyconv_core::{BatchNormParams, Config, DyConv2d};

use crate::buffer::Buffer;
use crate::isa::Traits;
use crate::store::Store;

/// Weights up to this size stay in the second-level cache from run to run.
const RESIDENT_BYTES: usize = 512 << 10;

/// Which kernels can read a packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Blocks of output channels that share their input channels: direct and pointwise.
    Shared,
    /// Blocks of one vector of output channels, each with its own input channel: depthwise.
    Depthwise,
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

/// A layer's experts, biases and shift, packed.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) family: Family,
    pub(crate) blocks: Vec<Block>,
    weights: Store,
    bias: Option<Buffer>,
    shift: Option<Buffer>,
    experts: usize,
    width: usize,
    taps: usize,
    reduction: usize,
}

impl Packed {
    pub(crate) fn new(layer: &DyConv2d, family: Family, traits: Traits, fold: bool) -> Self {
        let config = layer.config();
        let blocks = blocks(config, family, traits);
        let lanes = blocks.last().map_or(0, |b| b.lanes_before + b.vectors * traits.width);
        let norm = layer.params().batch_norm.as_ref().filter(|_| fold);
        let scale = norm.map(|norm| scale(config, norm));
        let mut packed = Self {
            family,
            blocks,
            weights: Store::zeros(lanes * config.reduction_len() * config.experts()),
            bias: None,
            shift: None,
            experts: config.experts(),
            width: traits.width,
            taps: config.taps(),
            reduction: config.reduction_len(),
        };
        packed.pack_weights(&layer.params().weight, config, scale.as_deref());
        if let Some(bias) = &layer.params().bias {
            packed.bias = Some(packed.pack_bias(bias, config, scale.as_deref()));
        }
        if let (Some(norm), Some(scale)) = (norm, &scale) {
            let shift = |o: usize| f64::from(norm.bias[o]) - f64::from(norm.running_mean[o]) * scale[o];
            packed.shift = Some(packed.pack_shift(shift));
        }
        packed
    }

    /// The experts' weights for `channels` input channels of a block from `from` on.
    pub(crate) fn weights(&self, block: &Block, from: usize, channels: usize) -> &[f32] {
        let step = block.vectors * self.experts * self.width;
        let start = block.lanes_before * self.reduction * self.experts + from * self.taps * step;
        &self.weights.floats()[start..][..channels * self.taps * step]
    }

    /// As many weights as [`Packed::weights`] gives, from where they end: what a run needs next. Nothing where all
    /// weights stay in cache anyway, or these were the last.
    pub(crate) fn after(&self, block: &Block, from: usize, channels: usize) -> Option<&[f32]> {
        if self.weights.bytes() <= RESIDENT_BYTES {
            return None;
        }
        let step = self.taps * block.vectors * self.experts * self.width;
        let end = block.lanes_before * self.reduction * self.experts + (from + channels) * step;
        let rest = self.weights.floats().get(end..)?;
        Some(&rest[..rest.len().min(channels * step)])
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

    fn pack_weights(&mut self, weight: &[f32], config: &Config, scale: Option<&[f64]>) {
        let Self { experts, width, reduction, .. } = *self;
        let out_channels = config.out_channels();
        let packed: &mut [f32] = bytemuck::cast_slice_mut(self.weights.words_mut());
        for block in &self.blocks {
            let start = block.lanes_before * reduction * experts;
            for (expert, lane) in pairs(experts, block.channels) {
                let o = block.first + lane;
                let row = &weight[(expert * out_channels + o) * reduction..][..reduction];
                for (k, &w) in row.iter().enumerate() {
                    let vector = k * block.vectors + lane / width;
                    packed[start + (vector * experts + expert) * width + lane % width] = scaled(w, scale, o);
                }
            }
        }
    }

    fn pack_bias(&self, bias: &[f32], config: &Config, scale: Option<&[f64]>) -> Buffer {
        let mut buffer = Buffer::zeros(self.lanes() * self.experts);
        let packed = buffer.as_mut_slice();
        for block in &self.blocks {
            for (expert, lane) in pairs(self.experts, block.channels) {
                let o = block.first + lane;
                let vector = lane / self.width * self.experts + expert;
                let at = block.lanes_before * self.experts + vector * self.width + lane % self.width;
                packed[at] = scaled(bias[expert * config.out_channels() + o], scale, o);
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
        Family::Depthwise => (1, config.out_channels(), 1),
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

fn scaled(w: f32, scale: Option<&[f64]>, o: usize) -> f32 {
    scale.map_or(w, |scale| (f64::from(w) * scale[o]) as f32)
}

#[cfg(test)]
mod tests {
    use dyconv_core::{Attention, Options, Params};

    use super::*;

    const TRAITS: Traits = Traits { width: 4, rows: 3, vectors: 2 };

    fn layer(groups: usize) -> DyConv2d {
        let options = Options::new(2 * groups, 11 * groups).groups(groups).kernel_size([1, 3]);
        let config = options.experts(3).bias(true).attention(Attention::Given).build().unwrap();
        let weight: Vec<f32> = (0..3 * config.expert_len()).map(|i| i as f32 + 1.0).collect();
        let bias = Some((0..3 * config.out_channels()).map(|i| -(i as f32) - 1.0).collect());
        DyConv2d::new(config, Params { weight, bias, attention: None, batch_norm: None }).unwrap()
    }

    #[test]
    fn blocks_are_ascending_and_cover_every_output_channel_once() {
        for family in [Family::Shared, Family::Depthwise] {
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

    #[test]
    fn every_weight_lies_where_the_drawing_says_and_other_lanes_are_zero() {
        let layer = layer(2);
        let packed = Packed::new(&layer, Family::Shared, TRAITS, true);
        let mut seen = 0;
        for block in &packed.blocks {
            let panel = packed.weights(block, 1, 1);
            for (at, &got) in panel.iter().enumerate() {
                let (lane, rest) = (at % 4, at / 4);
                let (expert, rest) = (rest % 3, rest / 3);
                let (vector, tap) = (rest % block.vectors, rest / block.vectors);
                let channel = vector * 4 + lane;
                let row = (expert * 22 + block.first + channel) * 6;
                let want = if channel < block.channels { (row + 3 + tap) as f32 + 1.0 } else { 0.0 };
                assert_eq!(got, want);
                seen += usize::from(want != 0.0);
            }
            let bias = packed.bias(block).unwrap();
            assert_eq!(bias[4], -((22 + block.first) as f32) - 1.0);
        }
        assert_eq!(seen, 3 * 22 * 3);
    }
}
