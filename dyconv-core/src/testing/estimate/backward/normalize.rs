//! The errors of batch norm's gradients: of gamma and beta by sums over a channel, of y by what is left of g.

use super::Stages;

impl Stages<'_> {
    /// Error of the convolution's gradient; gamma's and beta's go into `params`. `given` is that of the
    /// preactivation's gradient.
    pub(super) fn normalized(&mut self, given: &[f64]) -> Vec<f64> {
        let (Some(norm), Some([mean, variance])) =
            (self.layer.config().batch_norm(), &self.forward.evaluation.normalized_by)
        else {
            return given.to_vec();
        };
        let gamma = self.layer.tensor("bn.weight").unwrap_or_default();
        let (y, g) = (&self.forward.evaluation.convolved, self.found.preactivation.data());
        let channels = super::channels(y);
        let u = self.u;
        let spread = |v: f64| 1.0 / (v.max(0.0) + norm.epsilon).sqrt();
        let off = |which: usize, c: usize| {
            self.forward.statistics.as_ref().map_or(0.0, |statistics| statistics[which].error[c])
        };
        // ŷ, its error, and the magnitude that its roundings are relative to.
        let standard = |i: usize| {
            let (c, value) = (channels[i], y.data()[i]);
            let (most, exact) = (spread(variance[c] - off(1, c)), spread(variance[c]));
            let (deviation, magnitude) = (value - mean[c], (value.abs() + mean[c].abs()) * most);
            let moved = (self.forward.convolved.error[i] + off(0, c)) * most;
            let stretched = deviation.abs() * (most - spread(variance[c] + off(1, c)));
            (deviation * exact, moved + stretched + 4.0 * u * magnitude, magnitude)
        };
        let values = (g.len() / mean.len()) as f64;
        let (mut beta_error, mut gamma_error) = (vec![0.0; mean.len()], vec![0.0; mean.len()]);
        for (i, &c) in channels.iter().enumerate() {
            let reach = g[i].abs() + given[i];
            let (standard, error, magnitude) = standard(i);
            beta_error[c] += given[i] + (values + 2.0) * u * reach;
            gamma_error[c] +=
                given[i] * standard.abs() + reach * error + (values + 4.0) * u * reach * magnitude;
        }
        let taken = self.forward.evaluation.statistics.is_some();
        let (beta_sum, gamma_sum) = (&self.found.params["bn.bias"], &self.found.params["bn.weight"]);
        let error = |(i, &c): (usize, &usize)| {
            let (most, least) = (spread(variance[c] - off(1, c)), spread(variance[c] + off(1, c)));
            // g − mean(g) − ŷ·mean(g·ŷ), where the batch's statistics depend on y.
            let (mut inner, mut inner_error, mut magnitude) = (g[i], given[i], g[i].abs() + given[i]);
            if taken {
                let (standard, standard_error, standard_magnitude) = standard(i);
                let (a, b) = (beta_sum[c] / values, gamma_sum[c] / values);
                let (a_error, b_error) = (beta_error[c] / values, gamma_error[c] / values);
                inner -= a + standard * b;
                inner_error +=
                    a_error + (standard.abs() + standard_error) * b_error + standard_error * b.abs();
                magnitude += a.abs() + a_error + (standard_magnitude + standard_error) * (b.abs() + b_error);
            }
            inner_error += 6.0 * u * magnitude;
            let rounded = 6.0 * u * most * (inner.abs() + inner_error);
            gamma[c].abs() * (most * inner_error + (most - least) * inner.abs() + rounded)
        };
        let errors = channels.iter().enumerate().map(error).collect();
        self.params.insert("bn.weight", gamma_error);
        self.params.insert("bn.bias", beta_error);
        errors
    }
}
