//! Seeded random layers and inputs: ordinary magnitudes, the same on every machine.

use dyconv_core::{Config, DyConv2d, Layout, ParamSpec, Params, Result, Shape, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The seed of everything that is measured.
pub const SEED: u64 = 1912_03458;

/// A layer with uniform random parameters, scaled so that outputs are of order one.
///
/// # Errors
/// Never for a proven configuration; the layer's own check is passed on.
pub fn random_layer(config: &Config, seed: u64) -> Result<DyConv2d> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let params = Params::from_named(config, |spec| Ok(Some(random_param(config, spec, &mut rng))))?;
    DyConv2d::new(*config, params)
}

/// A tensor of uniform random numbers from −1 to 1.
#[must_use]
pub fn random_tensor(shape: Shape, layout: Layout, seed: u64) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut tensor = Tensor::zeros(shape, layout);
    for value in tensor.data_mut() {
        *value = rng.random_range(-1.0..=1.0);
    }
    tensor
}

fn random_param(config: &Config, spec: &ParamSpec, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let len = spec.shape.iter().product();
    let (low, high) = match spec.name {
        "bn.running_var" => (0.5, 1.5),
        // Pooled random inputs are close to 0: without large biases all experts would weigh the same.
        name if name.starts_with("attention") => (-2.0, 2.0),
        "weight" => {
            let bound = (3.0 / config.reduction_len() as f32).sqrt();
            (-bound, bound)
        }
        _ => (-1.0, 1.0),
    };
    (0..len).map(|_| rng.random_range(low..=high)).collect()
}
