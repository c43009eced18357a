//! Training: a forward that is recorded, its backward, and a step, all in the order of the packed parameters.

mod backward;
mod mirror;
mod numbers;
mod parameters;
mod step;
mod tape;
mod training;

use std::future::{Future, ready};

use dyconv_core::{
    Accuracy, AttentionSource, Backward, Call, Error, Gradients, Handle, MaybeSend, MomentValues, Optimizer,
    Output, ParamMap, Params, Plan, Pool, Prepared, Recorded, Result, Shape, Step, Train, check_trainable,
};

use self::backward::BackwardRun;
use self::numbers::{Numbers, learned};
pub use self::numbers::{SimdGradients, SimdMoments};
use self::step::StepRun;
pub use self::tape::SimdTape;
pub(crate) use self::training::Training;
use crate::backend::SimdBackend;
use crate::forward::Kept;
use crate::kernels::backward::activate::Point;
use crate::kernels::backward::pool::{max_backward, mean_backward};
use crate::layer::SimdLayer;
use crate::stream::SimdStream;
use crate::tensor::{SimdTensor, writable};

impl Train for SimdBackend {
    type Tape = SimdTape;
    type ParamGradients = SimdGradients;
    type Moments = SimdMoments;

    fn forward_train(
        &self,
        stream: &mut SimdStream,
        layer: &mut SimdLayer,
        call: &Call<'_, SimdTensor>,
    ) -> Result<(Output<SimdTensor>, SimdTape)> {
        let generation = training(layer)?.generation;
        let checked = call.check(layer)?;
        let len = checked.output.len();
        let mut convolved = layer.normalizes().then(|| stream.recycled.take(len));
        let activated = Point::of(layer.config().activation()) == Point::Preactivation;
        let mut preactivation = activated.then(|| stream.recycled.take(len));
        let kept = Kept {
            convolved: convolved.as_mut().map(writable),
            preactivation: preactivation.as_mut().map(writable),
        };
        let (output, statistics) = self.run_tensors(stream, layer, call, checked, kept)?;
        for piece in [&convolved, &preactivation].into_iter().flatten() {
            stream.recycled.keep(piece);
        }
        let computed = matches!(checked.attention, AttentionSource::Head { .. });
        let head = |values: &Vec<f32>| if computed { values.clone() } else { Vec::new() };
        let tape = SimdTape {
            recorded: Recorded { call: checked, residual: call.residual.is_some(), generation },
            input: call.input.clone(),
            output: output.output.clone(),
            convolved,
            preactivation,
            normalized_by: statistics.clone().or_else(|| layer.running()),
            pi: stream.pi.clone(),
            pooled: head(&stream.pooled),
            hidden: head(&stream.hidden),
        };
        if let Some(statistics) = &statistics {
            layer.move_running(statistics, checked.output.batch() * checked.output.pixels());
        }
        Ok((output, tape))
    }

    fn backward(
        &self,
        stream: &mut SimdStream,
        layer: &SimdLayer,
        tape: SimdTape,
        call: &Backward<'_, SimdTensor>,
        onto: Option<SimdGradients>,
    ) -> Result<Gradients<SimdTensor, SimdGradients>> {
        check_trainable(layer)?;
        let training = training(layer)?;
        call.check(layer, training.generation, &tape.recorded)?;
        self.check_own(layer)?;
        let (params, fresh) = match onto {
            Some(SimdGradients(onto)) => {
                onto.check("onto", layer)?;
                onto.claim(&mut stream.recycled);
                (onto, false)
            }
            None => (Numbers::unwritten(layer, &mut stream.recycled), true),
        };
        let input = tape.recorded.call.input;
        let correlation = &*training.correlation(layer, [input.height(), input.width()])?;
        let run = BackwardRun {
            layer,
            training,
            correlation,
            tape: &tape,
            threads: self.threads_of(layer, input)?,
            stream,
            gradient: call.gradient,
            activity: call.activity,
            add: call.add_to_input,
            input: call.input,
            params,
            fresh,
        };
        let gradients = self.token.dispatch(run)?;
        gradients.params.0.keep(&mut stream.recycled);
        Ok(gradients)
    }

    fn pool_backward(
        &self,
        stream: &mut SimdStream,
        x: &SimdTensor,
        kind: &Pool,
        gradient: &SimdTensor,
    ) -> Result<SimdTensor> {
        let (shape, layout) = (x.shape(), x.layout());
        let output = kind.output_shape(shape)?;
        if gradient.shape() != output {
            return Err(Error::invalid("gradient", gradient.shape(), output.to_string()));
        }
        if gradient.layout() != layout && output.pixels() > 1 && output.channels() > 1 {
            return Err(Error::invalid("layout of gradient", gradient.layout(), layout.to_string()));
        }
        let threads = self.threads_for(shape.len());
        let g = gradient.data();
        let data = stream.recycled.fill(shape.len(), |out| match kind {
            Pool::Max { .. } => max_backward(threads, x, kind, (g, [output.height(), output.width()]), out),
            _ => {
                let samples = out.chunks_exact_mut(shape.sample_len()).zip(g.chunks_exact(shape.channels()));
                threads.for_each(samples, |(out, g)| mean_backward(shape, layout, g, out));
            }
        });
        Ok(SimdTensor::new(shape, layout, data))
    }

    fn step(
        &self,
        _: &mut SimdStream,
        layer: &mut SimdLayer,
        gradients: &SimdGradients,
        moments: &mut SimdMoments,
        step: &Step,
    ) -> Result<()> {
        step.check(layer, moments.slots.len())?;
        self.check_own(layer)?;
        gradients.0.check("gradients", layer)?;
        moments.check(layer)?;
        let threads = self.threads_for(layer.packed.all_weights().len());
        self.token.dispatch(StepRun { layer, threads, gradients, moments, step })
    }

    fn moments(&self, layer: &SimdLayer, optimizer: &Optimizer) -> Result<SimdMoments> {
        check_trainable(layer)?;
        optimizer.check()?;
        Ok(SimdMoments::zeros(layer, optimizer))
    }

    fn load_moments(
        &self,
        _: &mut SimdStream,
        layer: &SimdLayer,
        optimizer: &Optimizer,
        values: &MomentValues,
    ) -> Result<SimdMoments> {
        check_trainable(layer)?;
        optimizer.check()?;
        values.check(&learned(layer), optimizer)?;
        Ok(SimdMoments::from_values(layer, values))
    }

    fn params_async<'a>(
        &'a self,
        _: &'a mut SimdStream,
        layer: &'a SimdLayer,
    ) -> impl Future<Output = Result<Params>> + MaybeSend + 'a {
        ready(check_trainable(layer).and_then(|()| layer.params()))
    }

    fn gradients_async<'a>(
        &'a self,
        _: &'a mut SimdStream,
        layer: &'a SimdLayer,
        gradients: &'a SimdGradients,
    ) -> impl Future<Output = Result<ParamMap>> + MaybeSend + 'a {
        ready(gradients.0.check("gradients", layer).map(|()| gradients.0.to_map(layer)))
    }

    fn moment_values_async<'a>(
        &'a self,
        _: &'a mut SimdStream,
        layer: &'a SimdLayer,
        moments: &'a SimdMoments,
    ) -> impl Future<Output = Result<MomentValues>> + MaybeSend + 'a {
        ready(moments.check(layer).map(|()| moments.to_values(layer)))
    }

    fn plan_backward(&self, layer: &SimdLayer, input: Shape) -> Result<Plan> {
        let config = layer.config();
        let geometry = config.geometry(input.height(), input.width())?;
        let mut plans = Vec::new();
        for phase in &training(layer)?.mirror.phases {
            plans.extend(phase.plan(config, &geometry)?);
        }
        let accuracy = plans.iter().map(|plan| plan.accuracy()).max_by_key(|accuracy| match accuracy {
            Accuracy::WinogradF4 => 2,
            Accuracy::WinogradF2 => 1,
            _ => 0,
        });
        let generic = Plan::generic_backward(config, input, accuracy.unwrap_or(Accuracy::Cpu))?;
        let mut names: Vec<String> = plans.iter().map(|plan| plan.name()).collect();
        names.dedup();
        let correlation = training(layer)?.correlation(layer, geometry.input)?;
        let name = format!("{}; dW~ {}", names.join(" and "), correlation.name(layer.traits));
        Ok(Plan::new(name, generic.multiply_adds, generic.bytes, generic.peak_bytes, generic.accuracy))
    }
}

/// What a trainable layer has.
fn training(layer: &SimdLayer) -> Result<&Training> {
    check_trainable(layer)?;
    let expected = "one prepared as trainable";
    layer.training.as_ref().ok_or_else(|| Error::invalid("layer", "prepared for inference", expected))
}
