//! Predicted time: what the choice of a plan compares.

use dyconv_core::{Config, Geometry, Layout};

use super::patch::patch;
use super::{Kernel, reads_input};
use crate::isa::Traits;
use crate::pack::blocks;

/// What it costs to store a vector of outputs as it lies.
const STORE: f64 = 4.0;

/// The same where tiles are turned over first.
const STORE_TURNED: f64 = 14.0;

/// Predicted time in slots, each one vector multiply-add: arithmetic with all its lanes, filled or not, and what a
/// copy of the input costs.
pub(super) fn slots(kernel: Kernel, config: &Config, geometry: &Geometry, traits: Traits) -> f64 {
    let [height, width] = geometry.output;
    let pixels = (height * width) as f64;
    let reduction = config.reduction_len() as f64;
    let vectors: usize = blocks(config, kernel.family(), traits).iter().map(|block| block.vectors).sum();
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
            vectors as f64 * (reduction * (pixels + load * patches) + pixels * store) + copy
        }
        Kernel::Across => {
            let grid = if as_it_lies { [1, height * width] } else { [height, width] };
            let pixel_vectors = (grid[0] * grid[1].div_ceil(traits.width)) as f64;
            let channels = config.out_channels() as f64;
            // A multiply-add takes about four cycles, so a tile of fewer is no faster; and each loads its pixels.
            let step: f64 = blocks(config, kernel.family(), traits)
                .iter()
                .map(|block| {
                    let tiles = block.channels.div_ceil(traits.across[0]);
                    block.channels.max(4 * tiles) as f64 + 0.75 * tiles as f64
                })
                .sum();
            let store = if config.layout() == Layout::Nchw { STORE } else { STORE_TURNED };
            pixel_vectors * (reduction * step + channels * store) + copy
        }
        Kernel::Depthwise => match config.layout() {
            Layout::Nhwc => {
                let lanes = (vectors * traits.width) as f64 * input / config.in_channels() as f64;
                let spread = if config.out_channels_per_group() > 1 { lanes } else { 0.0 };
                vectors as f64 * reduction * pixels * 1.5 + spread
            }
            Layout::Nchw => {
                let row_vectors = (height * width.div_ceil(traits.width)) as f64;
                let copy = input / traits.width as f64 + 16.0 * config.in_channels() as f64;
                config.out_channels() as f64 * reduction * row_vectors * 2.0 + copy
            }
        },
    }
}
