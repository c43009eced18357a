//! Convolution with virtual im2col: a zero-padded copy of the input, and a table of where each tap begins in it.

mod copy;
mod window;

pub(crate) use copy::{copy_pixels, copy_row};
pub(crate) use window::{Segment, Window};
