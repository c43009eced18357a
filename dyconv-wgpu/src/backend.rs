//! The [`Backend`] trait, served by the stages.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dyconv_core::{
    Accuracy, Backend, Call, DyConv2d, Error, Info, Layout, Output, Plan, Pool, Prepare, Result, Shape,
    Tensor, TensorView,
};

use crate::adapter::AdapterSummary;
use crate::builder::WgpuBuilder;
use crate::context::Context;
use crate::layer::WgpuLayer;
use crate::memory::MemoryUse;
use crate::plan;
#[cfg(not(target_family = "wasm"))]
use crate::profile::{self, KernelTime};
use crate::readback;
use crate::stages;
use crate::stream::{WgpuStream, check_stream};
use crate::tensor::WgpuTensor;

/// Dynamic convolution on one GPU. Clones share it.
#[derive(Clone, Debug)]
pub struct WgpuBackend {
    context: Arc<Context>,
    info: Arc<Info>,
}

impl WgpuBackend {
    /// The backend on the preferred adapter, or on the one that the environment names.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where there is none, with a hint how to get one.
    #[cfg(not(target_family = "wasm"))]
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Chooses adapter, limits and memory budget, or brings a device; starts from the environment.
    pub fn builder() -> WgpuBuilder {
        WgpuBuilder::from_env()
    }

    pub(crate) fn on(context: Arc<Context>, adapter: &AdapterSummary, device: &wgpu::Limits) -> Self {
        let limits = &context.limits;
        let info = Info::new(adapter.id(), adapter.words(), 1, Accuracy::GpuWinogradF4)
            .activations(context.values.precision())
            .limit("max_storage_buffer_binding_size", limits.binding_bytes)
            .limit("max_buffer_size", limits.buffer_bytes)
            .limit("max_compute_workgroups_per_dimension", u64::from(limits.workgroups))
            .limit(
                "max_storage_buffers_per_shader_stage",
                u64::from(device.max_storage_buffers_per_shader_stage),
            )
            .limit(
                "max_compute_invocations_per_workgroup",
                u64::from(device.max_compute_invocations_per_workgroup),
            )
            .limit(
                "max_compute_workgroup_storage_size",
                u64::from(device.max_compute_workgroup_storage_size),
            );
        Self { context, info: Arc::new(info) }
    }

    /// The device, to share it with other work, or to destroy it.
    #[must_use]
    pub fn device(&self) -> &wgpu::Device {
        &self.context.device
    }

    /// The device's queue.
    #[must_use]
    pub fn queue(&self) -> &wgpu::Queue {
        &self.context.queue
    }

    /// Bytes of device memory and buffers made so far.
    #[must_use]
    pub fn memory(&self) -> MemoryUse {
        self.context.memory.usage()
    }

    /// Submissions so far.
    #[must_use]
    pub fn submissions(&self) -> u64 {
        self.context.submissions.load(Ordering::Relaxed)
    }

    /// Pipelines made so far.
    #[must_use]
    pub fn pipelines(&self) -> usize {
        self.context.pipelines.made()
    }

    /// Finishes the stream with every kernel timed: in the order of recording, by the device's clock. The kernels
    /// run one by one, so that together they may take longer than a plain [`finish`](Backend::finish). Waits.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the device has no timestamps: see
    /// [`WgpuBuilder::timestamps`]; and those of a download.
    #[cfg(not(target_family = "wasm"))]
    pub fn finish_timed(&self, stream: &mut WgpuStream) -> Result<Vec<KernelTime>> {
        check_stream(stream, &self.context)?;
        profile::finish(stream)
    }

    /// Runs other work on the device, in a pass of its own between two timestamps; waits, and says how many seconds it
    /// took: what our kernels can be compared with by the same clock.
    ///
    /// # Errors
    /// As [`WgpuBackend::finish_timed`].
    #[cfg(not(target_family = "wasm"))]
    pub fn time_pass(&self, record: impl FnOnce(&mut wgpu::ComputePass<'_>)) -> Result<f64> {
        profile::time_pass(&self.context, record)
    }

    /// Whether commands recorded on `stream` may read `layer`.
    pub(crate) fn check(&self, stream: &WgpuStream, layer: &WgpuLayer) -> Result<()> {
        check_stream(stream, &self.context)?;
        self.check_layer(layer)?;
        layer.check(stream)
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    pub(crate) fn check_layer(&self, layer: &WgpuLayer) -> Result<()> {
        if layer.context == self.context.id {
            return Ok(());
        }
        Err(Error::invalid(
            "layer",
            "one prepared on another device",
            "one prepared on this backend's device",
        ))
    }
}

impl Backend for WgpuBackend {
    type Tensor = WgpuTensor;
    type Layer = WgpuLayer;
    type Stream = WgpuStream;

    fn info(&self) -> &Info {
        &self.info
    }

    fn stream(&self) -> Result<WgpuStream> {
        self.context.poll()?;
        Ok(WgpuStream::new(&self.context))
    }

    fn prepare(&self, layer: &DyConv2d, how: &Prepare) -> Result<WgpuLayer> {
        self.context.poll()?;
        WgpuLayer::new(&self.context, layer, how)
    }

    fn plan(&self, layer: &WgpuLayer, input: Shape) -> Result<Plan> {
        self.check_layer(layer)?;
        plan::plan(&self.context.limits, layer, input, false)?.describe(layer, input)
    }

    fn upload(&self, stream: &mut WgpuStream, host: TensorView<'_>) -> Result<WgpuTensor> {
        check_stream(stream, &self.context)?;
        let tensor = WgpuTensor::new(stream, host.shape(), host.layout())?;
        if let Some(data) = &tensor.data {
            stream.upload(host.data(), tensor.values, data)?;
        }
        Ok(tensor)
    }

    fn forward(
        &self,
        stream: &mut WgpuStream,
        layer: &WgpuLayer,
        call: &Call<'_, WgpuTensor>,
    ) -> Result<Output<WgpuTensor>> {
        self.check(stream, layer)?;
        stages::forward(stream, layer, call)
    }

    fn pool(&self, stream: &mut WgpuStream, x: &WgpuTensor, kind: &Pool) -> Result<WgpuTensor> {
        check_stream(stream, &self.context)?;
        x.check("input", stream)?;
        match *kind {
            Pool::GlobalMean => stages::global_mean(stream, x),
            Pool::Max { window, stride, padding } => stages::max_pool(stream, x, window, stride, padding),
            ref other => Err(Error::Unsupported {
                backend: self.info.id.clone(),
                what: format!("pooling by {other:?}"),
            }),
        }
    }

    fn relayout(&self, stream: &mut WgpuStream, x: &WgpuTensor, to: Layout) -> Result<WgpuTensor> {
        check_stream(stream, &self.context)?;
        x.check("input", stream)?;
        stages::relayout(stream, x, to)
    }

    fn finish(&self, stream: &mut WgpuStream) -> Result<()> {
        check_stream(stream, &self.context)?;
        stream.submit().map(|_| ())
    }

    async fn download_async<'a>(
        &'a self,
        stream: &'a mut WgpuStream,
        tensor: &'a WgpuTensor,
    ) -> Result<Tensor> {
        check_stream(stream, &self.context)?;
        readback::download(stream, tensor).await
    }
}
