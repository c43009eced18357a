//! Case → bytes. The same case gives the same bytes.

use std::collections::BTreeMap;

use super::schema::extents;
use super::{Case, Expected, config, expected};
use crate::container;
use crate::{Error, ParamSpec, Result, Tensor};

type Named<'a> = (String, Vec<usize>, &'a [f32]);

impl Case {
    /// The case file's bytes.
    ///
    /// # Errors
    /// Where the header can't be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let metadata = BTreeMap::from([
            ("format", config::FORMAT.to_owned()),
            ("version", config::VERSION.to_owned()),
            ("config", config::print(self.layer.config(), self.mode)?),
        ]);
        container::write(&metadata, &self.tensors()).map_err(|e| Error::file("case file", e))
    }

    /// Writes the case file under a temporary name in the same folder, then renames it, so that no
    /// reader ever sees half of it.
    ///
    /// # Errors
    /// [`Error::File`] where it can't be written.
    #[cfg(not(target_family = "wasm"))]
    pub fn save(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = self.to_bytes()?;
        container::replace_file(path, &bytes).map_err(|e| Error::file(path.display(), e))
    }

    fn tensors(&self) -> Vec<Named<'_>> {
        let Expected { output, attention, gradients } = &self.expected;
        let mut all = self.param_tensors();
        all.push(image("input", &self.input));
        all.extend(self.attention.as_ref().map(|pi| matrix("pi", pi)));
        all.push(image("expect.output", output));
        all.push(matrix("expect.pi", attention));
        if let Some(gradients) = gradients {
            all.push(image("grad.output", &gradients.output));
            all.extend(gradients.input.as_ref().map(|dx| image("expect.grad.input", dx)));
            all.extend(gradients.attention.as_ref().map(|dpi| matrix("expect.grad.pi", dpi)));
            for spec in expected::learned(&self.layer) {
                if let Some(data) = gradients.params.get(spec.name) {
                    all.push((expected::gradient_name(spec.name), spec.shape, data));
                }
            }
        }
        all
    }

    fn param_tensors(&self) -> Vec<Named<'_>> {
        let there: BTreeMap<_, _> = self.layer.params().tensors().into_iter().collect();
        let specs = ParamSpec::all(self.layer.config()).into_iter();
        specs
            .filter_map(|spec| there.get(spec.name).map(|&data| (spec.name.to_owned(), spec.shape, data)))
            .collect()
    }
}

fn image<'a>(name: &str, tensor: &'a Tensor) -> Named<'a> {
    (name.to_owned(), extents(tensor.shape(), tensor.layout()).to_vec(), tensor.data())
}

fn matrix<'a>(name: &str, tensor: &'a Tensor) -> Named<'a> {
    (name.to_owned(), vec![tensor.shape().batch(), tensor.shape().channels()], tensor.data())
}
