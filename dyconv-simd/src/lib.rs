//! Dynamic convolution on CPUs: experts packed once, aggregated in packed form, vectors chosen at run time.
//!
//! For every sample of a batch, with K expert kernels `W_k` and attention weights π computed from the input:
//!
//! ```text
//! y = activate( normalize( (Σ π_k·W_k) ⋆ x + Σ π_k·b_k ) + residual )
//! ```
//!
//! ```
//! use dyconv_core::{Attention, Backend, DyConv2d, Layout, Options, Params, Shape, Tensor, HeadParams, Dense};
//! use dyconv_simd::SimdBackend;
//!
//! // Two 1×1 experts, ×1 and ×3; the head looks at the mean of the input.
//! let config = Options::new(1, 1).experts(2).attention(Attention::mlp(1)).build()?;
//! let fc1 = Dense { weight: vec![1.0], bias: None };
//! let fc2 = Dense { weight: vec![0.0, 0.0], bias: None };
//! let attention = Some(HeadParams { fc1: Some(fc1), fc2 });
//! let layer = DyConv2d::new(config, Params { weight: vec![1.0, 3.0], bias: None, attention, batch_norm: None })?;
//!
//! let x = Tensor::new(Shape::new(1, 1, 1, 2)?, Layout::Nchw, vec![1.0, 5.0])?;
//! let y = SimdBackend::new()?.run(&layer, &x)?;
//! assert_eq!(y.data(), [2.0, 10.0]); // equal logits: the mean of the experts
//! # Ok::<(), dyconv_core::Error>(())
//! ```
//!
//! # How it works
//!
//! *Prepare* packs the experts in the order that a kernel reads them (`pack`), with batch norm's scale folded in. *Run*
//! chooses a plan for the image size (`plan`: direct, pointwise, depthwise, Winograd, or mixing, below), pools the input,
//! computes π, and then, for every sample and block of output channels, aggregates a panel of weights that stays in cache and runs
//! register tiles over the pixels, which add bias and residual and activate as they store. Where the output has a pixel or
//! two, it is less to convolve with every expert and to mix the outputs by π. Kernels are generic over a small
//! trait of vector operations (`lanes`); nothing else is `unsafe` but one file through which threads write disjoint
//! columns of one output. Outputs are divided among threads, sums never, so results have the same bits with any number
//! of them.
//!
//! # Experts in 16 bits
//!
//! With [`dyconv_core::Precision::Bf16`] or `F16` in [`dyconv_core::Prepare`] experts take half the memory, and a run reads
//! half the bytes, which is what counts where they exceed the caches. They are rounded to nearest even, with batch norm's
//! scale folded in; everything is still summed in f32, and biases, batch norm's shift and the attention head stay f32. A
//! weight beyond the format's range is refused by name. A layer to be trained is kept in f32, as small steps would be lost.
//!
//! # Training
//!
//! [`SimdBackend`] is [`dyconv_core::Train`]. A trainable layer keeps its experts twice, as the forward reads them and
//! mirrored, so that the input's gradient is a convolution of g by the forward's own kernels. dW~ is a correlation in
//! register tiles, for a few samples at a time; while a tile of it is in cache, π·dW~ is added to the experts' gradients and
//! <dW~, W_k> taken for π. Gradients and moments lie in the order of the packed experts, and a step moves all in place.
//!
//! # Choice
//!
//! | | builder | environment | default |
//! | --- | --- | --- | --- |
//! | instructions | [`Builder::isa`] | `DYCONV_ISA=portable\|avx2\|avx512` | the best there is |
//! | threads | [`Builder::threads`], [`Builder::pool`] | `DYCONV_THREADS=n` | rayon's current pool |
//!
//! The portable vectors are what the build target has (SSE2 on x86-64, NEON on aarch64, simd128 in a browser).
//!
//! # Current limits
//!
//! AVX-512 and AVX2 need x86-64; elsewhere there are the portable vectors.

#![deny(unsafe_code)]

mod backend;
mod buffer;
mod builder;
mod cache;
mod env;
mod forward;
mod isa;
mod kernels;
mod lanes;
mod layer;
mod pack;
#[doc(hidden)]
pub mod peak;
mod plan;
mod store;
mod stream;
mod tensor;
mod threads;
mod train;

pub use backend::{SimdBackend, Written};
pub use builder::Builder;
pub use isa::Isa;
pub use layer::SimdLayer;
#[doc(hidden)]
pub use plan::Kernel;
pub use stream::SimdStream;
pub use tensor::SimdTensor;
pub use train::{SimdGradients, SimdMoments, SimdTape};
