//! The reference trains: gradients of the f64 evaluation, rounded to f32 once; parameters and moments stay f32
//! between steps, so that a checkpoint is all there is.

use std::collections::BTreeMap;
use std::future::{Future, ready};

use super::backend::{ReferenceLayer, ReferenceStream, ReferenceTensor, rounded, rows};
use super::evaluate::Evaluation;
use super::normalize::move_running;
use super::{F64Tensor, Reference, backward, step};
use crate::backend::check_map;
use crate::{
    Backward, Call, Generation, Gradients, Handle, MaybeSend, MomentValues, Optimizer, Output, ParamMap,
    Params, Pool, Recorded, Result, Step, Tape, Train, check_trainable,
};

/// Input and evaluation of one run. W~ isn't among them.
#[derive(Debug)]
pub struct ReferenceTape {
    input: ReferenceTensor,
    evaluation: Evaluation,
    recorded: Recorded,
}

impl Tape for ReferenceTape {
    fn recorded(&self) -> &Recorded {
        &self.recorded
    }

    fn bytes(&self) -> u64 {
        let Evaluation { head, attention, convolved, normalized_by, preactivation, output, .. } =
            &self.evaluation;
        let head =
            head.iter().flat_map(|head| [Some(&head.pooled), head.hidden.as_ref(), Some(&head.logits)]);
        let normalized_by = normalized_by.iter().flatten();
        let small: usize = head.flatten().chain([attention]).chain(normalized_by).map(Vec::len).sum();
        let wide = small + [convolved, preactivation, output].map(|t| t.data().len()).iter().sum::<usize>();
        (wide * size_of::<f64>() + self.input.shape().len() * size_of::<f32>()) as u64
    }
}

/// Gradients by name, in f32.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceGradients(ParamMap);

/// An optimiser's state by name, in f32.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceMoments(MomentValues);

impl Train for Reference {
    type Tape = ReferenceTape;
    type ParamGradients = ReferenceGradients;
    type Moments = ReferenceMoments;

    fn forward_train(
        &self,
        _: &mut ReferenceStream,
        layer: &mut ReferenceLayer,
        call: &Call<'_, ReferenceTensor>,
    ) -> Result<(Output<ReferenceTensor>, ReferenceTape)> {
        check_trainable(layer)?;
        let evaluation = layer.evaluate(call)?;
        let output = rounded(layer, &evaluation, call)?;
        if let Some(statistics) = &evaluation.statistics {
            move_running(&mut layer.numbers, statistics, evaluation.call.output);
        }
        let generation = layer.generation;
        let recorded = Recorded { call: evaluation.call, residual: call.residual.is_some(), generation };
        Ok((output, ReferenceTape { input: call.input.clone(), evaluation, recorded }))
    }

    fn backward(
        &self,
        _: &mut ReferenceStream,
        layer: &ReferenceLayer,
        tape: ReferenceTape,
        call: &Backward<'_, ReferenceTensor>,
        onto: Option<ReferenceGradients>,
    ) -> Result<Gradients<ReferenceTensor, ReferenceGradients>> {
        call.check(layer, layer.generation, &tape.recorded)?;
        if let Some(onto) = &onto {
            check_map("onto", &onto.0, &layer.learned())?;
        }
        let mut g = call.gradient.widen();
        if let Some(activity) = call.activity {
            let outputs = tape.evaluation.output.data().iter();
            g.data_mut().iter_mut().zip(outputs).for_each(|(g, &y)| *g += activity.slope(y));
        }
        let mut found = layer.numbers.backward(&tape.input.widen(), &tape.evaluation, &g)?;
        if let Some(other) = call.add_to_input {
            backward::add(&mut found.input, &other.widen());
        }
        let host = |tensor: &F64Tensor| ReferenceTensor::new(tensor.to_f32());
        let (batch, experts) = (tape.input.shape().batch(), layer.config().experts());
        let dynamic = layer.config().attention().is_some();
        Ok(Gradients::new(ReferenceGradients(narrow(&found.params, onto)))
            .input(call.input.then(|| host(&found.input)))
            .residual(tape.recorded.residual.then(|| host(&found.preactivation)))
            .attention(if dynamic { Some(rows(batch, experts, &found.attention)?) } else { None }))
    }

    fn pool_backward(
        &self,
        _: &mut ReferenceStream,
        x: &ReferenceTensor,
        kind: &Pool,
        gradient: &ReferenceTensor,
    ) -> Result<ReferenceTensor> {
        Ok(ReferenceTensor::new(super::pool_backward(x.host().view(), kind, gradient.host().view())?))
    }

    fn step(
        &self,
        _: &mut ReferenceStream,
        layer: &mut ReferenceLayer,
        gradients: &ReferenceGradients,
        moments: &mut ReferenceMoments,
        step: &Step,
    ) -> Result<()> {
        step.check(layer, moments.0.slots.len())?;
        let learned = layer.learned();
        check_map("gradients", &gradients.0, &learned)?;
        moments.0.check_names(&learned)?;
        moments.0.steps += 1;
        let steps = moments.0.steps;
        for spec in &learned {
            let (Some(w), Some(g)) = (layer.numbers.tensor_mut(spec.name), gradients.0.get(spec.name)) else {
                continue;
            };
            let g: Vec<f64> = g.iter().copied().map(f64::from).collect();
            let slots = moments.0.slots.iter_mut().filter_map(|slot| slot.get_mut(spec.name));
            let mut slots: Vec<&mut [f32]> = slots.map(Vec::as_mut_slice).collect();
            step::step(step, steps, spec, w, &g, &mut slots)?;
        }
        layer.generation = Generation::new();
        Ok(())
    }

    fn moments(&self, layer: &ReferenceLayer, optimizer: &Optimizer) -> Result<ReferenceMoments> {
        check_trainable(layer)?;
        optimizer.check()?;
        Ok(ReferenceMoments(MomentValues::zeros(&layer.learned(), optimizer)))
    }

    fn load_moments(
        &self,
        _: &mut ReferenceStream,
        layer: &ReferenceLayer,
        optimizer: &Optimizer,
        values: &MomentValues,
    ) -> Result<ReferenceMoments> {
        check_trainable(layer)?;
        optimizer.check()?;
        values.check(&layer.learned(), optimizer)?;
        Ok(ReferenceMoments(values.clone()))
    }

    fn params_async<'a>(
        &'a self,
        _: &'a mut ReferenceStream,
        layer: &'a ReferenceLayer,
    ) -> impl Future<Output = Result<Params>> + MaybeSend + 'a {
        let round = |data: &[f64]| data.iter().map(|&value| value as f32).collect();
        let params = check_trainable(layer).and_then(|()| {
            Params::from_named(layer.config(), |spec| Ok(layer.numbers.tensor(spec.name).map(round)))
        });
        ready(params)
    }

    fn gradients_async<'a>(
        &'a self,
        _: &'a mut ReferenceStream,
        layer: &'a ReferenceLayer,
        gradients: &'a ReferenceGradients,
    ) -> impl Future<Output = Result<ParamMap>> + MaybeSend + 'a {
        ready(check_map("gradients", &gradients.0, &layer.learned()).map(|()| gradients.0.clone()))
    }

    fn moment_values_async<'a>(
        &'a self,
        _: &'a mut ReferenceStream,
        layer: &'a ReferenceLayer,
        moments: &'a ReferenceMoments,
    ) -> impl Future<Output = Result<MomentValues>> + MaybeSend + 'a {
        ready(moments.0.check_names(&layer.learned()).map(|()| moments.0.clone()))
    }
}

/// Rounds to f32, after adding what is there already.
fn narrow(found: &BTreeMap<&'static str, Vec<f64>>, onto: Option<ReferenceGradients>) -> ParamMap {
    let onto = onto.map(|onto| onto.0).unwrap_or_default();
    let sums = found.iter().map(|(name, values)| {
        let before = onto.get(name).map(Vec::as_slice).unwrap_or_default();
        let before = before.iter().copied().map(f64::from).chain(std::iter::repeat(0.0));
        (*name, values.iter().zip(before).map(|(value, before)| (before + value) as f32).collect())
    });
    sums.collect()
}
