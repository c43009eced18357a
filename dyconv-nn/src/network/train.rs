//! A network learns: its layers' forwards recorded, their backwards in reverse, their steps in place.

use dyconv_core::{Backward, Error, MomentValues, Optimizer, Regularizer, Result, Step, Train};

use super::{Network, Slots};
use crate::Model;
use crate::error::in_layer;
use crate::graph::Op;

/// What one forward leaves for its backward.
#[derive(Debug)]
pub struct Recording<B: Train>(Vec<Recorded<B>>);

/// One node's part of it.
#[derive(Debug)]
enum Recorded<B: Train> {
    Layer(B::Tape),
    /// The pool's input.
    Pool(B::Tensor),
}

/// The gradients of one run.
#[derive(Debug)]
pub struct NetworkGradients<B: Train> {
    /// Of each layer's parameters, in the order of [`crate::Graph::layers`].
    pub params: Vec<B::ParamGradients>,
    /// Of the input, where it was wanted.
    pub input: Option<B::Tensor>,
}

impl<B: Train> Network<'_, B> {
    /// Runs the network with the batch's statistics, which moves the running ones, and records what backward needs.
    /// Gives the logits, N×classes×1×1.
    ///
    /// # Errors
    /// Where the network wasn't prepared as trainable, the input isn't of its shape, or a layer fails. Running
    /// statistics of the layers before that one have then moved.
    pub fn forward_train(
        &mut self,
        stream: &mut B::Stream,
        input: &B::Tensor,
    ) -> Result<(B::Tensor, Recording<B>)> {
        self.check_input(input)?;
        let count = self.graph.nodes().len();
        let mut slots = Slots::new(count, input);
        let mut recording = Vec::with_capacity(count);
        for i in 0..count {
            let node = &self.graph.nodes()[i];
            let (output, recorded) = match &node.op {
                Op::Pool(pool) => {
                    let x = slots.get(node.input);
                    (self.backend.pool(stream, x, pool)?, Recorded::Pool(x.clone()))
                }
                Op::Layer { index, residual } => {
                    let call = self.call(*index, node, &slots, *residual, true).batch_statistics(true);
                    let layer = &mut self.layers[*index];
                    let ran = self.backend.forward_train(stream, layer, &call);
                    let (ran, tape) = ran.map_err(in_layer(self.graph.layers()[*index].name()))?;
                    (ran.output, Recorded::Layer(tape))
                }
            };
            slots.fill(i + 1, output);
            node.frees.iter().for_each(|&slot| slots.free(slot));
            recording.push(recorded);
        }
        Ok((slots.get(count).clone(), Recording(recording)))
    }

    /// The gradients of one recorded run, from dL/d logits. `activity` has each layer's penalty on its output, in the
    /// order of [`crate::Graph::layers`], or nothing at all; `input` asks for the input's gradient.
    ///
    /// # Errors
    /// Where the recording is of another network or from before a step, or a layer fails.
    pub fn backward(
        &mut self,
        stream: &mut B::Stream,
        Recording(recording): Recording<B>,
        gradient: &B::Tensor,
        activity: &[Option<Regularizer>],
        input: bool,
    ) -> Result<NetworkGradients<B>> {
        let count = self.graph.nodes().len();
        if recording.len() != count {
            return Err(another_networks());
        }
        let mut gradients = vec![None; count + 1];
        gradients[count] = Some(gradient.clone());
        let wanted = |slot: usize| slot > 0 || input;
        // Layers run in the order of their indices, so their gradients come in the reverse order.
        let mut params = Vec::with_capacity(self.layers.len());
        for (i, recorded) in recording.into_iter().enumerate().rev() {
            let node = self.graph.nodes()[i].clone();
            let Some(g) = gradients[i + 1].take() else { return Err(another_networks()) };
            match (node.op, recorded) {
                (Op::Pool(pool), Recorded::Pool(x)) => {
                    if wanted(node.input) {
                        let dx = self.backend.pool_backward(stream, &x, &pool, &g)?;
                        self.accumulate(stream, &mut gradients[node.input], dx)?;
                    }
                }
                (Op::Layer { index, residual }, Recorded::Layer(tape)) => {
                    let wants_input = wanted(node.input);
                    let other = gradients[node.input].take().filter(|_| wants_input);
                    let call = Backward::new(&g)
                        .add_to_input(other.as_ref())
                        .activity(activity.get(index).copied().flatten())
                        .input(wants_input);
                    let found = self.backend.backward(stream, &self.layers[index], tape, &call, None);
                    let found = found.map_err(in_layer(self.graph.layers()[index].name()))?;
                    params.push(found.params);
                    gradients[node.input] = found.input;
                    if let (Some(around), Some(dr)) = (residual, found.residual)
                        && wanted(around)
                    {
                        self.accumulate(stream, &mut gradients[around], dr)?;
                    }
                }
                _ => return Err(another_networks()),
            }
        }
        params.reverse();
        Ok(NetworkGradients { params, input: gradients.swap_remove(0) })
    }

    /// Adds to what has reached a tensor already.
    fn accumulate(
        &mut self,
        stream: &mut B::Stream,
        to: &mut Option<B::Tensor>,
        more: B::Tensor,
    ) -> Result<()> {
        *to = Some(match to.take() {
            Some(there) => self.sums.add(self.backend, stream, &there, &more)?,
            None => more,
        });
        Ok(())
    }

    /// One step of every layer, in place. `steps` has one for each, in the order of [`crate::Graph::layers`].
    ///
    /// # Errors
    /// Where a step is impossible for its layer, by name; nothing has changed then. Or where the device fails.
    pub fn step(
        &mut self,
        stream: &mut B::Stream,
        gradients: &NetworkGradients<B>,
        moments: &mut [B::Moments],
        steps: &[Step],
    ) -> Result<()> {
        self.check_steps(steps)?;
        self.check_count("moments", moments.len())?;
        self.check_count("gradients", gradients.params.len())?;
        let layers = self.layers.iter_mut().zip(self.graph.layers());
        for (i, (layer, spec)) in layers.enumerate() {
            let (gradients, moments) = (&gradients.params[i], &mut moments[i]);
            let stepped = self.backend.step(stream, layer, gradients, moments, &steps[i]);
            stepped.map_err(in_layer(spec.name()))?;
        }
        Ok(())
    }

    /// Holds steps against the layers, without taking them.
    ///
    /// # Errors
    /// The first that is impossible, by the layer's name.
    pub fn check_steps(&self, steps: &[Step]) -> Result<()> {
        self.check_count("steps", steps.len())?;
        let all = self.layers.iter().zip(self.graph.layers()).zip(steps);
        for ((layer, spec), step) in all {
            step.check(layer, step.optimizer.slots()).map_err(in_layer(spec.name()))?;
        }
        Ok(())
    }

    /// An optimiser's state before its first step, for every layer.
    ///
    /// # Errors
    /// Where the network isn't trainable, the optimiser is impossible, or the device is out of memory.
    pub fn moments(&self, optimizer: &Optimizer) -> Result<Vec<B::Moments>> {
        let layers = self.layers.iter().zip(self.graph.layers());
        layers.map(|(l, spec)| self.backend.moments(l, optimizer).map_err(in_layer(spec.name()))).collect()
    }

    /// An optimiser's state from a checkpoint.
    ///
    /// # Errors
    /// Where the values aren't of this network and optimiser, or the device fails.
    pub fn load_moments(
        &self,
        stream: &mut B::Stream,
        optimizer: &Optimizer,
        values: &[MomentValues],
    ) -> Result<Vec<B::Moments>> {
        self.check_count("moments", values.len())?;
        let layers = self.layers.iter().zip(self.graph.layers()).zip(values);
        let mut load = |((layer, spec), values): ((_, &crate::LayerSpec), _)| {
            let loaded = self.backend.load_moments(stream, layer, optimizer, values);
            loaded.map_err(in_layer(spec.name()))
        };
        layers.map(&mut load).collect()
    }

    /// An optimiser's state, brought to host memory.
    ///
    /// # Errors
    /// Where the moments aren't this network's, or the device fails.
    #[cfg(not(target_family = "wasm"))]
    pub fn moment_values(&self, stream: &mut B::Stream, moments: &[B::Moments]) -> Result<Vec<MomentValues>> {
        self.check_count("moments", moments.len())?;
        let layers = self.layers.iter().zip(moments);
        layers.map(|(layer, moments)| self.backend.moment_values(stream, layer, moments)).collect()
    }

    /// The network as it is now, brought to host memory: numbers, running statistics, temperature.
    ///
    /// # Errors
    /// Where the network isn't trainable, a number has left f32, or the device fails.
    #[cfg(not(target_family = "wasm"))]
    pub fn model(&self, stream: &mut B::Stream) -> Result<Model> {
        let params =
            self.layers.iter().map(|layer| self.backend.params(stream, layer)).collect::<Result<_>>()?;
        Model::new(self.graph.clone(), params, self.temperature)
    }

    fn check_count(&self, what: &str, found: usize) -> Result<()> {
        match found == self.layers.len() {
            true => Ok(()),
            false => {
                let expected = format!("of {} layers", self.layers.len());
                Err(Error::invalid(what, format!("of {found} layers"), expected))
            }
        }
    }
}

fn another_networks() -> Error {
    Error::invalid("recording", "another network's", "one that this network made")
}
