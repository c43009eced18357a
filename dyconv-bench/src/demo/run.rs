//! The batch of copies through the layer, on one backend.

use dyconv_core::{AnyBackend, Backend, Call, DyConv2d, Prepare, Result, Tensor};
use image::RgbImage;

use super::{Copy, copies, layer, mean_colour};
use crate::picture::to_batch;
use crate::problem::worst_difference;

/// A picture, its copies, and the layer that is tuned to it.
#[derive(Debug)]
pub struct Demo {
    /// The original first.
    pub copies: Vec<Copy>,
    /// The layer.
    pub layer: DyConv2d,
    input: Tensor,
}

/// What the layer makes of the copies at one temperature.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixed {
    /// T.
    pub temperature: f64,
    /// N×3×H×W.
    pub output: Tensor,
    /// π `[N, K]`.
    pub attention: Tensor,
}

impl Demo {
    /// A picture and its copies, with a layer of this many experts.
    ///
    /// # Errors
    /// Where there aren't that many filters, or the picture is empty.
    pub fn new(picture: &RgbImage, experts: usize, seed: u64) -> Result<Self> {
        let copies = copies(picture, seed);
        let pictures: Vec<_> = copies.iter().map(|copy| copy.picture.clone()).collect();
        let input = to_batch(&pictures)?;
        let layer = layer(experts, mean_colour(&input)?)?;
        Ok(Self { copies, layer, input })
    }

    /// The batch at each temperature.
    ///
    /// # Errors
    /// Where a temperature isn't positive, or those of the backend.
    pub fn mix(&self, backend: &AnyBackend, temperatures: &[f64]) -> Result<Vec<Mixed>> {
        let mut stream = backend.stream()?;
        let layer = backend.prepare(&self.layer, &Prepare::default().input(self.input.shape()))?;
        let input = backend.upload(&mut stream, self.input.view())?;
        let mut mixed = Vec::with_capacity(temperatures.len());
        for &temperature in temperatures {
            let call = Call::new(&input).temperature(temperature).return_attention(true);
            let result = backend.forward(&mut stream, &layer, &call)?;
            let output = backend.download(&mut stream, &result.output)?;
            let attention = match &result.attention {
                Some(attention) => backend.download(&mut stream, attention)?,
                None => Tensor::attention(0, self.layer.config().experts(), Vec::new())?,
            };
            mixed.push(Mixed { temperature, output, attention });
        }
        Ok(mixed)
    }

    /// The batch through each expert alone: attention given, all of it on one.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn alone(&self, backend: &AnyBackend) -> Result<Vec<Tensor>> {
        let (batch, experts) = (self.input.shape().batch(), self.layer.config().experts());
        let mut stream = backend.stream()?;
        let layer = backend.prepare(&self.layer, &Prepare::default().input(self.input.shape()))?;
        let input = backend.upload(&mut stream, self.input.view())?;
        let mut outputs = Vec::with_capacity(experts);
        for expert in 0..experts {
            let one_hot: Vec<f32> = (0..batch * experts).map(|i| f32::from(i % experts == expert)).collect();
            let attention = Tensor::attention(batch, experts, one_hot)?;
            let attention = backend.upload(&mut stream, attention.view())?;
            let call = Call::new(&input).attention(&attention);
            let output = backend.forward(&mut stream, &layer, &call)?.output;
            outputs.push(backend.download(&mut stream, &output)?);
        }
        Ok(outputs)
    }
}

impl Mixed {
    /// The largest difference from another backend's outputs and attention.
    #[must_use]
    pub fn difference(&self, other: &Self) -> f64 {
        let outputs = worst_difference(self.output.view(), other.output.view());
        outputs.max(worst_difference(self.attention.view(), other.attention.view()))
    }

    /// One sample's attention weights.
    #[must_use]
    pub fn weights(&self, sample: usize) -> &[f32] {
        let experts = self.attention.shape().channels();
        self.attention.data().chunks(experts).nth(sample).unwrap_or_default()
    }
}
