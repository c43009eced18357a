//! The Keras layer `DyConv2D`: its arguments and its `get_config` JSON.
//!
//! ```
//! use dyconv_core::{Activation, Padding, keras};
//!
//! // As in Keras: DyConv2D(64, 3, num_experts=4, padding="same", activation="relu")
//! let layer = keras::DyConv2D::new(64, 3, 4).padding(Padding::Same).activation(Activation::Relu);
//! let config = layer.build(32)?; // 32 input channels
//! assert_eq!(config.experts(), 4);
//!
//! let json = layer.to_json()?;
//! assert_eq!(keras::DyConv2D::from_json(&json)?, layer);
//! # Ok::<(), dyconv_core::Error>(())
//! ```
//!
//! # What it means
//! An MLP head with as many hidden units as experts, softmax at temperature 1, batch norm with Keras's
//! numbers ([`BatchNorm::KERAS`](crate::BatchNorm::KERAS)), then the activation. Weights of a trained layer come in through
//! [`foreign::keras`](crate::foreign::keras()).
//!
//! Names have Keras 2's meanings, whichever of its libraries wrote them: `leaky_relu` by name has slope 0.2 and
//! as a layer object 0.3, `hard_sigmoid` is clip(0.2x + 0.5, 0, 1), `gelu` the exact one. One exception: JSON that
//! Keras 3 wrote, known by a `dtype` that is an object, means Keras 3's `hard_sigmoid`, relu6(x + 3)/6.
//!
//! Initialisers act in [`Params::init`](crate::Params::init) through [`DyConv2D::initializers`]; an initialiser's own `seed`
//! is kept but not used, since Keras's numbers can't be drawn here. Regularisers and constraints are data
//! for training and don't act on a forward. Both are per expert, and the bias has its own.
//!
//! What can't be expressed is refused by name, in both directions; unknown keys are refused.

mod activation;
mod initializer;
mod json;
mod layer;
mod object;
mod rules;

pub use layer::{DyConv2D, KerasInitializer, Pair};
