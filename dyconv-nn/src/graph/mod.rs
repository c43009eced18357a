//! A network's architecture, proven: every shape fits the next, and every layer is lowered to one node of a list.

mod build;

use dyconv_core::{Config, Cost, Error, Layout, Pool, Result, Shape};

use crate::Architecture;

/// An architecture that is proven: it comes only from [`Architecture::build`], and answers every question about shapes.
///
/// Its blocks are lowered to *nodes* in the order in which they run. Node i reads one slot (and a residual from
/// another) and writes slot i + 1; slot 0 is the input. A backward visits the same list in reverse.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    architecture: Architecture,
    layers: Vec<LayerSpec>,
    nodes: Vec<Node>,
    input: Shape,
    classes: usize,
}

/// One layer of a network: its name, its configuration, and its shapes for a batch of one.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    name: String,
    config: Config,
    input: Shape,
    output: Shape,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) op: Op,
    /// The slot it reads.
    pub(crate) input: usize,
    /// Whether the output is pooled later: its channel sums then come with it.
    pub(crate) emit_sums: bool,
    /// Slots that nobody reads after this node.
    pub(crate) frees: Vec<usize>,
}

/// What a node does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    /// A layer, by its place in [`Graph::layers`], and the slot of its residual.
    Layer {
        index: usize,
        residual: Option<usize>,
    },
    Pool(Pool),
}

impl Graph {
    /// What it was built from.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Its layers, in the order in which they run.
    #[must_use]
    pub fn layers(&self) -> &[LayerSpec] {
        &self.layers
    }

    /// The place of a layer in [`Graph::layers`].
    ///
    /// # Errors
    /// Where there is none of this name.
    pub fn layer_index(&self, name: &str) -> Result<usize> {
        let position = self.layers.iter().position(|layer| layer.name == name);
        position.ok_or_else(|| {
            let names: Vec<&str> = self.layers.iter().map(LayerSpec::name).collect();
            Error::invalid("layer", format!("`{name}`"), format!("one of {}", names.join(", ")))
        })
    }

    /// The input's shape for a batch of one.
    #[must_use]
    pub fn input(&self) -> Shape {
        self.input
    }

    /// How many logits it gives: its output is N×classes×1×1.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The layout of every layer.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layers.first().map_or(Layout::default(), |layer| layer.config.layout())
    }

    /// What each layer costs on paper for one image, in the order of [`Graph::layers`].
    ///
    /// # Errors
    /// None for a proven architecture.
    pub fn costs(&self) -> Result<Vec<Cost>> {
        self.layers.iter().map(|layer| Cost::new(&layer.config, layer.input)).collect()
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }
}

impl LayerSpec {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its input's shape for a batch of one.
    #[must_use]
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Its output's shape for a batch of one.
    #[must_use]
    pub fn output(&self) -> Shape {
        self.output
    }

    /// Whether it mixes experts.
    #[must_use]
    pub fn is_dynamic(&self) -> bool {
        self.config.attention().is_some()
    }

    /// The name of one of its tensors in a file. Layers' names have no `/`, so no two tensors share one.
    pub(crate) fn tensor_name(&self, parameter: &str) -> String {
        format!("{}/{parameter}", self.name)
    }
}
