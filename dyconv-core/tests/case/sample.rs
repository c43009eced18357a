//! A small case with every kind of tensor, and its file taken apart so that it can be broken.

use std::collections::BTreeMap;

use dyconv_core::case::{Case, Expected, ExpectedGradients, Mode};
use dyconv_core::{
    Activation, Attention, BatchNorm, Config, DyConv2d, Layout, Options, ParamSpec, Params, Shape, Tensor,
};
use serde_json::{Value, json};

/// 2 → 3 channels, 2 experts, an MLP head of 2, batch norm, channels last.
pub(crate) fn options() -> Options {
    Options::new(2, 3)
        .kernel_size([2, 1])
        .experts(2)
        .bias(true)
        .layout(Layout::Nhwc)
        .attention(Attention::mlp(2))
        .batch_norm(BatchNorm::KERAS)
        .activation(Activation::LEAKY_RELU)
}

/// Numbers that differ from each other and aren't round.
pub(crate) fn ramp(len: usize) -> Vec<f32> {
    (0..len).map(|i| 0.1 + 0.37 * i as f32).collect()
}

pub(crate) fn params(config: &Config) -> Params {
    Params::from_named(config, |spec| Ok(Some(ramp(spec.shape.iter().product())))).unwrap()
}

pub(crate) fn tensor(shape: Shape, layout: Layout) -> Tensor {
    Tensor::new(shape, layout, ramp(shape.len())).unwrap()
}

/// A case of these options whose expected values are anything: its form is right, its numbers aren't.
pub(crate) fn case_of(options: Options, batch: usize) -> Case {
    let config = options.build().unwrap();
    let input = Shape::new(batch, config.in_channels(), 3, 2).unwrap();
    let output = tensor(config.output_shape(input).unwrap(), config.layout());
    let attention = Tensor::attention(batch, config.experts(), ramp(batch * config.experts())).unwrap();
    let learned = ParamSpec::all(&config).into_iter().filter(|spec| !spec.name.starts_with("bn.running"));
    let given = config.attention() == Some(Attention::Given);
    let gradients = ExpectedGradients {
        output: output.clone(),
        input: Some(tensor(input, config.layout())),
        attention: config.attention().map(|_| attention.clone()),
        params: learned.map(|spec| (spec.name, ramp(spec.shape.iter().product()))).collect(),
    };
    Case::new(
        DyConv2d::new(config, params(&config)).unwrap(),
        Mode::Training,
        tensor(input, config.layout()),
        given.then(|| attention.clone()),
        Expected { output, attention, gradients: Some(gradients) },
    )
    .unwrap()
}

pub(crate) fn case() -> Case {
    case_of(options(), 2)
}

/// A file taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) tensors: BTreeMap<String, Value>,
    pub(crate) data: Vec<u8>,
}

impl Parts {
    pub(crate) fn sample() -> Self {
        Self::split(&case().to_bytes().unwrap())
    }

    pub(crate) fn split(bytes: &[u8]) -> Self {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut tensors: BTreeMap<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        let metadata = serde_json::from_value(tensors.remove("__metadata__").unwrap()).unwrap();
        Self { metadata, tensors, data: bytes[8 + length..].to_vec() }
    }

    pub(crate) fn header(&self) -> String {
        let mut header = json!(self.tensors);
        header["__metadata__"] = json!(self.metadata);
        header.to_string()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        with_header(&self.header(), &self.data)
    }

    pub(crate) fn config(&self) -> Value {
        serde_json::from_str(&self.metadata["config"]).unwrap()
    }

    /// The configuration with one key set to this JSON text.
    pub(crate) fn set_config(mut self, key: &str, json: &str) -> Self {
        let mut config: BTreeMap<String, Value> = serde_json::from_value(self.config()).unwrap();
        config.remove(key);
        let rest = serde_json::to_string(&config).unwrap();
        self.metadata.insert("config".into(), format!("{{{:?}: {json}, {}", key, &rest[1..]));
        self
    }

    /// Changes the first element of a tensor.
    pub(crate) fn set_element(mut self, name: &str, value: f32) -> Self {
        let start = self.tensors[name]["data_offsets"][0].as_u64().unwrap() as usize;
        self.data[start..start + 4].copy_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn set_shape(mut self, name: &str, shape: Value) -> Self {
        self.tensors.get_mut(name).unwrap()["shape"] = shape;
        self
    }

    /// Adds a tensor at the end.
    pub(crate) fn add(mut self, name: &str, shape: &[usize]) -> Self {
        let start = self.data.len();
        self.data.extend(ramp(shape.iter().product()).iter().flat_map(|x| x.to_le_bytes()));
        let offsets = [start, self.data.len()];
        self.tensors.insert(name.into(), json!({"dtype": "F32", "shape": shape, "data_offsets": offsets}));
        self
    }

    /// Takes a tensor out and closes the gap.
    pub(crate) fn remove(mut self, name: &str) -> Self {
        let gone = self.tensors.remove(name).unwrap()["data_offsets"].clone();
        let [start, end] = [0, 1].map(|i| gone[i].as_u64().unwrap() as usize);
        self.data.drain(start..end);
        for entry in self.tensors.values_mut() {
            for i in 0..2 {
                let offset = entry["data_offsets"][i].as_u64().unwrap() as usize;
                if offset >= end {
                    entry["data_offsets"][i] = json!(offset - (end - start));
                }
            }
        }
        self
    }
}

pub(crate) fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}
