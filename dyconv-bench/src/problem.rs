//! One layer with data, and how far a backend's outputs are from the reference's.

use dyconv_core::{Backend, DyConv2d, Layout, Reference, Result, Tensor, TensorView, Tolerance};
use serde::{Deserialize, Serialize};

use crate::data::{SEED, random_layer, random_tensor};
use crate::workloads::Workload;

/// The two forms of a workload that are timed beside each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// The layer itself: pool, attention, aggregate, convolve.
    #[default]
    Dynamic,
    /// One kernel, no attention.
    Static,
}

impl Form {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Dynamic, Self::Static];
}

/// One workload with data: what every backend gets.
#[derive(Debug)]
pub struct Problem {
    /// The dynamic layer.
    pub layer: DyConv2d,
    /// The same layer with one kernel and no attention.
    pub static_layer: DyConv2d,
    /// The input.
    pub input: Tensor,
    /// The reference's output for the first sample, of the dynamic layer.
    pub expected: Tensor,
}

/// The distance of one sample's outputs from the reference's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviation {
    /// Largest |got − reference|; infinite where something is NaN.
    pub worst: f64,
    /// Largest |reference|.
    pub magnitude: f64,
}

impl Problem {
    /// A workload with seeded random data.
    ///
    /// # Errors
    /// Where the batch doesn't fit the address space.
    pub fn new(workload: &Workload, batch: usize, layout: Layout) -> Result<Self> {
        let config = workload.config(layout)?;
        let layer = random_layer(&config, SEED)?;
        let static_layer = random_layer(&config.static_form(), SEED)?;
        let input = random_tensor(workload.input_shape(batch)?, layout, SEED + 1);
        let expected = Reference::default().run(&layer, &first_sample(&input)?)?;
        Ok(Self { layer, static_layer, input, expected })
    }

    /// The layer in one of its forms.
    #[must_use]
    pub fn layer(&self, form: Form) -> &DyConv2d {
        match form {
            Form::Dynamic => &self.layer,
            Form::Static => &self.static_layer,
        }
    }

    /// The reference's output for the first sample, computed where it isn't there yet.
    ///
    /// # Errors
    /// Never for layers of this program's own; the reference's are passed on.
    pub fn expected(&self, form: Form) -> Result<Tensor> {
        match form {
            Form::Dynamic => Ok(self.expected.clone()),
            Form::Static => Reference::default().run(&self.static_layer, &first_sample(&self.input)?),
        }
    }
}

impl Deviation {
    /// Compares the first sample of what a backend made with what the reference made of that sample.
    ///
    /// # Errors
    /// Never: a sample of a batch fits.
    pub fn of(got: &Tensor, expected: &Tensor) -> Result<Self> {
        let got = first_sample(got)?.to_layout(expected.layout());
        let worst = worst_difference(got.view(), expected.view());
        let magnitude = expected.data().iter().fold(0.0, |max: f64, &x| max.max(f64::from(x).abs()));
        Ok(Self { worst, magnitude })
    }

    /// What case files allow for such a sample: atol + rtol·max|reference|.
    #[must_use]
    pub fn allowed(&self, tolerance: Tolerance) -> f64 {
        tolerance.absolute + tolerance.relative * self.magnitude
    }

    /// As a share of the largest reference value.
    #[must_use]
    pub fn relative(&self) -> f64 {
        self.worst / self.magnitude.max(f64::MIN_POSITIVE)
    }
}

/// The first sample of a batch; of an empty batch, nothing.
fn first_sample(batch: &Tensor) -> Result<Tensor> {
    let shape = batch.shape().with_batch(batch.shape().batch().min(1))?;
    let data = batch.data().get(..shape.len()).unwrap_or_default().to_vec();
    Tensor::new(shape, batch.layout(), data)
}

/// The largest |a − b|; infinite where shapes differ or anything is NaN.
#[must_use]
pub fn worst_difference(a: TensorView<'_>, b: TensorView<'_>) -> f64 {
    if a.shape() != b.shape() || a.layout() != b.layout() {
        return f64::INFINITY;
    }
    a.data().iter().zip(b.data()).fold(0.0, |worst, (&a, &b)| {
        let difference = (f64::from(a) - f64::from(b)).abs();
        if difference.is_nan() { f64::INFINITY } else { worst.max(difference) }
    })
}

#[cfg(test)]
mod tests {
    use dyconv_core::Shape;

    use super::*;

    #[test]
    fn nan_is_an_infinite_error() {
        let shape = Shape::new(1, 1, 1, 2).unwrap();
        let tensor = |data: [f32; 2]| Tensor::new(shape, Layout::Nchw, data.to_vec()).unwrap();
        let want = tensor([1.0, -2.0]);
        assert_eq!(worst_difference(tensor([1.5, -2.0]).view(), want.view()), 0.5);
        assert_eq!(worst_difference(tensor([f32::NAN, -2.0]).view(), want.view()), f64::INFINITY);
        assert_eq!(worst_difference(tensor([1.0, f32::NAN]).view(), want.view()), f64::INFINITY);
    }

    #[test]
    fn a_deviation_is_of_the_first_sample_and_relative_to_the_largest_value() {
        let tensor = |batch, data: &[f32]| {
            Tensor::new(Shape::new(batch, 1, 1, 2).unwrap(), Layout::Nhwc, data.to_vec()).unwrap()
        };
        let deviation = Deviation::of(&tensor(2, &[1.0, -3.0, 9.0, 9.0]), &tensor(1, &[1.0, -4.0])).unwrap();
        assert_eq!(deviation, Deviation { worst: 1.0, magnitude: 4.0 });
        assert_eq!(deviation.relative(), 0.25);
        assert_eq!(deviation.allowed(Tolerance { relative: 0.5, absolute: 1.0 }), 3.0);
    }
}
