//! Every gradient of a layer in f64, stage by stage backwards: `activate`, `normalize`, `convolve`, `aggregate`,
//! `attention`, `pool`. Below [`crate::Backend`], like the evaluation that it differentiates.

mod activate;
mod aggregate;
mod attention;
mod convolve;
mod normalize;
mod pool;

pub use activate::activate_backward;
pub use aggregate::{Mixed, MixedInput};
pub use pool::pool_backward;

use std::collections::BTreeMap;

use super::evaluate::{Evaluation, F64Layer};
use super::tensor::F64Tensor;
use crate::{AttentionSource, Handle, ParamSpec, Result};

/// The gradients of L = Σ g ⊙ output.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct F64Gradients {
    /// Of what the activation takes, which is the residual's, too.
    pub preactivation: F64Tensor,
    /// Of the convolution's output, before batch norm.
    pub convolved: F64Tensor,
    /// Of π `[N, K]`, after the squash.
    pub attention: Vec<f64>,
    /// Of the logits `[N, K]`, where a head computed π.
    pub logits: Option<Vec<f64>>,
    /// Of the input.
    pub input: F64Tensor,
    /// Of every learned parameter.
    pub params: BTreeMap<&'static str, Vec<f64>>,
}

impl F64Layer {
    /// Differentiates an evaluation of this layer for `input`.
    ///
    /// # Errors
    /// Where a tensor can't be allocated.
    pub fn backward(
        &self,
        input: &F64Tensor,
        evaluation: &Evaluation,
        gradient: &F64Tensor,
    ) -> Result<F64Gradients> {
        let mut params = self.zeros();
        let preactivation = activate::backward(self, &evaluation.preactivation, gradient);
        let convolved = normalize::backward(self, evaluation, &preactivation, &mut params);
        let mixed = self.mixed_backward(&MixedInput {
            geometry: evaluation.call.geometry,
            attention: &evaluation.attention,
            input,
            gradient: &convolved,
        });
        let Mixed { input: mut dx, weight, bias, attention } = mixed;
        params.insert("weight", weight);
        if let Some(bias) = bias {
            params.insert("bias", bias);
        }
        let logits = match (&evaluation.head, evaluation.call.attention) {
            (Some(head), AttentionSource::Head { temperature }) => {
                let logits = attention::squash_backward(self, &evaluation.attention, &attention, temperature);
                let pooled = attention::head_backward(self, head, &logits, &mut params);
                pool::mean_backward(&pooled, &mut dx);
                Some(logits)
            }
            _ => None,
        };
        Ok(F64Gradients { preactivation, convolved, attention, logits, input: dx, params })
    }

    /// A gradient of 0 for every learned parameter.
    fn zeros(&self) -> BTreeMap<&'static str, Vec<f64>> {
        let there = |spec: &ParamSpec| spec.learned() && self.tensor(spec.name).is_some();
        let specs = ParamSpec::all(self.config()).into_iter().filter(there);
        specs.map(|spec| (spec.name, vec![0.0; spec.len()])).collect()
    }
}

/// Adds element by element.
pub(super) fn add(to: &mut F64Tensor, other: &F64Tensor) {
    debug_assert_eq!(to.shape(), other.shape());
    to.data_mut().iter_mut().zip(other.data()).for_each(|(sum, other)| *sum += other);
}
