//! The stages, each in the file of its name: pool → attention → aggregate → convolve → normalize → activate.

pub(crate) mod activate;
pub(crate) mod aggregate;
pub(crate) mod ahead;
pub(crate) mod attention;
pub(crate) mod convolve;
pub(crate) mod depthwise;
pub(crate) mod direct;
pub(crate) mod normalize;
#[expect(unsafe_code, reason = "threads write disjoint columns of one interleaved output")]
pub(crate) mod output;
pub(crate) mod pool;
pub(crate) mod tile;
