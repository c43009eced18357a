//! What a network says about images, and what it looked at them with.

use dyconv_core::{AnyBackend, Backend, Prepare, Result, Tensor};
use dyconv_nn::{Images, Model, Network, Run, predicted};

/// What a network says about images on one backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// N×classes×1×1.
    pub logits: Tensor,
    /// π `[N, K]` of every dynamic layer by its name, in the order in which they run.
    pub attention: Vec<(String, Tensor)>,
}

impl Answers {
    /// Runs the network once over all images.
    ///
    /// # Errors
    /// Where the images aren't of the network's shape, or the backend refuses a layer or fails.
    pub fn of(backend: &AnyBackend, model: &Model, images: &Images) -> Result<Self> {
        let pixels = images.pixels();
        let network = Network::new(backend, model, &Prepare::default().input(pixels.shape()))?;
        let mut stream = backend.stream()?;
        let input = backend.upload(&mut stream, pixels.view())?;
        let answer = network.forward(&mut stream, &input, &Run::default().return_attention(true))?;
        let logits = backend.download(&mut stream, &answer.logits)?;
        let mut attention = Vec::new();
        for (layer, pi) in model.graph().layers().iter().zip(&answer.attention) {
            if let Some(pi) = pi {
                attention.push((layer.name().to_string(), backend.download(&mut stream, pi)?));
            }
        }
        Ok(Self { logits, attention })
    }

    /// How many images there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.logits.shape().batch()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The class that it says an image is of.
    ///
    /// # Panics
    /// Where there is no such image.
    #[must_use]
    pub fn class(&self, image: usize) -> usize {
        predicted(self.row(image))
    }

    /// How much larger an image's largest logit is than the next one.
    ///
    /// # Panics
    /// Where there is no such image.
    #[must_use]
    pub fn margin(&self, image: usize) -> f32 {
        let row = self.row(image);
        let best = predicted(row);
        let others = row.iter().enumerate().filter(|(class, _)| *class != best).map(|(_, logit)| *logit);
        row[best] - others.fold(f32::NEG_INFINITY, f32::max)
    }

    /// An image's attention weights in every dynamic layer.
    ///
    /// # Panics
    /// Where there is no such image.
    pub fn weights(&self, image: usize) -> impl Iterator<Item = &[f32]> {
        self.attention.iter().map(move |(_, pi)| row(pi, image))
    }

    /// The share of images whose class is the right one.
    #[must_use]
    pub fn accuracy(&self, labels: &[usize]) -> f64 {
        let right = labels.iter().enumerate().filter(|&(image, label)| self.class(image) == *label).count();
        right as f64 / labels.len().max(1) as f64
    }

    fn row(&self, image: usize) -> &[f32] {
        row(&self.logits, image)
    }
}

fn row(tensor: &Tensor, image: usize) -> &[f32] {
    let len = tensor.shape().sample_len();
    &tensor.data()[image * len..][..len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_margins_and_accuracy() {
        let logits = Tensor::attention(3, 3, vec![1.0, 3.0, 2.5, 4.0, 4.0, 0.0, -1.0, -2.0, -1.5]).unwrap();
        let answers = Answers { logits, attention: Vec::new() };
        assert_eq!([0, 1, 2].map(|i| answers.class(i)), [1, 0, 0]);
        assert_eq!([0, 1, 2].map(|i| answers.margin(i)), [0.5, 0.0, 0.5]);
        assert_eq!(answers.accuracy(&[1, 1, 0]), 2.0 / 3.0);
        assert_eq!((answers.len(), answers.is_empty()), (3, false));
    }
}
