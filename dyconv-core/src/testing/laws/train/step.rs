//! Steps: parameters and moments within the roundings of the reference's arithmetic, one step at a time.

use super::compare::estimated;
use crate::testing::estimate::{Moved, moved};
use crate::testing::fill::Fill;
use crate::testing::laws::bounded::real;
use crate::testing::{Failure, Instance, Problem, Trainee, Verdict};
use crate::{
    Constraint, DyConv2d, MomentValues, Optimizer, ParamMap, ParamSpec, Regularizer, Result, Rule, Rules,
    Step, Train,
};

/// Three steps of any optimiser with any rules; each is held against the reference's, from the gradients, parameters
/// and moments that the backend had.
///
/// # Errors
/// The worst element beyond its bound.
pub fn steps_are_bounded<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let mut fill = Fill::new(problem.seed, "steps");
    let instance = with_zeros(&real(problem).lesson()?.instance)?;
    let step = any_step(&mut fill, &instance);
    each_step(backend, problem, &instance, &step, 3)
}

/// Every constraint, on every kind of parameter, without a gradient's part: each expert is brought back on its own.
///
/// # Errors
/// The worst element beyond its bound.
pub fn constraints_are_kept<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let mut fill = Fill::new(problem.seed, "constraints");
    let instance = with_zeros(&real(problem).lesson()?.instance)?;
    let rule = |fill: &mut Fill, rank| Rule {
        rate: 0.0,
        constraint: Some(any_constraint(fill, rank)),
        ..Rule::default()
    };
    let step = Step::new(Optimizer::SGD, 0.1).rules(rules(&mut fill, &instance, rule));
    each_step(backend, problem, &instance, &step, 1)
}

fn each_step<B: Train>(
    backend: &B,
    problem: &Problem,
    instance: &Instance,
    step: &Step,
    steps: u64,
) -> Verdict {
    let lesson = crate::testing::Lesson { instance: instance.clone(), ..real(problem).lesson()? };
    let mut trainee = Trainee::new(backend, instance)?;
    let accuracy = trainee.contracts(instance.input.shape())?.backward;
    let mut moments = backend.moments(&trainee.layer, &step.optimizer)?;
    let mut before = state(&mut trainee, &moments)?;
    for t in 1..=steps {
        let gradients = trainee.gradients(&lesson)?.params;
        let named = backend.gradients(&mut trainee.stream, &trainee.layer, &gradients)?;
        backend.step(&mut trainee.stream, &mut trainee.layer, &gradients, &mut moments, step)?;
        let after = state(&mut trainee, &moments)?;
        if after.moments.steps != t {
            return Err(Failure::new(format!("{} steps after {t}", after.moments.steps)));
        }
        for spec in instance.layer.params().learned(instance.config()) {
            let slots: Vec<&[f32]> = before.moments.slots.iter().map(|slot| &slot[spec.name][..]).collect();
            let tensors = [&before.params[spec.name][..], &named[spec.name]];
            let want = moved(step, t, &spec, tensors, &slots, accuracy)?;
            matches(&spec, &after, &want)
                .map_err(|failure| failure.context(format!("step {t} of {step:?}")))?;
        }
        before = after;
    }
    Ok(())
}

/// A layer in training, in host memory.
struct State {
    params: ParamMap,
    moments: MomentValues,
}

fn state<B: Train>(trainee: &mut Trainee<'_, B>, moments: &B::Moments) -> Result<State> {
    let params = trainee.params()?;
    Ok(State {
        params: params.tensors().into_iter().map(|(name, data)| (name, data.to_vec())).collect(),
        moments: trainee.backend.moment_values(&mut trainee.stream, &trainee.layer, moments)?,
    })
}

fn matches(spec: &ParamSpec, got: &State, want: &Moved) -> Verdict {
    estimated(spec.name, &got.params[spec.name], &want.parameter)?;
    for (slot, (got, want)) in got.moments.slots.iter().zip(&want.moments).enumerate() {
        estimated(&format!("moment {slot} of {}", spec.name), &got[spec.name], want)?;
    }
    Ok(())
}

/// Every fifth number is 0, where a sign is.
fn with_zeros(instance: &Instance) -> Result<Instance> {
    let (config, mut params) = instance.layer.clone().into_parts();
    let head = params.attention.iter_mut().flat_map(|head| head.fc1.iter_mut().chain([&mut head.fc2]));
    let head = head.flat_map(|dense| [&mut dense.weight].into_iter().chain(&mut dense.bias));
    for data in [&mut params.weight].into_iter().chain(&mut params.bias).chain(head) {
        data.iter_mut().step_by(5).for_each(|value| *value = 0.0);
    }
    Ok(instance.on(DyConv2d::new(config, params)?))
}

/// An optimiser with a rule of its own for every kind of parameter.
pub(super) fn any_step(fill: &mut Fill, instance: &Instance) -> Step {
    let optimizers = [
        Optimizer::SGD,
        Optimizer::MOMENTUM,
        Optimizer::Sgd { momentum: 0.75, nesterov: true },
        Optimizer::ADAMW,
        Optimizer::AdamW { beta1: 0.8, beta2: 0.95, epsilon: 1e-3 },
    ];
    let (optimizer, rate) = (optimizers[fill.below(optimizers.len())], [0.1, 0.03][fill.below(2)]);
    Step::new(optimizer, rate).rules(rules(fill, instance, any_rule))
}

fn rules(fill: &mut Fill, instance: &Instance, rule: impl Fn(&mut Fill, usize) -> Rule) -> Rules {
    let rank = |name: &str| {
        let specs = ParamSpec::all(instance.config());
        specs.iter().find(|spec| spec.name == name).map_or(1, |spec| spec.own_shape().len())
    };
    Rules {
        experts: rule(fill, rank("weight")),
        expert_bias: rule(fill, rank("bias")),
        head: rule(fill, rank("attention.fc2.weight")),
        head_bias: rule(fill, rank("attention.fc2.bias")),
        batch_norm: rule(fill, rank("bn.weight")),
    }
}

fn any_rule(fill: &mut Fill, rank: usize) -> Rule {
    let regularizers = [
        None,
        Some(Regularizer { l1: 0.5, l2: 0.0 }),
        Some(Regularizer { l1: 0.0, l2: 0.25 }),
        Some(Regularizer { l1: 0.1, l2: 0.05 }),
    ];
    Rule {
        rate: [1.0, 1.0, 1.0, 0.5, 0.0][fill.below(5)],
        weight_decay: [0.0, 0.5][fill.below(2)],
        regularizer: regularizers[fill.below(regularizers.len())],
        constraint: (fill.below(2) == 0).then(|| any_constraint(fill, rank)),
    }
}

fn any_constraint(fill: &mut Fill, rank: usize) -> Constraint {
    let axes = any_axes(fill, rank);
    match fill.below(4) {
        0 => Constraint::NonNeg,
        1 => Constraint::MaxNorm { max: 0.75, axes },
        2 => Constraint::UnitNorm { axes },
        _ => Constraint::MinMaxNorm { min: 0.5, max: 1.25, rate: [1.0, 0.5][fill.below(2)], axes },
    }
}

/// At least one axis, counted from the first or from the last.
fn any_axes(fill: &mut Fill, rank: usize) -> Vec<i64> {
    let (chosen, least) = (fill.below(1 << rank), fill.below(rank));
    let axes = (0..rank).filter(|axis| chosen >> axis & 1 == 1 || *axis == least);
    axes.map(|axis| if fill.below(2) == 0 { axis as i64 } else { axis as i64 - rank as i64 }).collect()
}
