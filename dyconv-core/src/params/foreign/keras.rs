//! The Keras layer `DyConv2D`.

use super::StateDict;
use super::state::{Order, Source};
use crate::{Config, DyConv2d, Result};

/// A layer from the weights of the Keras layer `DyConv2D`, by their paths below the layer: `kernel`
/// `[K, kh·kw·I·O]` or `[K, kh, kw, I, O]`, `bias` `[K, O]`, the head `dense/kernel` `[I, K]`, `dense/bias`,
/// `dense_1/kernel` `[K, K]`, `dense_1/bias`, and `batch_normalization/gamma`, `beta`, `moving_mean`,
/// `moving_variance`.
///
/// Keras numbers the layers of a model through: of the two dense layers, whatever their numbers, the lower is
/// the first. A `:0` at the end of a name is taken off. The configuration may come from
/// [`keras::DyConv2D`](crate::keras::DyConv2D).
///
/// # Errors
/// Where a tensor is missing, superfluous, of another shape, or not finite, by its name (numbered as above).
pub fn keras(state: StateDict, config: &Config) -> Result<DyConv2d> {
    renumbered(state).into_layer(config, |spec| {
        let batch_norm = |name: &str| Source::named(&format!("batch_normalization/{name}"), spec);
        match (spec.name, &spec.shape[..]) {
            ("weight", &[k, o, i, kh, kw]) => {
                let shapes = vec![vec![k, kh * kw * i * o], vec![k, kh, kw, i, o]];
                Source::ordered("kernel", shapes, Order::Hwio)
            }
            ("attention.fc1.weight", &[outputs, inputs]) => {
                Source::ordered("dense/kernel", vec![vec![inputs, outputs]], Order::Transposed)
            }
            ("attention.fc2.weight", &[outputs, inputs]) => {
                Source::ordered("dense_1/kernel", vec![vec![inputs, outputs]], Order::Transposed)
            }
            ("attention.fc1.bias", _) => Source::named("dense/bias", spec),
            ("attention.fc2.bias", _) => Source::named("dense_1/bias", spec),
            ("bn.weight", _) => batch_norm("gamma"),
            ("bn.bias", _) => batch_norm("beta"),
            ("bn.running_mean", _) => batch_norm("moving_mean"),
            ("bn.running_var", _) => batch_norm("moving_variance"),
            (other, _) => Source::named(other, spec),
        }
    })
}

/// `dense_7/kernel:0` and `dense_8/kernel:0` → `dense/kernel` and `dense_1/kernel`; likewise batch norm.
fn renumbered(state: StateDict) -> StateDict {
    let state = state.renamed(|name| name.strip_suffix(":0").unwrap_or(name).to_owned());
    let mut numbers = ["dense", "batch_normalization"].map(|base| {
        let names = state.tensors().keys();
        (base, names.filter_map(|name| number(name, base).map(|(n, _)| n)).collect::<Vec<_>>())
    });
    for (_, numbers) in &mut numbers {
        numbers.sort_unstable();
        numbers.dedup();
    }
    state.renamed(|name| {
        for (base, numbers) in &numbers {
            if let Some((n, rest)) = number(name, base) {
                return match numbers.iter().position(|&other| other == n) {
                    Some(0) | None => format!("{base}/{rest}"),
                    Some(i) => format!("{base}_{i}/{rest}"),
                };
            }
        }
        name.to_owned()
    })
}

/// The number of `dense_7/kernel`, 0 where there is none, and what follows it.
fn number<'a>(name: &'a str, base: &str) -> Option<(u64, &'a str)> {
    let (layer, rest) = name.split_once('/')?;
    match layer.strip_prefix(base)? {
        "" => Some((0, rest)),
        suffix => Some((suffix.strip_prefix('_')?.parse().ok()?, rest)),
    }
}
