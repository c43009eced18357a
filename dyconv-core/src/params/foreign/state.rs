//! A framework's state, and how its tensors become parameters.

use std::collections::BTreeMap;

use crate::container::Container;
#[cfg(not(target_family = "wasm"))]
use crate::container::read_file;
use crate::shape::checked_len;
use crate::{Config, DyConv2d, Error, ParamSpec, Params, Result};

/// Headers of whole networks have a hundred bytes per tensor.
const MAX_HEADER: usize = 16 << 20;

const BYTES: &str = "state dict";

/// A tensor as another framework holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignTensor {
    /// Row-major extents.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: Vec<f32>,
}

/// Named tensors: a whole network's, or one layer's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDict {
    tensors: BTreeMap<String, ForeignTensor>,
    /// Element types of tensors that aren't f32, such as counters; an error only where one is asked for.
    others: BTreeMap<String, String>,
}

impl StateDict {
    /// A state without tensors.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor; one of the same name is replaced.
    ///
    /// # Errors
    /// Where `data` doesn't have the elements of `shape`.
    pub fn insert(&mut self, name: impl Into<String>, shape: &[usize], data: Vec<f32>) -> Result<()> {
        let name = name.into();
        if checked_len(shape) != Some(data.len()) {
            let value = format!("{} elements", data.len());
            return Err(Error::invalid(name, value, format!("the elements of {shape:?}")));
        }
        self.tensors.insert(name, ForeignTensor { shape: shape.to_vec(), data });
        Ok(())
    }

    /// Reads the bytes of a safetensors file.
    ///
    /// # Errors
    /// [`Error::File`] where they aren't one.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes).map_err(|reason| Error::file(BYTES, reason))
    }

    /// Reads a safetensors file.
    ///
    /// # Errors
    /// [`Error::File`] where it can't be read, or isn't one.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = read_file(path, MAX_HEADER, |_| Ok(()));
        bytes.and_then(|bytes| Self::read(&bytes)).map_err(|reason| Error::file(path.display(), reason))
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        let file = Container::new(bytes, MAX_HEADER)?;
        let mut state = Self::new();
        for name in file.header().names() {
            match file.header().check_f32(name) {
                Ok(()) => {
                    let shape = file.header().shape(name).unwrap_or_default().to_vec();
                    let data = file.tensor(name)?.unwrap_or_default();
                    state.tensors.insert(name.to_owned(), ForeignTensor { shape, data });
                }
                Err(reason) => {
                    state.others.insert(name.to_owned(), reason);
                }
            }
        }
        Ok(state)
    }

    /// The tensors whose names begin with `prefix`, which is taken off.
    #[must_use]
    pub fn under(&self, prefix: &str) -> Self {
        fn strip<V: Clone>(map: &BTreeMap<String, V>, prefix: &str) -> BTreeMap<String, V> {
            let stripped = map
                .iter()
                .filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone())));
            stripped.collect()
        }
        Self { tensors: strip(&self.tensors, prefix), others: strip(&self.others, prefix) }
    }

    /// Adds the tensors of another state, with `prefix` put before their names.
    #[must_use]
    pub fn with(mut self, prefix: &str, other: Self) -> Self {
        let prefixed = |name| format!("{prefix}{name}");
        self.tensors.extend(other.tensors.into_iter().map(|(name, tensor)| (prefixed(name), tensor)));
        self.others.extend(other.others.into_iter().map(|(name, reason)| (prefixed(name), reason)));
        self
    }

    /// The tensors, by name.
    #[must_use]
    pub fn tensors(&self) -> &BTreeMap<String, ForeignTensor> {
        &self.tensors
    }

    /// Gives the tensors other names.
    pub(super) fn renamed(self, rename: impl Fn(&str) -> String) -> Self {
        let Self { tensors, others } = self;
        Self {
            tensors: tensors.into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect(),
            others: others.into_iter().map(|(name, reason)| (rename(&name), reason)).collect(),
        }
    }

    /// Makes a layer: `source` says where each parameter is to be found.
    pub(super) fn into_layer(
        mut self,
        config: &Config,
        source: impl Fn(&ParamSpec) -> Source,
    ) -> Result<DyConv2d> {
        let params = Params::from_named(config, |spec| self.take(spec, &source(spec)))?;
        if let Some(name) = self.tensors.keys().next() {
            let expected = "no such tensor for this configuration";
            return Err(Error::invalid(name, "present", expected));
        }
        DyConv2d::new(*config, params)
    }

    fn take(&mut self, spec: &ParamSpec, source: &Source) -> Result<Option<Vec<f32>>> {
        let Source { name, shapes, order } = source;
        let expected = || shapes.iter().map(|shape| format!("{shape:?}")).collect::<Vec<_>>().join(" or ");
        if self.others.contains_key(name) {
            return Err(Error::invalid(name, "of another element type", "F32"));
        }
        let Some(ForeignTensor { shape, data }) = self.tensors.remove(name) else {
            return match spec.required {
                true => Err(Error::invalid(name, "missing", format!("a tensor {}", expected()))),
                false => Ok(None),
            };
        };
        if !shapes.contains(&shape) {
            return Err(Error::invalid(name, format!("{shape:?}"), expected()));
        }
        Ok(Some(order.apply(&spec.shape, data)))
    }
}

/// Where a parameter is in a framework's state.
pub(super) struct Source {
    name: String,
    /// The shapes it may have there.
    shapes: Vec<Vec<usize>>,
    order: Order,
}

impl Source {
    /// Under another name, in our shape and order.
    pub(super) fn named(name: &str, spec: &ParamSpec) -> Self {
        Self { name: name.to_owned(), shapes: vec![spec.shape.clone()], order: Order::Ours }
    }

    /// Also in another shape, of the same elements in the same order.
    pub(super) fn or_shaped(mut self, shape: Vec<usize>) -> Self {
        self.shapes.push(shape);
        self
    }

    /// In these shapes and this order.
    pub(super) fn ordered(name: &str, shapes: Vec<Vec<usize>>, order: Order) -> Self {
        Self { name: name.to_owned(), shapes, order }
    }
}

/// How the elements lie.
#[derive(Clone, Copy)]
pub(super) enum Order {
    /// As ours.
    Ours,
    /// A matrix `[inputs, outputs]`.
    Transposed,
    /// Experts `[K, kh, kw, I, O]`.
    Hwio,
}

impl Order {
    /// Brings elements into our order; `shape` is ours.
    fn apply(self, shape: &[usize], data: Vec<f32>) -> Vec<f32> {
        match (self, shape) {
            (Self::Transposed, &[outputs, inputs]) => transpose(&data, inputs, outputs),
            (Self::Hwio, &[_, outputs, inputs, kh, kw]) => {
                // [taps·I, O] → [O, taps·I] → [O, I, taps], expert by expert.
                let (taps, len) = (kh * kw, outputs * inputs * kh * kw);
                let experts = data.chunks_exact(len).flat_map(|expert| {
                    let by_output = transpose(expert, taps * inputs, outputs);
                    by_output
                        .chunks_exact(taps * inputs)
                        .flat_map(|filter| transpose(filter, taps, inputs))
                        .collect::<Vec<_>>()
                });
                experts.collect()
            }
            _ => data,
        }
    }
}

fn transpose(data: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|i| data[i % rows * columns + i / rows]).collect()
}
