//! Network files: what inference needs, and no more.

use std::collections::BTreeMap;
#[cfg(not(target_family = "wasm"))]
use std::path::Path;

use dyconv_core::{Error, ParamSpec, Params, Result};

use super::sealed::{self, Named, Read, Sealed};
use crate::{Architecture, Model};

const FORMAT: &str = "dyconv.network";

impl Model {
    /// The network file's bytes: architecture, numbers, temperature.
    ///
    /// # Errors
    /// Where the header can't be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        sealed::write(FORMAT, metadata(self)?, &tensors(self))
    }

    /// Reads a network file's bytes.
    ///
    /// # Errors
    /// [`Error::File`] with what is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        sealed::from_bytes(bytes, FORMAT, read)
    }

    /// Writes the network file under another name in the same folder, then renames it.
    ///
    /// # Errors
    /// [`Error::File`] where it can't be written.
    #[cfg(not(target_family = "wasm"))]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        sealed::save(path.as_ref(), &self.to_bytes()?)
    }

    /// Reads a network file.
    ///
    /// # Errors
    /// [`Error::File`] with the path and what is wrong.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        sealed::open(path.as_ref(), FORMAT, read)
    }
}

/// What the metadata has of a network.
pub(super) fn metadata(model: &Model) -> Result<BTreeMap<&'static str, String>> {
    Ok(BTreeMap::from([
        ("architecture", sealed::json("architecture", model.graph().architecture())?),
        ("temperature", sealed::json("temperature", &model.temperature())?),
    ]))
}

/// A network's tensors.
pub(super) fn tensors(model: &Model) -> Vec<Named<'_>> {
    let mut all = Vec::new();
    for (spec, layer) in model.graph().layers().iter().zip(model.layers()) {
        let there: BTreeMap<_, _> = layer.params().tensors().into_iter().collect();
        for ParamSpec { name, shape, .. } in ParamSpec::all(layer.config()) {
            if let Some(&data) = there.get(name) {
                all.push((spec.tensor_name(name), shape, data));
            }
        }
    }
    all
}

/// Takes a network out of a file.
pub(super) fn read(file: &mut Sealed<'_>) -> Read<Model> {
    let architecture: Architecture = file.json("architecture")?;
    let temperature: Option<f64> = file.json("temperature")?;
    let graph = architecture.build().map_err(|e| e.to_string())?;
    let mut params = Vec::with_capacity(graph.layers().len());
    for layer in graph.layers() {
        let taken = Params::from_named(layer.config(), |spec| {
            let name = layer.tensor_name(spec.name);
            file.tensor(&name, &spec.shape).map_err(|reason| Error::file("tensor", reason))
        });
        params.push(taken.map_err(|error| match error {
            Error::File { reason, .. } => reason,
            other => format!("layer `{}`: {other}", layer.name()),
        })?);
    }
    Model::new(graph, params, temperature).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use dyconv_core::{Attention, Initializers, Options};

    use super::*;

    fn model() -> Model {
        let dynamic = Options::new(1, 2).experts(2).attention(Attention::mlp(1));
        let architecture = Architecture::new([1, 3, 3]).convolution("a", dynamic).classifier(2, 2);
        Model::init(architecture, &Initializers::default(), 3).unwrap()
    }

    /// What a file says that was changed before it was sealed.
    fn refused(change: impl FnOnce(&mut BTreeMap<&'static str, String>, &mut Vec<Named<'_>>)) -> String {
        let model = model();
        let (mut metadata, mut tensors) = (metadata(&model).unwrap(), tensors(&model));
        change(&mut metadata, &mut tensors);
        let bytes = sealed::write(FORMAT, metadata, &tensors).unwrap();
        match Model::from_bytes(&bytes) {
            Err(Error::File { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_same_network_gives_the_same_bytes_and_comes_back() {
        let bytes = model().to_bytes().unwrap();
        assert_eq!(bytes, model().to_bytes().unwrap());
        assert_eq!(Model::from_bytes(&bytes).unwrap(), model());
    }

    #[test]
    fn sound_containers_of_no_network_are_refused_by_name() {
        let tensor =
            |name: &str, shape: &[usize], data: &'static [f32]| (name.to_owned(), shape.to_vec(), data);
        assert_eq!(
            refused(|_, tensors| tensors.push(tensor("b/weight", &[1], &[1.0]))),
            "tensor `b/weight` is of no layer of this network"
        );
        assert_eq!(
            refused(|_, tensors| drop(tensors.remove(0))),
            "layer `a`: weight is missing; expected a tensor [2, 2, 1, 1, 1]"
        );
        assert_eq!(
            refused(|_, tensors| tensors[0] = tensor("a/weight", &[4], &[1.0; 4])),
            "tensor `a/weight` is [4]; expected [2, 2, 1, 1, 1]"
        );
        assert_eq!(
            refused(|_, tensors| tensors[0].2 = &[1.0, f32::NAN, 1.0, 1.0]),
            "layer `a`: weight[1] is NaN; expected a finite number"
        );
        let said = |key: &'static str, value: &str| {
            refused(|metadata, _| drop(metadata.insert(key, value.to_owned())))
        };
        assert!(said("temperature", "-1.0").starts_with("temperature is -1"));
        assert!(said("temperature", "warm").starts_with("metadata `temperature`: "));
        assert!(said("architecture", "{}").starts_with("metadata `architecture`: missing field"));
        assert!(
            said("architecture", r#"{"input":[1,3,3],"blocks":[]}"#).starts_with("blocks is without a layer")
        );
        assert_eq!(
            refused(|metadata, _| drop(metadata.remove("temperature"))),
            "metadata `temperature` is missing"
        );
    }
}
