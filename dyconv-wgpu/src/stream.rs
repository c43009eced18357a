//! A stream: commands recorded as plain data, and encoded into one submission when it finishes.

use std::sync::Arc;

use bytemuck::Pod;
use dyconv_core::{Error, Result};

use crate::bound::{Group, Range};
use crate::context::Context;
use crate::kernel::Kernel;
use crate::limits::ELEMENT;
use crate::memory::Allocation;
use crate::ticket::{Ticket, unique};
use crate::values::Values;

/// Work for the device, in order. One per thread; it reaches the device when it is finished.
#[derive(Debug)]
pub struct WgpuStream {
    context: Arc<Context>,
    id: u64,
    ticket: Arc<Ticket>,
    commands: Vec<Command>,
    /// What these commands copy from.
    uploads: Vec<Allocation>,
}

#[derive(Debug)]
pub(crate) enum Command {
    Dispatch(Dispatch),
    Copy { from: wgpu::Buffer, to: wgpu::Buffer, offset: u64, bytes: u64 },
    Clear { buffer: wgpu::Buffer, bytes: u64 },
}

/// A kernel to run.
#[derive(Debug)]
pub(crate) struct Dispatch {
    pub(crate) kernel: Kernel,
    /// Bytes bound, each buffer once.
    pub(crate) bytes: u64,
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    workgroups: [u32; 2],
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
            uploads: Vec::new(),
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

    /// Memory for so many activations in this form.
    pub(crate) fn take_values(&self, values: Values, len: usize) -> Result<Allocation> {
        self.take(values.words(len))
    }

    /// `len` elements of a buffer from `start` on, for a kernel to read or write.
    pub(crate) fn bind(&self, allocation: &Allocation, start: usize, len: usize) -> Result<Binding> {
        self.bind_values(Values::F32, allocation, start, len)
    }

    /// The same of activations in this form.
    pub(crate) fn bind_values(
        &self,
        values: Values,
        allocation: &Allocation,
        start: usize,
        len: usize,
    ) -> Result<Binding> {
        allocation.used_by(&self.ticket);
        let start = start as u64 * values.bytes();
        let lead = start % self.context.limits.storage_alignment;
        // Whole words, of which the last one may be half another part's.
        let bytes = (len as u64 * values.bytes() + lead).next_multiple_of(ELEMENT);
        self.context.limits.check_binding("max_storage_buffer_binding_size", bytes)?;
        Ok(Binding {
            buffer: allocation.buffer.clone(),
            range: Range { offset: start - lead, bytes },
            base: (lead / values.bytes()) as u32,
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
        let context = &self.context;
        let [x, y] = context.limits.fold(workgroups)?;
        let pipeline = context.pipelines.get(context, kernel)?;
        let params = context.memory.params(context, bytemuck::bytes_of(params))?;
        let storage = storage.into_iter().map(|binding| (binding.buffer, binding.range)).collect();
        let group = Group { kernel, params, storage };
        let bytes = group.bytes();
        let group = context.memory.bind_group(context, &pipeline, group)?;
        let pipeline = pipeline.compute;
        self.commands.push(Command::Dispatch(Dispatch {
            kernel,
            bytes,
            pipeline,
            group,
            workgroups: [x, y],
        }));
        Ok(())
    }

    /// Copies the host's elements into `to`, where they are stored in this form, in order with the other commands.
    pub(crate) fn upload(&mut self, data: &[f32], values: Values, to: &Allocation) -> Result<()> {
        let memory = &self.context.memory;
        let words = values.words(data.len());
        let staging = memory.staging(&self.context, self.id, words, values.encode(data))?;
        self.copy(&staging, to, 0, words);
        self.uploads.push(staging);
        Ok(())
    }

    /// Copies the first `len` elements from buffer to buffer, where they lie from element `start` on.
    pub(crate) fn copy(&mut self, from: &Allocation, to: &Allocation, start: usize, len: usize) {
        from.used_by(&self.ticket);
        to.used_by(&self.ticket);
        let (from, to) = (from.buffer.clone(), to.buffer.clone());
        let offset = start as u64 * ELEMENT;
        self.commands.push(Command::Copy { from, to, offset, bytes: len as u64 * ELEMENT });
    }

    /// Makes the first `len` elements 0.
    pub(crate) fn clear(&mut self, allocation: &Allocation, len: usize) {
        allocation.used_by(&self.ticket);
        let buffer = allocation.buffer.clone();
        self.commands.push(Command::Clear { buffer, bytes: len as u64 * ELEMENT });
    }

    /// Submits what was recorded; the index is `None` where nothing was.
    pub(crate) fn submit(&mut self) -> Result<Option<wgpu::SubmissionIndex>> {
        self.submit_as(|device, commands| encode(device, commands, None).finish())
    }

    /// As [`WgpuStream::submit`], encoded in the caller's way.
    pub(crate) fn submit_as(
        &mut self,
        encode: impl FnOnce(&wgpu::Device, &[Command]) -> wgpu::CommandBuffer,
    ) -> Result<Option<wgpu::SubmissionIndex>> {
        self.context.poll()?;
        // The commands are gone either way: those that failed must not run again.
        let commands = std::mem::take(&mut self.commands);
        let context = &self.context;
        let submit = || context.submit(encode(&context.device, &commands));
        let submitted = match commands.is_empty() {
            true => Ok(None),
            false => context.guarded("submitting a stream", None, submit).map(Some),
        };
        match submitted {
            Ok(_) => self.ticket.submit(),
            Err(_) => self.ticket.abandon(),
        }
        self.ticket = Ticket::new(self.id);
        let uploads = std::mem::take(&mut self.uploads);
        let submission = submitted?;
        if !uploads.is_empty() {
            let give_back = || uploads.into_iter().for_each(Allocation::uploaded);
            context.guarded("mapping what was uploaded", None, give_back)?;
        }
        Ok(submission)
    }

    /// The kernels recorded, in order.
    pub(crate) fn dispatches(&self) -> impl Iterator<Item = &Dispatch> {
        self.commands.iter().filter_map(Command::dispatch)
    }
}

impl Drop for WgpuStream {
    fn drop(&mut self) {
        self.ticket.abandon();
    }
}

/// One encoder; neighbouring dispatches share a pass. With `timestamps` each has its own, between two of them.
pub(crate) fn encode(
    device: &wgpu::Device,
    commands: &[Command],
    timestamps: Option<&wgpu::QuerySet>,
) -> wgpu::CommandEncoder {
    let mut encoder =
        device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("dyconv") });
    let share_a_pass =
        |a: &Command, b: &Command| timestamps.is_none() && a.dispatch().is_some() && b.dispatch().is_some();
    let mut numbers = 0..;
    for run in commands.chunk_by(share_a_pass) {
        match run {
            [Command::Copy { from, to, offset, bytes }] => {
                encoder.copy_buffer_to_buffer(from, 0, to, *offset, *bytes);
                continue;
            }
            [Command::Clear { buffer, bytes }] => {
                encoder.clear_buffer(buffer, 0, Some(*bytes));
                continue;
            }
            _ => {}
        }
        let timestamp_writes =
            timestamps.zip(numbers.next()).map(|(set, number)| timestamp_writes(set, number));
        let mut pass =
            encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
        for Dispatch { pipeline, group, workgroups: [x, y], .. } in run.iter().filter_map(Command::dispatch) {
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, group, &[]);
            pass.dispatch_workgroups(*x, *y, 1);
        }
    }
    encoder
}

/// Where the pass of this number writes its two timestamps.
pub(crate) fn timestamp_writes(
    query_set: &wgpu::QuerySet,
    pass: u32,
) -> wgpu::ComputePassTimestampWrites<'_> {
    wgpu::ComputePassTimestampWrites {
        query_set,
        beginning_of_pass_write_index: Some(2 * pass),
        end_of_pass_write_index: Some(2 * pass + 1),
    }
}

impl Command {
    fn dispatch(&self) -> Option<&Dispatch> {
        match self {
            Self::Dispatch(dispatch) => Some(dispatch),
            Self::Copy { .. } | Self::Clear { .. } => None,
        }
    }
}

/// The stream must be the backend's own.
pub(crate) fn check_stream(stream: &WgpuStream, context: &Context) -> Result<()> {
    if stream.context.id == context.id {
        return context.check();
    }
    Err(Error::invalid("stream", "one of another device", "one of this backend's device"))
}
