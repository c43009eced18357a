//! Tensors on the device.

use std::sync::Arc;

use dyconv_core::{Error, Handle, Layout, Result, Shape};

use crate::memory::Allocation;
use crate::stream::WgpuStream;
use crate::ticket::Ticket;

/// A tensor on the device: a cheap handle. The last clone's drop gives the memory back.
#[derive(Clone, Debug)]
pub struct WgpuTensor {
    pub(crate) shape: Shape,
    pub(crate) layout: Layout,
    /// Nothing for an empty batch.
    pub(crate) data: Option<Arc<Allocation>>,
    /// Channel means [N, C], where a layer was asked to emit them.
    pub(crate) means: Option<Arc<Allocation>>,
    context: u64,
    made: Arc<Ticket>,
}

impl WgpuTensor {
    /// A tensor that the stream's next commands write.
    pub(crate) fn new(stream: &WgpuStream, shape: Shape, layout: Layout) -> Result<Self> {
        let data = (!shape.is_empty()).then(|| stream.take(shape.len())).transpose()?.map(Arc::new);
        Ok(Self::from_parts(stream, shape, layout, data))
    }

    pub(crate) fn from_parts(
        stream: &WgpuStream,
        shape: Shape,
        layout: Layout,
        data: Option<Arc<Allocation>>,
    ) -> Self {
        let made = Arc::clone(stream.ticket());
        Self { shape, layout, data, means: None, context: stream.context().id, made }
    }

    /// The same elements under another layout's name.
    pub(crate) fn relabelled(&self, layout: Layout) -> Self {
        Self { layout, ..self.clone() }
    }

    /// Whether commands recorded on `stream` may read it.
    pub(crate) fn check(&self, name: &str, stream: &WgpuStream) -> Result<()> {
        if self.context != stream.context().id {
            return Err(Error::invalid(name, "a tensor of another device", "one of this backend's device"));
        }
        if self.made.is_abandoned() {
            let value = "a tensor whose stream failed or was dropped before it finished";
            return Err(Error::invalid(name, value, "one whose stream finished"));
        }
        if !self.made.precedes(stream.id()) {
            let value = "a tensor of another stream that hasn't finished";
            return Err(Error::invalid(name, value, "one of this stream, or of a stream that was finished"));
        }
        Ok(())
    }
}

impl Handle for WgpuTensor {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn layout(&self) -> Layout {
        self.layout
    }
}
