//! A tensor in host memory, shared between handles.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use dyconv_core::{Handle, Layout, Shape, TensorView};

use crate::buffer::Buffer;

/// Bytes of a cache line.
const LINE: usize = 64;

/// A tensor of the SIMD backend: shared host memory, written once, perhaps with its own channel sums.
#[derive(Clone, Debug)]
pub struct SimdTensor {
    shape: Shape,
    layout: Layout,
    data: Arc<Memory>,
    sums: Option<Arc<Vec<f32>>>,
}

impl SimdTensor {
    pub(crate) fn new(shape: Shape, layout: Layout, data: impl Into<Memory>) -> Self {
        let data = data.into();
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

/// A tensor's elements, which start on a cache line, so that channels last a vector of them is in one line, and go back
/// to where they came from when the last handle is dropped.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    data: Buffer,
    home: Option<Recycled>,
}

impl From<&[f32]> for Memory {
    fn from(elements: &[f32]) -> Self {
        let mut data = Buffer::zeros(elements.len());
        data.as_mut_slice().copy_from_slice(elements);
        Self { data, home: None }
    }
}

impl From<Vec<f32>> for Memory {
    fn from(elements: Vec<f32>) -> Self {
        Self::from(elements.as_slice())
    }
}

impl Deref for Memory {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.data.as_slice()
    }
}

impl Memory {
    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        self.data.as_mut_slice()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.give(std::mem::take(&mut self.data));
        }
    }
}

/// The memory of a stream's dropped outputs, a bounded number of pieces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recycled(Arc<Mutex<Vec<Buffer>>>);

impl Recycled {
    /// Pieces kept: more than a network holds at once.
    const KEPT: usize = 16;

    /// `len` floats of unspecified value, to be written before they are read.
    pub(crate) fn take(&self, len: usize) -> Memory {
        let mut pieces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The tightest piece that isn't twice too large.
        let bytes = len * size_of::<f32>();
        let fitting = pieces
            .iter()
            .enumerate()
            .filter(|(_, piece)| (bytes..2 * bytes.max(LINE)).contains(&piece.bytes()));
        let mut data = match fitting.min_by_key(|(_, piece)| piece.bytes()).map(|(i, _)| i) {
            Some(i) => pieces.swap_remove(i),
            None => Buffer::default(),
        };
        // Zeroed pages cost nothing until they are touched.
        data.scratch(len);
        Memory { data, home: Some(self.clone()) }
    }

    fn give(&self, data: Buffer) {
        let mut pieces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pieces.len() == Self::KEPT {
            pieces.remove(0);
        }
        pieces.push(data);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_memory_is_used_again_where_it_fits() {
        let recycled = Recycled::default();
        let first = recycled.take(100);
        let place = first.as_ptr();
        drop(first);
        assert_ne!(recycled.take(10).as_ptr(), place, "ten times too large");
        let again = recycled.take(90);
        assert_eq!((again.as_ptr(), again.len()), (place, 90));
        assert_ne!(recycled.take(90).as_ptr(), place, "in use");
    }

    #[test]
    fn no_more_than_a_bounded_number_of_pieces_is_kept() {
        let recycled = Recycled::default();
        let many: Vec<Memory> = (0..100).map(|_| recycled.take(8)).collect();
        drop(many);
        assert_eq!(recycled.0.lock().unwrap().len(), Recycled::KEPT);
    }
}
