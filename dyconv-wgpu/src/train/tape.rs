//! What a forward leaves for its backward.

use dyconv_core::{Prepared, Recorded, Tape};

use crate::layer::WgpuLayer;
use crate::limits::ELEMENT;
use crate::origin::Origin;
use crate::stages::{Trace, hidden_units};
use crate::stream::WgpuStream;
use crate::tensor::WgpuTensor;

/// Handles: input, π and the head's small values, what batch norm and the activation took. W~ isn't among them.
#[derive(Debug)]
pub struct WgpuTape {
    recorded: Recorded,
    pub(super) input: WgpuTensor,
    pub(super) trace: Trace,
    /// Bytes of what was recorded.
    bytes: u64,
    pub(super) origin: Origin,
}

impl WgpuTape {
    pub(super) fn new(
        stream: &WgpuStream,
        layer: &WgpuLayer,
        recorded: Recorded,
        input: WgpuTensor,
        trace: Trace,
    ) -> Self {
        let (call, experts) = (&recorded.call, layer.config().experts());
        let (batch, output) = (call.input.batch(), call.output);
        let per_sample = call.input.channels() + hidden_units(layer) + experts;
        let head = trace.head.as_ref().map_or(0, |_| batch * per_sample);
        let normalized = trace.normalized.as_ref().map_or(0, |_| output.len() + 2 * output.channels());
        let weights = trace.weights.as_ref().map_or(0, |_| batch * experts);
        let elements = call.input.len() + output.len() + head + normalized + weights;
        Self { recorded, input, trace, bytes: elements as u64 * ELEMENT, origin: Origin::new(stream) }
    }
}

impl Tape for WgpuTape {
    fn recorded(&self) -> &Recorded {
        &self.recorded
    }

    /// The bytes of the elements that it keeps; buffers are up to a half larger.
    fn bytes(&self) -> u64 {
        self.bytes
    }
}
