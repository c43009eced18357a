//! timm's `CondConv2d`.

use super::StateDict;
use super::state::{Order, Source};
use crate::{Config, DyConv2d, Result};

/// A layer from the state of timm's `CondConv2d`: `weight` `[K, O·I/G·kh·kw]`, `bias` `[K, O]`, and the linear
/// layer that routes, which timm keeps beside the convolutions that share it, as `routing_fn.weight`
/// `[K, I]` and `routing_fn.bias`.
///
/// ```no_run
/// # use dyconv_core::foreign::{self, StateDict};
/// # fn layer(config: &dyconv_core::Config) -> dyconv_core::Result<dyconv_core::DyConv2d> {
/// let network = StateDict::open("tf_efficientnet_cc_b0_4e.safetensors")?;
/// let block = network.under("blocks.4.0.");
/// let state = block.under("conv_pw.").with("routing_fn.", block.under("routing_fn."));
/// foreign::timm(state, config)
/// # }
/// ```
///
/// The configuration's attention is linear with sigmoid. Only the convolution that reads the block's input
/// computes its own routing; for the others take the weights alone, with `given` attention.
///
/// # Errors
/// Where a tensor is missing, superfluous, of another shape, or not finite, by its name in the state.
pub fn timm(state: StateDict, config: &Config) -> Result<DyConv2d> {
    state.into_layer(config, |spec| match spec.name {
        "weight" => Source::ordered("weight", vec![vec![config.experts(), config.expert_len()]], Order::Ours),
        "attention.fc2.weight" => Source::named("routing_fn.weight", spec),
        "attention.fc2.bias" => Source::named("routing_fn.bias", spec),
        other => Source::named(other, spec),
    })
}
