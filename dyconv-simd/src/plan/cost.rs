//! Predicted time: what the choice of a plan compares.

use dyconv_core::{Config, Geometry, Layout};

use super::patch::patch;
use super::{Kernel, reads_input};
use crate::isa::Traits;
use crate::pack::{Block, blocks};

/// What it costs to store a vector of outputs as it lies.
const STORE: f64 = 4.0;

/// The same where tiles are turned over first.
const STORE_TURNED: f64 = 14.0;

/// What it takes to read a vector of an expert, which comes from a second- or third-level cache.
const EXPERT: f64 = 3.0;

/// A multiply-add's result is there after about as many slots.
const LATENCY: usize = 4;

/// Predicted time in slots, each one vector multiply-add: arithmetic with all its lanes, filled or not, and what a
/// copy of the input costs, and what the experts do.
pub(super) fn slots(kernel: Kernel, config: &Config, geometry: &Geometry, traits: Traits) -> f64 {
    let [height, width] = geometry.output;
    let pixels = (height * width) as f64;
    let reduction = config.reduction_len() as f64;
    let blocks = blocks(config, kernel.family(), traits);
    let vectors: usize = blocks.iter().map(|block| block.vectors).sum();
    let experts = config.experts() as f64;
    // A static layer's weights are its panels.
    let aggregate =
        if config.experts() > 1 { vectors as f64 * reduction * (experts * EXPERT + 1.0) } else { 0.0 };
    let input = (config.in_channels() * geometry.input[0] * geometry.input[1]) as f64;
    let as_it_lies = reads_input(kernel, config);
    // A transpose takes longer than what it loads and stores.
    let per_vector = if config.layout() == Layout::Nhwc { 5.0 } else { 2.0 };
    let copy = if as_it_lies { 0.0 } else { input / traits.width as f64 * per_vector + 64.0 };
    match kernel {
        Kernel::Direct | Kernel::Pointwise => {
            let grid = if as_it_lies { [1, height * width] } else { [height, width] };
            let [rows, columns] = patch(kernel, grid, config, traits);
            let patches = (grid[0].div_ceil(rows) * grid[1].div_ceil(columns)) as f64;
            let store = if config.layout() == Layout::Nhwc { STORE } else { STORE_TURNED };
            // Loads go beside the multiply-adds, but the fewer of those a step has, the less they hide; least of all
            // where another line begins far away, with every row of taps.
            let far = if kernel == Kernel::Pointwise && config.layout() == Layout::Nhwc {
                0.0
            } else {
                1.25 / config.kernel_size()[1] as f64
            };
            let load = 0.25 + far;
            // A tile of few pixels waits for its own sums.
            let waiting = (LATENCY * blocks.len()) as f64 / vectors as f64 * patches;
            let step = pixels.max(waiting) + load * patches;
            vectors as f64 * (reduction * step + pixels * store) + copy + aggregate
        }
        Kernel::Across => {
            let grid = if as_it_lies { [1, height * width] } else { [height, width] };
            let pixel_vectors = (grid[0] * grid[1].div_ceil(traits.width)) as f64;
            let channels = config.out_channels() as f64;
            // A tile of few channels waits for its own sums; and each loads its pixels.
            let step = |block: &Block| {
                let tiles = block.channels.div_ceil(traits.across[0]);
                block.channels.max(LATENCY * tiles) as f64 + 0.75 * tiles as f64
            };
            let step: f64 = blocks.iter().map(step).sum();
            let store = if config.layout() == Layout::Nchw { STORE } else { STORE_TURNED };
            pixel_vectors * (reduction * step + channels * store) + copy + aggregate
        }
        Kernel::Mixing => {
            let [_, most] = patch(kernel, [1, height * width], config, traits);
            let tiles = (height * width).div_ceil(most) as f64;
            // Every tile reads all experts, which takes longer than multiplying with them.
            let step = experts * (tiles * EXPERT).max(pixels);
            vectors as f64 * (reduction * step + pixels * (experts + STORE_TURNED)) + copy
        }
        Kernel::Depthwise => match config.layout() {
            Layout::Nhwc => {
                let lanes = (vectors * traits.width) as f64 * input / config.in_channels() as f64;
                let spread = if config.out_channels_per_group() > 1 { lanes } else { 0.0 };
                vectors as f64 * reduction * pixels * 1.5 + spread + aggregate
            }
            Layout::Nchw => {
                let row_vectors = (height * width.div_ceil(traits.width)) as f64;
                let copy = input / traits.width as f64 + 16.0 * config.in_channels() as f64;
                config.out_channels() as f64 * reduction * row_vectors * 2.0 + copy + aggregate
            }
        },
    }
}
