//! How far a step's parameters and moments may be from the reference's.

use super::{Estimate, unit};
use crate::reference::{norm_group, norm_share, step};
use crate::{Accuracy, Constraint, Optimizer, ParamSpec, Result, Step};

/// One tensor after a step.
pub(in crate::testing) struct Moved {
    pub(in crate::testing) parameter: Estimate,
    pub(in crate::testing) moments: Vec<Estimate>,
}

/// Moves one tensor as the reference does. `steps` counts this step, too; `moments` has one slice per slot.
pub(in crate::testing) fn moved(
    data: &Step,
    steps: u64,
    spec: &ParamSpec,
    [before, gradient]: [&[f32]; 2],
    moments: &[&[f32]],
    accuracy: Accuracy,
) -> Result<Moved> {
    let widen = |data: &[f32]| -> Vec<f64> { data.iter().copied().map(f64::from).collect() };
    let run = |data: &Step| -> Result<(Vec<f64>, Vec<Vec<f32>>)> {
        let mut after = widen(before);
        let mut slots: Vec<Vec<f32>> = moments.iter().map(|slot| slot.to_vec()).collect();
        let mut slices: Vec<&mut [f32]> = slots.iter_mut().map(Vec::as_mut_slice).collect();
        step(data, steps, spec, &mut after, &widen(gradient), &mut slices)?;
        Ok((after, slots))
    };
    let roundings = Roundings { u: unit(accuracy), data, spec, steps };
    let elements = (0..before.len()).map(|i| {
        let moment = |slot: usize| moments.get(slot).map_or(0.0, |slot| f64::from(slot[i]));
        roundings.element(f64::from(before[i]), f64::from(gradient[i]), [moment(0), moment(1)])
    });
    let (mut errors, slot_errors): (Vec<f64>, Vec<[f64; 2]>) = elements.unzip();
    let (value, slots) = run(data)?;
    if let Some(constraint) = &data.rules.of(spec.name).constraint {
        let (free, _) = run(&unconstrained(data))?;
        errors = roundings.constrained(constraint, &free, &errors)?;
    }
    let moments = slots.iter().enumerate().map(|(slot, value)| Estimate {
        value: widen(value),
        error: slot_errors.iter().map(|errors| errors[slot]).collect(),
    });
    Ok(Moved { parameter: Estimate { value, error: errors }, moments: moments.collect() })
}

/// The same step, with nothing brought back.
fn unconstrained(data: &Step) -> Step {
    let mut data = data.clone();
    let rules = &mut data.rules;
    let all = [
        &mut rules.experts,
        &mut rules.expert_bias,
        &mut rules.head,
        &mut rules.head_bias,
        &mut rules.batch_norm,
    ];
    all.into_iter().for_each(|rule| rule.constraint = None);
    data
}

struct Roundings<'a> {
    u: f64,
    data: &'a Step,
    spec: &'a ParamSpec,
    steps: u64,
}

impl Roundings<'_> {
    /// Errors of one parameter, before its constraint, and of its moments.
    fn element(&self, w: f64, g: f64, moments: [f64; 2]) -> (f64, [f64; 2]) {
        let rule = self.data.rules.of(self.spec.name);
        let (u, rate) = (self.u, self.data.rate * rule.rate);
        let regularizer = rule.regularizer.unwrap_or_default();
        let penalized = g + regularizer.slope(w);
        let magnitude = g.abs() + regularizer.l1 + 2.0 * regularizer.l2 * w.abs();
        match self.data.optimizer {
            Optimizer::Sgd { momentum, .. } => {
                let magnitude = magnitude + rule.weight_decay * w.abs();
                let velocity = momentum * moments[0].abs() + magnitude;
                (4.0 * u * w.abs() + 16.0 * u * rate * (velocity + magnitude), [8.0 * u * velocity, 0.0])
            }
            Optimizer::AdamW { beta1, beta2, epsilon } => {
                let first = beta1 * moments[0] + (1.0 - beta1) * penalized;
                // A mean may be too small for a normal number, too.
                let first_error = 8.0 * u * (beta1 * moments[0].abs() + (1.0 - beta1) * magnitude)
                    + 2.0 * f64::from(f32::from_bits(1));
                let second = beta2 * moments[1] + (1.0 - beta2) * penalized * penalized;
                // A square may be too small for a normal number.
                let second_error = 24.0 * u * (beta2 * moments[1] + (1.0 - beta2) * magnitude * magnitude)
                    + f64::from(f32::MIN_POSITIVE);
                let corrected = |beta: f64| 1.0 - beta.powf(self.steps as f64);
                let update = |first: f64, second: f64| {
                    let root = (second.max(0.0) / corrected(beta2)).sqrt();
                    first / corrected(beta1) / (root + epsilon)
                };
                let exact = update(first, second);
                let ends = [first - first_error, first + first_error]
                    .map(|first| [second - second_error, second + second_error].map(|v| update(first, v)));
                let reach = ends.iter().flatten().fold(0f64, |most, end| most.max((end - exact).abs()));
                let decayed = 4.0 * u * w.abs() * (1.0 + rate * rule.weight_decay);
                let error = decayed + rate * (reach + 8.0 * u * (exact.abs() + reach));
                (error, [first_error, second_error])
            }
        }
    }

    /// Errors after the projection of `free`, which is off by `errors`: the norm is off, too.
    fn constrained(&self, constraint: &Constraint, free: &[f64], errors: &[f64]) -> Result<Vec<f64>> {
        if *constraint == Constraint::NonNeg {
            return Ok(errors.to_vec());
        }
        let shape = self.spec.own_shape();
        let axes = constraint.axes_of(self.spec.name, shape)?;
        let own = shape.iter().product();
        let terms = axes.iter().map(|&axis| shape[axis]).product::<usize>() as f64;
        let mut result = Vec::with_capacity(free.len());
        for (free, errors) in free.chunks_exact(own).zip(errors.chunks_exact(own)) {
            let (mut squares, mut error_squares) = (vec![0.0; own], vec![0.0; own]);
            for (i, (w, error)) in free.iter().zip(errors).enumerate() {
                squares[norm_group(shape, &axes, i)] += w * w;
                error_squares[norm_group(shape, &axes, i)] += error * error;
            }
            result.extend(free.iter().zip(errors).enumerate().map(|(i, (w, error))| {
                let group = norm_group(shape, &axes, i);
                let norm = f64::sqrt(squares[group]);
                let off = f64::sqrt(error_squares[group]) + (terms / 2.0 + 4.0) * self.u * norm;
                let share = norm_share(constraint, norm);
                let reach = [(norm - off).max(0.0), norm + off]
                    .map(|norm| (norm_share(constraint, norm) - share).abs())
                    .into_iter()
                    .fold(0.0, f64::max);
                let rounded = 6.0 * self.u * (share + reach) * w.abs();
                error * (share + reach) + w.abs() * reach + rounded
            }));
        }
        Ok(result)
    }
}
