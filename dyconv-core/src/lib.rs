//! Dynamic convolution (Chen et al., CVPR 2020): the layer, the [`Backend`] seam and the reference mathematics.

#![forbid(unsafe_code)]

mod accuracy;
mod backend;
pub mod case;
mod config;
mod container;
mod cost;
mod error;
#[cfg(feature = "ndarray")]
pub mod interop_ndarray;
pub mod keras;
mod layer;
mod params;
pub mod reference;
mod shape;
mod tensor;
#[cfg(all(feature = "testing", not(target_family = "wasm")))]
pub mod testing;

pub use accuracy::{Accuracy, Tolerance};
pub use backend::{
    AnyBackend, AnyLayer, AnyStream, AnyTensor, AttentionSource, Backend, Call, CheckedCall, Handle, Info,
    MaybeSend, MaybeSync, Output, Plan, Pool, Precision, Prepare, Prepared,
};
pub use config::{Activation, Attention, BatchNorm, Config, Geometry, Options, Padding, Squash, hidden};
pub use cost::{Cost, CostRatio, StageCost};
pub use error::{Error, Result};
pub use layer::DyConv2d;
pub use params::{
    BatchNormParams, Constraint, Dense, Distribution, Fan, HeadParams, Initializer, Initializers, ParamSpec,
    Params, Regularizer, foreign,
};
pub use reference::Reference;
pub use shape::{Layout, Shape};
pub use tensor::{Tensor, TensorView};
