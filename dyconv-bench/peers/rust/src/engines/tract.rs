//! tract, given ONNX files and optimised for the input's shape.

use tract_onnx::prelude::multithread::Executor;
use tract_onnx::prelude::*;

use super::{Engine, Form, Ready, Result, locked_version, ready};
use crate::graphs::{Way, ways};
use crate::layer::Layer;

pub struct Tract {
    executor: Executor,
}

impl Tract {
    pub fn new(threads: usize) -> Self {
        let executor = match threads {
            1 => Executor::SingleThread,
            _ => Executor::multithread(threads),
        };
        Self { executor }
    }

    fn build(&self, layer: &Layer, way: &Way) -> Result<Box<dyn Ready>> {
        let model = tract_onnx::onnx().model_for_read(&mut &way.bytes(layer)[..])?.into_optimized()?;
        let options = RunOptions { executor: Some(self.executor.clone()), ..RunOptions::default() };
        let mut state = model.into_runnable_with_options(&options)?.spawn()?;
        let shape = way.layout.shape(layer.workload.input_shape(layer.batch));
        let x: TValue = Tensor::from_shape(&shape, &layer.input(way.layout))?.into();
        ready(
            move || Ok(state.run(tvec!(x.clone()))?.remove(0)),
            |output: &TValue| Ok(output.try_as_plain_ram()?.as_slice()?.to_vec()),
        )
    }
}

impl Engine for Tract {
    fn name(&self) -> &'static str {
        "tract"
    }

    fn version(&self) -> &'static str {
        locked_version("tract-onnx")
    }

    fn forms<'a>(&'a self, layer: &'a Layer) -> Vec<Form<'a>> {
        let form = |way: Way| Form {
            variant: way.variant,
            mode: way.mode,
            layout: way.layout,
            build: Box::new(move || self.build(layer, &way)),
        };
        ways(layer).into_iter().map(form).collect()
    }
}
