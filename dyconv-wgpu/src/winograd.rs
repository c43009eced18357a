//! Winograd's tiles for 3×3 kernels without stride or dilation.

use dyconv_core::{Accuracy, Config, Shape};

/// The outputs of a tile along each axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Size {
    /// F(2×2, 3×3).
    Two,
    /// F(4×4, 3×3).
    Four,
}

impl Size {
    pub(crate) const ALL: [Self; 2] = [Self::Two, Self::Four];

    pub(crate) fn outputs(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Products of a tile and pair of channels.
    pub(crate) fn points(self) -> usize {
        (self.outputs() + 2).pow(2)
    }

    pub(crate) fn accuracy(self) -> Accuracy {
        match self {
            Self::Two => Accuracy::GpuWinogradF2,
            Self::Four => Accuracy::GpuWinogradF4,
        }
    }

    pub(crate) fn wgsl(self) -> &'static str {
        match self {
            Self::Two => include_str!("../shaders/winograd/f2.wgsl"),
            Self::Four => include_str!("../shaders/winograd/f4.wgsl"),
        }
    }
}

/// Whether a layer has tiles.
pub(crate) fn fits(config: &Config) -> bool {
    config.kernel_size() == [3, 3]
        && config.stride() == [1, 1]
        && config.dilation() == [1, 1]
        && !config.is_depthwise()
}

/// A sample's tiles, and what they take in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tiles {
    pub(crate) size: Size,
    /// Side by side.
    pub(crate) across: usize,
    pub(crate) count: usize,
    /// Pixels of a transformed image: tiles, up to a multiple of four.
    pub(crate) pixels: usize,
}

impl Tiles {
    pub(crate) fn new(size: Size, output: Shape) -> Self {
        let across = output.width().div_ceil(size.outputs());
        let count = across * output.height().div_ceil(size.outputs());
        Self { size, across, count, pixels: count.next_multiple_of(4) }
    }

    /// Elements of one sample's transformed input, or of its products.
    pub(crate) fn image_len(self, channels: usize) -> usize {
        self.size.points().saturating_mul(channels).saturating_mul(self.pixels)
    }
}
