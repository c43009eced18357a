//! Dynamic convolution.
