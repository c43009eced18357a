//! A backend chosen at run time. Itself a [`Backend`], so a network over it is the same code and
//! its tensors stay where they are.

use std::any::Any;
use std::fmt::{self, Debug};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

mod train;

pub use train::{AnyMoments, AnyParamGradients, AnyTape};

use super::train::Train;
use super::{Backend, Call, Handle, Info, MaybeSend, MaybeSync, Output, Plan, Pool, Prepare, Prepared};
use crate::{Config, DyConv2d, Error, Layout, Result, Shape, Tensor, TensorView};

#[cfg(not(target_family = "wasm"))]
type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
#[cfg(target_family = "wasm")]
type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Anything that may cross threads where handles may.
trait Erased: Any + MaybeSend {}
impl<T: Any + MaybeSend> Erased for T {}
trait ErasedShared: Any + MaybeSend + MaybeSync {}
impl<T: Any + MaybeSend + MaybeSync> ErasedShared for T {}

/// Any backend.
///
/// ```
/// use dyconv_core::{AnyBackend, Backend, Reference};
///
/// let backends = [AnyBackend::new(Reference::default())];
/// assert_eq!(backends[0].info().id, "reference");
/// ```
#[derive(Clone)]
pub struct AnyBackend {
    inner: Arc<dyn ObjectSafe>,
    /// The same backend, where it trains.
    learner: Option<Arc<dyn train::ObjectSafeTrain>>,
}

/// A tensor handle of any backend.
#[derive(Clone)]
pub struct AnyTensor {
    shape: Shape,
    layout: Layout,
    inner: Arc<dyn ErasedShared>,
}

/// A prepared layer of any backend.
pub struct AnyLayer {
    config: Config,
    how: Prepare,
    inner: Box<dyn ErasedShared>,
}

/// A stream of any backend.
pub struct AnyStream(Box<dyn Erased>);

impl AnyBackend {
    /// Erases a backend's types. What this gives doesn't train, even if the backend does:
    /// see [`AnyBackend::trainable`].
    pub fn new<B: Backend>(backend: B) -> Self {
        Self { inner: Arc::new(backend), learner: None }
    }

    /// Erases the types of a backend that trains.
    pub fn trainable<B: Train>(backend: B) -> Self {
        let backend = Arc::new(backend);
        Self { inner: backend.clone(), learner: Some(backend) }
    }
}

impl Debug for AnyBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyBackend").field(&self.inner.info().id).finish()
    }
}

impl Debug for AnyTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyTensor({}, {})", self.shape, self.layout)
    }
}

impl Debug for AnyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyLayer").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Debug for AnyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyStream")
    }
}

impl Handle for AnyTensor {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn layout(&self) -> Layout {
        self.layout
    }
}

impl Prepared for AnyLayer {
    fn config(&self) -> &Config {
        &self.config
    }

    fn how(&self) -> &Prepare {
        &self.how
    }
}

impl Backend for AnyBackend {
    type Tensor = AnyTensor;
    type Layer = AnyLayer;
    type Stream = AnyStream;

    fn info(&self) -> &Info {
        self.inner.info()
    }

    fn stream(&self) -> Result<AnyStream> {
        self.inner.stream()
    }

    fn prepare(&self, layer: &DyConv2d, how: &Prepare) -> Result<AnyLayer> {
        self.inner.prepare(layer, how)
    }

    fn plan(&self, layer: &AnyLayer, input: Shape) -> Result<Plan> {
        self.inner.plan(layer, input)
    }

    fn upload(&self, stream: &mut AnyStream, host: TensorView<'_>) -> Result<AnyTensor> {
        self.inner.upload(stream, host)
    }

    fn forward(
        &self,
        stream: &mut AnyStream,
        layer: &AnyLayer,
        call: &Call<'_, AnyTensor>,
    ) -> Result<Output<AnyTensor>> {
        self.inner.forward(stream, layer, call)
    }

    fn pool(&self, stream: &mut AnyStream, x: &AnyTensor, kind: &Pool) -> Result<AnyTensor> {
        self.inner.pool(stream, x, kind)
    }

    fn relayout(&self, stream: &mut AnyStream, x: &AnyTensor, to: Layout) -> Result<AnyTensor> {
        self.inner.relayout(stream, x, to)
    }

    fn finish(&self, stream: &mut AnyStream) -> Result<()> {
        self.inner.finish(stream)
    }

    fn download_async<'a>(
        &'a self,
        stream: &'a mut AnyStream,
        tensor: &'a AnyTensor,
    ) -> impl Future<Output = Result<Tensor>> + MaybeSend + 'a {
        self.inner.download_async(stream, tensor)
    }

    #[cfg(not(target_family = "wasm"))]
    fn download(&self, stream: &mut AnyStream, tensor: &AnyTensor) -> Result<Tensor> {
        self.inner.download(stream, tensor)
    }
}

/// [`Backend`] over erased handles, implemented for every backend.
trait ObjectSafe: MaybeSend + MaybeSync {
    fn info(&self) -> &Info;
    fn stream(&self) -> Result<AnyStream>;
    fn prepare(&self, layer: &DyConv2d, how: &Prepare) -> Result<AnyLayer>;
    fn plan(&self, layer: &AnyLayer, input: Shape) -> Result<Plan>;
    fn upload(&self, stream: &mut AnyStream, host: TensorView<'_>) -> Result<AnyTensor>;
    fn forward(
        &self,
        stream: &mut AnyStream,
        layer: &AnyLayer,
        call: &Call<'_, AnyTensor>,
    ) -> Result<Output<AnyTensor>>;
    fn pool(&self, stream: &mut AnyStream, x: &AnyTensor, kind: &Pool) -> Result<AnyTensor>;
    fn relayout(&self, stream: &mut AnyStream, x: &AnyTensor, to: Layout) -> Result<AnyTensor>;
    fn finish(&self, stream: &mut AnyStream) -> Result<()>;
    fn download_async<'a>(
        &'a self,
        stream: &'a mut AnyStream,
        tensor: &'a AnyTensor,
    ) -> BoxFuture<'a, Result<Tensor>>;
    #[cfg(not(target_family = "wasm"))]
    fn download(&self, stream: &mut AnyStream, tensor: &AnyTensor) -> Result<Tensor>;
}

impl<B: Backend> ObjectSafe for B {
    fn info(&self) -> &Info {
        Backend::info(self)
    }

    fn stream(&self) -> Result<AnyStream> {
        Ok(AnyStream(Box::new(Backend::stream(self)?)))
    }

    fn prepare(&self, layer: &DyConv2d, how: &Prepare) -> Result<AnyLayer> {
        let inner = Box::new(Backend::prepare(self, layer, how)?);
        Ok(AnyLayer { config: *layer.config(), how: *how, inner })
    }

    fn plan(&self, layer: &AnyLayer, input: Shape) -> Result<Plan> {
        Backend::plan(self, layer_of(self, layer)?, input)
    }

    fn upload(&self, stream: &mut AnyStream, host: TensorView<'_>) -> Result<AnyTensor> {
        Backend::upload(self, stream_of(self, stream)?, host).map(erase)
    }

    fn forward(
        &self,
        stream: &mut AnyStream,
        layer: &AnyLayer,
        call: &Call<'_, AnyTensor>,
    ) -> Result<Output<AnyTensor>> {
        let inner = inner_call(self, call)?;
        Backend::forward(self, stream_of(self, stream)?, layer_of(self, layer)?, &inner).map(erase_output)
    }

    fn pool(&self, stream: &mut AnyStream, x: &AnyTensor, kind: &Pool) -> Result<AnyTensor> {
        Backend::pool(self, stream_of(self, stream)?, tensor_of(self, x)?, kind).map(erase)
    }

    fn relayout(&self, stream: &mut AnyStream, x: &AnyTensor, to: Layout) -> Result<AnyTensor> {
        Backend::relayout(self, stream_of(self, stream)?, tensor_of(self, x)?, to).map(erase)
    }

    fn finish(&self, stream: &mut AnyStream) -> Result<()> {
        Backend::finish(self, stream_of(self, stream)?)
    }

    fn download_async<'a>(
        &'a self,
        stream: &'a mut AnyStream,
        tensor: &'a AnyTensor,
    ) -> BoxFuture<'a, Result<Tensor>> {
        Box::pin(async move {
            let (stream, tensor) = (stream_of(self, stream)?, tensor_of(self, tensor)?);
            Backend::download_async(self, stream, tensor).await
        })
    }

    #[cfg(not(target_family = "wasm"))]
    fn download(&self, stream: &mut AnyStream, tensor: &AnyTensor) -> Result<Tensor> {
        Backend::download(self, stream_of(self, stream)?, tensor_of(self, tensor)?)
    }
}

fn erase<T: Handle>(tensor: T) -> AnyTensor {
    AnyTensor { shape: tensor.shape(), layout: tensor.layout(), inner: Arc::new(tensor) }
}

fn erase_output<T: Handle>(Output { output, attention, statistics }: Output<T>) -> Output<AnyTensor> {
    Output {
        output: erase(output),
        attention: attention.map(erase),
        statistics: statistics.map(|both| both.map(erase)),
    }
}

fn inner_call<'a, B: Backend>(backend: &B, call: &Call<'a, AnyTensor>) -> Result<Call<'a, B::Tensor>> {
    Ok(Call {
        input: tensor_of(backend, call.input)?,
        attention: call.attention.map(|pi| tensor_of(backend, pi)).transpose()?,
        temperature: call.temperature,
        residual: call.residual.map(|r| tensor_of(backend, r)).transpose()?,
        batch_statistics: call.batch_statistics,
        emit_sums: call.emit_sums,
        return_attention: call.return_attention,
    })
}

fn foreign<B: Backend>(backend: &B, what: &str) -> Error {
    Error::invalid(what, "another backend's", format!("one made by {}", Backend::info(backend).id))
}

fn tensor_of<'a, B: Backend>(backend: &B, tensor: &'a AnyTensor) -> Result<&'a B::Tensor> {
    let inner: &dyn Any = &*tensor.inner;
    inner.downcast_ref().ok_or_else(|| foreign(backend, "tensor"))
}

fn layer_of<'a, B: Backend>(backend: &B, layer: &'a AnyLayer) -> Result<&'a B::Layer> {
    let inner: &dyn Any = &*layer.inner;
    inner.downcast_ref().ok_or_else(|| foreign(backend, "layer"))
}

fn stream_of<'a, B: Backend>(backend: &B, stream: &'a mut AnyStream) -> Result<&'a mut B::Stream> {
    let inner: &mut dyn Any = &mut *stream.0;
    inner.downcast_mut().ok_or_else(|| foreign(backend, "stream"))
}
