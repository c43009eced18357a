//! Tensors on the device.

use std::sync::Arc;

use dyconv_core::{Handle, Layout, Result, Shape};

use crate::memory::Allocation;
use crate::origin::Origin;
use crate::stream::WgpuStream;

/// A tensor on the device: a cheap handle. The last clone's drop gives the memory back.
#[derive(Clone, Debug)]
pub struct WgpuTensor {
    pub(crate) shape: Shape,
    pub(crate) layout: Layout,
    /// Nothing for an empty batch.
    pub(crate) data: Option<Arc<Allocation>>,
    /// Channel means [N, C], where a layer was asked to emit them.
    pub(crate) means: Option<Arc<Allocation>>,
    origin: Origin,
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
        Self { shape, layout, data, means: None, origin: Origin::new(stream) }
    }

    /// The same elements under another layout's name.
    pub(crate) fn relabelled(&self, layout: Layout) -> Self {
        Self { layout, ..self.clone() }
    }

    /// Whether commands recorded on `stream` may read it.
    pub(crate) fn check(&self, name: &str, stream: &WgpuStream) -> Result<()> {
        self.origin.check(name, "a tensor", stream)
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
