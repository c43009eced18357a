//! How dW~ is computed for one image size: which input channels go together, and where everything lies.

use dyconv_core::{Config, Geometry, Result};

use crate::isa::Traits;
use crate::kernels::direct::Window;
use crate::pack::{Block, Family};

/// Samples whose dW~ of a tile are in cache together: their experts' gradients are read and written once.
pub(crate) const SAMPLES: usize = 8;

/// A chosen way to correlate g with x.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Correlation {
    pub(crate) geometry: Geometry,
    /// Where taps and outputs meet inputs.
    pub(crate) window: Window,
    /// Input channels of a tile, at most: of a depthwise layer the lanes of a vector.
    pub(crate) channels: usize,
    /// Input channels of a group.
    per_group: usize,
    family: Family,
    /// Panels of inputs of one sample.
    pub(crate) panels: usize,
}

/// Some input channels of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Which block.
    pub(crate) block: usize,
    /// Which panel of inputs.
    pub(crate) panel: usize,
    /// The first of the block's input channels.
    pub(crate) from: usize,
    pub(crate) channels: usize,
}

impl Correlation {
    /// # Errors
    /// Where the image doesn't fit the layer.
    pub(crate) fn new(
        config: &Config,
        [height, width]: [usize; 2],
        family: Family,
        blocks: &[Block],
        traits: Traits,
    ) -> Result<Self> {
        let geometry = config.geometry(height, width)?;
        let per_group = config.in_channels_per_group();
        let (channels, panels) = match family {
            Family::Shared => {
                let tiles = per_group.div_ceil(traits.rows);
                let channels = per_group.div_ceil(tiles);
                (channels, config.groups() * per_group.div_ceil(channels))
            }
            Family::Lanewise => (traits.width, blocks.len()),
        };
        let window = Window::new(config, &geometry, channels)?;
        Ok(Self { geometry, window, channels, per_group, family, panels })
    }

    /// The tile: `14×32`.
    pub(crate) fn name(&self, traits: Traits) -> String {
        match self.family {
            Family::Shared => format!("{}×{}", self.channels, traits.vectors * traits.width),
            Family::Lanewise => traits.width.to_string(),
        }
    }

    /// The tiles of a block.
    pub(crate) fn tiles(&self, block: usize, of: &Block) -> impl Iterator<Item = Tile> + use<> {
        let (channels, per_group, family) = (self.channels, self.per_group, self.family);
        let first = of.input / per_group * per_group.div_ceil(channels);
        (0..per_group).step_by(channels).map(move |from| Tile {
            block,
            panel: match family {
                Family::Shared => first + from / channels,
                Family::Lanewise => block,
            },
            from,
            channels: channels.min(per_group - from),
        })
    }

    /// A panel's input channels, which not only depthwise layers have: the first, and how many.
    pub(crate) fn channels_of(&self, panel: usize) -> (usize, usize) {
        let per_group = self.per_group.div_ceil(self.channels);
        let from = panel % per_group * self.channels;
        (panel / per_group * self.per_group + from, self.channels.min(self.per_group - from))
    }

    /// Rows and columns of outputs as tiles see them: one row, where rows follow each other.
    pub(crate) fn output(&self) -> [usize; 2] {
        let [height, width] = self.geometry.output;
        if self.window.columns.len == width { [1, height * width] } else { [height, width] }
    }
}
