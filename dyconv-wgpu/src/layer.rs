//! A layer on the device: packed and uploaded once.

use std::borrow::Cow;
use std::sync::Arc;

use dyconv_core::{
    BatchNormParams, Config, DyConv2d, Error, Generation, HeadParams, ParamSpec, Precision, Prepare,
    Prepared, Result,
};

use crate::context::Context;
use crate::memory::{Allocation, Purpose};
use crate::origin::Origin;
use crate::pack::Packing;
use crate::stored::Stored;
use crate::stream::WgpuStream;
use crate::values::Values;

/// A prepared layer.
#[derive(Debug)]
pub struct WgpuLayer {
    config: Config,
    how: Prepare,
    pub(crate) context: u64,
    pub(crate) packing: Packing,
    pub(crate) stored: Stored,
    /// How the activations lie that it reads and writes.
    pub(crate) values: Values,
    /// `[K][packed kernel]`, see [`Packing`] and [`Stored`].
    pub(crate) experts: Allocation,
    /// `[A1][c1][A2][c2]`, absent biases as zeros.
    pub(crate) head: Option<Allocation>,
    /// `[scale][shift]` of batch norm with its running statistics, where it is folded.
    pub(crate) norm: Option<Allocation>,
    /// What only a trainable layer has.
    pub(crate) training: Option<Training>,
}

/// What a layer that learns keeps beside its experts and head.
#[derive(Debug)]
pub(crate) struct Training {
    /// Batch norm, which isn't folded then.
    pub(crate) norm: Option<Unfolded>,
    /// The tensors that are learned, in the order of [`ParamSpec::all`].
    pub(crate) learned: Vec<ParamSpec>,
    /// The state of the parameters.
    pub(crate) generation: Generation,
    /// Who wrote them last.
    pub(crate) origin: Origin,
}

/// Batch norm's numbers, `[Cout]` each.
#[derive(Debug)]
pub(crate) struct Unfolded {
    /// `[gamma][beta]`
    pub(crate) gamma_beta: Allocation,
    /// Mean and variance. They aren't changed but written anew, so that tapes can keep them.
    pub(crate) running: [Arc<Allocation>; 2],
}

impl Prepared for WgpuLayer {
    fn config(&self) -> &Config {
        &self.config
    }

    fn how(&self) -> &Prepare {
        &self.how
    }
}

impl WgpuLayer {
    pub(crate) fn new(context: &Context, layer: &DyConv2d, how: &Prepare) -> Result<Self> {
        let (config, params) = (layer.config(), layer.params());
        let unsupported = |what| Error::Unsupported { backend: context.backend.clone(), what };
        if how.trainable && how.precision != Precision::F32 {
            let what = format!("a trainable layer in precision {}; train it in f32", how.precision);
            return Err(unsupported(what));
        }
        if how.trainable && context.values != Values::F32 {
            let what = format!("a trainable layer beside activations in {}", context.values.precision());
            return Err(unsupported(format!("{what}; train it on a backend with f32")));
        }
        let stored = Stored::new(how.precision, context.has_f16())
            .ok_or_else(|| unsupported(format!("experts stored as {}", how.precision)))?;
        let vector = |data: Vec<f32>| {
            context.memory.filled(context, Purpose::Parameters, data.len(), [Cow::Owned(data)])
        };
        let norm = config.batch_norm().zip(params.batch_norm.as_ref());
        let unfold = |bn: &BatchNormParams| -> Result<Unfolded> {
            Ok(Unfolded {
                gamma_beta: vector([&bn.weight[..], &bn.bias[..]].concat())?,
                running: [
                    Arc::new(vector(bn.running_mean.clone())?),
                    Arc::new(vector(bn.running_var.clone())?),
                ],
            })
        };
        let training = || -> Result<Training> {
            Ok(Training {
                norm: norm.map(|(_, bn)| unfold(bn)).transpose()?,
                learned: params.learned(config),
                generation: Generation::new(),
                origin: Origin::host(context),
            })
        };
        Ok(Self {
            config: *config,
            how: *how,
            context: context.id,
            packing: Packing::new(config),
            stored,
            values: context.values,
            experts: upload_experts(context, layer, stored)?,
            head: params.attention.as_ref().map(|head| vector(flatten_head(config, head))).transpose()?,
            norm: norm
                .filter(|_| !how.trainable)
                .map(|(norm, bn)| vector(scale_and_shift(norm.epsilon, bn)))
                .transpose()?,
            training: how.trainable.then(training).transpose()?,
        })
    }

    /// Batch norm where it isn't folded.
    pub(crate) fn unfolded(&self) -> Option<&Unfolded> {
        self.training.as_ref()?.norm.as_ref()
    }

    /// Whether commands recorded on `stream` may read its numbers.
    pub(crate) fn check(&self, stream: &WgpuStream) -> Result<()> {
        self.training.as_ref().map_or(Ok(()), |training| training.origin.check("layer", "a layer", stream))
    }
}

/// Packs one expert at a time, so that the host never holds all of them twice.
fn upload_experts(context: &Context, layer: &DyConv2d, stored: Stored) -> Result<Allocation> {
    let (config, params) = (layer.config(), layer.params());
    let packing = Packing::new(config);
    let len = stored.stride(&packing).saturating_mul(config.experts());
    context.limits.check_binding("bytes of the packed experts", (len as u64).saturating_mul(4))?;
    let weights = params.weight.chunks_exact(config.expert_len());
    weights.clone().enumerate().try_for_each(|(k, expert)| stored.check(k, expert, config))?;
    let packed = weights.enumerate().map(|(k, weight)| {
        let out = config.out_channels();
        let bias = params.bias.as_ref().and_then(|bias| bias.get(k * out..(k + 1) * out));
        Cow::Owned(stored.encode(&packing.pack(weight, bias), packing.bias))
    });
    context.memory.filled(context, Purpose::Parameters, len, packed)
}

fn flatten_head(config: &Config, head: &HeadParams) -> Vec<f32> {
    let mut flat = Vec::new();
    let mut add = |dense: &dyconv_core::Dense, rows: usize| {
        flat.extend_from_slice(&dense.weight);
        match &dense.bias {
            Some(bias) => flat.extend_from_slice(bias),
            None => flat.resize(flat.len() + rows, 0.0),
        }
    };
    if let (Some(fc1), Some(dyconv_core::Attention::Mlp { hidden, .. })) = (&head.fc1, config.attention()) {
        add(fc1, hidden);
    }
    add(&head.fc2, config.experts());
    flat
}

/// Batch norm with fixed statistics as y·scale + shift, in f64 until the last rounding.
fn scale_and_shift(epsilon: f64, bn: &BatchNormParams) -> Vec<f32> {
    let pairs = bn.weight.iter().zip(&bn.bias).zip(bn.running_mean.iter().zip(&bn.running_var));
    let (scale, shift): (Vec<f32>, Vec<f32>) = pairs
        .map(|((&gamma, &beta), (&mean, &variance))| {
            let scale = f64::from(gamma) / (f64::from(variance) + epsilon).sqrt();
            (scale as f32, (f64::from(beta) - f64::from(mean) * scale) as f32)
        })
        .unzip();
    [scale, shift].concat()
}
