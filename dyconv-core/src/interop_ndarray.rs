//! Views from and to ndarray arrays (feature `ndarray`).
//!
//! An array's axes are always batch, channels, height, width, whatever the layout: the layout is in its
//! strides. Where memory agrees nothing is copied. An array indexed `[batch, row, column, channel]` becomes
//! one of ours by `permuted_axes([0, 3, 1, 2])`, without copying either.
//!
//! ```
//! use dyconv_core::{Layout, TensorView};
//! use ndarray::Array4;
//!
//! let images = Array4::<f32>::zeros((2, 32, 24, 3)); // batch, height, width, channels
//! let view = TensorView::from_ndarray(images.view().permuted_axes([0, 3, 1, 2]))?;
//! assert_eq!((view.layout(), view.shape().channels()), (Layout::Nhwc, 3));
//! assert_eq!(view.to_ndarray().dim(), (2, 3, 32, 24));
//! # Ok::<(), dyconv_core::Error>(())
//! ```

use ndarray::{Array4, ArrayView2, ArrayView4, ArrayView5, ArrayViewMut4};

use crate::{DyConv2d, Error, Layout, Result, Shape, Tensor, TensorView};

/// Why every conversion below can't fail: [`Shape`] and [`crate::Params`] have held the extents against the
/// elements.
const PROVEN: &str = "the extents have been held against the elements";

/// From batch, row, column, channel to ours, and back.
const FROM_NHWC: [usize; 4] = [0, 3, 1, 2];
const TO_NHWC: [usize; 4] = [0, 2, 3, 1];

impl<'a> TensorView<'a> {
    /// The same memory as an array `[batch, channel, row, column]`.
    #[must_use]
    pub fn to_ndarray(self) -> ArrayView4<'a, f32> {
        let view = ArrayView4::from_shape(extents(self.shape(), self.layout()), self.data()).expect(PROVEN);
        match self.layout() {
            Layout::Nchw => view,
            Layout::Nhwc => view.permuted_axes(FROM_NHWC),
        }
    }

    /// The same memory as a tensor, in the layout that the array's strides say.
    ///
    /// # Errors
    /// Where the elements lie in neither layout's order, as in a slice of a larger array
    /// ([`Tensor::from_ndarray`] copies), or an extent is impossible.
    pub fn from_ndarray(array: ArrayView4<'a, f32>) -> Result<Self> {
        let shape = shape_of(&array)?;
        if let Some(data) = array.to_slice() {
            return Self::new(shape, Layout::Nchw, data);
        }
        if let Some(data) = array.permuted_axes(TO_NHWC).to_slice() {
            return Self::new(shape, Layout::Nhwc, data);
        }
        let value = format!("{:?}", array.strides());
        Err(Error::invalid("strides of array", value, "those of nchw or nhwc, without gaps; or copy it"))
    }

    /// Attention weights as an array `[batch, expert]`.
    ///
    /// # Errors
    /// Where there is more than one pixel.
    pub fn to_attention_ndarray(self) -> Result<ArrayView2<'a, f32>> {
        let shape = self.shape();
        if shape.pixels() != 1 {
            return Err(Error::invalid("attention", shape, "height and width 1"));
        }
        Ok(ArrayView2::from_shape((shape.batch(), shape.channels()), self.data()).expect(PROVEN))
    }

    /// Attention weights from an array `[batch, expert]`.
    ///
    /// # Errors
    /// Where the array isn't row-major without gaps, or has no experts.
    pub fn from_attention_ndarray(array: ArrayView2<'a, f32>) -> Result<Self> {
        let (batch, experts) = array.dim();
        let shape = Shape::new(batch, experts, 1, 1)?;
        match array.to_slice() {
            Some(data) => Self::new(shape, Layout::Nchw, data),
            None => {
                let value = format!("{:?}", array.strides());
                Err(Error::invalid("strides of array", value, "row-major, without gaps; or copy it"))
            }
        }
    }
}

impl Tensor {
    /// The same memory as an array `[batch, channel, row, column]`, to be changed.
    #[must_use]
    pub fn to_ndarray_mut(&mut self) -> ArrayViewMut4<'_, f32> {
        let (shape, layout) = (self.shape(), self.layout());
        let view = ArrayViewMut4::from_shape(extents(shape, layout), self.data_mut()).expect(PROVEN);
        match layout {
            Layout::Nchw => view,
            Layout::Nhwc => view.permuted_axes(FROM_NHWC),
        }
    }

    /// The same memory as an array `[batch, channel, row, column]` that owns it.
    #[must_use]
    pub fn into_ndarray(self) -> Array4<f32> {
        let (shape, layout) = (self.shape(), self.layout());
        let array = Array4::from_shape_vec(extents(shape, layout), self.into_data()).expect(PROVEN);
        match layout {
            Layout::Nchw => array,
            Layout::Nhwc => array.permuted_axes(FROM_NHWC),
        }
    }

    /// A copy of an array `[batch, channel, row, column]` of any strides, in `layout`.
    ///
    /// # Errors
    /// Where an extent is impossible.
    pub fn from_ndarray(array: ArrayView4<'_, f32>, layout: Layout) -> Result<Self> {
        let shape = shape_of(&array)?;
        let ordered = match layout {
            Layout::Nchw => array,
            Layout::Nhwc => array.permuted_axes(TO_NHWC),
        };
        Self::new(shape, layout, ordered.iter().copied().collect())
    }

    /// A copy of attention weights `[batch, expert]` of any strides.
    ///
    /// # Errors
    /// Where there are no experts.
    pub fn from_attention_ndarray(array: ArrayView2<'_, f32>) -> Result<Self> {
        let (batch, experts) = array.dim();
        Self::attention(batch, experts, array.iter().copied().collect())
    }
}

impl DyConv2d {
    /// The experts as an array `[expert, output channel, input channel of the group, row, column]`.
    #[must_use]
    pub fn weight_ndarray(&self) -> ArrayView5<'_, f32> {
        let config = self.config();
        let [kh, kw] = config.kernel_size();
        let extents = (config.experts(), config.out_channels(), config.in_channels_per_group(), kh, kw);
        ArrayView5::from_shape(extents, &self.params().weight).expect(PROVEN)
    }

    /// The expert biases as an array `[expert, output channel]`.
    #[must_use]
    pub fn bias_ndarray(&self) -> Option<ArrayView2<'_, f32>> {
        let extents = (self.config().experts(), self.config().out_channels());
        self.params().bias.as_ref().map(|bias| ArrayView2::from_shape(extents, bias).expect(PROVEN))
    }
}

fn shape_of(array: &ArrayView4<'_, f32>) -> Result<Shape> {
    let (n, c, h, w) = array.dim();
    Shape::new(n, c, h, w)
}

fn extents(shape: Shape, layout: Layout) -> (usize, usize, usize, usize) {
    let (n, c, h, w) = (shape.batch(), shape.channels(), shape.height(), shape.width());
    match layout {
        Layout::Nchw => (n, c, h, w),
        Layout::Nhwc => (n, h, w, c),
    }
}
