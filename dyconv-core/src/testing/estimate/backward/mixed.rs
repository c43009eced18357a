//! The errors of aggregate and convolve backwards: sums of products of π, W, x and g.

use super::Stages;
use crate::reference::{F64Tensor, Mixed, MixedInput};
use crate::testing::estimate::spread::largest_around;
use crate::{Geometry, Handle, Result, Shape, Spread};

/// Errors of the gradients of x (by the convolution alone) and π.
pub(super) struct MixedErrors {
    pub(super) input: Vec<f64>,
    pub(super) attention: Vec<f64>,
}

impl Stages<'_> {
    /// The experts' and their biases' errors go into `params`. `given` is that of the convolution's gradient.
    pub(super) fn mixed(&mut self, given: &[f64]) -> Result<MixedErrors> {
        let config = self.layer.config();
        let (pi, off) = (&self.forward.evaluation.attention, &self.forward.attention.error);
        let exact: Vec<f64> = pi.iter().map(|pi| pi.abs()).collect();
        let reach: Vec<f64> = exact.iter().zip(off).map(|(pi, off)| pi + off).collect();
        let largest = self.found.convolved.data().iter().zip(given).map(|(g, error)| g.abs() + error);
        let largest: Vec<f64> = largest.collect();
        let whole = self.products(&reach, &largest)?;
        let by_attention = self.products(off, &largest)?;
        let by_gradient = self.products(&exact, given)?;
        let sums = |terms: usize, of: &dyn Fn(&Mixed) -> &[f64], misled: bool| -> Vec<f64> {
            let rounded = of(&whole).iter().map(|magnitude| terms as f64 * self.u * magnitude);
            let misled = of(&by_attention).iter().map(|error| if misled { *error } else { 0.0 });
            rounded.zip(misled).zip(of(&by_gradient)).map(|((a, b), c)| a + b + c).collect()
        };
        let shape = self.found.convolved.shape();
        let (taps, pixels) = (config.taps(), shape.pixels());
        // By Winograd a tap's product is a sum in each of three transforms, as in the forward.
        let (products, growth) = match self.spread {
            Some(Spread { growth, .. }) => (config.out_channels_per_group() + 2 * (3 + 6 + 6), growth),
            None => (config.out_channels_per_group() * taps, 1.0),
        };
        let per_input = growth * (products + config.experts() + 4) as f64;
        let per_weight = shape.batch() * pixels + 4;
        // <dW~, W_k>, or the other way round <g, W_k ⋆ x>.
        let per_attention = (pixels + config.out_channels() * config.reduction_len())
            .max(config.reduction_len() + config.out_channels() * pixels)
            + 6;
        let weight = sums(per_weight, &|mixed| &mixed.weight, true);
        let bias = whole
            .bias
            .is_some()
            .then(|| sums(per_weight, &|mixed| mixed.bias.as_deref().unwrap_or_default(), true));
        let magnitude = self.around(&reach, &largest, whole.input.data())?;
        let others = by_attention.input.data().iter().zip(by_gradient.input.data());
        let input = magnitude.iter().zip(others).map(|(m, (a, b))| per_input * self.u * m + a + b).collect();
        // π itself has no part in its gradient.
        let attention = sums(per_attention, &|mixed| &mixed.attention, false);
        self.params.insert("weight", weight);
        self.params.extend(bias.map(|bias| ("bias", bias)));
        Ok(MixedErrors { input, attention })
    }

    /// The magnitude of dx: `plain`, or, where tiles share g's of the largest |g| around, that. Padding has neighbours, too,
    /// so g gets as much of it as taps can reach.
    fn around(&self, attention: &[f64], gradient: &[f64], plain: &[f64]) -> Result<Vec<f64>> {
        let Some(Spread { reach, .. }) = self.spread else { return Ok(plain.to_vec()) };
        let (config, of) = (self.layer.config(), &self.found.convolved);
        let inner = self.forward.evaluation.call.geometry;
        let [rows, columns] = config.reach();
        let outside =
            Geometry { before: [rows, columns], after: [rows, columns], input: inner.output, ..inner };
        let gradient = F64Tensor::new(of.shape(), of.layout(), gradient.to_vec())?;
        let gradient = largest_around(&gradient, &outside, reach)?;
        let more = [0, 1].map(|axis| config.reach()[axis] * config.stride()[axis]);
        let shape = self.found.input.shape();
        let extent = |axis: usize| inner.input[axis] + 2 * more[axis];
        let input = Shape::new(shape.batch(), shape.channels(), extent(0), extent(1))?;
        let geometry = Geometry {
            input: [extent(0), extent(1)],
            output: [gradient.shape().height(), gradient.shape().width()],
            ..inner
        };
        let input = F64Tensor::zeros(input, of.layout());
        let mixed = self.absolute.mixed_backward(&MixedInput {
            geometry,
            attention,
            input: &input,
            gradient: &gradient,
        });
        let mut inside = F64Tensor::zeros(shape, of.layout());
        let strides = inside.strides();
        for n in 0..shape.batch() {
            for c in 0..shape.channels() {
                for y in 0..shape.height() {
                    for x in 0..shape.width() {
                        let at = n * strides[0] + c * strides[1] + y * strides[2] + x * strides[3];
                        inside.data_mut()[at] = mixed.input.at([n, c, y + more[0], x + more[1]]);
                    }
                }
            }
        }
        Ok(inside.data().to_vec())
    }

    /// The gradients of absolute values.
    fn products(&self, attention: &[f64], gradient: &[f64]) -> Result<Mixed> {
        let input = F64Tensor::from(self.lesson.instance.input.view()).map(|_, x| x.abs());
        let of = &self.found.convolved;
        let gradient = F64Tensor::new(of.shape(), of.layout(), gradient.to_vec())?;
        Ok(self.absolute.mixed_backward(&MixedInput {
            geometry: self.forward.evaluation.call.geometry,
            attention,
            input: &input,
            gradient: &gradient,
        }))
    }
}
