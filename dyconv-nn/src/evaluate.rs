//! A network on a data set: logits, loss, accuracy, with any of its layers' attention replaced by the mean kernel.

use dyconv_core::{Backend, Error, Layout, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

use crate::data::gather;
use crate::loss::score;
use crate::{Answer, Dataset, LayerSpec, Metrics, Network, Run, Tally};

/// What a network says about every sample of a data set, N×classes×1×1, in its order.
///
/// # Errors
/// Where the data set isn't of the network's shape, or a layer fails.
pub fn logits<B: Backend, D: Dataset + ?Sized>(
    network: &Network<'_, B>,
    stream: &mut B::Stream,
    data: &D,
    batch: usize,
    run: &Run,
) -> Result<Tensor> {
    let classes = network.graph().classes();
    let mut all = Vec::with_capacity(data.len() * classes);
    for_each_batch(network, stream, data, batch, run, |stream, answer, _| {
        all.extend_from_slice(network.backend().download(stream, &answer.logits)?.data());
        Ok(())
    })?;
    Tensor::new(Shape::new(data.len(), classes, 1, 1)?, Layout::Nchw, all)
}

/// Loss and accuracy on a data set, batch norm with its running statistics.
///
/// # Errors
/// Where the data set isn't of the network's shape, `run` names a layer that isn't dynamic, or a layer fails.
pub fn evaluate<B: Backend, D: Dataset + ?Sized>(
    network: &Network<'_, B>,
    stream: &mut B::Stream,
    data: &D,
    batch: usize,
    label_smoothing: f64,
    run: &Run,
) -> Result<Metrics> {
    let mut tally = Tally::default();
    for_each_batch(network, stream, data, batch, run, |stream, answer, labels| {
        let logits = network.backend().download(stream, &answer.logits)?;
        tally.add(score(logits.view(), labels, label_smoothing)?);
        Ok(())
    })?;
    Ok(tally.metrics())
}

/// What attention is worth, layer by layer: the paper's ablation (its Table 4), in which the mean kernel ΣW_k/K takes the
/// place of the attended one in a network that is already trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ablation {
    /// The network as it is.
    pub none: Metrics,
    /// Without the attention of this layer, for every dynamic layer in the order in which they run.
    pub each: Vec<(String, Metrics)>,
    /// Without any attention.
    pub all: Metrics,
}

/// Evaluates a network without the attention of each of its dynamic layers, and without any.
///
/// # Errors
/// Where the data set isn't of the network's shape, or a layer fails.
pub fn ablate<B: Backend, D: Dataset + ?Sized>(
    network: &Network<'_, B>,
    stream: &mut B::Stream,
    data: &D,
    batch: usize,
) -> Result<Ablation> {
    let dynamic = network.graph().layers().iter().filter(|layer| layer.is_dynamic());
    let names: Vec<String> = dynamic.map(|layer: &LayerSpec| layer.name().to_owned()).collect();
    let mut without = |layers: &[String]| {
        evaluate(network, stream, data, batch, 0.0, &Run::default().uniform(layers.iter().cloned()))
    };
    let none = without(&[])?;
    let each = names.iter().map(|name| Ok((name.clone(), without(std::slice::from_ref(name))?)));
    let each = each.collect::<Result<_>>()?;
    Ok(Ablation { none, each, all: without(&names)? })
}

/// Runs a network over a data set in its order.
pub(crate) fn for_each_batch<B: Backend, D: Dataset + ?Sized>(
    network: &Network<'_, B>,
    stream: &mut B::Stream,
    data: &D,
    batch: usize,
    run: &Run,
    mut take: impl FnMut(&mut B::Stream, Answer<B::Tensor>, &[usize]) -> Result<()>,
) -> Result<()> {
    check_data(network.graph(), data)?;
    if batch == 0 {
        return Err(Error::invalid("batch", 0, "at least 1"));
    }
    let indices: Vec<usize> = (0..data.len()).collect();
    for indices in indices.chunks(batch) {
        let (images, labels) = gather(data, indices, network.graph().layout())?;
        let images = network.backend().upload(stream, images.view())?;
        let answer = network.forward(stream, &images, run)?;
        take(stream, answer, &labels)?;
    }
    Ok(())
}

/// Holds a data set against a network.
pub(crate) fn check_data<D: Dataset + ?Sized>(graph: &crate::Graph, data: &D) -> Result<()> {
    if data.shape() != graph.architecture().input {
        let expected = format!("{:?}, the network's input", graph.architecture().input);
        return Err(Error::invalid("an image's shape", format!("{:?}", data.shape()), expected));
    }
    if data.classes() != graph.classes() {
        let expected = format!("{}, as many as the network's logits", graph.classes());
        return Err(Error::invalid("classes of the data set", data.classes(), expected));
    }
    Ok(())
}
