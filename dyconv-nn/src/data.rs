//! Images with labels, and mini-batches of them in an order that a seed fixes.

use dyconv_core::{Error, Layout, Result, Shape, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::fnv::Fnv;

/// A data set in memory.
pub trait Dataset {
    /// Samples.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An image's channels, height and width.
    fn shape(&self) -> [usize; 3];

    /// The order of an image's elements.
    fn layout(&self) -> Layout;

    /// How many classes there are; labels are below.
    fn classes(&self) -> usize;

    /// An image's elements.
    fn image(&self, index: usize) -> &[f32];

    /// An image's class.
    fn label(&self, index: usize) -> usize;

    /// A number that another data set is unlikely to have: a checkpoint notes whose order it is in the middle of.
    fn fingerprint(&self) -> u64 {
        let mut fnv = Fnv::new();
        self.shape().into_iter().chain([self.classes(), self.len()]).for_each(|number| fnv.number(number));
        fnv.text(&self.layout().to_string());
        for index in 0..self.len() {
            fnv.number(self.label(index));
            fnv.floats(self.image(index));
        }
        fnv.value()
    }
}

/// Images side by side in one vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    pixels: Tensor,
    labels: Vec<usize>,
    classes: usize,
}

impl Images {
    /// N×C×H×W images and N labels below `classes`.
    ///
    /// # Errors
    /// Where there isn't one label for each image, a label is too large, or an element isn't finite.
    pub fn new(pixels: Tensor, labels: Vec<usize>, classes: usize) -> Result<Self> {
        let batch = pixels.shape().batch();
        if labels.len() != batch {
            let expected = format!("{batch}, one for each image");
            return Err(Error::invalid("labels", format!("{} labels", labels.len()), expected));
        }
        if let Some(i) = labels.iter().position(|&label| label >= classes) {
            return Err(Error::invalid(format!("label[{i}]"), labels[i], format!("a class below {classes}")));
        }
        if let Some(i) = pixels.data().iter().position(|value| !value.is_finite()) {
            let name = format!("pixels[{i}]");
            return Err(Error::invalid(name, pixels.data()[i], "a finite number"));
        }
        Ok(Self { pixels, labels, classes })
    }

    /// All images, N×C×H×W.
    #[must_use]
    pub fn pixels(&self) -> &Tensor {
        &self.pixels
    }

    /// Their classes.
    #[must_use]
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }
}

impl Dataset for Images {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn shape(&self) -> [usize; 3] {
        let shape = self.pixels.shape();
        [shape.channels(), shape.height(), shape.width()]
    }

    fn layout(&self) -> Layout {
        self.pixels.layout()
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn image(&self, index: usize) -> &[f32] {
        let len = self.pixels.shape().sample_len();
        &self.pixels.data()[index * len..][..len]
    }

    fn label(&self, index: usize) -> usize {
        self.labels[index]
    }
}

/// Some samples of a data set as one tensor in `layout`, and their labels.
pub(crate) fn gather<D: Dataset + ?Sized>(
    data: &D,
    indices: &[usize],
    layout: Layout,
) -> Result<(Tensor, Vec<usize>)> {
    let [channels, height, width] = data.shape();
    let shape = Shape::new(indices.len(), channels, height, width)?;
    let mut pixels = Vec::with_capacity(shape.len());
    indices.iter().for_each(|&index| pixels.extend_from_slice(data.image(index)));
    let images = Tensor::new(shape, data.layout(), pixels)?;
    let images = if layout == images.layout() { images } else { images.to_layout(layout) };
    Ok((images, indices.iter().map(|&index| data.label(index)).collect()))
}

/// The order in which an epoch takes its samples, by Fisher and Yates.
///
/// From ChaCha8 whose key is the seed (little-endian), then "shuffle", then zeros; stream number = epoch: so an epoch's
/// order needs nothing of the epochs before it, and a resumed run no state of a generator.
pub(crate) fn epoch_order(len: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..15].copy_from_slice(b"shuffle");
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(epoch);
    let mut order: Vec<usize> = (0..len).collect();
    for last in (1..len).rev() {
        order.swap(last, below(&mut rng, last as u64 + 1) as usize);
    }
    order
}

/// A uniform number below `bound`: what would favour small numbers is drawn again.
fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    let unfair = (u64::MAX % bound + 1) % bound;
    loop {
        let drawn = rng.next_u64();
        if drawn <= u64::MAX - unfair {
            return drawn % bound;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_has_an_order_of_its_own() {
        let order = epoch_order(50, 3, 0);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_eq!(order, epoch_order(50, 3, 0));
        assert_ne!(order, epoch_order(50, 3, 1));
        assert_ne!(order, epoch_order(50, 4, 0));
        assert_eq!((epoch_order(0, 1, 0), epoch_order(1, 1, 0)), (vec![], vec![0]));
    }

    #[test]
    fn orders_are_fair() {
        // Each of the six orders of three, over 6000 epochs: 1000 ± 5σ.
        let mut counts = std::collections::BTreeMap::new();
        (0..6000).for_each(|epoch| *counts.entry(epoch_order(3, 9, epoch)).or_insert(0) += 1);
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| (856..1144).contains(count)), "{counts:?}");
    }

    #[test]
    fn batches_take_the_layout_of_the_network() {
        let shape = Shape::new(2, 2, 1, 2).unwrap();
        let pixels = Tensor::from_fn(shape, Layout::Nchw, |[n, c, _, x]| (100 * n + 10 * c + x) as f32);
        let images = Images::new(pixels, vec![0, 1], 2).unwrap();
        let (batch, labels) = gather(&images, &[1, 0], Layout::Nhwc).unwrap();
        assert_eq!(batch.data(), [100.0, 110.0, 101.0, 111.0, 0.0, 10.0, 1.0, 11.0]);
        assert_eq!(labels, [1, 0]);
    }

    #[test]
    fn fingerprints_see_every_number() {
        let of = |pixel: f32, label| {
            let pixels = Tensor::attention(2, 1, vec![pixel, 1.0]).unwrap();
            Images::new(pixels, vec![label, 0], 2).unwrap().fingerprint()
        };
        assert_eq!(of(0.5, 0), of(0.5, 0));
        assert_ne!(of(0.5, 0), of(-0.5, 0));
        assert_ne!(of(0.5, 0), of(0.5, 1));
    }

    #[test]
    fn impossible_data_is_refused() {
        let pixels = |value| Tensor::attention(1, 1, vec![value]).unwrap();
        let refused =
            |value, labels: &[usize]| Images::new(pixels(value), labels.to_vec(), 2).unwrap_err().to_string();
        assert!(refused(0.0, &[]).starts_with("labels is 0 labels"));
        assert!(refused(0.0, &[2]).starts_with("label[0] is 2"));
        assert!(refused(f32::NAN, &[1]).starts_with("pixels[0] is NaN"));
    }
}
