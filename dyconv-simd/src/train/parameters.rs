//! A layer's parameters by name: as they lie, to be read and changed, and in the order of case files.

use dyconv_core::{BatchNormParams, Params, Prepared, Result};

use crate::buffer::Buffer;
use crate::layer::SimdLayer;

impl SimdLayer {
    /// A learned parameter as it lies.
    pub(crate) fn parameter(&self, name: &str) -> Option<&[f32]> {
        let head = || self.head.as_ref();
        match name {
            "weight" => Some(self.packed.all_weights()),
            "bias" => self.packed.all_biases(),
            "attention.fc1.weight" => Some(&head()?.fc1.as_ref()?.weight),
            "attention.fc1.bias" => head()?.fc1.as_ref()?.bias.as_deref(),
            "attention.fc2.weight" => Some(&head()?.fc2.weight),
            "attention.fc2.bias" => head()?.fc2.bias.as_deref(),
            "bn.weight" => Some(&self.norm.as_ref()?.weight),
            "bn.bias" => Some(&self.norm.as_ref()?.bias),
            _ => None,
        }
    }

    /// The same, to be changed; empty where there is no such parameter.
    pub(crate) fn parameter_mut(&mut self, name: &str) -> &mut [f32] {
        let Self { head, norm, packed, .. } = self;
        let found = match name {
            "weight" => Some(packed.all_weights_mut()),
            "bias" => packed.all_biases_mut(),
            "bn.weight" => norm.as_mut().map(|norm| &mut norm.weight[..]),
            "bn.bias" => norm.as_mut().map(|norm| &mut norm.bias[..]),
            _ => head.as_mut().and_then(|head| match name {
                "attention.fc1.weight" => head.fc1.as_mut().map(|fc1| &mut fc1.weight[..]),
                "attention.fc1.bias" => head.fc1.as_mut()?.bias.as_deref_mut(),
                "attention.fc2.weight" => Some(&mut head.fc2.weight[..]),
                "attention.fc2.bias" => head.fc2.bias.as_deref_mut(),
                _ => None,
            }),
        };
        found.unwrap_or_default()
    }

    /// How many numbers of a parameter, or of what lies like it, belong to one output channel of one expert; `None` where
    /// it isn't packed.
    pub(crate) fn row_len(&self, name: &str) -> Option<usize> {
        match name {
            "weight" => Some(self.packed.reduction()),
            "bias" => Some(1),
            _ => None,
        }
    }

    /// What lies like a parameter, in the order of case files.
    pub(crate) fn unpacked(&self, name: &str, data: &[f32]) -> Vec<f32> {
        match self.row_len(name) {
            Some(numbers) => self.packed.unpack(numbers, data),
            None => data.to_vec(),
        }
    }

    /// The same backwards.
    pub(crate) fn packed_like(&self, name: &str, plain: &[f32]) -> Buffer {
        match self.row_len(name) {
            Some(numbers) => self.packed.pack(numbers, plain),
            None => Buffer::from_slice(plain),
        }
    }

    /// All numbers, running statistics included.
    pub(crate) fn params(&self) -> Result<Params> {
        Params::from_named(self.config(), |spec| {
            let running =
                |of: fn(&BatchNormParams) -> &Vec<f32>| self.norm.as_ref().map(|norm| of(norm).clone());
            Ok(match spec.name {
                "bn.running_mean" => running(|norm| &norm.running_mean),
                "bn.running_var" => running(|norm| &norm.running_var),
                name => self.parameter(name).map(|data| self.unpacked(name, data)),
            })
        })
    }

    /// running ← keep·running + (1 − keep)·batch.
    pub(crate) fn move_running(&mut self, [mean, variance]: &[Vec<f64>; 2], values: usize) {
        let (Some(options), Some(norm)) = (self.config().batch_norm(), &mut self.norm) else { return };
        let values = values as f64;
        let unbiased = if options.unbiased { values / (values - 1.0) } else { 1.0 };
        let moved = |running: &mut [f32], batch: &[f64], factor: f64| {
            for (running, batch) in running.iter_mut().zip(batch) {
                *running =
                    (options.keep * f64::from(*running) + (1.0 - options.keep) * factor * batch) as f32;
            }
        };
        moved(&mut norm.running_mean, mean, 1.0);
        moved(&mut norm.running_var, variance, unbiased);
    }
}
