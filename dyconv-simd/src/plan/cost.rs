//! Predicted time: what the choice of a plan compares.

use dyconv_core::{Config, Geometry, Layout};

use super::Kernel;
use super::patch::{patch, rows};
use crate::isa::Traits;
use crate::pack::blocks;

/// Predicted time in slots, each one vector multiply-add: arithmetic with all its lanes, filled or not, and what a
/// copy of the input costs.
pub(super) fn slots(kernel: Kernel, config: &Config, geometry: &Geometry, traits: Traits) -> f64 {
    let [height, width] = geometry.output;
    let pixels = (height * width) as f64;
    let reduction = config.reduction_len() as f64;
    let vectors: usize = blocks(config, kernel.family(), traits).iter().map(|block| block.vectors).sum();
    let input = (config.in_channels() * geometry.input[0] * geometry.input[1]) as f64;
    match kernel {
        Kernel::Direct | Kernel::Pointwise => {
            let grid = if kernel == Kernel::Pointwise { [1, height * width] } else { [height, width] };
            let [rows, columns] = patch(grid, rows(kernel, config, traits));
            let patches = (grid[0].div_ceil(rows) * grid[1].div_ceil(columns)) as f64;
            // A transpose takes longer than what it loads and stores.
            let per_vector = if config.layout() == Layout::Nhwc { 5.0 } else { 2.0 };
            let copy =
                if kernel == Kernel::Direct { input / traits.width as f64 * per_vector + 64.0 } else { 0.0 };
            // Loads go beside the multiply-adds, but the fewer of those a step has, the less they hide.
            vectors as f64 * reduction * (pixels + 0.25 * patches) + copy
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
