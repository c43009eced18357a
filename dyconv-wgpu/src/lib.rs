//! Dynamic convolution on any GPU that wgpu reaches, in WGSL compute shaders within WebGPU's default limits.
//!
//! ```text
//! y[n] = (Σ_k π[n,k]·W_k) ⋆ x[n] + Σ_k π[n,k]·b_k,   π[n] = softmax(head(mean(x[n])) / T)
//! ```
//!
//! ```no_run
//! use dyconv_core::{Backend, Call, DyConv2d, Prepare, Result, Tensor};
//! use dyconv_wgpu::WgpuBackend;
//!
//! fn two_layers(first: &DyConv2d, second: &DyConv2d, image: &Tensor) -> Result<Tensor> {
//!     let backend = WgpuBackend::new()?;
//!     let first = backend.prepare(first, &Prepare::default())?;
//!     let second = backend.prepare(second, &Prepare::default())?;
//!
//!     // Everything between upload and download stays on the device and is one submission.
//!     let mut stream = backend.stream()?;
//!     let x = backend.upload(&mut stream, image.view())?;
//!     let y = backend.forward(&mut stream, &first, &Call::new(&x).emit_sums(true))?.output;
//!     let z = backend.forward(&mut stream, &second, &Call::new(&y))?.output;
//!     backend.download(&mut stream, &z)
//! }
//! ```
//!
//! # How the pieces fit
//! - A [`WgpuBackend`] owns a device: the preferred adapter's, the one named by its builder or by
//!   `DYCONV_WGPU_ADAPTER` (a part of its name), or [the caller's own](WgpuBuilder::build_on).
//!   `DYCONV_WGPU_LIMITS=default` asks for WebGPU's default limits instead of the adapter's; wgpu's own
//!   `WGPU_BACKEND` chooses among APIs. [`adapters`] lists what there is.
//! - A prepared [`WgpuLayer`] holds the experts in the order that the convolution reads, uploaded once.
//! - A [`WgpuStream`] records commands as plain data. [`finish`](dyconv_core::Backend::finish) or a download encodes them: one
//!   encoder, one compute pass between copies, one submission. A recording like one before it, over the same resident
//!   input, makes nothing new: buffers, kernel parameters and bind groups are found again, in bounded caches.
//!   [`finish_timed`](WgpuBackend::finish_timed) says how long each kernel took.
//! - A [`WgpuTensor`] is a handle. The last clone's drop gives its buffer back, at once to later commands of
//!   the same stream and to others once that stream was submitted.
//! - Per layer at most four kernels run: pool, attention, aggregate and convolve, the last one with bias, batch norm,
//!   residual and activation in its epilogue. Where few tiles share a kernel, they aggregate experts as they load
//!   them; where there are few tiles, several workgroups share an output's sum, and where it is too long for one
//!   dispatch several take it in turn: a fifth kernel then joins its parts in a fixed order. Depthwise layers, and
//!   groups (or layers) of few output channels, go without tiles: a thread keeps some outputs in registers. 3×3
//!   layers of many channels and pixels go by Winograd's tiles: their kernels and input are transformed, multiplied
//!   as a 1×1 convolution, and transformed back. Batch norm that isn't folded takes one more kernel, and the batch's
//!   statistics four. A layer asked to [emit sums](dyconv_core::Call::emit_sums) has whichever kernel finishes its
//!   outputs (tiles, depthwise, that of narrow groups, Winograd's last, the one that joins parts) add them, so that
//!   the next layer's pool is a small reduction. It is a pass over the output only where outputs aren't final then
//!   (batch norm that isn't folded, an activation whose input is kept for training), and where reading them again
//!   costs less than padding tiles to whole samples would, in a static layer.
//! - Which tile, and how the rest is done, is chosen from configuration, shape and limits, never by timing;
//!   `plan` says it in words and figures. Activation, stride, padding and so on are uniforms: a pipeline is made when
//!   first needed, and serves many layers.
//! - Where threads of a workgroup add or compare what each has (pool, attention, emitted sums), they do so by subgroups on
//!   a device that has them, unless [the builder](WgpuBuilder::subgroups) says no; in workgroup memory on any other.
//! - Experts may be stored in [16 bits](dyconv_core::Precision): two to a word on any device, or as the device's own
//!   `f16` where it has one. So may [activations](WgpuBuilder::activations), for a backend as a whole: every tensor that
//!   is uploaded, and every output, is then rounded once, half a unit in its last place: |y|·2⁻¹¹ + 2⁻²⁵ beside what f32
//!   sums are off by. Sums are f32 either way, parts of them between kernels, too.
//! - It trains ([`Train`](dyconv_core::Train)): parameters, gradients and moments stay on the device, in the order of
//!   the packed experts. A backward takes the batch in parts whose kernels, or their gradients, stay within a
//!   quarter of the memory budget; sums are added in a fixed order, never atomically. A training step is recorded like a
//!   forward, and reads nothing back.
//!
//! # Limits and errors
//! Bindings beyond the device's limit are split by samples, dispatches beyond it are folded; what can't be
//! split is [`Error::LimitExceeded`](dyconv_core::Error::LimitExceeded) by name. Memory beyond
//! [the budget](WgpuBuilder::memory_budget) is `Error::OutOfMemory`. A lost device is `Error::DeviceLost` from
//! every later call: make a new backend and prepare again. Waits end after [a timeout](WgpuBuilder::timeout).
//!
//! # Features
//! Off by default, each adds one of wgpu's APIs to Vulkan: `metal`, `dx12`, `gles`, `webgpu` (the browser).
//! In a browser nothing blocks: use `build_async` and `download_async`.
//!
//! # Current limits
//! - Beside activations in f16 nothing trains. Batches are split as if their activations were floats, since parts of their
//!   sums are.
//! - A trainable layer may be used by several streams, but a step waits for the others to have finished: it is an
//!   error otherwise.
//! - WGSL lets a compiler assume that NaN and infinity don't occur. Kernels are written so that they pass
//!   through as in IEEE arithmetic, which the software driver honours; other drivers may not.
//! - Results are bitwise repeatable on one device and driver; across devices they agree within tolerance.
//! - The error contract is [`Accuracy::Gpu`](dyconv_core::Accuracy::Gpu), or Winograd's where a plan says so: `exp` and
//!   `erf` are polynomials of its own, division is WGSL's (2.5 ulp).
//! - Off the web, `download_async` blocks in its first poll, since nothing else drives the device there.

#![forbid(unsafe_code)]

mod adapter;
mod backend;
mod bound;
mod builder;
mod choice;
mod context;
mod describe;
mod env;
mod faults;
mod kernel;
mod layer;
mod limits;
mod memory;
mod narrow;
mod origin;
mod pack;
mod params;
mod pipelines;
mod plan;
#[cfg(not(target_family = "wasm"))]
mod profile;
mod readback;
#[cfg(test)]
mod reflection;
mod stages;
mod stored;
mod stream;
mod tensor;
mod ticket;
mod tile;
mod train;
mod values;
mod winograd;

#[cfg(not(target_family = "wasm"))]
pub use adapter::adapters;
pub use adapter::{AdapterSummary, adapters_async};
pub use backend::WgpuBackend;
pub use builder::WgpuBuilder;
#[doc(hidden)]
pub use choice::Choice;
pub use layer::WgpuLayer;
pub use memory::MemoryUse;
#[cfg(not(target_family = "wasm"))]
pub use profile::KernelTime;
pub use stream::WgpuStream;
pub use tensor::WgpuTensor;
pub use train::{WgpuMoments, WgpuParamGradients, WgpuTape};
