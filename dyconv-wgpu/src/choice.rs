//! What tests can force a plan to choose.

use crate::narrow::Block;
use crate::tile::Tile;

/// What tests, and only tests, can force, wherever it fits, so that it is checked on small shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum Choice {
    /// Tiles of 128 output channels × 128 pixels, in steps of 32 products: where limits allow.
    Deep,
    /// Tiles of 128 × 128.
    Huge,
    /// Tiles of 64 × 64.
    Large,
    /// Tiles of 32 × 32.
    Small,
    /// Blocks of 4 output channels × 4 pixels, each by one thread.
    NarrowQuad,
    /// Blocks of 8 × 4.
    NarrowPanel,
    /// Input gathered product by product.
    Any,
    /// Input gathered tap by tap, however few channels there are.
    Taps,
    /// Experts aggregated before the convolution.
    Aggregated,
    /// The same for two samples at a time.
    Chunked,
    /// Experts aggregated as tiles load them.
    Fused,
    /// Each output's sum divided among three workgroups.
    Sliced,
    /// Winograd's F(2×2, 3×3).
    WinogradF2,
    /// Winograd's F(4×4, 3×3).
    WinogradF4,
    /// Winograd's F(2×2, 3×3) with products in tiles of 128 × 128.
    WinogradHuge,
    /// The same in steps of 32 products.
    WinogradDeep,
}

impl Choice {
    /// Every one.
    pub const ALL: [Self; 16] = [
        Self::Deep,
        Self::Huge,
        Self::Large,
        Self::Small,
        Self::NarrowQuad,
        Self::NarrowPanel,
        Self::Any,
        Self::Taps,
        Self::Aggregated,
        Self::Chunked,
        Self::Fused,
        Self::Sliced,
        Self::WinogradF2,
        Self::WinogradF4,
        Self::WinogradHuge,
        Self::WinogradDeep,
    ];

    /// The tile, of a choice of tiles.
    pub(crate) fn tile(self) -> Option<Tile> {
        match self {
            Self::Deep | Self::WinogradDeep => Some(Tile::DEEP),
            Self::Huge | Self::WinogradHuge => Some(Tile::HUGE),
            Self::Large => Some(Tile::LARGE),
            Self::Small => Some(Tile::SMALL),
            _ => None,
        }
    }

    /// The block, of a choice of blocks.
    pub(crate) fn block(self) -> Option<Block> {
        match self {
            Self::NarrowQuad => Some(Block::Quad),
            Self::NarrowPanel => Some(Block::Panel),
            _ => None,
        }
    }
}
