//! A tensor in host memory, shared between handles.

use std::sync::Arc;

use dyconv_core::{Handle, Layout, Shape, Tensor, TensorView};

use crate::buffer::Buffer;

/// Bytes of a cache line.
const LINE: usize = 64;

/// A tensor of the SIMD backend: shared host memory, written once, perhaps with its own channel sums.
#[derive(Clone, Debug)]
pub struct SimdTensor {
    shape: Shape,
    layout: Layout,
    data: Arc<Buffer>,
    sums: Option<Arc<Buffer>>,
}

impl SimdTensor {
    pub(crate) fn new(shape: Shape, layout: Layout, data: Arc<Buffer>) -> Self {
        debug_assert_eq!(data.as_slice().len(), shape.len());
        Self { shape, layout, data, sums: None }
    }

    /// Attaches the sum of each channel, `[batch][channel]`.
    pub(crate) fn with_sums(self, sums: Option<Arc<Buffer>>) -> Self {
        Self { sums, ..self }
    }

    /// The elements, in layout order.
    #[must_use]
    pub fn data(&self) -> &[f32] {
        self.data.as_slice()
    }

    /// The sum of each channel, where they are known.
    pub(crate) fn sums(&self) -> Option<&Arc<Buffer>> {
        self.sums.as_ref()
    }

    pub(crate) fn source(&self) -> Source<'_> {
        Source { data: self.data(), sums: self.sums.as_ref().map(|sums| sums.as_slice()) }
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

impl From<Tensor> for SimdTensor {
    fn from(tensor: Tensor) -> Self {
        Self::new(tensor.shape(), tensor.layout(), Arc::new(Buffer::from_slice(tensor.data())))
    }
}

/// The memory of a stream's tensors, a bounded number of pieces, each used again when no handle has it any more.
///
/// Pieces start on a cache line, so that channels last a vector of them is in one line.
#[derive(Debug, Default)]
pub(crate) struct Recycled(Vec<Arc<Buffer>>);

impl Recycled {
    /// Pieces kept: more than a network in training holds at once, its tapes and parameters' gradients among them.
    const KEPT: usize = 256;

    /// A piece of `len` floats, which `write` finds with unspecified values and writes whole.
    pub(crate) fn fill(&mut self, len: usize, write: impl FnOnce(&mut [f32])) -> Arc<Buffer> {
        let mut piece = self.take(len);
        write(writable(&mut piece));
        self.keep(&piece);
        piece
    }

    /// `len` floats of unspecified value, to be written before they are read, and then [kept](Self::keep).
    pub(crate) fn take(&mut self, len: usize) -> Arc<Buffer> {
        // The tightest free piece that isn't twice too large.
        let bytes = len * size_of::<f32>();
        let fits = |piece: &mut Arc<Buffer>| {
            let held = Arc::get_mut(piece)?.bytes();
            (bytes..2 * bytes.max(LINE)).contains(&held).then_some(held)
        };
        let fitting = self.0.iter_mut().enumerate().filter_map(|(i, piece)| Some((fits(piece)?, i)));
        let mut piece = match fitting.min() {
            Some((_, i)) => self.0.remove(i),
            None => Arc::default(),
        };
        // Zeroed pages cost nothing until they are touched.
        Arc::make_mut(&mut piece).scratch(len);
        piece
    }

    /// Forgets a piece that was kept, so that whoever has it may change it.
    pub(crate) fn forget(&mut self, piece: &Arc<Buffer>) {
        self.0.retain(|kept| !Arc::ptr_eq(kept, piece));
    }

    /// Remembers a piece, for when its last handle is dropped.
    pub(crate) fn keep(&mut self, piece: &Arc<Buffer>) {
        if self.0.len() == Self::KEPT {
            self.0.remove(0);
        }
        self.0.push(piece.clone());
    }
}

/// The floats of a piece that was just taken.
pub(crate) fn writable(piece: &mut Arc<Buffer>) -> &mut [f32] {
    // Nobody else has it yet, so nothing is cloned.
    Arc::make_mut(piece).as_mut_slice()
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
        let mut recycled = Recycled::default();
        let first = recycled.fill(100, |floats| floats.fill(1.0));
        let place = first.as_slice().as_ptr();
        let handle = first.clone();
        drop(first);
        assert_ne!(recycled.take(90).as_slice().as_ptr(), place, "another handle has it");
        drop(handle);
        assert_ne!(recycled.take(10).as_slice().as_ptr(), place, "ten times too large");
        let again = recycled.take(90);
        assert_eq!((again.as_slice().as_ptr(), again.as_slice().len()), (place, 90));
        assert_ne!(recycled.take(90).as_slice().as_ptr(), place, "in use");
    }

    #[test]
    fn no_more_than_a_bounded_number_of_pieces_is_kept() {
        let mut recycled = Recycled::default();
        let many: Vec<_> =
            (0..2 * Recycled::KEPT).map(|_| recycled.fill(8, |floats| floats.fill(0.0))).collect();
        drop(many);
        assert_eq!(recycled.0.len(), Recycled::KEPT);
    }
}
