//! The stages, each in the file of its name: pool → attention → aggregate → convolve → normalize → activate.

pub(crate) mod across;
pub(crate) mod activate;
pub(crate) mod aggregate;
pub(crate) mod ahead;
#[expect(clippy::needless_range_loop, reason = "registers go by number in several arrays at once")]
pub(crate) mod attention;
pub(crate) mod backward;
pub(crate) mod convolve;
pub(crate) mod depthwise;
pub(crate) mod direct;
#[expect(clippy::needless_range_loop, reason = "registers go by number in several arrays at once")]
pub(crate) mod finish;
pub(crate) mod first;
pub(crate) mod grouped;
pub(crate) mod halved;
pub(crate) mod mixing;
pub(crate) mod normalize;
#[expect(unsafe_code, reason = "threads write disjoint columns of one interleaved output")]
pub(crate) mod output;
pub(crate) mod pool;
mod smooth;
pub(crate) mod tile;
#[expect(clippy::needless_range_loop, reason = "registers go by number in several arrays at once")]
pub(crate) mod winograd;
