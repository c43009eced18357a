//! How output channels are cut into blocks.

use dyconv_core::Config;

use crate::isa::Traits;

/// Which kernels can read a packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Blocks of output channels that share their input channels: all others.
    Shared,
    /// Blocks of one vector of output channels, each with the input channels of its own group: depthwise, narrow groups.
    Lanewise,
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
