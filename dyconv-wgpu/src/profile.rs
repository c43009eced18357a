//! How long each kernel took, by the device's own clock.

use dyconv_core::{Error, Result};

use crate::context::Context;
use crate::limits::exceeded;
use crate::memory::device_error;
use crate::readback::Mapping;
use crate::stream::{WgpuStream, encode, timestamp_writes};

/// One run of one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// The kernel, with its tile where it has one.
    pub kernel: String,
    /// The stage it serves: `pool`, `attention`, `aggregate`, `convolve`, `normalize`; or what it does
    /// beside a layer.
    pub stage: &'static str,
    /// By the device's clock. The kernel ran alone: in a pass of its own, after all before it.
    pub seconds: f64,
    /// Bytes of the buffers that were bound, each once: what must at least be read and written, where the
    /// kernel needs all of them.
    pub bytes: u64,
}

/// Bytes of a timestamp.
const TIMESTAMP: u64 = 8;

/// Submits what the stream recorded, each kernel timed; waits, and says how long each took, in order.
pub(crate) fn finish(stream: &mut WgpuStream) -> Result<Vec<KernelTime>> {
    let context = std::sync::Arc::clone(stream.context());
    check_timestamps(&context)?;
    let kernels: Vec<_> = stream.dispatches().map(|dispatch| (dispatch.kernel, dispatch.bytes)).collect();
    let most = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;
    if kernels.len() > most {
        return Err(exceeded("kernels timed in one submission", kernels.len() as u64, most as u64));
    }
    if kernels.is_empty() {
        return stream.submit().map(|_| Vec::new());
    }
    let queries = Queries::new(&context, 2 * kernels.len() as u32)?;
    let submission = stream.submit_as(|device, commands| {
        let mut encoder = encode(device, commands, Some(&queries.set));
        queries.resolve(&mut encoder);
        encoder.finish()
    })?;
    let ticks = queries.read(&context, submission)?;
    let times = kernels.iter().zip(seconds(&context, &ticks)).map(|(&(kernel, bytes), seconds)| KernelTime {
        kernel: kernel.to_string(),
        stage: kernel.stage(),
        seconds,
        bytes,
    });
    Ok(times.collect())
}

/// Runs other work in a pass of its own, waits, and says how many seconds it took.
pub(crate) fn time_pass(context: &Context, record: impl FnOnce(&mut wgpu::ComputePass<'_>)) -> Result<f64> {
    check_timestamps(context)?;
    let queries = Queries::new(context, 2)?;
    let submission = context.guarded("submitting a pass", None, || {
        let mut encoder = context.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let timestamp_writes = Some(timestamp_writes(&queries.set, 0));
        let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
        record(&mut encoder.begin_compute_pass(&descriptor));
        queries.resolve(&mut encoder);
        context.submit(encoder.finish())
    })?;
    let ticks = queries.read(context, Some(submission))?;
    Ok(seconds(context, &ticks).sum())
}

fn check_timestamps(context: &Context) -> Result<()> {
    if context.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
        return Ok(());
    }
    let what = "timing kernels on a device without TIMESTAMP_QUERY (WgpuBuilder::timestamps asks for it)";
    Err(Error::Unsupported { backend: context.backend.clone(), what: what.into() })
}

/// Between each two timestamps.
fn seconds(context: &Context, ticks: &[u64]) -> impl Iterator<Item = f64> {
    let seconds_per_tick = f64::from(context.queue.get_timestamp_period()) * 1e-9;
    ticks.chunks_exact(2).map(move |span| span[1].saturating_sub(span[0]) as f64 * seconds_per_tick)
}

/// Timestamps, and the way they come to the host.
struct Queries {
    set: wgpu::QuerySet,
    count: u32,
    resolved: wgpu::Buffer,
    mappable: wgpu::Buffer,
}

impl Queries {
    fn new(context: &Context, count: u32) -> Result<Self> {
        use wgpu::BufferUsages as Usages;
        let device = &context.device;
        let buffer = |usage| {
            let (label, size) = (Some("timestamps"), u64::from(count) * TIMESTAMP);
            device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
        };
        context.guarded("creating timestamps", None, || Self {
            set: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count,
            }),
            count,
            resolved: buffer(Usages::QUERY_RESOLVE | Usages::COPY_SRC),
            mappable: buffer(Usages::MAP_READ | Usages::COPY_DST),
        })
    }

    fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.set, 0..self.count, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.mappable, 0, self.resolved.size());
    }

    fn read(&self, context: &Context, submission: Option<wgpu::SubmissionIndex>) -> Result<Vec<u64>> {
        let mapping = Mapping::default();
        let callback = mapping.clone();
        context.guarded("mapping timestamps", None, || {
            self.mappable.map_async(wgpu::MapMode::Read, .., move |result| callback.complete(result));
        })?;
        if let Some(submission) = submission {
            context.wait(submission)?;
        }
        let failed = |error: &dyn std::fmt::Display| device_error("reading timestamps", error);
        pollster::block_on(mapping).map_err(|error| failed(&error))?;
        let view = self.mappable.get_mapped_range(..).map_err(|error| failed(&error))?;
        Ok(view.chunks_exact(8).map(bytemuck::pod_read_unaligned).collect())
    }
}
