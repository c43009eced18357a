//! Bring your own weights: layers out of other frameworks' state.
//!
//! A [`Config`](crate::Config) says what the layer is, since no framework's state says it all (stride,
//! padding, activation; `PyTorch` ports don't save the temperature either); a [`StateDict`] holds the
//! numbers under the framework's own names and in its own shapes. One function per framework holds
//! the one against the other:
//!
//! | function | experts | head |
//! | --- | --- | --- |
//! | [`keras()`] | `kernel` `[K, kh·kw·I·O]`, `bias` | `dense/*`, `dense_1/*`; `batch_normalization/*` |
//! | [`torch_paper`] | `weight` `[K, O, I/G, kh, kw]`, `bias` | `attention.fc1.*`, `attention.fc2.*` |
//! | [`torch_scores`] | `kernels_weights` `[K, O, I/G, kh, kw]`, `kernels_bias` | `attention.to_scores.0.*`, `attention.to_scores.2.*` |
//! | [`timm`] | `weight` `[K, O·I/G·kh·kw]`, `bias` | `routing_fn.*` |
//!
//! ```no_run
//! use dyconv_core::foreign::{self, StateDict};
//! use dyconv_core::{Attention, Options, Padding, Squash, hidden};
//!
//! let network = StateDict::open("network.safetensors")?;
//! let config = Options::new(64, 128)
//!     .kernel_size([3, 3])
//!     .padding(Padding::symmetric([1, 1]))
//!     .experts(4)
//!     .bias(true)
//!     .attention(Attention::Mlp {
//!         hidden: hidden::torch_port(64, 0.25, 4),
//!         squash: Squash::Softmax { temperature: 1.0 },
//!     })
//!     .build()?;
//! let layer = foreign::torch_paper(network.under("layer1.conv."), &config)?;
//! # Ok::<(), dyconv_core::Error>(())
//! ```
//!
//! Every tensor of the state must be used; head biases may be absent. `PyTorch` layers are followed by
//! their batch norm, where the configuration has one, as `bn.weight`, `bn.bias`, `bn.running_mean` and
//! `bn.running_var`: put it there with [`StateDict::with`].

mod keras;
mod state;
mod timm;
mod torch;

pub use keras::keras;
pub use state::{ForeignTensor, StateDict};
pub use timm::timm;
pub use torch::{torch_paper, torch_scores};
