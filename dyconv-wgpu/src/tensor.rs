//! Tensors on the device.

use std::sync::Arc;

use dyconv_core::{Handle, Layout, Result, Shape};

use crate::memory::Allocation;
use crate::origin::Origin;
use crate::stream::WgpuStream;
use crate::values::Values;

/// A tensor on the device: a cheap handle. The last clone's drop gives the memory back.
#[derive(Clone, Debug)]
pub struct WgpuTensor {
    pub(crate) shape: Shape,
    pub(crate) layout: Layout,
    /// How its elements are stored.
    pub(crate) values: Values,
    /// Nothing for an empty batch.
    pub(crate) data: Option<Arc<Allocation>>,
    /// Channel means [N, C], where a layer was asked to emit them.
    pub(crate) means: Option<Arc<Allocation>>,
    origin: Origin,
}

impl WgpuTensor {
    /// A tensor of activations, stored as the backend stores them, that the stream's next commands write.
    pub(crate) fn new(stream: &WgpuStream, shape: Shape, layout: Layout) -> Result<Self> {
        Self::stored(stream, shape, layout, stream.context().values)
    }

    /// A tensor stored in this form, that the stream's next commands write.
    pub(crate) fn stored(stream: &WgpuStream, shape: Shape, layout: Layout, values: Values) -> Result<Self> {
        let data = (!shape.is_empty()).then(|| stream.take_values(values, shape.len()));
        let data = data.transpose()?.map(Arc::new);
        Ok(Self { values, ..Self::from_parts(stream, shape, layout, data) })
    }

    /// What kernels computed as floats.
    pub(crate) fn from_parts(
        stream: &WgpuStream,
        shape: Shape,
        layout: Layout,
        data: Option<Arc<Allocation>>,
    ) -> Self {
        Self { shape, layout, values: Values::F32, data, means: None, origin: Origin::new(stream) }
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
