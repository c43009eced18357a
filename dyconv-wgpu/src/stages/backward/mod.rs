//! The stages backwards, under the forward's names: activate → normalize → convolve and aggregate → attention, and
//! the gradients of pools between layers.

pub(crate) mod activate;
pub(crate) mod aggregate;
pub(crate) mod attention;
pub(crate) mod convolve;
pub(crate) mod normalize;
pub(crate) mod pool;
mod reduce;

pub(crate) use reduce::reduce;
