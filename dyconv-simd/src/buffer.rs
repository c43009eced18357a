//! Floats that start on a cache line, so that a whole vector never straddles two.

use bytemuck::{Pod, Zeroable};

const LINE: usize = 16;

/// A cache line.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([f32; LINE]);

/// A growing buffer of floats, aligned to a cache line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        Self { lines: vec![Line([0.0; LINE]); len.div_ceil(LINE)], len }
    }

    /// A copy of `floats`.
    pub(crate) fn from_slice(floats: &[f32]) -> Self {
        let mut buffer = Self::zeros(floats.len());
        buffer.as_mut_slice().copy_from_slice(floats);
        buffer
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }

    /// At least `len` floats of unspecified value, to be written before they are read.
    pub(crate) fn scratch(&mut self, len: usize) -> &mut [f32] {
        let lines = len.div_ceil(LINE);
        if lines > self.lines.len() {
            // What is there needn't be copied.
            self.lines = vec![Line([0.0; LINE]); lines];
        }
        self.len = len;
        self.as_mut_slice()
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_on_a_line_and_keeps_its_length() {
        let mut buffer = Buffer::zeros(17);
        assert_eq!(buffer.as_slice(), [0.0; 17]);
        for len in [0, 1, 16, 1000, 5] {
            let floats = buffer.scratch(len);
            assert_eq!(floats.len(), len);
            assert_eq!(floats.as_ptr().align_offset(64), 0);
        }
        assert_eq!(buffer.bytes(), 63 * 64);
    }
}
