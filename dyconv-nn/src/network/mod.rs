//! A network as a backend made it: every layer prepared, tensors where they are computed.

mod sum;
mod train;

pub use train::{NetworkGradients, Recording};

use std::collections::BTreeSet;

use dyconv_core::{Backend, Call, Error, Handle, Prepare, Result, Shape, Tensor};

use crate::error::in_layer;
use crate::graph::{Node, Op};
use crate::model::check_dynamic;
use crate::schedule::check_temperature;
use crate::{Graph, LayerSpec, Model};
use sum::Sums;

/// A network on a backend.
///
/// ```
/// use dyconv_core::{Attention, Backend, Initializers, Layout, Options, Prepare, Reference, Shape, Tensor};
/// use dyconv_nn::{Architecture, Model, Network, Run};
///
/// let dynamic = Options::new(1, 4).experts(2).attention(Attention::mlp(1));
/// let architecture = Architecture::new([1, 6, 6]).convolution("stem", dynamic).classifier(4, 3);
/// let model = Model::init(architecture, &Initializers::default(), 7)?;
///
/// let backend = Reference::default();
/// let network = Network::new(&backend, &model, &Prepare::default())?;
/// let mut stream = backend.stream()?;
/// let images = Tensor::zeros(Shape::new(5, 1, 6, 6)?, Layout::Nchw);
/// let images = backend.upload(&mut stream, images.view())?;
/// let answer = network.forward(&mut stream, &images, &Run::default().return_attention(true))?;
/// assert_eq!(backend.download(&mut stream, &answer.logits)?.shape(), Shape::new(5, 3, 1, 1)?);
/// assert!(answer.attention[0].is_some() && answer.attention[1].is_none());
/// # Ok::<(), dyconv_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Network<'b, B: Backend> {
    backend: &'b B,
    graph: Graph,
    layers: Vec<B::Layer>,
    temperature: Option<f64>,
    sums: Sums<B>,
}

/// What may vary from run to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Run {
    /// Layers that take the mean kernel, π = 1/K, instead of what their head says: the paper's ablation.
    pub uniform: BTreeSet<String>,
    /// Hand back the π of every dynamic layer.
    pub return_attention: bool,
}

/// What a run gives.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// N×classes×1×1.
    pub logits: T,
    /// π `[N, K]` of every layer, in the order of [`Graph::layers`], where it was asked for; `None` for static ones.
    pub attention: Vec<Option<T>>,
}

impl Run {
    /// Sets the layers that take the mean kernel.
    pub fn uniform<N: Into<String>>(mut self, layers: impl IntoIterator<Item = N>) -> Self {
        self.uniform = layers.into_iter().map(Into::into).collect();
        self
    }

    /// Sets whether π is handed back.
    pub fn return_attention(mut self, return_attention: bool) -> Self {
        self.return_attention = return_attention;
        self
    }
}

impl<'b, B: Backend> Network<'b, B> {
    /// Prepares every layer. Of `how.input` only the batch matters: each layer expects its own shape.
    ///
    /// # Errors
    /// Where the backend refuses a layer, by its name.
    pub fn new(backend: &'b B, model: &Model, how: &Prepare) -> Result<Self> {
        let mut layers = Vec::with_capacity(model.layers().len());
        for (spec, layer) in model.graph().layers().iter().zip(model.layers()) {
            let mut how = *how;
            if let Some(expected) = how.input {
                how.input = Some(spec.input().with_batch(expected.batch())?);
            }
            layers.push(backend.prepare(layer, &how).map_err(in_layer(spec.name()))?);
        }
        let (graph, temperature) = (model.graph().clone(), model.temperature());
        Ok(Self { backend, graph, layers, temperature, sums: Sums::default() })
    }

    /// Its architecture, proven.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The backend it lies on.
    #[must_use]
    pub fn backend(&self) -> &'b B {
        self.backend
    }

    /// The temperature of all softmax heads; `None`: each layer's configured one.
    #[must_use]
    pub fn temperature(&self) -> Option<f64> {
        self.temperature
    }

    /// Sets the temperature of all softmax heads. Nothing is prepared again.
    ///
    /// # Errors
    /// Where it isn't a positive f32.
    pub fn set_temperature(&mut self, temperature: Option<f64>) -> Result<()> {
        temperature.map_or(Ok(()), |temperature| check_temperature("temperature", temperature))?;
        self.temperature = temperature;
        Ok(())
    }

    /// Runs the network for N×C×H×W images, batch norm with its running statistics. A tensor is given back to the
    /// backend after its last reader; one that is pooled later carries its channel sums.
    ///
    /// # Errors
    /// Where the input isn't of the network's shape, `run` names a layer that isn't dynamic, or a layer fails.
    pub fn forward(&self, stream: &mut B::Stream, input: &B::Tensor, run: &Run) -> Result<Answer<B::Tensor>> {
        self.check_input(input)?;
        let uniform = self.uniform_layers(run)?;
        let mut slots = Slots::new(self.graph.nodes().len(), input);
        let mut attention = vec![None; self.layers.len()];
        for (i, node) in self.graph.nodes().iter().enumerate() {
            let output = match &node.op {
                Op::Pool(pool) => self.backend.pool(stream, slots.get(node.input), pool)?,
                Op::Layer { index, residual } => {
                    let pi = self.uniform_attention(stream, &uniform, *index, input.shape().batch())?;
                    let call = self
                        .call(*index, node, &slots, *residual, pi.is_none())
                        .attention(pi.as_ref())
                        .return_attention(run.return_attention && self.graph.layers()[*index].is_dynamic());
                    let ran = self.backend.forward(stream, &self.layers[*index], &call);
                    let ran = ran.map_err(in_layer(self.graph.layers()[*index].name()))?;
                    attention[*index] = ran.attention;
                    ran.output
                }
            };
            slots.fill(i + 1, output);
            node.frees.iter().for_each(|&slot| slots.free(slot));
        }
        Ok(Answer { logits: slots.get(self.graph.nodes().len()).clone(), attention })
    }

    /// A layer's call, from the slots that it reads.
    fn call<'a>(
        &self,
        index: usize,
        node: &Node,
        slots: &'a Slots<B::Tensor>,
        residual: Option<usize>,
        by_head: bool,
    ) -> Call<'a, B::Tensor> {
        let anneals =
            self.graph.layers()[index].config().attention().and_then(|head| head.temperature()).is_some();
        Call::new(slots.get(node.input))
            .residual(residual.map(|slot| slots.get(slot)))
            .temperature(self.temperature.filter(|_| anneals && by_head))
            .emit_sums(node.emit_sums)
    }

    fn check_input(&self, input: &B::Tensor) -> Result<()> {
        let expected = self.graph.input().with_batch(input.shape().batch())?;
        match input.shape() == expected {
            true => Ok(()),
            false => Err(Error::invalid("input", input.shape(), expected.to_string())),
        }
    }

    fn uniform_layers(&self, run: &Run) -> Result<Vec<usize>> {
        let indices = run.uniform.iter().map(|name| {
            let index = self.graph.layer_index(name)?;
            check_dynamic(&self.graph, index).map(|()| index)
        });
        indices.collect()
    }

    fn uniform_attention(
        &self,
        stream: &mut B::Stream,
        uniform: &[usize],
        index: usize,
        batch: usize,
    ) -> Result<Option<B::Tensor>> {
        if !uniform.contains(&index) {
            return Ok(None);
        }
        let experts = LayerSpec::config(&self.graph.layers()[index]).experts();
        let len = Shape::new(batch, experts, 1, 1)?.len();
        let pi = Tensor::attention(batch, experts, vec![1.0 / experts as f32; len])?;
        self.backend.upload(stream, pi.view()).map(Some)
    }
}

/// The tensors of a run, by slot.
struct Slots<T>(Vec<Option<T>>);

impl<T: Clone> Slots<T> {
    fn new(nodes: usize, input: &T) -> Self {
        let mut slots = vec![None; nodes + 1];
        slots[0] = Some(input.clone());
        Self(slots)
    }

    fn get(&self, slot: usize) -> &T {
        self.0[slot].as_ref().expect("a graph's nodes read what nodes before them wrote and nobody freed")
    }

    fn fill(&mut self, slot: usize, tensor: T) {
        self.0[slot] = Some(tensor);
    }

    fn free(&mut self, slot: usize) {
        self.0[slot] = None;
    }
}
