//! A network in host memory: architecture, numbers, temperature.

use std::collections::BTreeMap;

use dyconv_core::{DyConv2d, Error, Initializers, Params, Result};

use crate::error::in_layer;
use crate::fnv::Fnv;
use crate::schedule::check_temperature;
use crate::{Architecture, Graph};

/// A network in host memory: a proven architecture, matching numbers, and the temperature that they belong to.
///
/// A [`Network`](crate::Network) is what a backend makes of it. [`Model::save`] and [`Model::open`] keep it on disk.
///
/// ```
/// use dyconv_core::{Attention, Initializers, Options};
/// use dyconv_nn::{Architecture, Model};
///
/// let dynamic = Options::new(3, 8).experts(4).attention(Attention::mlp(2));
/// let architecture = Architecture::new([3, 5, 5]).convolution("stem", dynamic).classifier(8, 2);
/// let model = Model::init(architecture, &Initializers::default(), 7)?;
/// // Experts, head with both biases; the classifier with its.
/// assert_eq!(model.parameters(), 4 * 24 + (2 * 3 + 2 + 4 * 2 + 4) + (8 * 2 + 2));
/// # Ok::<(), dyconv_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    graph: Graph,
    layers: Vec<DyConv2d>,
    temperature: Option<f64>,
}

impl Model {
    /// A network from its parts: numbers in the order of [`Graph::layers`], and the temperature of all softmax heads
    /// (`None`: each layer's configured one).
    ///
    /// # Errors
    /// Where numbers don't fit their layer, or the temperature isn't a positive f32.
    pub fn new(graph: Graph, params: Vec<Params>, temperature: Option<f64>) -> Result<Self> {
        let (found, expected) = (params.len(), graph.layers().len());
        if found != expected {
            return Err(Error::invalid(
                "params",
                format!("of {found} layers"),
                format!("of {expected} layers"),
            ));
        }
        temperature.map_or(Ok(()), |temperature| check_temperature("temperature", temperature))?;
        let layers = graph.layers().iter().zip(params);
        let layers = layers
            .map(|(spec, params)| DyConv2d::new(*spec.config(), params).map_err(in_layer(spec.name())))
            .collect::<Result<_>>()?;
        Ok(Self { graph, layers, temperature })
    }

    /// Starting values. The same seed gives the same numbers, everywhere and for ever; a layer's depend on the seed,
    /// its name and its options alone, whatever else the network has.
    ///
    /// # Errors
    /// Where the architecture or an initialiser's numbers are impossible.
    pub fn init(architecture: Architecture, initializers: &Initializers, seed: u64) -> Result<Self> {
        let graph = architecture.build()?;
        let params = graph.layers().iter().map(|spec| {
            let params = Params::init(spec.config(), initializers, layer_seed(seed, spec.name()));
            params.map_err(in_layer(spec.name()))
        });
        let params = params.collect::<Result<_>>()?;
        Self::new(graph, params, None)
    }

    /// Its architecture, proven.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Its layers, in the order of [`Graph::layers`].
    #[must_use]
    pub fn layers(&self) -> &[DyConv2d] {
        &self.layers
    }

    /// The temperature of all softmax heads; `None`: each layer's configured one.
    #[must_use]
    pub fn temperature(&self) -> Option<f64> {
        self.temperature
    }

    /// How many numbers it learns; running statistics aren't among them.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let learned = self.layers.iter().flat_map(|layer| layer.params().learned(layer.config()));
        learned.map(|spec| spec.len()).sum()
    }

    /// The network with the named layers made static, each at its row π of attention weights; the others stay as they
    /// are. The mean kernel is π = 1/K; what a layer does on average is [`LayerAttention::usage`](crate::LayerAttention).
    ///
    /// # Errors
    /// Where a name isn't a dynamic layer's, or π doesn't have one finite number per expert.
    pub fn freeze(&self, pi: &BTreeMap<String, Vec<f32>>) -> Result<Self> {
        let mut layers = self.layers.clone();
        for (name, pi) in pi {
            let index = self.graph.layer_index(name)?;
            check_dynamic(&self.graph, index)?;
            layers[index] = layers[index].freeze(pi).map_err(in_layer(name))?;
        }
        let mut architecture = self.graph.architecture().clone();
        architecture.for_each_convolution(&mut |convolution| {
            if let Ok(index) = self.graph.layer_index(&convolution.name) {
                convolution.options = layers[index].config().options();
            }
        });
        let params = layers.into_iter().map(|layer| layer.into_parts().1).collect();
        Self::new(architecture.build()?, params, self.temperature)
    }
}

pub(crate) fn check_dynamic(graph: &Graph, index: usize) -> Result<()> {
    let spec = &graph.layers()[index];
    match spec.is_dynamic() {
        true => Ok(()),
        false => Err(in_layer(spec.name())(Error::invalid("attention", "none", "a head"))),
    }
}

fn layer_seed(seed: u64, name: &str) -> u64 {
    let mut fnv = Fnv::new();
    fnv.bytes(seed.to_le_bytes());
    fnv.text(name);
    fnv.value()
}

#[cfg(test)]
mod tests {
    use dyconv_core::{Attention, Options};

    use super::*;

    fn model(before: &[&str], seed: u64) -> Model {
        let dynamic = Options::new(2, 2).experts(2).attention(Attention::mlp(2));
        let mut architecture = Architecture::new([2, 3, 3]);
        for name in before {
            architecture = architecture.convolution(*name, dynamic);
        }
        let architecture = architecture.convolution("last", dynamic).classifier(2, 2);
        Model::init(architecture, &Initializers::default(), seed).unwrap()
    }

    #[test]
    fn a_layer_starts_from_seed_and_name_alone() {
        let weights = |model: &Model, name: &str| {
            model.layers()[model.graph().layer_index(name).unwrap()].params().weight.clone()
        };
        let (short, long) = (model(&[], 1), model(&["a", "b"], 1));
        assert_eq!(weights(&short, "last"), weights(&long, "last"));
        assert_ne!(weights(&long, "a"), weights(&long, "b"));
        assert_ne!(weights(&short, "last"), weights(&model(&[], 2), "last"));
    }

    #[test]
    fn freezing_names_what_it_refuses() {
        let model = model(&["a"], 1);
        let frozen = model.freeze(&BTreeMap::from([("a".to_owned(), vec![0.5, 0.5])])).unwrap();
        let dynamic: Vec<_> = frozen.graph().layers().iter().map(crate::LayerSpec::is_dynamic).collect();
        assert_eq!(dynamic, [false, true, false]);
        assert_eq!(frozen.layers()[1], model.layers()[1]);
        let refused = |name: &str, pi: &[f32]| {
            model.freeze(&BTreeMap::from([(name.to_owned(), pi.to_vec())])).unwrap_err().to_string()
        };
        assert_eq!(refused("b", &[1.0]), "layer is `b`; expected one of a, last, head");
        assert_eq!(refused("head", &[1.0]), "layer `head`: attention is none; expected a head");
        assert!(refused("a", &[1.0]).starts_with("layer `a`: pi is 1 elements"));
    }
}
