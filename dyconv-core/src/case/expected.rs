//! What should come out of a case, held against its layer.

use std::collections::BTreeMap;

use crate::{DyConv2d, Error, Layout, ParamSpec, Result, Shape, Tensor};

/// Expected results: computed from the f32 inputs and parameters in f64, then rounded to f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// The output, in the layer's layout.
    pub output: Tensor,
    /// π `[N, K]`; ones for a static layer.
    pub attention: Tensor,
    /// Gradients, where they were observed.
    pub gradients: Option<ExpectedGradients>,
}

/// Expected gradients of L = Σ g ⊙ output. What is absent is zero, or couldn't be observed.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedGradients {
    /// g, of the output's shape and layout: the one thing here that goes in instead of coming out.
    pub output: Tensor,
    /// dL/d input.
    pub input: Option<Tensor>,
    /// dL/dπ, after the squash.
    pub attention: Option<Tensor>,
    /// dL/d parameter, by the names of [`ParamSpec`]; running statistics have none.
    pub params: BTreeMap<&'static str, Vec<f32>>,
}

impl Expected {
    pub(super) fn check(&self, layer: &DyConv2d, input: Shape) -> Result<()> {
        let config = layer.config();
        let (output, attention) = (config.output_shape(input)?, attention_shape(layer, input)?);
        let results = [
            ("expect.output", Some(&self.output), output),
            ("expect.pi", Some(&self.attention), attention),
            ("expect.grad.input", self.gradients.as_ref().and_then(|g| g.input.as_ref()), input),
            ("expect.grad.pi", self.gradients.as_ref().and_then(|g| g.attention.as_ref()), attention),
        ];
        for (name, tensor, shape) in results {
            let Some(tensor) = tensor else { continue };
            check_shape(name, tensor, shape)?;
            check_layout(name, tensor, config.layout())?;
            check_finite(name, tensor.data())?;
        }
        match &self.gradients {
            Some(gradients) => gradients.check(layer, output),
            None => Ok(()),
        }
    }
}

impl ExpectedGradients {
    fn check(&self, layer: &DyConv2d, output: Shape) -> Result<()> {
        check_shape("grad.output", &self.output, output)?;
        check_layout("grad.output", &self.output, layer.config().layout())?;
        if self.attention.is_some() && layer.config().attention().is_none() {
            let expected = "no such tensor, since the layer is static";
            return Err(Error::invalid("expect.grad.pi", "present", expected));
        }
        let learned = learned(layer);
        for (name, data) in &self.params {
            let full = gradient_name(name);
            let Some(spec) = learned.iter().find(|spec| spec.name == *name) else {
                return Err(Error::invalid(full, "present", "no such tensor for this layer"));
            };
            let len: usize = spec.shape.iter().product();
            if data.len() != len {
                let value = format!("{} elements", data.len());
                return Err(Error::invalid(full, value, format!("{:?}", spec.shape)));
            }
            check_finite(&full, data)?;
        }
        Ok(())
    }
}

/// The tensors of a layer that have gradients: those it has, less running statistics.
pub(super) fn learned(layer: &DyConv2d) -> Vec<ParamSpec> {
    layer.params().learned(layer.config())
}

/// The name of a parameter's expected gradient.
pub(super) fn gradient_name(parameter: &str) -> String {
    format!("expect.grad.{parameter}")
}

/// `[N, K]`.
pub(super) fn attention_shape(layer: &DyConv2d, input: Shape) -> Result<Shape> {
    Shape::new(input.batch(), layer.config().experts(), 1, 1)
}

pub(super) fn check_shape(name: &str, tensor: &Tensor, expected: Shape) -> Result<()> {
    if tensor.shape() == expected {
        return Ok(());
    }
    Err(Error::invalid(name, tensor.shape(), expected.to_string()))
}

/// With one pixel both layouts are the same bytes: π has none of its own.
pub(super) fn check_layout(name: &str, tensor: &Tensor, expected: Layout) -> Result<()> {
    if tensor.layout() == expected || tensor.shape().pixels() == 1 {
        return Ok(());
    }
    Err(Error::invalid(format!("layout of {name}"), tensor.layout(), expected.to_string()))
}

fn check_finite(name: &str, data: &[f32]) -> Result<()> {
    match data.iter().position(|value| !value.is_finite()) {
        Some(i) => Err(Error::invalid(format!("{name}[{i}]"), data[i], "a finite number")),
        None => Ok(()),
    }
}
