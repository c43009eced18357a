//! The [`Train`] trait, served by the stages backwards and by steps on the device.
//!
//! Parameters, gradients and moments lie in the packed order, and stay on the device: a backward writes the experts'
//! gradients where [`crate::pack`] has the experts, and a step is a pass over parameters, gradients and moments. Nothing
//! is read back but on request, by name.

mod backward;
mod order;
mod step;
mod tape;

pub use order::{WgpuMoments, WgpuParamGradients};
pub use tape::WgpuTape;

#[cfg(test)]
pub(crate) use step::SECTION;

use dyconv_core::{
    Accuracy, Backward, Call, CheckedCall, Error, Generation, Gradients, MomentValues, Optimizer, Output,
    ParamMap, Params, Plan, Pool, Prepared, Recorded, Result, Shape, Step, Train, check_trainable,
};

use crate::backend::WgpuBackend;
use crate::layer::{Training, WgpuLayer};
use crate::origin::Origin;
use crate::plan::plan;
use crate::readback;
use crate::stages;
use crate::stream::{WgpuStream, check_stream};
use crate::tensor::WgpuTensor;
use crate::values::Values;
use order::Order;

impl Train for WgpuBackend {
    type Tape = WgpuTape;
    type ParamGradients = WgpuParamGradients;
    type Moments = WgpuMoments;

    fn forward_train(
        &self,
        stream: &mut WgpuStream,
        layer: &mut WgpuLayer,
        call: &Call<'_, WgpuTensor>,
    ) -> Result<(Output<WgpuTensor>, WgpuTape)> {
        self.check(stream, layer)?;
        let generation = trainable(layer)?.generation;
        let (output, trace) = stages::run(stream, layer, call, true)?;
        move_running(stream, layer, &trace)?;
        let recorded = Recorded { call: trace.checked, residual: call.residual.is_some(), generation };
        Ok((output, WgpuTape::new(stream, layer, recorded, call.input.clone(), trace)))
    }

    fn backward(
        &self,
        stream: &mut WgpuStream,
        layer: &WgpuLayer,
        tape: WgpuTape,
        call: &Backward<'_, WgpuTensor>,
        onto: Option<WgpuParamGradients>,
    ) -> Result<Gradients<WgpuTensor, WgpuParamGradients>> {
        self.check(stream, layer)?;
        backward::backward(stream, layer, &tape, call, onto)
    }

    fn pool_backward(
        &self,
        stream: &mut WgpuStream,
        x: &WgpuTensor,
        kind: &Pool,
        gradient: &WgpuTensor,
    ) -> Result<WgpuTensor> {
        check_stream(stream, self.context())?;
        if self.context().values != Values::F32 {
            let what = format!("a gradient beside activations in {}", self.context().values.precision());
            return Err(Error::Unsupported { backend: self.context().backend.clone(), what });
        }
        x.check("input", stream)?;
        gradient.check("gradient", stream)?;
        stages::backward::pool::record(stream, x, kind, gradient)
    }

    fn step(
        &self,
        stream: &mut WgpuStream,
        layer: &mut WgpuLayer,
        gradients: &WgpuParamGradients,
        moments: &mut WgpuMoments,
        step: &Step,
    ) -> Result<()> {
        self.check(stream, layer)?;
        step::step(stream, layer, gradients, moments, step)
    }

    fn moments(&self, layer: &WgpuLayer, optimizer: &Optimizer) -> Result<WgpuMoments> {
        self.check_layer(layer)?;
        let order = Order::new(layer, trainable(layer)?);
        optimizer.check()?;
        WgpuMoments::zeros(self.context(), order, optimizer)
    }

    fn load_moments(
        &self,
        stream: &mut WgpuStream,
        layer: &WgpuLayer,
        optimizer: &Optimizer,
        values: &MomentValues,
    ) -> Result<WgpuMoments> {
        self.check(stream, layer)?;
        let training = trainable(layer)?;
        optimizer.check()?;
        values.check(&training.learned, optimizer)?;
        WgpuMoments::load(self.context(), Order::new(layer, training), values)
    }

    async fn params_async<'a>(&'a self, stream: &'a mut WgpuStream, layer: &'a WgpuLayer) -> Result<Params> {
        self.check(stream, layer)?;
        let training = trainable(layer)?;
        let order = Order::new(layer, training);
        let mut parts = order.parts(layer.arrays());
        let channels = layer.config().out_channels();
        let running = training.norm.iter().flat_map(|norm| &norm.running);
        parts.extend(running.map(|running| (&**running, channels)));
        let elements = readback::elements(stream, &parts).await?;
        let mut found = order.by_name(&elements);
        if training.norm.is_some() {
            let mut rows = elements[elements.len() - 2 * channels..].chunks_exact(channels);
            for name in ["bn.running_mean", "bn.running_var"] {
                found.insert(name, rows.next().unwrap_or_default().to_vec());
            }
        }
        Params::from_named(layer.config(), |spec| Ok(found.remove(spec.name)))
    }

    async fn gradients_async<'a>(
        &'a self,
        stream: &'a mut WgpuStream,
        layer: &'a WgpuLayer,
        gradients: &'a WgpuParamGradients,
    ) -> Result<ParamMap> {
        self.check(stream, layer)?;
        let order = Order::new(layer, trainable(layer)?);
        gradients.check("gradients", &order, stream)?;
        let elements = readback::elements(stream, &order.parts(gradients.packed.arrays())).await?;
        Ok(order.by_name(&elements))
    }

    async fn moment_values_async<'a>(
        &'a self,
        stream: &'a mut WgpuStream,
        layer: &'a WgpuLayer,
        moments: &'a WgpuMoments,
    ) -> Result<MomentValues> {
        self.check(stream, layer)?;
        let order = Order::new(layer, trainable(layer)?);
        moments.check(&order, stream)?;
        let mut values = MomentValues { steps: moments.steps, slots: Vec::new() };
        for slot in &moments.slots {
            let elements = readback::elements(stream, &order.parts(slot.arrays())).await?;
            values.slots.push(order.by_name(&elements));
        }
        Ok(values)
    }

    fn plan_backward(&self, layer: &WgpuLayer, input: Shape) -> Result<Plan> {
        self.check_layer(layer)?;
        let generic = Plan::generic_backward(layer.config(), input, Accuracy::Gpu)?;
        // Everything that keeps a forward from running keeps a backward, too.
        plan(&self.context().limits, layer, input, false)?;
        let (name, peak_bytes) = backward::plan(&self.context().limits, layer, input)?;
        Ok(Plan::new(name, generic.multiply_adds, generic.bytes, peak_bytes, Accuracy::Gpu))
    }
}

/// What only a trainable layer has.
fn trainable(layer: &WgpuLayer) -> Result<&Training> {
    check_trainable(layer)?;
    layer.training.as_ref().ok_or_else(untrainable)
}

/// `check_trainable` refuses such a layer before.
fn untrainable() -> Error {
    Error::invalid("layer", "prepared for inference", "one prepared as trainable")
}

/// Moves the running statistics towards the batch's, where the call took those.
fn move_running(stream: &mut WgpuStream, layer: &mut WgpuLayer, trace: &stages::Trace) -> Result<()> {
    let CheckedCall { batch_statistics, output, .. } = trace.checked;
    let (true, Some((_, batch)), Some(norm)) = (batch_statistics, &trace.normalized, layer.unfolded()) else {
        return Ok(());
    };
    let moved = stages::move_running(stream, layer, &norm.running, batch, output)?;
    if let Some(training) = &mut layer.training {
        training.origin = Origin::new(stream);
        training.norm.iter_mut().for_each(|norm| norm.running.clone_from(&moved));
    }
    Ok(())
}

/// Notes that the parameters are others from now on.
fn renew(stream: &WgpuStream, layer: &mut WgpuLayer) {
    if let Some(training) = &mut layer.training {
        training.generation = Generation::new();
        training.origin = Origin::new(stream);
    }
}
