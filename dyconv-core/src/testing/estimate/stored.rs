//! The error of experts and outputs that are stored in fewer bits: that of rounding each to nearest, once.

use super::Stages;
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

impl Stages<'_> {
    /// Adds half a unit in an output's last place. Beyond the format's range an output is infinite, and anything next
    /// to that.
    pub(super) fn add_rounding(&self, output: &mut [f64]) {
        let precision = self.instance.activations;
        let (largest, _) = round::largest(precision);
        for (error, y) in output.iter_mut().zip(self.evaluation.output.data()) {
            let most = y.abs() + *error;
            *error += most * relative(precision) + absolute(precision);
            if precision != Precision::F32 && most > largest {
                *error = f64::INFINITY;
            }
        }
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
