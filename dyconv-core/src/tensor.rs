//! Tensors in host memory: what goes into a backend and what comes out.

use crate::{Error, Layout, Result, Shape};

/// An f32 tensor in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Shape,
    layout: Layout,
    data: Vec<f32>,
}

impl Tensor {
    /// A tensor from elements in `layout` order.
    ///
    /// # Errors
    /// Where `data` doesn't have `shape.len()` elements.
    pub fn new(shape: Shape, layout: Layout, data: Vec<f32>) -> Result<Self> {
        TensorView::new(shape, layout, &data)?;
        Ok(Self { shape, layout, data })
    }

    /// A tensor of zeros.
    #[must_use]
    pub fn zeros(shape: Shape, layout: Layout) -> Self {
        Self { shape, layout, data: vec![0.0; shape.len()] }
    }

    /// A tensor whose element at `[batch, channel, row, column]` is what `f` says.
    pub fn from_fn(shape: Shape, layout: Layout, mut f: impl FnMut([usize; 4]) -> f32) -> Self {
        let mut tensor = Self::zeros(shape, layout);
        let strides = shape.strides(layout);
        for n in 0..shape.batch() {
            for c in 0..shape.channels() {
                for y in 0..shape.height() {
                    for x in 0..shape.width() {
                        tensor.data[offset(strides, [n, c, y, x])] = f([n, c, y, x]);
                    }
                }
            }
        }
        tensor
    }

    /// Attention weights `[N, K]`, row-major: a tensor of shape N×K×1×1.
    ///
    /// # Errors
    /// Where `data` doesn't have `batch · experts` elements, or `experts` is 0.
    pub fn attention(batch: usize, experts: usize, data: Vec<f32>) -> Result<Self> {
        Self::new(Shape::new(batch, experts, 1, 1)?, Layout::Nchw, data)
    }

    /// Extents.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Order of the elements.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The elements, in layout order.
    #[must_use]
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The elements, in layout order, to be changed.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The elements, in layout order, without the tensor.
    #[must_use]
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// A borrowed view.
    #[must_use]
    pub fn view(&self) -> TensorView<'_> {
        TensorView { shape: self.shape, layout: self.layout, data: &self.data }
    }

    /// The same tensor in another layout.
    #[must_use]
    pub fn to_layout(&self, layout: Layout) -> Self {
        self.view().to_layout(layout)
    }
}

/// A borrowed f32 tensor in host memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorView<'a> {
    shape: Shape,
    layout: Layout,
    data: &'a [f32],
}

impl<'a> TensorView<'a> {
    /// A view of elements in `layout` order.
    ///
    /// # Errors
    /// Where `data` doesn't have `shape.len()` elements.
    pub fn new(shape: Shape, layout: Layout, data: &'a [f32]) -> Result<Self> {
        if data.len() != shape.len() {
            let expected = format!("{} elements for {shape}", shape.len());
            return Err(Error::invalid("tensor data", format!("{} elements", data.len()), expected));
        }
        Ok(Self { shape, layout, data })
    }

    /// Extents.
    #[must_use]
    pub fn shape(self) -> Shape {
        self.shape
    }

    /// Order of the elements.
    #[must_use]
    pub fn layout(self) -> Layout {
        self.layout
    }

    /// The elements, in layout order.
    #[must_use]
    pub fn data(self) -> &'a [f32] {
        self.data
    }

    /// The element at `[batch, channel, row, column]`.
    ///
    /// # Panics
    /// Where the index is out of range.
    #[must_use]
    pub fn at(self, index: [usize; 4]) -> f32 {
        self.data[offset(self.shape.strides(self.layout), index)]
    }

    /// A copy in `layout`.
    #[must_use]
    pub fn to_layout(self, layout: Layout) -> Tensor {
        if layout == self.layout {
            return Tensor { shape: self.shape, layout, data: self.data.to_vec() };
        }
        Tensor::from_fn(self.shape, layout, |index| self.at(index))
    }
}

fn offset(strides: [usize; 4], index: [usize; 4]) -> usize {
    strides.iter().zip(index).map(|(stride, i)| stride * i).sum()
}
