//! Normalize: batch norm with running or batch statistics, and the update of the running ones.

use super::evaluate::F64Layer;
use super::tensor::F64Tensor;
use crate::{BatchNorm, BatchNormParams, Error, Handle, Result, Shape};

/// The normalised tensor, and mean and (biased) variance that it was normalised by.
pub(super) fn normalize(
    layer: &F64Layer,
    y: &F64Tensor,
    batch_statistics: bool,
) -> (F64Tensor, Option<[Vec<f64>; 2]>) {
    let Some(norm) = layer.config().batch_norm() else {
        return (y.clone(), None);
    };
    let tensor = |name| layer.tensor(name).unwrap_or_default();
    let by = match batch_statistics {
        true => statistics(y),
        false => [tensor("bn.running_mean").to_vec(), tensor("bn.running_var").to_vec()],
    };
    let [mean, variance] = &by;
    let (gamma, beta) = (tensor("bn.weight"), tensor("bn.bias"));
    let normalized =
        y.map(|c, y| (y - mean[c]) / libm::sqrt(variance[c] + norm.epsilon) * gamma[c] + beta[c]);
    (normalized, Some(by))
}

/// Each channel's mean and biased variance over batch and pixels.
fn statistics(y: &F64Tensor) -> [Vec<f64>; 2] {
    let shape = y.shape();
    let values = (shape.batch() * shape.pixels()) as f64;
    let mean = channel_sums(y).iter().map(|sum| sum / values).collect::<Vec<_>>();
    let squares = y.map(|c, y| (y - mean[c]) * (y - mean[c]));
    let variance = channel_sums(&squares).iter().map(|sum| sum / values).collect();
    [mean, variance]
}

/// Moves a layer's running statistics towards those of a batch whose output has this shape, rounded to f32.
pub(super) fn move_running(layer: &mut F64Layer, [mean, variance]: &[Vec<f64>; 2], output: Shape) {
    let Some(norm) = layer.config().batch_norm() else { return };
    let values = (output.batch() * output.pixels()) as f64;
    let correction = if norm.unbiased { values / (values - 1.0) } else { 1.0 };
    for (name, batch, factor) in [("bn.running_mean", mean, 1.0), ("bn.running_var", variance, correction)] {
        for (running, batch) in layer.tensor_mut(name).into_iter().flatten().zip(batch) {
            *running = f64::from((norm.keep * *running + (1.0 - norm.keep) * factor * batch) as f32);
        }
    }
}

/// Sums over batch and pixels.
pub(super) fn channel_sums(y: &F64Tensor) -> Vec<f64> {
    let channels = y.shape().channels();
    let mut sums = vec![0.0; channels];
    for (i, sum) in super::pool::sums(y).iter().enumerate() {
        sums[i % channels] += sum;
    }
    sums
}

impl BatchNormParams {
    /// Moves the running statistics towards a batch's: running ← keep·running + (1 − keep)·batch.
    ///
    /// `mean` and `variance` (the biased one) are those of [`crate::Output::statistics`], taken over
    /// `values` = N·OH·OW values per channel. Where `norm.unbiased`, the running variance takes the
    /// unbiased variance, variance·values/(values − 1).
    ///
    /// # Errors
    /// Where the lengths differ, a statistic isn't finite, a variance is negative, or there are too
    /// few values for the variance that is asked for. Nothing is changed then.
    pub fn update_running(
        &mut self,
        norm: &BatchNorm,
        mean: &[f32],
        variance: &[f32],
        values: usize,
    ) -> Result<()> {
        let needed = if norm.unbiased { 2 } else { 1 };
        if values < needed {
            let kind = if norm.unbiased { "unbiased" } else { "biased" };
            let expected = format!("at least {needed} for the {kind} variance");
            return Err(Error::invalid("values per channel", values, expected));
        }
        check_statistic("batch mean", mean, self.running_mean.len(), f32::MIN)?;
        check_statistic("batch variance", variance, self.running_var.len(), 0.0)?;
        let correction = if norm.unbiased { values as f64 / (values - 1) as f64 } else { 1.0 };
        move_towards(&mut self.running_mean, mean, norm.keep, 1.0);
        move_towards(&mut self.running_var, variance, norm.keep, correction);
        Ok(())
    }
}

fn move_towards(running: &mut [f32], batch: &[f32], keep: f64, factor: f64) {
    for (running, &batch) in running.iter_mut().zip(batch) {
        *running = (keep * f64::from(*running) + (1.0 - keep) * factor * f64::from(batch)) as f32;
    }
}

fn check_statistic(name: &str, batch: &[f32], channels: usize, least: f32) -> Result<()> {
    if batch.len() != channels {
        let expected = format!("{channels} elements, one per channel");
        return Err(Error::invalid(name, format!("{} elements", batch.len()), expected));
    }
    match batch.iter().position(|value| !(value.is_finite() && *value >= least)) {
        Some(i) => {
            let expected = if least == 0.0 { "a finite number, at least 0" } else { "a finite number" };
            Err(Error::invalid(format!("{name}[{i}]"), batch[i], expected))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;

    fn running() -> BatchNormParams {
        BatchNormParams {
            weight: vec![1.0],
            bias: vec![0.0],
            running_mean: vec![10.0],
            running_var: vec![4.0],
        }
    }

    #[test]
    fn statistics_are_over_batch_and_pixels() {
        let shape = Shape::new(2, 2, 1, 2).unwrap();
        // Channel 0 holds 1, 3 and 5, 7; channel 1 is constant.
        let y = F64Tensor::new(shape, Layout::Nchw, vec![1., 3., 9., 9., 5., 7., 9., 9.]).unwrap();
        assert_eq!(statistics(&y), [vec![4.0, 9.0], vec![5.0, 0.0]]);
    }

    #[test]
    fn running_statistics_keep_and_take() {
        let mut bn = running();
        let norm = BatchNorm { keep: 0.75, unbiased: false, ..BatchNorm::KERAS };
        bn.update_running(&norm, &[2.0], &[8.0], 4).unwrap();
        assert_eq!((bn.running_mean[0], bn.running_var[0]), (8.0, 5.0));

        let mut bn = running();
        let norm = BatchNorm { unbiased: true, ..norm };
        bn.update_running(&norm, &[2.0], &[6.0], 4).unwrap(); // unbiased: 8
        assert_eq!((bn.running_mean[0], bn.running_var[0]), (8.0, 5.0));
    }

    #[test]
    fn one_value_has_no_unbiased_variance() {
        let mut bn = running();
        let error = bn.update_running(&BatchNorm::PYTORCH, &[2.0], &[0.0], 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "values per channel is 1; expected at least 2 for the unbiased variance"
        );
        bn.update_running(&BatchNorm::KERAS, &[2.0], &[0.0], 1).unwrap();
        let error = bn.update_running(&BatchNorm::KERAS, &[2.0], &[0.0], 0).unwrap_err();
        assert_eq!(error.to_string(), "values per channel is 0; expected at least 1 for the biased variance");
    }

    #[test]
    fn impossible_statistics_change_nothing() {
        let mut bn = running();
        let mut refused = |mean: &[f32], variance: &[f32]| {
            let error = bn.update_running(&BatchNorm::KERAS, mean, variance, 4).unwrap_err();
            assert_eq!(bn, running());
            error.to_string()
        };
        assert_eq!(
            refused(&[1.0, 2.0], &[1.0]),
            "batch mean is 2 elements; expected 1 elements, one per channel"
        );
        assert_eq!(refused(&[f32::NAN], &[1.0]), "batch mean[0] is NaN; expected a finite number");
        assert_eq!(refused(&[1.0], &[-1.0]), "batch variance[0] is -1; expected a finite number, at least 0");
    }
}
