//! Device memory: every buffer is counted against a byte budget, and those for storage, for uploads and for results
//! that are given back wait in size classes to be taken again.
//!
//! A buffer given back while a recording that uses it is still open may be taken by that stream alone,
//! whose later commands run after it; by others once the recording was submitted.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dyconv_core::{Error, Result};
use wgpu::BufferUsages;

use crate::bound::{Bound, Group};
use crate::context::Context;
use crate::limits::exceeded;
use crate::pipelines::Pipeline;
use crate::ticket::Ticket;

/// Idle bytes kept for reuse.
const IDLE_BYTES: u64 = 1 << 30;

/// Below this, size classes don't pay.
const SMALLEST_CLASS: u64 = 256;

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Read and written by kernels; reused.
    Storage,
    /// A layer's numbers: filled by the host when made, read by kernels, and where it is trained written by them.
    Parameters,
    /// Filled by the host, copied from, mapped again once the device has read it; reused.
    Upload,
    /// Kernel parameters, filled by the host when made and found again by their content.
    Uniform,
    /// Copied into and read by the host; reused.
    Readback,
}

impl Purpose {
    fn usages(self) -> BufferUsages {
        match self {
            Self::Storage => BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
            Self::Parameters => BufferUsages::STORAGE | BufferUsages::COPY_SRC,
            Self::Upload => BufferUsages::MAP_WRITE | BufferUsages::COPY_SRC,
            Self::Uniform => BufferUsages::UNIFORM,
            Self::Readback => BufferUsages::MAP_READ | BufferUsages::COPY_DST,
        }
    }
}

/// A device's memory.
#[derive(Debug)]
pub(crate) struct Memory {
    budget: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    in_use: u64,
    idle: u64,
    /// Buffers made so far.
    created: u64,
    free: HashMap<(Purpose, u64), Vec<Free>>,
    bound: Bound,
}

#[derive(Debug)]
struct Free {
    buffer: wgpu::Buffer,
    users: Vec<Arc<Ticket>>,
}

/// Bytes of a backend's buffers, and what it has made so far. Layers that run again on the same input make nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryUse {
    /// Bytes of buffers that tensors, layers and open recordings hold.
    pub in_use: u64,
    /// Bytes of buffers kept for reuse.
    pub idle: u64,
    /// Buffers made so far, those of kernel parameters included.
    pub created: u64,
    /// Bind groups made so far.
    pub bind_groups: u64,
}

impl Memory {
    pub(crate) fn new(budget: u64) -> Arc<Self> {
        Arc::new(Self { budget, state: Mutex::default() })
    }

    pub(crate) fn usage(&self) -> MemoryUse {
        let state = self.lock();
        let State { in_use, idle, created, .. } = *state;
        MemoryUse { in_use, idle, created, bind_groups: state.bound.groups_made }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The figures are consistent after every statement, so a panic elsewhere leaves them usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A storage buffer of at least `len` elements whose content is undefined, for commands of `stream`.
    pub(crate) fn take(self: &Arc<Self>, context: &Context, stream: u64, len: usize) -> Result<Allocation> {
        self.pooled(context, Purpose::Storage, stream, len)
    }

    /// A buffer for the host to read `len` elements from, for a copy recorded on `stream`.
    pub(crate) fn readback(
        self: &Arc<Self>,
        context: &Context,
        stream: u64,
        len: usize,
    ) -> Result<Allocation> {
        self.pooled(context, Purpose::Readback, stream, len)
    }

    /// A buffer with these `len` words in it, for a copy recorded on `stream`.
    pub(crate) fn staging(
        self: &Arc<Self>,
        context: &Context,
        stream: u64,
        len: usize,
        words: Cow<'_, [u32]>,
    ) -> Result<Allocation> {
        let allocation = self.pooled(context, Purpose::Upload, stream, len)?;
        allocation.fill([words])?;
        Ok(allocation)
    }

    fn pooled(
        self: &Arc<Self>,
        context: &Context,
        purpose: Purpose,
        stream: u64,
        len: usize,
    ) -> Result<Allocation> {
        let bytes = size_class(bytes_of::<f32>(context, len)?, context.limits.buffer_bytes);
        if let Some(free) = self.reuse(purpose, bytes, stream) {
            return Ok(self.allocation(free.buffer, bytes, purpose, free.users));
        }
        let buffer = self.create(context, bytes, purpose, purpose == Purpose::Upload)?;
        Ok(self.allocation(buffer, bytes, purpose, Vec::new()))
    }

    /// A new buffer with `len` of the host's elements in it. `parts` follow each other.
    pub(crate) fn filled<'a, T: bytemuck::Pod>(
        self: &Arc<Self>,
        context: &Context,
        purpose: Purpose,
        len: usize,
        parts: impl IntoIterator<Item = Cow<'a, [T]>>,
    ) -> Result<Allocation> {
        let bytes = bytes_of::<T>(context, len)?;
        let buffer = self.create(context, bytes, purpose, true)?;
        let allocation = self.allocation(buffer, bytes, purpose, Vec::new());
        allocation.fill(parts)?;
        Ok(allocation)
    }

    /// A new buffer of `len` elements that are 0.
    pub(crate) fn zeros(
        self: &Arc<Self>,
        context: &Context,
        purpose: Purpose,
        len: usize,
    ) -> Result<Allocation> {
        self.filled::<f32>(context, purpose, len, [])
    }

    /// A buffer with these kernel parameters in it, which nobody may write to.
    pub(crate) fn params(self: &Arc<Self>, context: &Context, content: &[u8]) -> Result<wgpu::Buffer> {
        if let Some(buffer) = self.lock().bound.params(content) {
            return Ok(buffer);
        }
        let filled = self.filled(context, Purpose::Uniform, content.len(), [content.into()])?;
        let buffer = filled.buffer.clone();
        let mut state = self.lock();
        let gone = state.bound.keep_params(content, buffer.clone());
        state.idle += buffer.size();
        state.idle -= gone.iter().map(wgpu::Buffer::size).sum::<u64>();
        Ok(buffer)
    }

    pub(crate) fn bind_group(
        &self,
        context: &Context,
        pipeline: &Pipeline,
        group: Group,
    ) -> Result<wgpu::BindGroup> {
        if let Some(made) = self.lock().bound.group(&group) {
            return Ok(made);
        }
        let create = || group.create(&context.device, &pipeline.layout);
        let made = context.guarded("binding buffers", None, create)?;
        self.lock().bound.keep_group(group, made.clone());
        Ok(made)
    }

    fn allocation(
        self: &Arc<Self>,
        buffer: wgpu::Buffer,
        bytes: u64,
        purpose: Purpose,
        users: Vec<Arc<Ticket>>,
    ) -> Allocation {
        let is_reusable = purpose == Purpose::Storage;
        let (users, memory) = (Mutex::new(users), Arc::clone(self));
        Allocation { buffer, bytes, purpose, is_reusable, users, memory }
    }

    /// The least of the buffers that may be taken: so the same recording takes the same ones, every time.
    fn reuse(&self, purpose: Purpose, bytes: u64, stream: u64) -> Option<Free> {
        let mut state = self.lock();
        let class = state.free.get_mut(&(purpose, bytes))?;
        let may_be_taken = |free: &Free| free.users.iter().all(|user| user.precedes(stream));
        let candidates = class.iter().enumerate().filter(|(_, free)| may_be_taken(free));
        let (position, _) = candidates.min_by_key(|(_, free)| &free.buffer)?;
        let free = class.swap_remove(position);
        state.idle -= bytes;
        state.in_use += bytes;
        Some(free)
    }

    fn create(&self, context: &Context, bytes: u64, purpose: Purpose, mapped: bool) -> Result<wgpu::Buffer> {
        context.check()?;
        let reserved = self.reserve(bytes);
        // Uploads that the device has yet to read are counted until it has.
        #[cfg(not(target_family = "wasm"))]
        let reserved = reserved.or_else(|_| context.settle().and_then(|()| self.reserve(bytes)));
        reserved?;
        let descriptor = wgpu::BufferDescriptor {
            label: Some("dyconv"),
            size: bytes,
            usage: purpose.usages(),
            mapped_at_creation: mapped,
        };
        let created =
            context.guarded("creating a buffer", Some(bytes), || context.device.create_buffer(&descriptor));
        if created.is_err() {
            self.lock().in_use -= bytes;
        }
        created
    }

    /// Counts `bytes` as in use, letting go of idle buffers where the budget demands it.
    fn reserve(&self, bytes: u64) -> Result<()> {
        let mut state = self.lock();
        if state.in_use.saturating_add(state.idle).saturating_add(bytes) > self.budget {
            state.release_idle();
        }
        if state.in_use.saturating_add(state.idle).saturating_add(bytes) > self.budget {
            return Err(Error::OutOfMemory { requested: bytes, in_use: state.in_use, budget: self.budget });
        }
        state.in_use += bytes;
        state.created += 1;
        Ok(())
    }

    /// The error for a buffer that the device itself refused.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn out_of_memory(&self, requested: u64) -> Error {
        Error::OutOfMemory { requested, in_use: self.lock().in_use, budget: self.budget }
    }

    fn give_back(&self, allocation: &mut Allocation) {
        let mut state = self.lock();
        state.in_use -= allocation.bytes;
        if !allocation.is_reusable || state.idle + allocation.bytes > IDLE_BYTES {
            if matches!(allocation.purpose, Purpose::Storage | Purpose::Parameters) {
                state.bound.forget(std::slice::from_ref(&allocation.buffer));
            }
            return;
        }
        state.idle += allocation.bytes;
        let users = allocation.users.get_mut().unwrap_or_else(PoisonError::into_inner);
        let free = Free { buffer: allocation.buffer.clone(), users: std::mem::take(users) };
        state.free.entry((allocation.purpose, allocation.bytes)).or_default().push(free);
    }
}

impl State {
    /// Lets go of parameters and bind groups, and of idle buffers that no open recording uses.
    fn release_idle(&mut self) {
        self.idle -= self.bound.release().iter().map(wgpu::Buffer::size).sum::<u64>();
        for ((_, bytes), class) in &mut self.free {
            class.retain(|free| {
                let held = free.users.iter().any(|user| user.is_recording());
                self.idle -= if held { 0 } else { *bytes };
                held
            });
        }
        self.free.retain(|_, class| !class.is_empty());
    }
}

/// A buffer; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) buffer: wgpu::Buffer,
    bytes: u64,
    purpose: Purpose,
    is_reusable: bool,
    users: Mutex<Vec<Arc<Ticket>>>,
    memory: Arc<Memory>,
}

impl Allocation {
    /// Writes the host's elements to a mapped buffer, `parts` one after the other, and unmaps it.
    fn fill<'a, T: bytemuck::Pod>(&self, parts: impl IntoIterator<Item = Cow<'a, [T]>>) -> Result<()> {
        let mut view = self.buffer.get_mapped_range_mut(..).map_err(|e| device_error("mapping", &e))?;
        let mut start = 0;
        for part in parts {
            let part: &[u8] = bytemuck::cast_slice(&part);
            view.slice(start..start + part.len()).copy_from_slice(part);
            start += part.len();
        }
        drop(view);
        self.buffer.unmap();
        Ok(())
    }

    /// Gives back an upload's buffer whose copy was submitted, once the device has read it: mapped, to be filled again.
    pub(crate) fn uploaded(self) {
        let buffer = self.buffer.clone();
        buffer.map_async(wgpu::MapMode::Write, .., move |mapped| {
            let mut given_back = self;
            given_back.is_reusable = mapped.is_ok();
        });
    }

    /// Gives back a buffer that the host has read and unmapped.
    pub(crate) fn read(mut self) {
        self.is_reusable = true;
    }

    /// Notes that an open recording uses it.
    pub(crate) fn used_by(&self, ticket: &Arc<Ticket>) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|user| user.is_recording());
        if !users.iter().any(|user| Arc::ptr_eq(user, ticket)) {
            users.push(Arc::clone(ticket));
        }
    }

    /// Whether no other stream's open recording uses it, so that commands recorded now on `stream` may change it.
    pub(crate) fn is_free_for(&self, stream: u64) -> bool {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.iter().all(|user| user.precedes(stream))
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        let memory = Arc::clone(&self.memory);
        memory.give_back(self);
    }
}

fn bytes_of<T>(context: &Context, len: usize) -> Result<u64> {
    let bytes = len as u64 * size_of::<T>() as u64;
    if bytes > context.limits.buffer_bytes {
        return Err(exceeded("max_buffer_size", bytes, context.limits.buffer_bytes));
    }
    Ok(bytes)
}

/// The next 2^k or 1.5·2^k, unless that is beyond what a buffer may have.
fn size_class(bytes: u64, max: u64) -> u64 {
    let power = bytes.max(SMALLEST_CLASS).next_power_of_two();
    let class = if bytes <= power / 4 * 3 { power / 4 * 3 } else { power };
    if class > max { bytes } else { class.max(SMALLEST_CLASS) }
}

pub(crate) fn device_error(what: &str, reason: &dyn std::fmt::Display) -> Error {
    Error::Device { what: what.into(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn size_classes_waste_at_most_half() {
        let max = 1 << 30;
        for (bytes, class) in
            [(4, 256), (256, 256), (260, 384), (384, 384), (388, 512), (513, 768), (768, 768)]
        {
            assert_eq!(size_class(bytes, max), class, "{bytes}");
        }
        assert_eq!(size_class(900, 1000), 900, "a class may not exceed the largest buffer");
    }
}
