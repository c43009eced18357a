//! Training behind the same seam: what a machine must do to learn, and the contract it does it under.

mod gradients;
mod moments;
mod rules;
mod step;
mod tape;

pub use gradients::{Backward, Gradients};
pub(crate) use moments::check_map;
pub use moments::{MomentValues, ParamMap};
pub use rules::{Rule, Rules};
pub use step::{Optimizer, Step};
pub use tape::{Generation, Recorded, Tape};

use std::fmt::Debug;
use std::future::Future;

use super::{Backend, Call, MaybeSend, MaybeSync, Output, Plan, Pool};
use crate::{Handle, Params, Prepared, Result, Shape, reference};

/// A backend that trains.
///
/// A training step of one layer is [`Train::forward_train`], [`Train::backward`] and [`Train::step`]; between them
/// everything stays where the backend computes: the tape, gradients, moments and the parameters themselves.
///
/// ```
/// use dyconv_core::{
///     Backend, Backward, Call, DyConv2d, Layout, Optimizer, Options, Params, Prepare, Reference, Shape, Step, Tensor,
///     Train,
/// };
///
/// let params = Params { weight: vec![2.0], bias: None, attention: None, batch_norm: None };
/// let layer = DyConv2d::new(Options::new(1, 1).build()?, params)?;
/// let backend = Reference::default();
/// let mut stream = backend.stream()?;
/// let mut layer = backend.prepare(&layer, &Prepare::default().trainable(true))?;
/// let mut moments = backend.moments(&layer, &Optimizer::SGD)?;
///
/// let x = Tensor::new(Shape::new(1, 1, 1, 1)?, Layout::Nchw, vec![3.0])?;
/// let x = backend.upload(&mut stream, x.view())?;
/// let (y, tape) = backend.forward_train(&mut stream, &mut layer, &Call::new(&x))?;
/// // Of the loss y²/2 the output's gradient is y itself.
/// let gradients = backend.backward(&mut stream, &layer, tape, &Backward::new(&y.output), None)?;
/// backend.step(&mut stream, &mut layer, &gradients.params, &mut moments, &Step::new(Optimizer::SGD, 0.1))?;
/// // w − 0.1·(w·x)·x = 2 − 0.1·18.
/// assert_eq!(backend.params(&mut stream, &layer)?.weight, [0.2]);
/// # Ok::<(), dyconv_core::Error>(())
/// ```
///
/// # Contract
/// - *Trainable.* A layer prepared with [`Prepare::trainable`](crate::Prepare::trainable) keeps batch norm unfolded
///   and its parameters as f32 that can be read back bit for bit, in whatever order its kernels like. Every method
///   here that takes a layer refuses another one. A trainable layer also serves [`Backend::forward`].
/// - *Forward* computes what [`Backend::forward`] does, and records it. With batch statistics it also moves the
///   layer's running statistics, in place: running ← keep·running + (1 − keep)·batch, with the variance that the
///   configuration asks for. Where it fails, nothing has moved.
/// - *Tape.* It keeps what backward needs and no more: handles of input and, for batch norm, the convolution's
///   output, what the activation's derivative needs (the output for relu, the preactivation for most), π and the
///   head's small values, the mean and variance that batch norm used. Never an aggregated kernel: W~ is recomputed
///   from π, tile by tile, which costs K/(OH·OW) of the convolution instead of N kernels of memory.
///   [`Tape::bytes`] says how many bytes it keeps alive: no more than
///   8·(input + 3·output + N·(Cin + 2·hidden + 2·K) + 2·Cout) for these numbers of elements.
/// - *A tape is of one layer and of its parameters as they were*: after a step of that layer it is refused. A layer
///   that a network uses twice records two tapes, and is stepped after both. Running statistics may move meanwhile.
/// - *Backward* gives the gradients of L = Σ g ⊙ output, in the words of [`Gradients`]; where `onto` is given, it
///   adds the parameters' ones to those: layers used twice, and batches too large for memory. A head that the call
///   overrode with a given π gets gradients of 0.
/// - *Parameters' gradients and moments* lie in the order of the packed parameters, which is the backend's own affair:
///   a pass over one tile of dW~ can add π·dW~ to every expert's gradient and take <dW~, W_k>, and a step is one pass
///   over parameters, gradients and moments. [`Train::gradients`] and the like bring them home by name, for
///   checkpoints and for people; nothing else reads back.
/// - *Step* is data ([`Step`]): see there for the arithmetic and its order. Where it is refused, nothing has changed.
///   Gradients that aren't finite are arithmetic too: the parameters then aren't, either.
/// - *The same bits*: two runs, and 1 and N threads, give the same gradients and the same parameters; parameters,
///   running statistics and moments read back and put into a new layer continue as the old one would have.
/// - *NaN and infinity* in one sample's g, input or attention touch no other sample's gradients of input, residual and
///   attention (without batch statistics, which mix samples).
/// - *An empty batch* has gradients of 0 for every parameter, and empty ones for its tensors.
/// - A layer that isn't dense in its own layout needs nothing special: the backward of [`Backend::relayout`] is
///   `relayout` back.
///
/// The feature `testing` holds a backend to all of this: `dyconv_core::training_tests!` makes one test per law.
pub trait Train: Backend {
    /// What one forward leaves for its backward.
    type Tape: Tape;
    /// The gradients of a layer's parameters, in the order of the packed parameters.
    type ParamGradients: Debug + MaybeSend + MaybeSync + 'static;
    /// An optimiser's state for one layer, beside its parameters.
    type Moments: Debug + MaybeSend + MaybeSync + 'static;

    /// Whether it really trains: false for a backend chosen at run time that doesn't, whose methods here
    /// are all [`crate::Error::Unsupported`].
    fn trains(&self) -> bool {
        true
    }

    /// Runs a layer, moves its running statistics where the call takes the batch's, and records what
    /// backward needs.
    ///
    /// # Errors
    /// Where the layer isn't trainable, the call doesn't fit it, or the device fails.
    fn forward_train(
        &self,
        stream: &mut Self::Stream,
        layer: &mut Self::Layer,
        call: &Call<'_, Self::Tensor>,
    ) -> Result<(Output<Self::Tensor>, Self::Tape)>;

    /// The gradients of one recorded run. The parameters' ones are added to `onto`, where that is given.
    ///
    /// # Errors
    /// Where the tape isn't of this layer as it is, a tensor doesn't fit it, or the device fails.
    fn backward(
        &self,
        stream: &mut Self::Stream,
        layer: &Self::Layer,
        tape: Self::Tape,
        call: &Backward<'_, Self::Tensor>,
        onto: Option<Self::ParamGradients>,
    ) -> Result<Gradients<Self::Tensor, Self::ParamGradients>>;

    /// The gradient of a pool's input `x`, from that of its output. The provided form goes through the host.
    ///
    /// Of equal maxima the first of a window, row by row, takes all; a NaN counts as a maximum, and of several
    /// NaN the last takes it, as in the forward. Windows that overlap add up.
    ///
    /// # Errors
    /// Where the window doesn't fit, the gradient isn't of the pool's output, or the device fails.
    fn pool_backward(
        &self,
        stream: &mut Self::Stream,
        x: &Self::Tensor,
        kind: &Pool,
        gradient: &Self::Tensor,
    ) -> Result<Self::Tensor> {
        let host = self.through_host(stream, x)?;
        let gradient = self.through_host(stream, gradient)?;
        let dx = reference::pool_backward(host.view(), kind, gradient.view())?;
        self.upload(stream, dx.view())
    }

    /// One step of an optimiser: changes the prepared layer's parameters, and the moments, in place.
    ///
    /// # Errors
    /// Where the layer isn't trainable, the step is impossible for it, the moments are of another optimiser,
    /// or the device fails.
    fn step(
        &self,
        stream: &mut Self::Stream,
        layer: &mut Self::Layer,
        gradients: &Self::ParamGradients,
        moments: &mut Self::Moments,
        step: &Step,
    ) -> Result<()>;

    /// An optimiser's state before its first step.
    ///
    /// # Errors
    /// Where the layer isn't trainable, or the device is out of memory.
    fn moments(&self, layer: &Self::Layer, optimizer: &Optimizer) -> Result<Self::Moments>;

    /// An optimiser's state from a checkpoint.
    ///
    /// # Errors
    /// Where the values aren't of this layer and optimiser, or the device fails.
    fn load_moments(
        &self,
        stream: &mut Self::Stream,
        layer: &Self::Layer,
        optimizer: &Optimizer,
        values: &MomentValues,
    ) -> Result<Self::Moments>;

    /// A layer's numbers as they are now, running statistics included. Preparing a layer with them goes on from here.
    ///
    /// # Errors
    /// Where the layer isn't trainable, or the device fails.
    fn params_async<'a>(
        &'a self,
        stream: &'a mut Self::Stream,
        layer: &'a Self::Layer,
    ) -> impl Future<Output = Result<Params>> + MaybeSend + 'a;

    /// Gradients by the names of [`crate::ParamSpec`].
    ///
    /// # Errors
    /// Where the gradients aren't this layer's, or the device fails.
    fn gradients_async<'a>(
        &'a self,
        stream: &'a mut Self::Stream,
        layer: &'a Self::Layer,
        gradients: &'a Self::ParamGradients,
    ) -> impl Future<Output = Result<ParamMap>> + MaybeSend + 'a;

    /// An optimiser's state, for a checkpoint.
    ///
    /// # Errors
    /// Where the moments aren't this layer's, or the device fails.
    fn moment_values_async<'a>(
        &'a self,
        stream: &'a mut Self::Stream,
        layer: &'a Self::Layer,
        moments: &'a Self::Moments,
    ) -> impl Future<Output = Result<MomentValues>> + MaybeSend + 'a;

    /// As [`Train::params_async`], but waits.
    ///
    /// # Errors
    /// As there.
    #[cfg(not(target_family = "wasm"))]
    fn params(&self, stream: &mut Self::Stream, layer: &Self::Layer) -> Result<Params> {
        pollster::block_on(self.params_async(stream, layer))
    }

    /// As [`Train::gradients_async`], but waits.
    ///
    /// # Errors
    /// As there.
    #[cfg(not(target_family = "wasm"))]
    fn gradients(
        &self,
        stream: &mut Self::Stream,
        layer: &Self::Layer,
        gradients: &Self::ParamGradients,
    ) -> Result<ParamMap> {
        pollster::block_on(self.gradients_async(stream, layer, gradients))
    }

    /// As [`Train::moment_values_async`], but waits.
    ///
    /// # Errors
    /// As there.
    #[cfg(not(target_family = "wasm"))]
    fn moment_values(
        &self,
        stream: &mut Self::Stream,
        layer: &Self::Layer,
        moments: &Self::Moments,
    ) -> Result<MomentValues> {
        pollster::block_on(self.moment_values_async(stream, layer, moments))
    }

    /// What [`Train::backward`] would do for an input of this shape: name, predicted cost and memory,
    /// error contract.
    ///
    /// # Errors
    /// Where the input doesn't fit the layer.
    fn plan_backward(&self, layer: &Self::Layer, input: Shape) -> Result<Plan> {
        Plan::generic_backward(layer.config(), input, self.info().accuracy)
    }
}

/// Refuses a layer that wasn't prepared to be trained. Every method of [`Train`] that takes a layer starts with this.
///
/// # Errors
/// Where it wasn't.
pub fn check_trainable(layer: &impl Prepared) -> Result<()> {
    if layer.how().trainable {
        return Ok(());
    }
    Err(crate::Error::invalid("layer", "prepared for inference", "one prepared as trainable"))
}

pub(super) fn check_tensor(
    name: &str,
    tensor: &impl Handle,
    shape: Shape,
    layout: crate::Layout,
) -> Result<()> {
    super::call::check_shape(name, tensor, shape)?;
    super::call::check_layout(name, tensor, layout)
}
