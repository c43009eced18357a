//! The one seam: what a machine must do to run layers, and the contract it does it under.

mod any;
mod call;
mod info;
mod train;

pub use any::{AnyBackend, AnyLayer, AnyMoments, AnyParamGradients, AnyStream, AnyTape, AnyTensor};
pub use call::{AttentionSource, Call, CheckedCall, Output};
pub use info::{Info, Plan, Pool, Precision, Prepare};
pub(crate) use train::check_map;
pub use train::{
    Backward, Generation, Gradients, MomentValues, Optimizer, ParamMap, Recorded, Rule, Rules, Step, Tape,
    Train, check_trainable,
};

use std::fmt::Debug;
use std::future::Future;

use crate::{Config, DyConv2d, Layout, Result, Shape, Tensor, TensorView, reference};

/// `Send`, except in a browser, where GPU handles can't be.
#[cfg(not(target_family = "wasm"))]
pub trait MaybeSend: Send {}
#[cfg(not(target_family = "wasm"))]
impl<T: Send + ?Sized> MaybeSend for T {}
/// `Send`, except in a browser, where GPU handles can't be.
#[cfg(target_family = "wasm")]
pub trait MaybeSend {}
#[cfg(target_family = "wasm")]
impl<T: ?Sized> MaybeSend for T {}

/// `Sync`, except in a browser, where GPU handles can't be.
#[cfg(not(target_family = "wasm"))]
pub trait MaybeSync: Sync {}
#[cfg(not(target_family = "wasm"))]
impl<T: Sync + ?Sized> MaybeSync for T {}
/// `Sync`, except in a browser, where GPU handles can't be.
#[cfg(target_family = "wasm")]
pub trait MaybeSync {}
#[cfg(target_family = "wasm")]
impl<T: ?Sized> MaybeSync for T {}

/// A tensor where a backend keeps it: a cheap handle, written once.
pub trait Handle: Clone + Debug + MaybeSend + MaybeSync + 'static {
    /// Extents.
    fn shape(&self) -> Shape;
    /// Order of the elements.
    fn layout(&self) -> Layout;
}

impl Handle for Tensor {
    fn shape(&self) -> Shape {
        Tensor::shape(self)
    }

    fn layout(&self) -> Layout {
        Tensor::layout(self)
    }
}

/// A layer as a backend made it: packed or uploaded once, shared by threads.
pub trait Prepared: Debug + MaybeSend + MaybeSync + 'static {
    /// The configuration it was prepared from.
    fn config(&self) -> &Config;
    /// How it was prepared.
    fn how(&self) -> &Prepare;
}

/// A machine that runs layers.
///
/// Networks, the benchmark and the conformance suite are written against this trait and never
/// know which backend they hold. A layer is prepared once and run many times; work goes through a
/// [`Backend::Stream`], one per thread, in order.
///
/// # Contract
/// - *Prepare.* Without an input shape in [`Prepare`], the packed order serves every shape. With
///   one it is a hint: another shape still works. `trainable` keeps batch norm unfolded, so that
///   calls with batch statistics are possible.
/// - *Forward* computes steps 1-7 of the layer for the call's input, in the layer's layout; see
///   [`Call`] for what may vary from run to run. Results don't depend on the number of threads:
///   two runs, and 1 and N threads, give the same bits.
/// - *Misfits are typed errors*, found by [`Call::check`] so that every backend finds the same ones:
///   π for a static layer, no π for a `given` one, a temperature where nothing uses it, a shape or
///   layout that isn't the layer's, batch statistics for a layer not prepared for them.
/// - *NaN and infinity* in an input follow IEEE arithmetic and touch no other sample.
/// - *An empty batch* gives an empty output; it owns no memory and dispatches nothing. With batch
///   statistics it is an error.
/// - *Memory.* A handle owns its memory and gives it back when the last clone is dropped. A GPU
///   buffer given back may be reused only by work recorded later, in recorded order, and an upload
///   into it is a copy recorded in that order, not an immediate write.
/// - *Errors of queued work* surface at [`Backend::finish`] or at a download, both of which submit.
/// - Caches (plans, pipelines, packings by shape) are bounded.
///
/// A backend that trains is [`Train`], too.
pub trait Backend: Debug + MaybeSend + MaybeSync + 'static {
    /// A tensor handle.
    type Tensor: Handle;
    /// A prepared layer.
    type Layer: Prepared;
    /// Ordered work and its mutable state: scratch on a CPU, an open recording on a GPU.
    type Stream: Debug + MaybeSend + 'static;

    /// Who this is: id, device, threads, error contract.
    fn info(&self) -> &Info;

    /// A new stream.
    ///
    /// # Errors
    /// Where the device is lost or out of memory.
    fn stream(&self) -> Result<Self::Stream>;

    /// Makes a layer ready to run here.
    ///
    /// # Errors
    /// Where the backend can't serve the precision, or the device refuses.
    fn prepare(&self, layer: &DyConv2d, how: &Prepare) -> Result<Self::Layer>;

    /// The plan that [`Backend::forward`] would choose for an input of this shape: name, predicted
    /// cost and memory, error contract.
    ///
    /// # Errors
    /// Where the input doesn't fit the layer.
    fn plan(&self, layer: &Self::Layer, input: Shape) -> Result<Plan> {
        Plan::generic(layer.config(), input, self.info().accuracy)
    }

    /// Brings a tensor from host memory.
    ///
    /// # Errors
    /// Where the device is lost or out of memory.
    fn upload(&self, stream: &mut Self::Stream, host: TensorView<'_>) -> Result<Self::Tensor>;

    /// Runs a prepared layer.
    ///
    /// # Errors
    /// Where the call doesn't fit the layer, or the device fails.
    fn forward(
        &self,
        stream: &mut Self::Stream,
        layer: &Self::Layer,
        call: &Call<'_, Self::Tensor>,
    ) -> Result<Output<Self::Tensor>>;

    /// Pools a tensor over its pixels, in its own layout. The provided form goes through the host.
    ///
    /// # Errors
    /// Where the window doesn't fit, or the device fails.
    fn pool(&self, stream: &mut Self::Stream, x: &Self::Tensor, kind: &Pool) -> Result<Self::Tensor> {
        let host = self.through_host(stream, x)?;
        self.upload(stream, reference::pool(host.view(), kind)?.view())
    }

    /// The same tensor in another layout. The provided form goes through the host.
    ///
    /// # Errors
    /// Where the device fails.
    fn relayout(&self, stream: &mut Self::Stream, x: &Self::Tensor, to: Layout) -> Result<Self::Tensor> {
        if x.layout() == to {
            return Ok(x.clone());
        }
        let host = self.through_host(stream, x)?;
        self.upload(stream, host.to_layout(to).view())
    }

    /// Submits what the stream holds and reports deferred errors.
    ///
    /// # Errors
    /// Those of the work submitted.
    fn finish(&self, stream: &mut Self::Stream) -> Result<()>;

    /// Brings a tensor back to host memory, after finishing the stream.
    ///
    /// # Errors
    /// Those of the work submitted, or of the copy.
    fn download_async<'a>(
        &'a self,
        stream: &'a mut Self::Stream,
        tensor: &'a Self::Tensor,
    ) -> impl Future<Output = Result<Tensor>> + MaybeSend + 'a;

    /// As [`Backend::download_async`], but waits.
    ///
    /// # Errors
    /// Those of the work submitted, or of the copy.
    #[cfg(not(target_family = "wasm"))]
    fn download(&self, stream: &mut Self::Stream, tensor: &Self::Tensor) -> Result<Tensor> {
        pollster::block_on(self.download_async(stream, tensor))
    }

    /// All of it in one line, for a first try: prepare, upload, forward, download.
    ///
    /// # Errors
    /// Those of its steps.
    #[cfg(not(target_family = "wasm"))]
    fn run(&self, layer: &DyConv2d, input: &Tensor) -> Result<Tensor> {
        let mut stream = self.stream()?;
        let prepared = self.prepare(layer, &Prepare::default().input(input.shape()))?;
        let x = self.upload(&mut stream, input.view())?;
        let y = self.forward(&mut stream, &prepared, &Call::new(&x))?;
        self.download(&mut stream, &y.output)
    }

    #[doc(hidden)]
    fn through_host(&self, stream: &mut Self::Stream, x: &Self::Tensor) -> Result<Tensor> {
        #[cfg(not(target_family = "wasm"))]
        return self.download(stream, x);
        #[cfg(target_family = "wasm")]
        {
            let _ = (stream, x);
            Err(crate::Error::Unsupported {
                backend: self.info().id.clone(),
                what: "pool or relayout through the host in a browser".into(),
            })
        }
    }
}
