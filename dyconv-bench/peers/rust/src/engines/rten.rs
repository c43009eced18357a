//! RTen, given ONNX files; weights that are constant are packed when a file is loaded.

use std::sync::Arc;

use rten::{ModelOptions, RunOptions, ThreadPool, Value};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use super::{Engine, Form, Ready, Result, locked_version, ready};
use crate::graphs::{Way, ways};
use crate::layer::Layer;

pub struct Rten {
    pool: Arc<ThreadPool>,
}

impl Rten {
    pub fn new(threads: usize) -> Self {
        Self { pool: Arc::new(ThreadPool::with_num_threads(threads)) }
    }

    fn build(&self, layer: &Layer, way: &Way) -> Result<Box<dyn Ready>> {
        let model = ModelOptions::with_all_ops().prepack_weights(true).load(way.bytes(layer))?;
        let x = Tensor::from_data(
            &way.layout.shape(layer.workload.input_shape(layer.batch)),
            layer.input(way.layout),
        );
        let options = RunOptions::default().with_thread_pool(Some(self.pool.clone()));
        ready(
            move || Ok(model.run_one(x.view().into(), Some(options.clone()))?),
            |output: &Value| {
                Ok(output.as_tensor_view::<f32>().ok_or("the output isn't made of f32")?.to_vec())
            },
        )
    }
}

impl Engine for Rten {
    fn name(&self) -> &'static str {
        "rten"
    }

    fn version(&self) -> &'static str {
        locked_version("rten")
    }

    fn forms<'a>(&'a self, layer: &'a Layer) -> Vec<Form<'a>> {
        // It has no convolution in NHWC: transpositions stay.
        let ways = ways(layer).into_iter().filter(|way| way.variant != "conv_transposed");
        ways.map(|way| Form {
            variant: way.variant,
            mode: way.mode,
            layout: way.layout,
            build: Box::new(move || self.build(layer, &way)),
        })
        .collect()
    }

    fn enter(&self, work: &mut (dyn FnMut() + Send)) {
        self.pool.run(work);
    }
}
