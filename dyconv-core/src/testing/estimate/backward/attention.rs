//! The errors of the head's gradients: π → logits → the matrices → the pooled channels.

use super::Stages;
use crate::config::Squash;
use crate::reference::Head;
use crate::testing::estimate::Estimate;
use crate::{Attention, AttentionSource, Result};

/// Rows `[N, columns]` and their errors.
struct Rows {
    columns: usize,
    of: Estimate,
}

impl Stages<'_> {
    /// dz `[N, Cin]`, empty without a head; the matrices' and biases' errors go into `params`. `given` is the error of
    /// dπ.
    pub(super) fn head(&mut self, given: &[f64]) -> Result<Estimate> {
        let nothing = Estimate { value: Vec::new(), error: Vec::new() };
        let evaluation = &self.forward.evaluation;
        let (Some(head), Some(logits), AttentionSource::Head { temperature }) =
            (&evaluation.head, &self.found.logits, evaluation.call.attention)
        else {
            return Ok(nothing);
        };
        let error = match self.layer.config().attention().and_then(Attention::squash) {
            Some(Squash::Sigmoid) => self.sigmoid(given),
            _ => self.softmax(given, temperature),
        };
        let logits = Estimate { value: logits.clone(), error };
        let gradient = Rows { columns: self.layer.config().experts(), of: logits };
        let pooled = self.pooled(head);
        if head.hidden.is_none() {
            return Ok(self.dense(["attention.fc2.weight", "attention.fc2.bias"], &pooled, &gradient));
        }
        let (hidden, before) = self.hidden(&pooled);
        let mut gradient = Rows {
            columns: hidden.columns,
            of: self.dense(["attention.fc2.weight", "attention.fc2.bias"], &hidden, &gradient),
        };
        // A unit that may be on either side of its kink may pass its gradient or not.
        let units = gradient.of.value.iter_mut().zip(&mut gradient.of.error);
        for ((value, error), (unit, off)) in units.zip(before.iter().zip(&hidden.of.error)) {
            let (passed, reach) = (*unit > 0.0, value.abs() + *error);
            if unit.abs() <= *off {
                *error = reach;
            } else if !passed {
                *error = 0.0;
            }
            if !passed {
                *value = 0.0;
            }
        }
        Ok(self.dense(["attention.fc1.weight", "attention.fc1.bias"], &pooled, &gradient))
    }

    /// π⊙(1 − π)⊙dπ.
    fn sigmoid(&self, given: &[f64]) -> Vec<f64> {
        let attention = &self.forward.attention;
        let rows = attention.value.iter().zip(&attention.error).zip(self.found.attention.iter().zip(given));
        rows.map(|((pi, off), (gradient, error))| {
            let (slope, reach) = (pi * (1.0 - pi), gradient.abs() + error);
            let slope_error = off + off * off + 4.0 * self.u * pi;
            slope * error + slope_error * reach + 3.0 * self.u * (slope + slope_error) * reach
        })
        .collect()
    }

    /// π⊙(dπ − <dπ, π>)/T.
    fn softmax(&self, given: &[f64], temperature: f64) -> Vec<f64> {
        let experts = self.layer.config().experts();
        let attention = &self.forward.attention;
        let mut errors = Vec::with_capacity(given.len());
        for first in (0..given.len()).step_by(experts) {
            let rows = first..first + experts;
            let (pi, off) = (&attention.value[rows.clone()], &attention.error[rows.clone()]);
            let (gradient, error) = (&self.found.attention[rows.clone()], &given[rows]);
            let (mut inner, mut inner_error, mut magnitude) = (0.0, 0.0, 0.0);
            for k in 0..experts {
                let reach = gradient[k].abs() + error[k];
                inner += pi[k] * gradient[k];
                inner_error += pi[k] * error[k] + off[k] * reach;
                magnitude += (pi[k] + off[k]) * reach;
            }
            inner_error += (experts + 2) as f64 * self.u * magnitude;
            errors.extend((0..experts).map(|k| {
                let difference = (gradient[k] - inner).abs();
                let difference_error = error[k]
                    + inner_error
                    + 3.0 * self.u * (gradient[k].abs() + error[k] + inner.abs() + inner_error);
                let product = pi[k] * difference_error + off[k] * (difference + difference_error);
                let rounded = 4.0 * self.u * (pi[k] + off[k]) * (difference + difference_error);
                (product + rounded) / temperature
            }));
        }
        errors
    }

    /// z, a mean of pixels.
    fn pooled(&self, head: &Head) -> Rows {
        let input = &self.lesson.instance.input;
        let (shape, columns) = (input.shape(), input.shape().channels());
        let absolute = crate::reference::F64Tensor::from(input.view()).map(|_, x| x.abs());
        let mut sums = vec![0.0; head.pooled.len()];
        for (place, x) in super::places(&absolute).zip(absolute.data()) {
            sums[place] += x / shape.pixels() as f64;
        }
        let terms = (shape.pixels() + 4) as f64;
        let error = sums.iter().map(|magnitude| terms * self.u * magnitude).collect();
        Rows { columns, of: Estimate { value: head.pooled.clone(), error } }
    }

    /// u of an MLP, and what its relu took.
    fn hidden(&self, pooled: &Rows) -> (Rows, Vec<f64>) {
        let tensor = |name| self.layer.tensor(name).unwrap_or_default();
        let (weight, bias) = (tensor("attention.fc1.weight"), tensor("attention.fc1.bias"));
        let columns = weight.len() / pooled.columns;
        let (mut before, mut errors) = (Vec::new(), Vec::new());
        let rows = pooled.of.value.chunks_exact(pooled.columns);
        for (row, off) in rows.zip(pooled.of.error.chunks_exact(pooled.columns)) {
            for (o, weights) in weight.chunks_exact(pooled.columns).enumerate() {
                let bias = bias.get(o).copied().unwrap_or_default();
                let (mut sum, mut error, mut magnitude) = (bias, 0.0, bias.abs());
                for ((w, z), off) in weights.iter().zip(row).zip(off) {
                    sum += w * z;
                    error += w.abs() * off;
                    magnitude += w.abs() * (z.abs() + off);
                }
                before.push(sum);
                errors.push(error + (pooled.columns + 3) as f64 * self.u * magnitude);
            }
        }
        let value = before.iter().map(|unit| unit.max(0.0)).collect();
        (Rows { columns, of: Estimate { value, error: errors } }, before)
    }

    /// The gradient of the inputs of `weight · row + bias`; weight's and bias's errors go into `params`.
    fn dense(&mut self, names: [&'static str; 2], inputs: &Rows, gradient: &Rows) -> Estimate {
        let weight = self.layer.tensor(names[0]).unwrap_or_default();
        let batch = gradient.of.value.len() / gradient.columns;
        let (samples, outputs) = ((batch + 3) as f64, (gradient.columns + 3) as f64);
        let mut weight_error = vec![0.0; weight.len()];
        let mut bias_error = vec![0.0; gradient.columns];
        let mut result =
            Estimate { value: vec![0.0; inputs.of.value.len()], error: vec![0.0; inputs.of.value.len()] };
        for n in 0..batch {
            for o in 0..gradient.columns {
                let at = n * gradient.columns + o;
                let (g, off) = (gradient.of.value[at], gradient.of.error[at]);
                let reach = g.abs() + off;
                bias_error[o] += off + samples * self.u * reach;
                for i in 0..inputs.columns {
                    let (to, w) = (n * inputs.columns + i, weight[o * inputs.columns + i]);
                    let (x, x_off) = (inputs.of.value[to].abs(), inputs.of.error[to]);
                    weight_error[o * inputs.columns + i] +=
                        off * x + reach * x_off + samples * self.u * reach * (x + x_off);
                    result.value[to] += g * w;
                    result.error[to] += off * w.abs() + outputs * self.u * reach * w.abs();
                }
            }
        }
        self.params.insert(names[0], weight_error);
        self.params.insert(names[1], bias_error);
        result
    }
}
