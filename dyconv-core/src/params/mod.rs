//! A layer's numbers, in the layouts and under the names of case files.

pub mod foreign;
mod init;
mod rules;

pub use init::{Distribution, Fan, Initializer, Initializers};
pub use rules::{Constraint, Regularizer};

use crate::{Attention, Config, Error, Result};

/// Everything a layer learns. Plain data; [`crate::DyConv2d::new`] holds it against the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// Experts `[K, Cout, Cin/G, kh, kw]`, in both layouts.
    pub weight: Vec<f32>,
    /// Expert biases `[K, Cout]`.
    pub bias: Option<Vec<f32>>,
    /// The attention head.
    pub attention: Option<HeadParams>,
    /// Batch norm.
    pub batch_norm: Option<BatchNormParams>,
}

/// The attention head's numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadParams {
    /// A1 `[hidden, Cin]` and c1, of an MLP.
    pub fc1: Option<Dense>,
    /// A2 `[K, hidden or Cin]` and c2.
    pub fc2: Dense,
}

/// A matrix and, perhaps, a bias.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// `[outputs, inputs]`, row-major.
    pub weight: Vec<f32>,
    /// `[outputs]`.
    pub bias: Option<Vec<f32>>,
}

/// Batch norm's numbers, one per output channel.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNormParams {
    /// gamma
    pub weight: Vec<f32>,
    /// beta
    pub bias: Vec<f32>,
    /// μ of inference.
    pub running_mean: Vec<f32>,
    /// σ² of inference, ≥ 0.
    pub running_var: Vec<f32>,
}

/// The name, shape and necessity of one parameter tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamSpec {
    /// The name in case files: `weight`, `attention.fc1.bias`, `bn.running_var` …
    pub name: &'static str,
    /// Row-major extents.
    pub shape: Vec<usize>,
    /// Whether the layer needs it; the head's biases may be absent.
    pub required: bool,
}

impl ParamSpec {
    /// The tensors that a layer of this configuration has, in a fixed order.
    #[must_use]
    pub fn all(config: &Config) -> Vec<Self> {
        let (experts, out, inputs) = (config.experts(), config.out_channels(), config.in_channels());
        let [kh, kw] = config.kernel_size();
        let mut specs = Vec::new();
        let mut add =
            |name, shape: &[usize], required| specs.push(Self { name, shape: shape.to_vec(), required });
        add("weight", &[experts, out, config.in_channels_per_group(), kh, kw], true);
        if config.bias() {
            add("bias", &[experts, out], true);
        }
        match config.attention() {
            Some(Attention::Mlp { hidden, .. }) => {
                add("attention.fc1.weight", &[hidden, inputs], true);
                add("attention.fc1.bias", &[hidden], false);
                add("attention.fc2.weight", &[experts, hidden], true);
                add("attention.fc2.bias", &[experts], false);
            }
            Some(Attention::Linear { .. }) => {
                add("attention.fc2.weight", &[experts, inputs], true);
                add("attention.fc2.bias", &[experts], false);
            }
            Some(Attention::Given) | None => {}
        }
        if config.batch_norm().is_some() {
            for name in ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"] {
                add(name, &[out], true);
            }
        }
        specs
    }

    /// Elements.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no parameter is empty")]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether training moves it along a gradient; running statistics are measured, not learned.
    #[must_use]
    pub fn learned(&self) -> bool {
        !self.name.starts_with("bn.running_")
    }

    /// The shape of what a [`Constraint`]'s axes count: one expert of the experts, the whole of the others.
    #[must_use]
    pub fn own_shape(&self) -> &[usize] {
        match self.name {
            "weight" | "bias" => &self.shape[1..],
            _ => &self.shape,
        }
    }
}

impl Params {
    /// The tensors that are there and learned, in the order of [`ParamSpec::all`].
    #[must_use]
    pub fn learned(&self, config: &Config) -> Vec<ParamSpec> {
        let there = self.tensors();
        let mut specs = ParamSpec::all(config);
        specs.retain(|spec| spec.learned() && there.iter().any(|(name, _)| *name == spec.name));
        specs
    }

    /// The tensors that are there, by name, in the order of [`ParamSpec::all`].
    #[must_use]
    pub fn tensors(&self) -> Vec<(&'static str, &[f32])> {
        let mut all = vec![("weight", self.weight.as_slice())];
        all.extend(self.bias.as_ref().map(|bias| ("bias", bias.as_slice())));
        if let Some(head) = &self.attention {
            if let Some(fc1) = &head.fc1 {
                all.push(("attention.fc1.weight", &fc1.weight));
                all.extend(fc1.bias.as_ref().map(|bias| ("attention.fc1.bias", bias.as_slice())));
            }
            all.push(("attention.fc2.weight", &head.fc2.weight));
            all.extend(head.fc2.bias.as_ref().map(|bias| ("attention.fc2.bias", bias.as_slice())));
        }
        if let Some(bn) = &self.batch_norm {
            all.push(("bn.weight", &bn.weight));
            all.push(("bn.bias", &bn.bias));
            all.push(("bn.running_mean", &bn.running_mean));
            all.push(("bn.running_var", &bn.running_var));
        }
        all
    }

    /// Puts tensors together by name: `take` hands out each tensor of [`ParamSpec::all`], or `None`.
    ///
    /// # Errors
    /// Where a required tensor is missing, or `take` fails.
    pub fn from_named(
        config: &Config,
        mut take: impl FnMut(&ParamSpec) -> Result<Option<Vec<f32>>>,
    ) -> Result<Self> {
        let mut found = std::collections::BTreeMap::new();
        for spec in ParamSpec::all(config) {
            match take(&spec)? {
                Some(data) => {
                    found.insert(spec.name, data);
                }
                None if spec.required => {
                    return Err(Error::invalid(spec.name, "missing", format!("a tensor {:?}", spec.shape)));
                }
                None => {}
            }
        }
        let mut dense =
            |weight, bias| found.remove(weight).map(|weight| Dense { weight, bias: found.remove(bias) });
        let fc1 = dense("attention.fc1.weight", "attention.fc1.bias");
        let attention =
            dense("attention.fc2.weight", "attention.fc2.bias").map(|fc2| HeadParams { fc1, fc2 });
        let mut required = |name: &'static str| found.remove(name).unwrap_or_default();
        let batch_norm = config.batch_norm().map(|_| BatchNormParams {
            weight: required("bn.weight"),
            bias: required("bn.bias"),
            running_mean: required("bn.running_mean"),
            running_var: required("bn.running_var"),
        });
        Ok(Self { weight: required("weight"), bias: found.remove("bias"), attention, batch_norm })
    }

    /// Holds the numbers against the configuration.
    pub(crate) fn check(&self, config: &Config) -> Result<()> {
        let mut tensors = self.tensors();
        for spec in ParamSpec::all(config) {
            let position = tensors.iter().position(|(name, _)| *name == spec.name);
            match position.map(|position| tensors.swap_remove(position)) {
                Some((_, data)) => check_tensor(&spec, data)?,
                None if spec.required => {
                    return Err(Error::invalid(spec.name, "missing", format!("a tensor {:?}", spec.shape)));
                }
                None => {}
            }
        }
        match tensors.first() {
            Some((name, _)) => Err(Error::invalid(*name, "present", "no such tensor for this configuration")),
            None => Ok(()),
        }
    }
}

fn check_tensor(spec: &ParamSpec, data: &[f32]) -> Result<()> {
    let ParamSpec { name, shape, .. } = spec;
    if data.len() != shape.iter().product::<usize>() {
        return Err(Error::invalid(*name, format!("{} elements", data.len()), format!("{shape:?}")));
    }
    if let Some(i) = data.iter().position(|value| !value.is_finite()) {
        return Err(Error::invalid(format!("{name}[{i}]"), data[i], "a finite number"));
    }
    if *name == "bn.running_var"
        && let Some(i) = data.iter().position(|&value| value < 0.0)
    {
        return Err(Error::invalid(format!("{name}[{i}]"), data[i], "at least 0"));
    }
    Ok(())
}
