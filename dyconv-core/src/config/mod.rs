//! What a layer is, apart from its numbers: options that are asked for, a configuration that is proven.

mod activation;
mod attention;
mod geometry;
mod options;

pub use activation::Activation;
pub(crate) use attention::check_temperature;
pub use attention::{Attention, Squash, hidden};
pub use geometry::{Geometry, Padding};
pub use options::{BatchNorm, Config, Options};
