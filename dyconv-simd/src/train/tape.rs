//! What a forward leaves for its backward.

use std::sync::Arc;

use dyconv_core::{Recorded, Tape};

use crate::buffer::Buffer;
use crate::tensor::SimdTensor;

/// Handles of input and output, what came between them where a stage's derivative needs it, and the head's small values.
#[derive(Debug)]
pub struct SimdTape {
    pub(crate) recorded: Recorded,
    pub(crate) input: SimdTensor,
    pub(crate) output: SimdTensor,
    /// The convolution's output, where batch norm follows.
    pub(crate) convolved: Option<Arc<Buffer>>,
    /// What was activated, where the output doesn't say enough.
    pub(crate) preactivation: Option<Arc<Buffer>>,
    /// Mean and variance that batch norm used.
    pub(crate) normalized_by: Option<[Vec<f64>; 2]>,
    /// π `[N, K]`
    pub(crate) pi: Vec<f32>,
    /// z `[N, Cin]`, where a head took it.
    pub(crate) pooled: Vec<f32>,
    /// The head's hidden units `[N, hidden]`.
    pub(crate) hidden: Vec<f32>,
}

impl Tape for SimdTape {
    fn recorded(&self) -> &Recorded {
        &self.recorded
    }

    fn bytes(&self) -> u64 {
        let wide = [&self.convolved, &self.preactivation].into_iter().flatten();
        let wide: usize = wide.map(|data| data.as_slice().len()).sum();
        let small = self.pi.len() + self.pooled.len() + self.hidden.len();
        let floats = self.input.data().len() + self.output.data().len() + wide + small;
        let statistics: usize = self.normalized_by.iter().flatten().map(Vec::len).sum();
        (floats * size_of::<f32>() + statistics * size_of::<f64>()) as u64
    }
}
