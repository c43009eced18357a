//! A tensor in host memory, shared between handles.

use std::sync::Arc;

use dyconv_core::{Handle, Layout, Shape, TensorView};

/// A tensor of the SIMD backend: shared host memory, written once, perhaps with its own channel sums.
#[derive(Clone, Debug)]
pub struct SimdTensor {
    shape: Shape,
    layout: Layout,
    data: Arc<Vec<f32>>,
    sums: Option<Arc<Vec<f32>>>,
}

impl SimdTensor {
    pub(crate) fn new(shape: Shape, layout: Layout, data: Vec<f32>) -> Self {
        debug_assert_eq!(data.len(), shape.len());
        Self { shape, layout, data: Arc::new(data), sums: None }
    }

    /// Attaches the sum of each channel, `[batch][channel]`.
    pub(crate) fn with_sums(self, sums: Option<Vec<f32>>) -> Self {
        Self { sums: sums.map(Arc::new), ..self }
    }

    /// The elements, in layout order.
    #[must_use]
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    pub(crate) fn source(&self) -> Source<'_> {
        Source { data: &self.data, sums: self.sums.as_ref().map(|sums| sums.as_slice()) }
    }

    /// The same memory seen in a layout that lies the same way.
    pub(crate) fn relabel(&self, layout: Layout) -> Self {
        Self { layout, ..self.clone() }
    }
}

impl Handle for SimdTensor {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn layout(&self) -> Layout {
        self.layout
    }
}

/// An input as kernels see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) data: &'a [f32],
    /// Its channel sums, where they are known.
    pub(crate) sums: Option<&'a [f32]>,
}

impl<'a> From<TensorView<'a>> for Source<'a> {
    fn from(view: TensorView<'a>) -> Self {
        Self { data: view.data(), sums: None }
    }
}

/// Shape and layout alone: holds a call on borrowed slices against its layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Described(pub(crate) Shape, pub(crate) Layout);

impl Handle for Described {
    fn shape(&self) -> Shape {
        self.0
    }

    fn layout(&self) -> Layout {
        self.1
    }
}
