//! The common `PyTorch` ports.

use super::StateDict;
use super::state::Source;
use crate::{Config, DyConv2d, ParamSpec, Result};

/// A layer from the state of the widely used port of the paper: `weight` `[K, O, I/G, kh, kw]`, `bias`
/// `[K, O]`, and the head as 1×1 convolutions `attention.fc1.weight` `[hidden, I, 1, 1]` (without bias) and
/// `attention.fc2.weight` `[K, hidden, 1, 1]`, `attention.fc2.bias`.
///
/// Its temperature isn't in the state: the configuration must have the one it was trained down to. Its hidden
/// units are [`hidden::torch_port`](crate::hidden::torch_port).
///
/// # Errors
/// Where a tensor is missing, superfluous, of another shape, or not finite, by its name in the state.
pub fn torch_paper(state: StateDict, config: &Config) -> Result<DyConv2d> {
    state.into_layer(config, |spec| {
        let source = Source::named(spec.name, spec);
        match as_convolution(spec) {
            Some(shape) => source.or_shaped(shape),
            None => source,
        }
    })
}

/// A layer from the state of the port that passes the temperature to forward: `kernels_weights`
/// `[K, O, I/G, kh, kw]`, `kernels_bias` `[K, O]`, and the head as linear layers `attention.to_scores.0.*`
/// and `attention.to_scores.2.*`.
///
/// # Errors
/// As [`torch_paper`].
pub fn torch_scores(state: StateDict, config: &Config) -> Result<DyConv2d> {
    state.into_layer(config, |spec| {
        let name = match spec.name {
            "weight" => "kernels_weights",
            "bias" => "kernels_bias",
            "attention.fc1.weight" => "attention.to_scores.0.weight",
            "attention.fc1.bias" => "attention.to_scores.0.bias",
            "attention.fc2.weight" => "attention.to_scores.2.weight",
            "attention.fc2.bias" => "attention.to_scores.2.bias",
            other => other,
        };
        Source::named(name, spec)
    })
}

/// The head's matrices as the weights of 1×1 convolutions.
fn as_convolution(spec: &ParamSpec) -> Option<Vec<usize>> {
    let is_matrix = spec.name.starts_with("attention.") && spec.name.ends_with(".weight");
    is_matrix.then(|| [&spec.shape[..], &[1, 1]].concat())
}
