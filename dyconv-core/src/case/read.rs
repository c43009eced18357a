//! Bytes → case. Every size is held against the bytes that are there before anything is allocated for it.

use super::schema::{MAX_HEADER, Schema};
use super::{Case, Expected, ExpectedGradients, expected};
#[cfg(not(target_family = "wasm"))]
use crate::container::read_file;
use crate::container::{Container, printable};
use crate::{Attention, DyConv2d, Error, Params, Result, Shape, Tensor};

/// What stands for the path in errors of bytes that came from elsewhere.
const BYTES: &str = "case file";

type Read<T> = Result<T, String>;

impl Case {
    /// Reads a case file's bytes.
    ///
    /// # Errors
    /// [`Error::File`] with what is wrong, by name.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        read(bytes).map_err(|reason| Error::file(BYTES, printable(&reason)))
    }

    /// Reads a case file. The header is proven, and held against the file's length, before the rest is read.
    ///
    /// # Errors
    /// [`Error::File`] with the path and what is wrong, by name.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = read_file(path, MAX_HEADER, |header| Schema::new(header).map(|_| ()));
        let case = bytes.and_then(|bytes| read(&bytes));
        case.map_err(|reason| Error::file(path.display(), printable(&reason)))
    }
}

fn read(bytes: &[u8]) -> Read<Case> {
    let file = Container::new(bytes, MAX_HEADER)?;
    let schema = Schema::new(file.header())?;
    let case = Reader { file, schema }.case();
    case.map_err(|error| match error {
        Error::File { reason, .. } => reason,
        other => other.to_string(),
    })
}

/// A container whose header is proven.
struct Reader<'a> {
    file: Container<'a>,
    schema: Schema,
}

impl Reader<'_> {
    fn case(&self) -> Result<Case> {
        let Schema { config, mode, input, output, .. } = self.schema;
        let params = Params::from_named(&config, |spec| self.optional(spec.name))?;
        let given = config.attention() == Some(Attention::Given);
        Case::new(
            DyConv2d::new(config, params)?,
            mode,
            self.image("input", input)?,
            if given { Some(self.matrix("pi")?) } else { None },
            Expected {
                output: self.image("expect.output", output)?,
                attention: self.matrix("expect.pi")?,
                gradients: self.gradients()?,
            },
        )
    }

    fn gradients(&self) -> Result<Option<ExpectedGradients>> {
        let header = self.file.header();
        let has = |name: &str| header.shape(name).is_some();
        if !has("grad.output") {
            return Ok(None);
        }
        let mut params = std::collections::BTreeMap::new();
        for spec in &self.schema.learned {
            if let Some(data) = self.optional(&expected::gradient_name(spec.name))? {
                params.insert(spec.name, data);
            }
        }
        let input = "expect.grad.input";
        let pi = "expect.grad.pi";
        Ok(Some(ExpectedGradients {
            output: self.image("grad.output", self.schema.output)?,
            input: if has(input) { Some(self.image(input, self.schema.input)?) } else { None },
            attention: if has(pi) { Some(self.matrix(pi)?) } else { None },
            params,
        }))
    }

    /// A tensor in the configuration's layout.
    fn image(&self, name: &str, shape: Shape) -> Result<Tensor> {
        Tensor::new(shape, self.schema.config.layout(), self.required(name)?)
    }

    /// A tensor `[N, K]`.
    fn matrix(&self, name: &str) -> Result<Tensor> {
        Tensor::attention(self.schema.input.batch(), self.schema.config.experts(), self.required(name)?)
    }

    fn required(&self, name: &str) -> Result<Vec<f32>> {
        self.optional(name)?.ok_or_else(|| Error::file(BYTES, format!("tensor `{name}` is missing")))
    }

    fn optional(&self, name: &str) -> Result<Option<Vec<f32>>> {
        self.file.tensor(name).map_err(|reason| Error::file(BYTES, reason))
    }
}
