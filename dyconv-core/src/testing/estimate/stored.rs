//! The error of experts and outputs that are stored in fewer bits: that of rounding each to nearest, once.

use super::{Estimate, Stages};
use crate::reference::{F64Layer, F64Tensor};
use crate::{Call, Handle, Layout, Precision, Result, Shape, Tensor, round};

/// Half a unit in the last place, relative to a normal number.
fn relative(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 0.0,
        Precision::Bf16 => f64::powi(2.0, -8),
        Precision::F16 => f64::powi(2.0, -11),
    }
}

/// Half the smallest number; bf16's is nothing beside f32's roundings.
fn absolute(precision: Precision) -> f64 {
    match precision {
        Precision::F32 | Precision::Bf16 => 0.0,
        Precision::F16 => f64::powi(2.0, -25),
    }
}

/// A tensor that was stored so, as f32 again.
pub(in crate::testing) fn stored(tensor: &Tensor, precision: Precision) -> Tensor {
    let mut tensor = tensor.clone();
    if precision == Precision::F16 {
        tensor.data_mut().iter_mut().for_each(|x| *x = round::from_half(round::half(*x)));
    }
    tensor
}

/// The first number beyond the range of what activations are stored as. Rounding makes infinity of it and of all
/// larger ones, so that it stands for them: as no two numbers are further apart for that, error bounds hold on.
pub(in crate::testing) fn beyond(precision: Precision) -> f64 {
    match precision {
        Precision::F32 | Precision::Bf16 => f64::INFINITY,
        Precision::F16 => f64::powi(2.0, 16),
    }
}

/// A tensor that was stored so, with the first number beyond the range instead of infinity.
pub(in crate::testing) fn in_range(tensor: &Tensor, precision: Precision) -> Tensor {
    let (mut tensor, beyond) = (tensor.clone(), beyond(precision) as f32);
    tensor.data_mut().iter_mut().for_each(|x| *x = x.clamp(-beyond, beyond));
    tensor
}

impl Stages<'_> {
    /// What is stored of the output: it, kept in range, and half a unit in its last place more error.
    pub(super) fn stored_output(&self, error: Vec<f64>) -> Estimate {
        let precision = self.instance.activations;
        let beyond = beyond(precision);
        let value: Vec<f64> =
            self.evaluation.output.data().iter().map(|y| y.clamp(-beyond, beyond)).collect();
        let rounding = |(y, error): (&f64, f64)| {
            let most = (y.abs() + error).min(beyond);
            error + most * relative(precision) + absolute(precision)
        };
        Estimate { error: value.iter().zip(error).map(rounding).collect(), value }
    }

    /// Adds to y's error, before batch norm, Σ|π|·|W|·|x| times the format's relative error. `attention` is how far π may
    /// be off.
    pub(super) fn add_stored(&self, attention: &[f64], convolved: &mut [f64]) -> Result<()> {
        let relative = relative(self.instance.how.precision);
        self.add_products(attention, relative, |weight| weight.abs(), convolved)
    }

    /// Adds Σ|π|·|x| times the format's absolute error. Weights have batch norm's scale in them when they are rounded.
    pub(super) fn add_subnormal(&self, attention: &[f64], preactivation: &mut [f64]) -> Result<()> {
        let absolute = absolute(self.instance.how.precision);
        self.add_products(attention, absolute, |_| 1.0, preactivation)
    }

    fn add_products(
        &self,
        attention: &[f64],
        error: f64,
        weight: impl Fn(f64) -> f64,
        errors: &mut [f64],
    ) -> Result<()> {
        if error == 0.0 {
            return Ok(());
        }
        let mut layer: F64Layer = self.layer.clone();
        for value in layer.tensor_mut("weight").into_iter().flatten() {
            *value = weight(*value);
        }
        for value in layer.tensor_mut("bias").into_iter().flatten() {
            *value = 0.0;
        }
        let config = self.layer.config();
        let input = F64Tensor::from(self.instance.input.view()).map(|_, x| x.abs());
        let shape = Shape::new(input.shape().batch(), config.experts(), 1, 1)?;
        let pi = self.evaluation.attention.iter().zip(attention).map(|(pi, error)| pi.abs() + error);
        let pi = F64Tensor::new(shape, Layout::Nchw, pi.collect())?;
        let given = config.attention().map(|_| &pi);
        let products = layer.evaluate(&Call::new(&input).attention(given))?.convolved;
        errors.iter_mut().zip(products.data()).for_each(|(sum, product)| *sum += error * product);
        Ok(())
    }
}
