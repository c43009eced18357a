//! The error of g after the activation's derivative, which is taken at a preactivation that is itself off.

use super::Stages;
use crate::Activation;
use crate::reference::activate_backward;

impl Stages<'_> {
    /// Error of the preactivation's gradient, which is the residual's.
    pub(super) fn activated(&self) -> Vec<f64> {
        let activation = self.layer.config().activation();
        let given = self.penalty();
        let preactivation = &self.forward.preactivation;
        let points = preactivation.value.iter().zip(&preactivation.error);
        points
            .zip(self.gradient.data().iter().zip(&given))
            .map(|((&x, &off), (g, error))| {
                let slope = activate_backward(activation, x);
                let slope_error = slope_error(activation, x, off) + self.rounded(activation, x);
                let reach = slope.abs() + slope_error;
                g.abs() * slope_error + reach * error + self.u * g.abs() * reach
            })
            .collect()
    }

    /// Error of g itself: of the penalty's slope at an output that is off, whose sign may be another near 0.
    fn penalty(&self) -> Vec<f64> {
        let Some(activity) = self.lesson.activity else {
            return vec![0.0; self.gradient.data().len()];
        };
        let output = &self.forward.output;
        let outputs = output.value.iter().zip(&output.error);
        outputs
            .zip(self.lesson.gradient.data())
            .map(|((y, &error), g)| {
                let turned = if error > 0.0 && y.abs() <= error { 2.0 * activity.l1 } else { 0.0 };
                let magnitude = f64::from(g.abs()) + activity.l1 + 2.0 * activity.l2 * (y.abs() + error);
                turned + 2.0 * activity.l2 * error + 4.0 * self.u * magnitude
            })
            .collect()
    }

    /// Roundings of the derivative's own formula: relative to 1 and, where x is a factor, to |x|.
    fn rounded(&self, activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::None | Activation::Relu | Activation::Relu6 => 0.0,
            Activation::LeakyRelu { slope } => self.u * slope.abs(),
            Activation::HardSigmoid | Activation::KerasHardSigmoid => self.u,
            Activation::Sigmoid | Activation::Tanh | Activation::Elu => 6.0 * self.u,
            Activation::HardSwish | Activation::Silu | Activation::Gelu => 6.0 * self.u * (1.0 + x.abs()),
        }
    }
}

/// How far a derivative at a point within `off` of x may be from that at x: jumps between the two ends, and the
/// steepest slope of the derivative over the way.
fn slope_error(activation: Activation, x: f64, off: f64) -> f64 {
    if off == 0.0 {
        return 0.0;
    }
    let steepest = match activation {
        Activation::None
        | Activation::Relu
        | Activation::Relu6
        | Activation::LeakyRelu { .. }
        | Activation::HardSigmoid
        | Activation::KerasHardSigmoid => 0.0,
        Activation::HardSwish => 1.0 / 3.0,
        Activation::Sigmoid | Activation::Tanh | Activation::Silu | Activation::Gelu | Activation::Elu => 1.0,
    };
    let slope = |x| activate_backward(activation, x);
    let jump = (slope(x + off) - slope(x)).abs().max((slope(x - off) - slope(x)).abs());
    jump + steepest * off
}
