//! Step: every parameter moved where it lies, then back into its constraint; the mirror follows.

use std::iter::repeat_with;

use dyconv_core::reference::{norm_group, norm_share};
use dyconv_core::{Constraint, Generation, ParamSpec, Prepared, Result, Step};

use super::numbers::{Numbers, SimdGradients, SimdMoments, learned};
use crate::isa::OnLanes;
use crate::kernels::backward::step::{How, Move};
use crate::lanes::Lanes;
use crate::layer::SimdLayer;
use crate::threads::Threads;

/// Floats that a thread moves at a time.
const PIECE: usize = 16 << 10;

/// Moves a layer, which step and numbers fit.
///
/// # Errors
/// Where a constraint's axes aren't a parameter's.
pub(crate) struct StepRun<'a> {
    pub(crate) layer: &'a mut SimdLayer,
    pub(crate) threads: &'a Threads,
    pub(crate) gradients: &'a SimdGradients,
    pub(crate) moments: &'a mut SimdMoments,
    pub(crate) step: &'a Step,
}

impl OnLanes for StepRun<'_> {
    type Output = Result<()>;

    fn run<L: Lanes>(self, lanes: L) -> Result<()> {
        let Self { layer, threads, gradients, moments, step } = self;
        moments.steps += 1;
        for spec in learned(layer) {
            let rule = step.rules.of(spec.name);
            let how = How {
                optimizer: step.optimizer,
                rate: step.rate * rule.rate,
                decay: rule.weight_decay,
                regularizer: rule.regularizer,
                steps: moments.steps,
            };
            let slots = &mut moments.slots;
            shift(
                lanes,
                threads,
                how,
                layer.parameter_mut(spec.name),
                gradients.0.get(spec.name),
                slots,
                spec.name,
            );
            if let Some(constraint) = &rule.constraint {
                constrain(layer, constraint, &spec)?;
            }
        }
        let config = *layer.config();
        let SimdLayer { packed, training, .. } = layer;
        if let Some(training) = training {
            training.mirror.refresh(lanes, threads, &config, packed);
            training.generation = Generation::new();
        }
        Ok(())
    }
}

/// Moves one parameter, a piece by each thread.
fn shift<L: Lanes>(
    lanes: L,
    threads: &Threads,
    how: How,
    w: &mut [f32],
    gradient: &[f32],
    slots: &mut [Numbers],
    name: &str,
) {
    let mut slots = slots.iter_mut().map(|slot| slot.get_mut(name));
    let mut next = || pieces(slots.next().unwrap_or_default());
    let moments = next().zip(next());
    let items = w.chunks_mut(PIECE).zip(gradient.chunks(PIECE)).zip(moments);
    threads.for_each(items, |((w, gradient), (first, second))| {
        lanes.vectorize(Move { how, w, gradient, moments: [first, second] });
    });
}

/// Pieces of `data`, and empty ones when there is nothing left.
fn pieces(mut data: &mut [f32]) -> impl Iterator<Item = &mut [f32]> {
    repeat_with(move || {
        let len = PIECE.min(data.len());
        let (piece, rest) = std::mem::take(&mut data).split_at_mut(len);
        data = rest;
        piece
    })
}

/// Brings one parameter back: of the experts each on its own.
fn constrain(layer: &mut SimdLayer, constraint: &Constraint, spec: &ParamSpec) -> Result<()> {
    if *constraint == Constraint::NonNeg {
        layer.parameter_mut(spec.name).iter_mut().filter(|w| **w < 0.0).for_each(|w| *w = 0.0);
        return Ok(());
    }
    let shape = spec.own_shape();
    let axes = constraint.axes_of(spec.name, shape)?;
    let own: usize = shape.iter().product();
    // Where each number lies, in the order of its tensor.
    let mut places = vec![0; spec.len()];
    match layer.row_len(spec.name) {
        Some(numbers) => {
            for row in layer.packed.rows(numbers) {
                (0..numbers).for_each(|k| places[row.plain + k] = row.packed + k * row.step);
            }
        }
        None => places.iter_mut().enumerate().for_each(|(i, place)| *place = i),
    }
    let data = layer.parameter_mut(spec.name);
    for places in places.chunks_exact(own) {
        let mut squares = vec![0.0; own];
        for (i, place) in places.iter().enumerate() {
            squares[norm_group(shape, &axes, i)] += f64::from(data[*place]) * f64::from(data[*place]);
        }
        for (i, place) in places.iter().enumerate() {
            let share = norm_share(constraint, squares[norm_group(shape, &axes, i)].sqrt());
            data[*place] = (f64::from(data[*place]) * share) as f32;
        }
    }
    Ok(())
}
