//! Networks of dynamic convolutions, trained and run on any dyconv backend.
//!
//! A network is a list of [`Block`]s over the layers of `dyconv-core`: dynamic or static convolutions, residual
//! additions, pools, and a linear head, which is a static 1×1 layer on pooled channels. It is written against
//! [`Backend`](dyconv_core::Backend), and its training against [`Train`](dyconv_core::Train): weights, gradients and
//! moments stay where the backend computes, and what comes back in training is the logits.
//!
//! ```
//! use dyconv_core::{Activation, Attention, Backend, BatchNorm, Initializers, Layout, Options, Padding};
//! use dyconv_core::{Prepare, Reference, Shape, Tensor, hidden};
//! use dyconv_nn::{Architecture, Images, Model, Network, Rate, Recipe, Run, Trainer, evaluate};
//!
//! // Which half of the image is bright?
//! let pixels = Tensor::from_fn(Shape::new(12, 1, 4, 4)?, Layout::Nchw, |[n, _, y, x]| {
//!     let bright = if n % 2 == 0 { x < 2 } else { x >= 2 };
//!     if bright { 1.0 } else { 0.05 * ((n + y) % 3) as f32 }
//! });
//! let data = Images::new(pixels, (0..12).map(|n| n % 2).collect(), 2)?;
//!
//! let dynamic = Options::new(1, 4)
//!     .kernel_size([3, 3])
//!     .padding(Padding::Same)
//!     .experts(4)
//!     .attention(Attention::mlp(hidden::paper(4)))
//!     .batch_norm(BatchNorm::KERAS)
//!     .activation(Activation::Relu);
//! let architecture = Architecture::new([1, 4, 4]).convolution("stem", dynamic).classifier(4, 2);
//! let model = Model::init(architecture, &Initializers::default(), 1)?;
//!
//! let backend = Reference::default();
//! let recipe = Recipe { rate: Rate::cosine(0.2), ..Recipe::new(12, 4) };
//! let mut trainer = Trainer::new(&backend, &model, recipe, &data)?;
//! while let Some(step) = trainer.step()? {
//!     assert!(step.batch.loss.is_finite());
//! }
//! let history = &trainer.progress().history;
//! assert!(history[11].train.loss < history[0].train.loss);
//!
//! // What training leaves is a model: saved, opened, prepared for inference anywhere.
//! let trained = Model::from_bytes(&trainer.model()?.to_bytes()?)?;
//! let network = Network::new(&backend, &trained, &Prepare::default())?;
//! let metrics = evaluate(&network, &mut backend.stream()?, &data, 6, 0.0, &Run::default())?;
//! assert!(metrics.loss.is_finite());
//! # Ok::<(), dyconv_core::Error>(())
//! ```
//!
//! # How the pieces fit
//!
//! [`Architecture`] is asked for and proven into a [`Graph`]; with numbers and a temperature it is a [`Model`], in host
//! memory and on disk. A [`Network`] is what a backend makes of it. A [`Trainer`] moves a network over a [`Dataset`] by
//! a [`Recipe`] ([`Rate`], [`Temperature`], `dyconv-core`'s optimisers and rules); between any two steps it is a
//! [`Checkpoint`]. [`evaluate`](evaluate()), [`attention`] and [`ablate`] read a network out.
//!
//! Errors are `dyconv-core`'s, and name the layer.
//!
//! # Bigger networks
//!
//! The blocks are those that the paper's networks consist of. *DY-ResNet*: [`Block::Residual`] of two 3×3 layers with a
//! 1×1 shortcut where shapes change. *DY-MobileNetV2*: an inverted residual is a residual block of expand 1×1,
//! depthwise 3×3 and project 1×1, or the same three layers in a row where stride or channels differ. The *squeeze* of
//! DY-MobileNetV3 scales every channel of every sample, and that is a dynamic convolution, too: a depthwise 1×1 layer
//! with given attention and one-hot experts, whose π is the gate that two 1×1 layers compute from a global mean. As a
//! block it lowers to these three nodes; a node that reads π from a slot is all that the graph lacks for it, and the
//! gradient of π that a backward already gives goes back to that slot.
//!
//! # Current limits
//!
//! Classifiers: a network ends in one row of logits per image. Data sets lie in memory. In a browser, where nothing may
//! wait, networks are read from bytes and run, but not trained.

#![forbid(unsafe_code)]

mod architecture;
mod data;
mod error;
#[cfg(not(target_family = "wasm"))]
mod evaluate;
pub mod file;
mod fnv;
mod graph;
mod loss;
mod model;
mod network;
#[cfg(not(target_family = "wasm"))]
mod readout;
mod recipe;
mod schedule;
#[cfg(not(target_family = "wasm"))]
mod trainer;

pub use architecture::{Architecture, Block, Convolution};
pub use data::{Dataset, Images};
#[cfg(not(target_family = "wasm"))]
pub use evaluate::{Ablation, ablate, evaluate, logits};
#[cfg(not(target_family = "wasm"))]
pub use file::Checkpoint;
pub use graph::{Graph, LayerSpec};
pub use loss::{Metrics, Tally, cross_entropy, predicted, score};
pub use model::Model;
pub use network::{Answer, Network, NetworkGradients, Recording, Run};
#[cfg(not(target_family = "wasm"))]
pub use readout::{LayerAttention, attention};
pub use recipe::Recipe;
pub use schedule::{Decay, Position, Rate, Temperature, Unit};
#[cfg(not(target_family = "wasm"))]
pub use trainer::{End, EpochRecord, Event, Progress, StepRecord, Trainer};
