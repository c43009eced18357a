//! What a network's attention does on a data set.

use dyconv_core::{Backend, Result};
use serde::{Deserialize, Serialize};

use crate::evaluate::for_each_batch;
use crate::loss::predicted;
use crate::{Dataset, Network, Run};

/// The attention of one dynamic layer over a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerAttention {
    /// The layer's name.
    pub layer: String,
    /// Experts, K.
    pub experts: usize,
    /// Mean π over the samples of each class, `[classes][K]`; zeros for a class without samples.
    pub by_class: Vec<Vec<f64>>,
    /// Mean π over all samples, `[K]`: how much each expert is used. A layer frozen at it does what it does on average.
    pub usage: Vec<f64>,
    /// Share of samples for which an expert weighs most, `[K]`.
    pub favoured: Vec<f64>,
    /// Mean over samples of the entropy −Σ p·ln p of p = π/Σπ, in nats: from 0 (one expert) to ln K (all alike).
    pub entropy: f64,
}

/// Reads the attention of every dynamic layer, in the order in which they run.
///
/// # Errors
/// Where the data set isn't of the network's shape, or a layer fails.
pub fn attention<B: Backend, D: Dataset + ?Sized>(
    network: &Network<'_, B>,
    stream: &mut B::Stream,
    data: &D,
    batch: usize,
) -> Result<Vec<LayerAttention>> {
    let classes = data.classes();
    let layers = network.graph().layers().iter();
    let mut sums: Vec<Sum> = layers.map(|layer| Sum::new(classes, layer.config().experts())).collect();
    let run = Run::default().return_attention(true);
    for_each_batch(network, stream, data, batch, &run, |stream, answer, labels| {
        for (sum, pi) in sums.iter_mut().zip(&answer.attention) {
            if let Some(pi) = pi {
                let pi = network.backend().download(stream, pi)?;
                let rows = pi.data().chunks_exact(sum.experts);
                rows.zip(labels).for_each(|(row, &label)| sum.add(row, label));
            }
        }
        Ok(())
    })?;
    let found = network.graph().layers().iter().zip(sums).filter(|(layer, _)| layer.is_dynamic());
    Ok(found.map(|(layer, sum)| sum.mean(layer.name())).collect())
}

/// Sums over samples.
struct Sum {
    experts: usize,
    by_class: Vec<Vec<f64>>,
    samples: Vec<u64>,
    favoured: Vec<u64>,
    entropy: f64,
}

impl Sum {
    fn new(classes: usize, experts: usize) -> Self {
        Self {
            experts,
            by_class: vec![vec![0.0; experts]; classes],
            samples: vec![0; classes],
            favoured: vec![0; experts],
            entropy: 0.0,
        }
    }

    fn add(&mut self, pi: &[f32], label: usize) {
        self.samples[label] += 1;
        self.by_class[label].iter_mut().zip(pi).for_each(|(sum, &weight)| *sum += f64::from(weight));
        self.favoured[predicted(pi)] += 1;
        self.entropy += entropy(pi);
    }

    fn mean(self, layer: &str) -> LayerAttention {
        let samples = self.samples.iter().sum::<u64>().max(1) as f64;
        let total = |k: usize| self.by_class.iter().map(|sum| sum[k]).sum::<f64>();
        let usage = (0..self.experts).map(|k| total(k) / samples).collect();
        let of_class =
            |(sum, &count): (&Vec<f64>, &u64)| sum.iter().map(|sum| sum / count.max(1) as f64).collect();
        LayerAttention {
            layer: layer.to_owned(),
            experts: self.experts,
            by_class: self.by_class.iter().zip(&self.samples).map(of_class).collect(),
            usage,
            favoured: self.favoured.iter().map(|&count| count as f64 / samples).collect(),
            entropy: self.entropy / samples,
        }
    }
}

/// −Σ p·ln p of p = π/Σπ; 0 where nothing weighs anything.
fn entropy(pi: &[f32]) -> f64 {
    let total: f64 = pi.iter().copied().map(f64::from).sum();
    let shares = pi.iter().map(|&weight| f64::from(weight) / total).filter(|share| *share > 0.0);
    shares.map(|share| -share * libm::log(share)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_by_class_usage_and_entropy() {
        let mut sum = Sum::new(3, 2);
        sum.add(&[1.0, 0.0], 0);
        sum.add(&[0.5, 0.5], 0);
        sum.add(&[0.25, 0.75], 2);
        let read = sum.mean("a");
        assert_eq!(read.by_class, [vec![0.75, 0.25], vec![0.0, 0.0], vec![0.25, 0.75]]);
        assert_eq!(read.usage, [1.75 / 3.0, 1.25 / 3.0]);
        assert_eq!(read.favoured, [2.0 / 3.0, 1.0 / 3.0]);
        let third = -(0.25 * 0.25f64.ln() + 0.75 * 0.75f64.ln());
        assert!((read.entropy - (2f64.ln() + third) / 3.0).abs() < 1e-15);
    }

    #[test]
    fn entropy_of_a_sigmoid_is_that_of_its_shares() {
        assert!((entropy(&[0.9, 0.9, 0.9, 0.9]) - 4f64.ln()).abs() < 1e-15);
        assert_eq!(entropy(&[0.0, 0.0]), 0.0);
    }
}
