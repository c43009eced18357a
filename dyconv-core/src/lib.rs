//! Dynamic convolution (Chen et al., CVPR 2020): the layer, the [`Backend`] seam and the reference mathematics.
//!
//! K parallel kernels, the *experts*, are mixed for every sample with attention weights π that a small head computes
//! from the input:
//!
//! ```text
//! π = squash(head(mean(x)))    W~ = Σ π_k·W_k    b~ = Σ π_k·b_k
//! y = activate( normalize( W~ ⋆ x + b~ ) + residual )
//! ```
//!
//! ```
//! use dyconv_core::{Attention, Backend, DyConv2d, Initializers, Layout, Options, Padding, Params};
//! use dyconv_core::{Reference, Shape, Tensor, hidden};
//!
//! let config = Options::new(8, 12)
//!     .kernel_size([3, 3])
//!     .padding(Padding::Same)
//!     .experts(4)
//!     .attention(Attention::mlp(hidden::paper(8)))
//!     .build()?;
//! let layer = DyConv2d::new(config, Params::init(&config, &Initializers::default(), 42)?)?;
//! let image = Tensor::zeros(Shape::new(1, 8, 16, 16)?, Layout::Nchw);
//! let output = Reference::default().run(&layer, &image)?;
//! assert_eq!(output.shape(), Shape::new(1, 12, 16, 16)?);
//! # Ok::<(), dyconv_core::Error>(())
//! ```
//!
//! # How the pieces fit
//!
//! [`Options`] are asked for and proven into a [`Config`]; with matching [`Params`] (initialised from a seed, or brought
//! from another framework: [`foreign`], [`keras`]) it makes a [`DyConv2d`]. A [`Backend`] *prepares* the layer once and
//! runs it many times on tensors that stay where it computes; [`Call`] says what may vary from run to run. [`AnyBackend`]
//! is a backend chosen at run time; one that also learns is [`Train`]. [`Reference`] is the backend that defines right. [`case`](mod@case) files carry a layer, an input
//! and its expected results between frameworks. [`Cost`] is what a layer costs on paper.
//!
//! # Features
//!
//! - `ndarray`: views from and to ndarray arrays.
//! - `testing`: the conformance suite that every backend must pass, ours or yours. Exempt from semver.
//!
//! # Current limits
//!
//! Two-dimensional convolutions.

#![forbid(unsafe_code)]

mod accuracy;
mod backend;
pub mod case;
mod config;
pub mod container;
mod cost;
mod error;
#[cfg(feature = "ndarray")]
pub mod interop_ndarray;
pub mod keras;
mod layer;
mod params;
pub mod reference;
pub mod round;
mod shape;
mod tensor;
#[cfg(all(feature = "testing", not(target_family = "wasm")))]
pub mod testing;

pub use accuracy::{Accuracy, Spread, Tolerance};
pub use backend::{
    AnyBackend, AnyLayer, AnyMoments, AnyParamGradients, AnyStream, AnyTape, AnyTensor, AttentionSource,
    Backend, Backward, Call, CheckedCall, Generation, Gradients, Handle, Info, MaybeSend, MaybeSync,
    MomentValues, Optimizer, Output, ParamMap, Plan, Pool, Precision, Prepare, Prepared, Recorded, Rule,
    Rules, Step, Tape, Train, check_trainable,
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
