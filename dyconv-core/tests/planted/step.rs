//! One tensor's step in f32, with the places where a fault may be planted.

use dyconv_core::{Constraint, Error, Optimizer, ParamSpec, Result, Step};

use crate::backend::Faulty;
use crate::fault::Fault;

pub(crate) fn step(
    backend: &Faulty,
    (data, steps): (&Step, u64),
    spec: &ParamSpec,
    w: &mut [f32],
    gradient: &[f32],
    slots: &mut [&mut Vec<f32>],
) -> Result<()> {
    let mut rule = data.rules.of(spec.name);
    if backend.has(Fault::RuleOfExpertsForAll) && spec.name == "bias" {
        rule = &data.rules.experts;
    }
    if backend.has(Fault::ConstraintBeforeTheStep) {
        constrain(backend, rule.constraint.as_ref(), spec, w)?;
    }
    let (rate, decay) = ((data.rate * rule.rate) as f32, rule.weight_decay as f32);
    let regularizer = rule.regularizer.unwrap_or_default();
    for (i, w) in w.iter_mut().enumerate() {
        let zero = *w == 0.0 && !backend.has(Fault::SignOfZeroIsOne);
        let sign = if zero { 0.0 } else { w.signum() };
        let mut g = gradient[i] + regularizer.l1 as f32 * sign + 2.0 * regularizer.l2 as f32 * *w;
        match data.optimizer {
            Optimizer::Sgd { momentum, nesterov } => {
                let momentum = momentum as f32;
                g += decay * *w;
                let mut v = g;
                if let Some(slot) = slots.first_mut() {
                    let kept = if backend.has(Fault::MomentumSubtracted) { -momentum } else { momentum };
                    v = kept * slot[i] + g;
                    slot[i] = v;
                }
                let ahead = nesterov && !backend.has(Fault::NesterovForgotten);
                *w -= rate * if ahead { g + momentum * v } else { v };
            }
            Optimizer::AdamW { beta1, beta2, epsilon } => {
                match backend.has(Fault::DecayCoupledInAdamW) {
                    true => g += decay * *w,
                    false => *w -= rate * decay * *w,
                }
                let [m, v] = slots else { continue };
                m[i] = beta1 as f32 * m[i] + (1.0 - beta1) as f32 * g;
                v[i] = beta2 as f32 * v[i] + (1.0 - beta2) as f32 * g * g;
                let corrected = |beta: f64| match backend.has(Fault::BiasCorrectionMissing) {
                    true => 1.0,
                    false => (1.0 - beta.powf(steps as f64)) as f32,
                };
                let (m, v) = (m[i] / corrected(beta1), v[i] / corrected(beta2));
                *w -= rate * m
                    / match backend.has(Fault::EpsilonInsideTheRoot) {
                        true => (v + epsilon as f32).sqrt(),
                        false => v.sqrt() + epsilon as f32,
                    };
            }
        }
    }
    match backend.has(Fault::ConstraintBeforeTheStep) {
        true => Ok(()),
        false => constrain(backend, rule.constraint.as_ref(), spec, w),
    }
}

fn constrain(
    backend: &Faulty,
    constraint: Option<&Constraint>,
    spec: &ParamSpec,
    w: &mut [f32],
) -> Result<()> {
    let Some(constraint) = constraint else { return Ok(()) };
    if *constraint == Constraint::NonNeg {
        w.iter_mut().for_each(|w| *w = w.max(0.0));
        return Ok(());
    }
    let shape = spec.own_shape();
    let axes = constraint.axes_of(spec.name, shape)?;
    let own: usize = shape.iter().product();
    let experts = w.len() / own;
    // The place on the axes that a norm doesn't sum over.
    let group = |mut i: usize| {
        let expert = if backend.has(Fault::NormOverAllExperts) { 0 } else { i / own };
        let mut place = 0;
        let mut stride = 1;
        for (axis, &extent) in shape.iter().enumerate().rev() {
            if !axes.contains(&axis) {
                place += i % extent * stride;
            }
            (i, stride) = (i / extent, stride * extent);
        }
        expert * own + place
    };
    let mut squares = vec![0.0f32; experts * own];
    w.iter().enumerate().for_each(|(i, w)| squares[group(i)] += w * w);
    for (i, w) in w.iter_mut().enumerate() {
        let norm = squares[group(i)].sqrt();
        let desired = match *constraint {
            Constraint::MaxNorm { max, .. } => norm.min(max as f32),
            Constraint::UnitNorm { .. } => 1.0,
            Constraint::MinMaxNorm { min, max, rate, .. } => {
                rate as f32 * norm.clamp(min as f32, max as f32) + (1.0 - rate) as f32 * norm
            }
            Constraint::NonNeg => return Err(Error::invalid(spec.name, "no norm", "one")),
        };
        *w *= desired / (1e-7 + norm);
    }
    Ok(())
}
