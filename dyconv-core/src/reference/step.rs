//! Step: one tensor's parameters, moved along its gradient and back into its constraint. In f64, rounded to f32 once.

use crate::{Constraint, Optimizer, ParamSpec, Result, Step};

/// Moves `w`, and its `moments` (one slice per slot of the optimiser), by `gradient`. `steps` counts this step, too.
pub(crate) fn step(
    step: &Step,
    steps: u64,
    spec: &ParamSpec,
    w: &mut [f64],
    gradient: &[f64],
    moments: &mut [&mut [f32]],
) -> Result<()> {
    let rule = step.rules.of(spec.name);
    let rate = step.rate * rule.rate;
    for (i, w) in w.iter_mut().enumerate() {
        let g = gradient[i] + rule.regularizer.map_or(0.0, |regularizer| regularizer.slope(*w));
        let mut moment = |slot: usize, of: &dyn Fn(f64) -> f64| -> f64 {
            let Some(moment) = moments.get_mut(slot).map(|slot| &mut slot[i]) else {
                return of(0.0);
            };
            let moved = of(f64::from(*moment));
            *moment = moved as f32;
            moved
        };
        *w = match step.optimizer {
            Optimizer::Sgd { momentum, nesterov } => {
                let g = g + rule.weight_decay * *w;
                let v = moment(0, &|v| momentum * v + g);
                *w - rate * if nesterov { g + momentum * v } else { v }
            }
            Optimizer::AdamW { beta1, beta2, epsilon } => {
                let decayed = *w - rate * rule.weight_decay * *w;
                let m = moment(0, &|m| beta1 * m + (1.0 - beta1) * g) / (1.0 - power(beta1, steps));
                let v = moment(1, &|v| beta2 * v + (1.0 - beta2) * g * g) / (1.0 - power(beta2, steps));
                decayed - rate * m / (libm::sqrt(v) + epsilon)
            }
        };
    }
    if let Some(constraint) = &rule.constraint {
        let shape = spec.own_shape();
        let axes = constraint.axes_of(spec.name, shape)?;
        for own in w.chunks_exact_mut(shape.iter().product()) {
            constrain(constraint, shape, &axes, own);
        }
    }
    for w in w {
        *w = f64::from(*w as f32);
    }
    Ok(())
}

fn power(beta: f64, steps: u64) -> f64 {
    libm::pow(beta, steps as f64)
}

/// What Keras adds to a norm before dividing by it.
const KERAS_EPSILON: f64 = 1e-7;

/// Brings one tensor (of the experts: one expert) back.
fn constrain(constraint: &Constraint, shape: &[usize], axes: &[usize], w: &mut [f64]) {
    if *constraint == Constraint::NonNeg {
        w.iter_mut().filter(|w| **w < 0.0).for_each(|w| *w = 0.0);
        return;
    }
    let group = |i: usize| norm_group(shape, axes, i);
    let mut squares = vec![0.0; w.len()];
    w.iter().enumerate().for_each(|(i, w)| squares[group(i)] += w * w);
    for (i, w) in w.iter_mut().enumerate() {
        *w *= norm_share(constraint, libm::sqrt(squares[group(i)]));
    }
}

/// What a constraint multiplies values of this norm by.
#[must_use]
pub fn norm_share(constraint: &Constraint, norm: f64) -> f64 {
    let desired = match *constraint {
        Constraint::NonNeg => norm,
        Constraint::MaxNorm { max, .. } => norm.min(max),
        Constraint::UnitNorm { .. } => 1.0,
        Constraint::MinMaxNorm { min, max, rate, .. } => rate * norm.clamp(min, max) + (1.0 - rate) * norm,
    };
    desired / (KERAS_EPSILON + norm)
}

/// The first element of the group that shares a norm with the i-th: the same place on all other axes.
#[must_use]
pub fn norm_group(shape: &[usize], axes: &[usize], i: usize) -> usize {
    let (mut rest, mut stride, mut place) = (i, 1, 0);
    for (axis, &extent) in shape.iter().enumerate().rev() {
        if !axes.contains(&axis) {
            place += rest % extent * stride;
        }
        rest /= extent;
        stride *= extent;
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Rule, Rules};

    fn spec() -> ParamSpec {
        let config = Options::new(1, 2).experts(2).attention(crate::Attention::Given).build().unwrap();
        ParamSpec::all(&config).swap_remove(0)
    }

    fn moved(optimizer: Optimizer, rule: Rule, rounds: u64) -> (Vec<f64>, Vec<Vec<f32>>) {
        let rules = Rules { experts: rule, ..Rules::default() };
        let mut w = vec![1.0, -2.0, 3.0, -4.0];
        let mut slots = vec![vec![0f32; 4]; optimizer.slots()];
        for t in 1..=rounds {
            let mut slices: Vec<&mut [f32]> = slots.iter_mut().map(Vec::as_mut_slice).collect();
            let rules = rules.clone();
            let data = Step::new(optimizer, 0.5).rules(rules);
            step(&data, t, &spec(), &mut w, &[1.0, 0.0, 2.0, -1.0], &mut slices).unwrap();
        }
        (w, slots)
    }

    #[test]
    fn sgd_by_hand() {
        assert_eq!(moved(Optimizer::SGD, Rule::default(), 1).0, [0.5, -2.0, 2.0, -3.5]);
        // g + λw = 1.5, −1, 3.5, −3
        assert_eq!(moved(Optimizer::SGD, Rule::decay(0.5), 1).0, [0.25, -1.5, 1.25, -2.5]);
        let half = Optimizer::Sgd { momentum: 0.5, nesterov: false };
        let (w, slots) = moved(half, Rule::default(), 2);
        // v = g, then 1.5·g: w − 0.5·2.5·g.
        assert_eq!((w, &slots[0][..]), (vec![-0.25, -2.0, 0.5, -2.75], [1.5, 0.0, 3.0, -1.5].as_slice()));
        let ahead = Optimizer::Sgd { momentum: 0.5, nesterov: true };
        assert_eq!(moved(ahead, Rule::default(), 1).0, [0.25, -2.0, 1.5, -3.25]);
    }

    #[test]
    fn adamw_by_hand() {
        // The first step of Adam is by sign(g), decay is of the old weight.
        let (w, slots) = moved(Optimizer::ADAMW, Rule::decay(0.5), 1);
        let expected = [1.0 - 0.25 - 0.5, -2.0 + 0.5, 3.0 - 0.75 - 0.5, -4.0 + 1.0 + 0.5];
        assert!(w.iter().zip(expected).all(|(w, e)| (w - e).abs() < 1e-6), "{w:?}");
        assert!((slots[0][2] - 0.2).abs() < 1e-7 && (slots[1][2] - 0.004).abs() < 1e-9);
    }

    #[test]
    fn regularizers_have_a_slope() {
        let rule = Rule { regularizer: Some(crate::Regularizer { l1: 1.0, l2: 0.25 }), ..Rule::default() };
        // g + sign(w) + w/2 = 2.5, −2, 4.5, −4
        assert_eq!(moved(Optimizer::SGD, rule, 1).0, [-0.25, -1.0, 0.75, -2.0]);
    }

    #[test]
    fn constraints_see_one_expert_alone() {
        let still = |constraint| {
            let rule = Rule { rate: 0.0, constraint: Some(constraint), ..Rule::default() };
            moved(Optimizer::SGD, rule, 1).0
        };
        let near = |got: Vec<f64>, want: [f64; 4]| {
            assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-6), "{got:?}, not {want:?}");
        };
        assert_eq!(still(Constraint::NonNeg), [1.0, 0.0, 3.0, 0.0]);
        let root5 = 5f64.sqrt();
        let all = vec![0, 1, 2, 3];
        near(still(Constraint::UnitNorm { axes: all.clone() }), [1.0 / root5, -2.0 / root5, 0.6, -0.8]);
        near(still(Constraint::MaxNorm { max: 2.5, axes: all }), [1.0, -2.0, 1.5, -2.0]);
        // By output channel: norms 1, 2, 3, 4, half the way into [1.5, 2].
        let by_channel = Constraint::MinMaxNorm { min: 1.5, max: 2.0, rate: 0.5, axes: vec![1, 2, -1] };
        near(still(by_channel), [1.25, -2.0, 2.5, -3.0]);
    }
}
