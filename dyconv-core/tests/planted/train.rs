//! The faulty backend trains.

use std::future::{Future, ready};

use dyconv_core::{
    Backward, BatchNorm, BatchNormParams, Call, CheckedCall, Config, DyConv2d, Error, Generation, Gradients,
    MaybeSend, MomentValues, Optimizer, Output, ParamMap, ParamSpec, Params, Pool, Prepared, Recorded,
    Result, Step, Tape, Tensor, Train, check_trainable, reference,
};

use crate::backend::{Faulty, FaultyLayer, FaultyTensor};
use crate::backward::{HeadValues, backward};
use crate::fault::Fault;
use crate::step::step;

#[derive(Debug)]
pub(crate) struct FaultyTape {
    recorded: Recorded,
    pub(crate) input: Tensor,
    pub(crate) pi: Vec<f32>,
    pub(crate) head: Option<HeadValues>,
    pub(crate) convolved: Tensor,
    pub(crate) normalized_by: Option<[Vec<f32>; 2]>,
    pub(crate) preactivation: Tensor,
    pub(crate) output: Tensor,
    kernels: usize,
}

impl FaultyTape {
    pub(crate) fn fits(&self) -> &CheckedCall {
        &self.recorded.call
    }
}

impl Tape for FaultyTape {
    fn recorded(&self) -> &Recorded {
        &self.recorded
    }

    fn bytes(&self) -> u64 {
        let tensors = [&self.input, &self.convolved, &self.preactivation, &self.output];
        let wide: usize = tensors.map(|tensor| tensor.shape().len()).iter().sum();
        let head =
            self.head.as_ref().map_or(0, |head| head.pooled.len() + head.hidden.as_ref().map_or(0, Vec::len));
        let norm = self.normalized_by.iter().flatten().map(Vec::len).sum::<usize>();
        4 * (wide + self.pi.len() + head + norm + self.kernels) as u64
    }
}

impl FaultyLayer {
    /// Changes the numbers; the layer holds them against its configuration.
    fn update(&mut self, change: impl FnOnce(&Config, &mut Params) -> Result<()>) -> Result<()> {
        let (config, mut params) = self.layer.clone().into_parts();
        change(&config, &mut params)?;
        self.layer = DyConv2d::new(config, params)?;
        Ok(())
    }

    fn learned(&self) -> Vec<ParamSpec> {
        self.layer.params().learned(self.config())
    }
}

impl Faulty {
    fn move_running(&self, norm: &BatchNorm, bn: &mut BatchNormParams, batch: &[Vec<f32>; 2], values: f64) {
        if self.has(Fault::RunningStatisticsStay) {
            return;
        }
        let unbiased = norm.unbiased != self.has(Fault::RunningVarianceOfTheOtherKind);
        let factor = if unbiased && values > 1.0 { (values / (values - 1.0)) as f32 } else { 1.0 };
        let (mut keep, mut take) = (norm.keep as f32, (1.0 - norm.keep) as f32);
        if self.has(Fault::KeepAndTakeSwapped) {
            (keep, take) = (take, keep);
        }
        let [mean, variance] = batch;
        bn.running_mean.iter_mut().zip(mean).for_each(|(r, m)| *r = keep * *r + take * m);
        bn.running_var.iter_mut().zip(variance).for_each(|(r, v)| *r = keep * *r + take * factor * v);
    }
}

impl Train for Faulty {
    type Tape = FaultyTape;
    type ParamGradients = ParamMap;
    type Moments = MomentValues;

    fn forward_train(
        &self,
        (): &mut (),
        layer: &mut FaultyLayer,
        call: &Call<'_, FaultyTensor>,
    ) -> Result<(Output<FaultyTensor>, FaultyTape)> {
        if !self.has(Fault::InferenceLayerTrains) {
            check_trainable(layer)?;
        }
        let (output, values) = self.run(layer, call)?;
        if let (true, Some(batch)) = (values.fits.batch_statistics, &values.normalized_by) {
            let shape = values.fits.output;
            layer.update(|config, params| {
                let (Some(norm), Some(bn)) = (config.batch_norm(), &mut params.batch_norm) else {
                    return Ok(());
                };
                self.move_running(&norm, bn, batch, (shape.batch() * shape.pixels()) as f64);
                Ok(())
            })?;
        }
        let recorded =
            Recorded { call: values.fits, residual: call.residual.is_some(), generation: layer.generation };
        let kernel = layer.layer.params().weight.len() / layer.config().experts();
        let batch = values.fits.input.batch();
        let tape = FaultyTape {
            recorded,
            input: call.input.host.clone(),
            pi: values.pi,
            head: values.head,
            convolved: values.convolved,
            normalized_by: values.normalized_by,
            preactivation: values.preactivation,
            output: output.output.host.clone(),
            kernels: if self.has(Fault::TapeKeepsEveryKernel) { batch * kernel } else { 0 },
        };
        Ok((output, tape))
    }

    fn backward(
        &self,
        (): &mut (),
        layer: &FaultyLayer,
        tape: FaultyTape,
        call: &Backward<'_, FaultyTensor>,
        onto: Option<ParamMap>,
    ) -> Result<Gradients<FaultyTensor, ParamMap>> {
        let generation = match self.has(Fault::OldTapeAccepted) {
            true => tape.recorded.generation,
            false => layer.generation,
        };
        call.check(layer, generation, &tape.recorded)?;
        let mut found = backward(self, (layer.config(), layer.layer.params()), &tape, call)?;
        for (name, before) in onto.into_iter().flatten() {
            if self.has(Fault::GradientsReplaceInsteadOfAdding) {
                continue;
            }
            let sums = found.params.get_mut(name).into_iter().flatten();
            sums.zip(before).for_each(|(sum, before)| *sum += before);
        }
        if self.has(Fault::EmptyBatchHasNoGradients) && tape.input.shape().is_empty() {
            found.params.clear();
        }
        let wanted = call.input || self.has(Fault::UnwantedInputGradientGiven);
        Ok(Gradients::new(found.params)
            .input(wanted.then(|| found.input.into()))
            .residual(tape.recorded.residual.then(|| found.residual.into()))
            .attention(layer.config().attention().map(|_| found.attention.into())))
    }

    fn pool_backward(
        &self,
        (): &mut (),
        x: &FaultyTensor,
        kind: &Pool,
        gradient: &FaultyTensor,
    ) -> Result<FaultyTensor> {
        let mut x = x.host.clone();
        if self.has(Fault::LastOfEqualMaxima) {
            // Later pixels win by a little.
            let most = x.data().len() as f32;
            x.data_mut().iter_mut().enumerate().for_each(|(i, x)| *x += i as f32 / most / 4.0);
        }
        Ok(reference::pool_backward(x.view(), kind, gradient.host.view())?.into())
    }

    fn step(
        &self,
        (): &mut (),
        layer: &mut FaultyLayer,
        gradients: &ParamMap,
        moments: &mut MomentValues,
        data: &Step,
    ) -> Result<()> {
        data.check(layer, moments.slots.len())?;
        let learned = layer.learned();
        check_own("gradients", gradients, &learned)?;
        moments.slots.iter().try_for_each(|slot| check_own("moments", slot, &learned))?;
        let steps = moments.steps + 1;
        layer.update(|config, params| {
            let mut tensors: std::collections::BTreeMap<_, _> =
                params.tensors().into_iter().map(|(name, data)| (name, data.to_vec())).collect();
            for spec in &learned {
                let mut slots: Vec<&mut Vec<f32>> =
                    moments.slots.iter_mut().filter_map(|slot| slot.get_mut(spec.name)).collect();
                let Some(w) = tensors.get_mut(spec.name) else { continue };
                step(self, (data, steps), spec, w, &gradients[spec.name], &mut slots)?;
            }
            *params = Params::from_named(config, |spec| Ok(tensors.remove(spec.name)))?;
            Ok(())
        })?;
        moments.steps = steps;
        layer.generation = Generation::new();
        Ok(())
    }

    fn moments(&self, layer: &FaultyLayer, optimizer: &Optimizer) -> Result<MomentValues> {
        if !self.has(Fault::InferenceLayerTrains) {
            check_trainable(layer)?;
        }
        optimizer.check()?;
        Ok(MomentValues::zeros(&layer.learned(), optimizer))
    }

    fn load_moments(
        &self,
        (): &mut (),
        layer: &FaultyLayer,
        optimizer: &Optimizer,
        values: &MomentValues,
    ) -> Result<MomentValues> {
        check_trainable(layer)?;
        optimizer.check()?;
        values.check(&layer.learned(), optimizer)?;
        let mut loaded = values.clone();
        if self.has(Fault::StepsNotSaved) {
            loaded.steps = 0;
        }
        if self.has(Fault::MomentsNotSaved) {
            loaded.slots = MomentValues::zeros(&layer.learned(), optimizer).slots;
        }
        Ok(loaded)
    }

    fn params_async<'a>(
        &'a self,
        (): &'a mut (),
        layer: &'a FaultyLayer,
    ) -> impl Future<Output = Result<Params>> + MaybeSend + 'a {
        ready(check_trainable(layer).map(|()| layer.layer.params().clone()))
    }

    fn gradients_async<'a>(
        &'a self,
        (): &'a mut (),
        layer: &'a FaultyLayer,
        gradients: &'a ParamMap,
    ) -> impl Future<Output = Result<ParamMap>> + MaybeSend + 'a {
        ready(check_own("gradients", gradients, &layer.learned()).map(|()| gradients.clone()))
    }

    fn moment_values_async<'a>(
        &'a self,
        (): &'a mut (),
        _: &'a FaultyLayer,
        moments: &'a MomentValues,
    ) -> impl Future<Output = Result<MomentValues>> + MaybeSend + 'a {
        ready(Ok(moments.clone()))
    }
}

/// Every parameter of this layer, and no other.
fn check_own(what: &str, map: &ParamMap, learned: &[ParamSpec]) -> Result<()> {
    let own = learned.iter().all(|spec| map.get(spec.name).map(Vec::len) == Some(spec.len()));
    match own && map.len() == learned.len() {
        true => Ok(()),
        false => Err(Error::invalid(what, "another layer's", "this one's")),
    }
}
