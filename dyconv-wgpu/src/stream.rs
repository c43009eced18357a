//! A stream: commands recorded as plain data, and encoded into one submission when it finishes.

use std::sync::Arc;

use bytemuck::Pod;
use dyconv_core::{Error, Result};

use crate::context::Context;
use crate::kernel::Kernel;
use crate::limits::ELEMENT;
use crate::memory::{Allocation, Purpose};
use crate::pipelines::Pipeline;
use crate::ticket::{Ticket, unique};

/// Work for the device, in order. One per thread; it reaches the device when it is finished.
#[derive(Debug)]
pub struct WgpuStream {
    context: Arc<Context>,
    id: u64,
    ticket: Arc<Ticket>,
    commands: Vec<Command>,
    /// Parameters of all dispatches, each at an offset that a uniform binding may have.
    params: Vec<u8>,
    /// Buffers that only these commands need.
    held: Vec<Allocation>,
}

#[derive(Debug)]
enum Command {
    Dispatch { pipeline: Pipeline, params: Range, storage: Vec<Binding>, workgroups: [u32; 2] },
    Copy { from: wgpu::Buffer, to: wgpu::Buffer, bytes: u64 },
}

/// Bytes of a buffer.
#[derive(Clone, Copy, Debug)]
struct Range {
    offset: u64,
    bytes: u64,
}

/// A part of a buffer as a kernel sees it.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    buffer: wgpu::Buffer,
    range: Range,
    /// The element at which the part starts: a binding's offset must be aligned, the part needn't be.
    pub(crate) base: u32,
}

impl WgpuStream {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        let id = unique();
        Self {
            context: Arc::clone(context),
            id,
            ticket: Ticket::new(id),
            commands: Vec::new(),
            params: Vec::new(),
            held: Vec::new(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    pub(crate) fn ticket(&self) -> &Arc<Ticket> {
        &self.ticket
    }

    /// Memory for the next commands; what was in it is gone.
    pub(crate) fn take(&self, len: usize) -> Result<Allocation> {
        self.context.memory.take(&self.context, self.id, len)
    }

    /// `len` elements of a buffer from `start` on, for a kernel to read or write.
    pub(crate) fn bind(&self, allocation: &Allocation, start: usize, len: usize) -> Result<Binding> {
        allocation.used_by(&self.ticket);
        let start = start as u64 * ELEMENT;
        let lead = start % self.context.limits.storage_alignment;
        let bytes = len as u64 * ELEMENT + lead;
        self.context.limits.check_binding("max_storage_buffer_binding_size", bytes)?;
        Ok(Binding {
            buffer: allocation.buffer.clone(),
            range: Range { offset: start - lead, bytes },
            base: (lead / ELEMENT) as u32,
        })
    }

    /// Runs a kernel. `storage` are its storage buffers in the order of [`Kernel::storage`].
    pub(crate) fn dispatch<const N: usize>(
        &mut self,
        kernel: Kernel,
        params: &impl Pod,
        storage: [Binding; N],
        workgroups: u64,
    ) -> Result<()> {
        debug_assert_eq!(N, kernel.storage().len());
        let workgroups = self.context.limits.fold(workgroups)?;
        let pipeline = self.context.pipelines.get(&self.context, kernel)?;
        let bytes = bytemuck::bytes_of(params);
        let alignment = self.context.limits.uniform_alignment as usize;
        self.params.resize(self.params.len().next_multiple_of(alignment), 0);
        let params = Range { offset: self.params.len() as u64, bytes: bytes.len() as u64 };
        self.params.extend_from_slice(bytes);
        self.commands.push(Command::Dispatch { pipeline, params, storage: storage.into(), workgroups });
        Ok(())
    }

    /// Copies the host's elements into `to`, in order with the other commands.
    pub(crate) fn upload(&mut self, data: &[f32], to: &Allocation) -> Result<()> {
        let memory = &self.context.memory;
        let staging = memory.filled(&self.context, Purpose::Upload, data.len(), [data.into()])?;
        self.copy(&staging, to, data.len());
        self.held.push(staging);
        Ok(())
    }

    /// Copies the first `len` elements from buffer to buffer.
    pub(crate) fn copy(&mut self, from: &Allocation, to: &Allocation, len: usize) {
        from.used_by(&self.ticket);
        to.used_by(&self.ticket);
        let (from, to) = (from.buffer.clone(), to.buffer.clone());
        self.commands.push(Command::Copy { from, to, bytes: len as u64 * ELEMENT });
    }

    /// Submits what was recorded; the index is `None` where nothing was.
    pub(crate) fn submit(&mut self) -> Result<Option<wgpu::SubmissionIndex>> {
        self.context.poll()?;
        let submitted = self.encode_and_submit();
        // The commands are gone either way: those that failed must not run again.
        self.commands.clear();
        self.params.clear();
        match submitted {
            Ok(_) => self.ticket.submit(),
            Err(_) => self.ticket.abandon(),
        }
        self.held.clear();
        self.ticket = Ticket::new(self.id);
        submitted
    }

    fn encode_and_submit(&mut self) -> Result<Option<wgpu::SubmissionIndex>> {
        if self.commands.is_empty() {
            return Ok(None);
        }
        let uniforms = self.upload_params()?;
        let context = &self.context;
        let index = context.guarded("submitting a stream", None, || {
            let commands = encode(&context.device, &self.commands, uniforms.as_ref().map(|u| &u.buffer));
            context.submit(commands)
        })?;
        Ok(Some(index))
    }

    fn upload_params(&self) -> Result<Option<Allocation>> {
        if self.params.is_empty() {
            return Ok(None);
        }
        let (memory, params) = (&self.context.memory, self.params.as_slice());
        memory.filled(&self.context, Purpose::Uniform, params.len(), [params.into()]).map(Some)
    }
}

impl Drop for WgpuStream {
    fn drop(&mut self) {
        self.ticket.abandon();
    }
}

/// One encoder; neighbouring dispatches share a pass.
fn encode(
    device: &wgpu::Device,
    commands: &[Command],
    uniforms: Option<&wgpu::Buffer>,
) -> wgpu::CommandBuffer {
    let mut encoder =
        device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("dyconv") });
    for run in commands.chunk_by(|a, b| a.is_dispatch() && b.is_dispatch()) {
        if let [Command::Copy { from, to, bytes }] = run {
            encoder.copy_buffer_to_buffer(from, 0, to, 0, *bytes);
            continue;
        }
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for command in run {
            if let (Command::Dispatch { pipeline, params, storage, workgroups: [x, y] }, Some(uniforms)) =
                (command, uniforms)
            {
                pass.set_pipeline(&pipeline.compute);
                pass.set_bind_group(0, &bind_group(device, pipeline, uniforms, *params, storage), &[]);
                pass.dispatch_workgroups(*x, *y, 1);
            }
        }
    }
    encoder.finish()
}

impl Command {
    fn is_dispatch(&self) -> bool {
        matches!(self, Self::Dispatch { .. })
    }
}

fn bind_group(
    device: &wgpu::Device,
    pipeline: &Pipeline,
    uniforms: &wgpu::Buffer,
    params: Range,
    storage: &[Binding],
) -> wgpu::BindGroup {
    let parts = std::iter::once((uniforms, params)).chain(storage.iter().map(|b| (&b.buffer, b.range)));
    let entries: Vec<_> = (0..)
        .zip(parts)
        .map(|(binding, (buffer, Range { offset, bytes }))| wgpu::BindGroupEntry {
            binding,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset,
                size: std::num::NonZeroU64::new(bytes),
            }),
        })
        .collect();
    device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.layout,
        entries: &entries,
    })
}

/// The stream must be the backend's own.
pub(crate) fn check_stream(stream: &WgpuStream, context: &Context) -> Result<()> {
    if stream.context.id == context.id {
        return context.check();
    }
    Err(Error::invalid("stream", "one of another device", "one of this backend's device"))
}
