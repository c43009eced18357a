//! The stages backwards, each in the file of its name. Convolve backwards has two results: dx, which is a convolution and
//! goes through the forward's kernels (`train/mirror.rs`), and dW~, which is a correlation and has its own.

pub(crate) mod activate;
pub(crate) mod aggregate;
pub(crate) mod attention;
pub(crate) mod convolve;
pub(crate) mod depthwise;
pub(crate) mod mirror;
pub(crate) mod normalize;
pub(crate) mod panels;
pub(crate) mod pool;
pub(crate) mod step;
