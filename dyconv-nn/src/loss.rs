//! Cross-entropy and accuracy, on the host, from N×classes logits: small, and in f64.

use dyconv_core::{Error, Layout, Result, Shape, Tensor, TensorView};
use serde::{Deserialize, Serialize};

/// Sums over samples, from which [`Metrics`] come; two of them add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// Samples.
    pub samples: u64,
    /// Samples whose largest logit is their class's.
    pub correct: u64,
    /// Sum of losses.
    pub loss: f64,
}

/// How well a network does on a set of samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Mean cross-entropy, in nats.
    pub loss: f64,
    /// Share of samples whose largest logit is their class's.
    pub accuracy: f64,
}

impl Tally {
    /// Adds other samples.
    pub fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.correct += other.correct;
        self.loss += other.loss;
    }

    /// Means; 0 where there are no samples.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let samples = self.samples.max(1) as f64;
        Metrics { loss: self.loss / samples, accuracy: self.correct as f64 / samples }
    }
}

/// Cross-entropy of logits N×C×1×1 with label smoothing, and the gradient of its mean.
///
/// The target of a sample is q = (1 − smoothing)·one-hot + smoothing/C; its loss is −Σ q·ln softmax(logits), and the
/// gradient of the mean is (softmax(logits) − q)/N.
///
/// ```
/// use dyconv_core::Tensor;
/// use dyconv_nn::cross_entropy;
///
/// let logits = Tensor::attention(1, 2, vec![0.0, 0.0])?;
/// let (tally, gradient) = cross_entropy(logits.view(), &[1], 0.0)?;
/// assert_eq!(tally.loss, 2f64.ln());
/// assert_eq!(gradient.data(), [0.5, -0.5]);
/// # Ok::<(), dyconv_core::Error>(())
/// ```
///
/// # Errors
/// Where there isn't one label below C per sample, the smoothing isn't from 0 to 1, or a loss isn't finite.
pub fn cross_entropy(logits: TensorView<'_>, labels: &[usize], smoothing: f64) -> Result<(Tally, Tensor)> {
    let mut gradient = vec![0.0; logits.data().len()];
    let tally = score_rows(logits, labels, smoothing, Some(&mut gradient))?;
    let shape = Shape::new(labels.len(), logits.shape().channels(), 1, 1)?;
    Ok((tally, Tensor::new(shape, Layout::Nchw, gradient)?))
}

/// As [`cross_entropy`], without the gradient.
///
/// # Errors
/// As there.
pub fn score(logits: TensorView<'_>, labels: &[usize], smoothing: f64) -> Result<Tally> {
    score_rows(logits, labels, smoothing, None)
}

/// The class of the largest logit, the first of equal ones.
#[must_use]
pub fn predicted(logits: &[f32]) -> usize {
    let better = |best: usize, (i, z): (usize, &f32)| if *z > logits[best] { i } else { best };
    logits.iter().enumerate().fold(0, better)
}

pub(crate) fn check_smoothing(smoothing: f64) -> Result<()> {
    match (0.0..=1.0).contains(&smoothing) {
        true => Ok(()),
        false => Err(Error::invalid("label_smoothing", smoothing, "a number from 0 to 1")),
    }
}

fn score_rows(
    logits: TensorView<'_>,
    labels: &[usize],
    smoothing: f64,
    mut gradient: Option<&mut [f32]>,
) -> Result<Tally> {
    check_smoothing(smoothing)?;
    let (shape, classes) = (logits.shape(), logits.shape().channels());
    if shape.pixels() != 1 || shape.batch() != labels.len() {
        let expected = format!("{}×classes×1×1, one row per label", labels.len());
        return Err(Error::invalid("logits", shape, expected));
    }
    let mut tally = Tally::default();
    for (n, (z, &label)) in logits.data().chunks_exact(classes).zip(labels).enumerate() {
        if label >= classes {
            return Err(Error::invalid(format!("label[{n}]"), label, format!("a class below {classes}")));
        }
        let q = |c: usize| smoothing / classes as f64 + if c == label { 1.0 - smoothing } else { 0.0 };
        let log_sum = log_sum_exp(z);
        let loss = log_sum - z.iter().enumerate().map(|(c, &z)| q(c) * f64::from(z)).sum::<f64>();
        if !loss.is_finite() {
            return Err(Error::invalid(
                format!("loss of sample {n}"),
                loss,
                "a finite number: training has diverged",
            ));
        }
        if let Some(row) = gradient.as_mut().map(|all| &mut all[n * classes..][..classes]) {
            for (c, (g, &z)) in row.iter_mut().zip(z).enumerate() {
                *g = ((libm::exp(f64::from(z) - log_sum) - q(c)) / labels.len() as f64) as f32;
            }
        }
        tally.add(Tally { samples: 1, correct: u64::from(predicted(z) == label), loss });
    }
    Ok(tally)
}

fn log_sum_exp(z: &[f32]) -> f64 {
    let largest = z.iter().copied().map(f64::from).fold(f64::NEG_INFINITY, f64::max);
    largest + libm::log(z.iter().map(|&z| libm::exp(f64::from(z) - largest)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(classes: usize, data: &[f32]) -> Tensor {
        Tensor::attention(data.len() / classes, classes, data.to_vec()).unwrap()
    }

    #[test]
    fn smoothing_moves_the_target_towards_uniform() {
        let logits = tensor(2, &[3f32.ln(), 0.0]);
        // p = 3/4, 1/4; q = 0.9, 0.1.
        let (tally, gradient) = cross_entropy(logits.view(), &[0], 0.2).unwrap();
        let expected = -(0.9 * 0.75f64.ln() + 0.1 * 0.25f64.ln());
        assert!((tally.loss - expected).abs() < 1e-7, "{}", tally.loss);
        let near = |got: f32, want: f32| (got - want).abs() < 1e-7;
        assert!(near(gradient.data()[0], -0.15) && near(gradient.data()[1], 0.15));
    }

    #[test]
    fn the_gradient_is_that_of_the_mean() {
        let data = [0.3, -1.2, 2.0, 0.7, 0.1, -0.4];
        let labels = [2, 0];
        let mean = |data: &[f32]| score(tensor(3, data).view(), &labels, 0.1).unwrap().metrics().loss;
        let (_, gradient) = cross_entropy(tensor(3, &data).view(), &labels, 0.1).unwrap();
        for i in 0..data.len() {
            let (mut up, mut down) = (data, data);
            up[i] += 1.0 / 256.0;
            down[i] -= 1.0 / 256.0;
            let slope = (mean(&up) - mean(&down)) / f64::from(up[i] - down[i]);
            assert!((slope - f64::from(gradient.data()[i])).abs() < 1e-5, "{i}: {slope}");
        }
    }

    #[test]
    fn large_logits_dont_overflow_and_equal_ones_go_to_the_first() {
        let (tally, _) = cross_entropy(tensor(2, &[1e30, -1e30, 5.0, 5.0]).view(), &[0, 0], 0.0).unwrap();
        assert_eq!((tally.samples, tally.correct), (2, 2));
        assert!((tally.loss - 2f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn misfits_are_refused_by_name() {
        let refused = |data: &[f32], labels: &[usize], smoothing| {
            cross_entropy(tensor(2, data).view(), labels, smoothing).unwrap_err().to_string()
        };
        assert!(refused(&[0.0, 1.0], &[2], 0.0).starts_with("label[0] is 2"));
        assert!(refused(&[0.0, 1.0], &[0, 1], 0.0).starts_with("logits is"));
        assert!(refused(&[0.0, 1.0], &[0], 1.5).starts_with("label_smoothing is 1.5"));
        assert!(refused(&[f32::NAN, 1.0], &[0], 0.0).starts_with("loss of sample 0 is NaN"));
        assert!(refused(&[0.0, f32::INFINITY], &[0], 0.0).starts_with("loss of sample 0 is"));
    }
}
