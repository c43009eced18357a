//! The errors of aggregate and convolve backwards: sums of products of π, W, x and g.

use super::Stages;
use crate::reference::{F64Tensor, Mixed, MixedInput};
use crate::{Handle, Result};

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
        let per_input = config.out_channels_per_group() * taps + config.experts() + 4;
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
        let input = sums(per_input, &|mixed| mixed.input.data(), true);
        // π itself has no part in its gradient.
        let attention = sums(per_attention, &|mixed| &mixed.attention, false);
        self.params.insert("weight", weight);
        self.params.extend(bias.map(|bias| ("bias", bias)));
        Ok(MixedErrors { input, attention })
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
