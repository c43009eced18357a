//! What runs write and the next run uses again.

use crate::buffer::Buffer;
use crate::kernels::normalize::Affine;
use crate::tensor::Recycled;
use crate::threads::Own;

/// Scratch memory of one thread of runs: panels, padded copies, attention. It grows to what the largest layer needs
/// and is used again, as is the memory of outputs that were dropped: a run allocates nothing where one like it has run
/// before. So share one stream between the layers of a network.
#[derive(Debug, Default)]
pub struct SimdStream {
    /// One for each thread that computes.
    pub(crate) scratch: Own<Scratch>,
    /// Padded copies of as many samples as are computed at once.
    pub(crate) copies: Buffer,
    /// Panels of inputs and of g of as many samples as are correlated at once, and their tiles' parts of dπ.
    pub(crate) panels: [Buffer; 2],
    pub(crate) products: Buffer,
    /// A phase's dx, and the part of g that it reads where that isn't all.
    pub(crate) phase: Buffer,
    pub(crate) cropped: Buffer,
    /// The memory of outputs.
    pub(crate) recycled: Recycled,
    /// π `[N, K]`
    pub(crate) pi: Vec<f32>,
    /// z `[N, Cin]`
    pub(crate) pooled: Vec<f32>,
    /// The head's hidden units `[N, hidden]`.
    pub(crate) hidden: Vec<f32>,
    /// Batch norm of every channel, where it isn't folded.
    pub(crate) affine: Affine,
}

/// What one thread needs to compute a block.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Aggregated weights.
    pub(crate) panel: Buffer,
    /// Winograd's transformed input.
    pub(crate) tiles: Buffer,
    /// b~ + shift.
    pub(crate) offset: Buffer,
    /// Sums of all tiles, where they wait for the next step.
    pub(crate) sums: Buffer,
    /// The output's channel sums so far.
    pub(crate) running: Buffer,
    /// A plane of a depthwise layer, or rows of Winograd's input or output on their way between layouts.
    pub(crate) plane: Buffer,
}
