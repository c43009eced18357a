//! A tensor of f64 in host memory.

use crate::{Error, Handle, Layout, Result, Shape, Tensor, TensorView};

/// A tensor in f64, in either layout, perhaps with its channel sums.
#[derive(Clone, Debug, PartialEq)]
pub struct F64Tensor {
    shape: Shape,
    layout: Layout,
    data: Vec<f64>,
    sums: Option<Vec<f64>>,
}

impl F64Tensor {
    /// A tensor from elements in `layout` order.
    ///
    /// # Errors
    /// Where `data` doesn't have `shape.len()` elements.
    pub fn new(shape: Shape, layout: Layout, data: Vec<f64>) -> Result<Self> {
        check_elements("tensor data", data.len(), shape.len())?;
        Ok(Self { shape, layout, data, sums: None })
    }

    /// A tensor of zeros.
    #[must_use]
    pub fn zeros(shape: Shape, layout: Layout) -> Self {
        Self { shape, layout, data: vec![0.0; shape.len()], sums: None }
    }

    /// Attaches channel sums `[N, C]`, which the pool then takes instead of adding up the pixels.
    ///
    /// # Errors
    /// Where `sums` doesn't have N·C elements.
    pub fn with_sums(mut self, sums: Vec<f64>) -> Result<Self> {
        check_elements("channel sums", sums.len(), self.shape.batch() * self.shape.channels())?;
        self.sums = Some(sums);
        Ok(self)
    }

    /// The elements, in layout order.
    #[must_use]
    pub fn data(&self) -> &[f64] {
        &self.data
    }

    /// The elements, in layout order, to be changed.
    pub fn data_mut(&mut self) -> &mut [f64] {
        &mut self.data
    }

    /// The attached channel sums `[N, C]`.
    #[must_use]
    pub fn sums(&self) -> Option<&[f64]> {
        self.sums.as_deref()
    }

    /// Distance in elements between neighbours along batch, channel, row and column.
    #[must_use]
    pub fn strides(&self) -> [usize; 4] {
        self.shape.strides(self.layout)
    }

    /// The element at `[batch, channel, row, column]`.
    ///
    /// # Panics
    /// Where the index is out of range.
    #[must_use]
    pub fn at(&self, [n, c, y, x]: [usize; 4]) -> f64 {
        let [per_sample, per_channel, per_row, per_column] = self.strides();
        self.data[n * per_sample + c * per_channel + y * per_row + x * per_column]
    }

    /// The same tensor with every element replaced by what `f` makes of its channel and value.
    #[must_use]
    pub(crate) fn map(&self, mut f: impl FnMut(usize, f64) -> f64) -> Self {
        let channels = self.shape.channels();
        // Channel of the i-th element: the fastest index, or the one above a plane of pixels.
        let divisor = match self.layout {
            Layout::Nchw => self.shape.pixels(),
            Layout::Nhwc => 1,
        };
        let data = self.data.iter().enumerate().map(|(i, &v)| f(i / divisor % channels, v)).collect();
        Self { shape: self.shape, layout: self.layout, data, sums: None }
    }

    /// Rounds every element to f32.
    #[must_use]
    pub fn to_f32(&self) -> Tensor {
        let mut tensor = Tensor::zeros(self.shape, self.layout);
        for (single, &double) in tensor.data_mut().iter_mut().zip(&self.data) {
            *single = double as f32;
        }
        tensor
    }
}

impl From<TensorView<'_>> for F64Tensor {
    fn from(view: TensorView<'_>) -> Self {
        let data = view.data().iter().copied().map(f64::from).collect();
        Self { shape: view.shape(), layout: view.layout(), data, sums: None }
    }
}

impl Handle for F64Tensor {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn layout(&self) -> Layout {
        self.layout
    }
}

fn check_elements(name: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::invalid(name, format!("{found} elements"), format!("{expected} elements")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_names_the_channel_in_both_layouts() {
        let shape = Shape::new(2, 3, 2, 1).unwrap();
        for layout in Layout::ALL {
            let channels = F64Tensor::zeros(shape, layout).map(|c, _| c as f64);
            for n in 0..2 {
                for c in 0..3 {
                    for y in 0..2 {
                        assert_eq!(channels.at([n, c, y, 0]), c as f64, "{layout}");
                    }
                }
            }
        }
    }

    #[test]
    fn lengths_must_match_the_shape() {
        let shape = Shape::new(1, 2, 1, 1).unwrap();
        let error = F64Tensor::new(shape, Layout::Nchw, vec![0.0]).unwrap_err();
        assert_eq!(error.to_string(), "tensor data is 1 elements; expected 2 elements");
        let error = F64Tensor::zeros(shape, Layout::Nchw).with_sums(vec![0.0; 3]).unwrap_err();
        assert_eq!(error.to_string(), "channel sums is 3 elements; expected 2 elements");
    }
}
