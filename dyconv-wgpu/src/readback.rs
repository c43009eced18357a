//! The way back to the host: a copy, one submission, and a future that the mapping's callback wakes.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};

use dyconv_core::{Handle, Result, Tensor};

use crate::context::Context;
use crate::limits::ELEMENT;
use crate::memory::{Allocation, device_error};
use crate::stream::WgpuStream;
use crate::tensor::WgpuTensor;

/// A copy on its way.
pub(crate) struct Readback {
    buffer: Allocation,
    mapping: Mapping,
    submission: Option<wgpu::SubmissionIndex>,
}

impl Readback {
    /// Records copies of the first elements of each part, submits the stream and asks for the mapping.
    fn start(stream: &mut WgpuStream, parts: &[(&Allocation, usize)]) -> Result<Self> {
        let context = Arc::clone(stream.context());
        let len = parts.iter().map(|(_, len)| len).sum();
        let buffer = context.memory.readback(&context, stream.id(), len)?;
        let mut start = 0;
        for &(part, len) in parts {
            stream.copy(part, &buffer, start, len);
            start += len;
        }
        let submission = stream.submit()?;
        let bytes = len as u64 * ELEMENT;
        let mapping = Mapping::default();
        let callback = mapping.clone();
        context.guarded("mapping a result", None, || {
            buffer.buffer.map_async(wgpu::MapMode::Read, ..bytes, move |result| callback.complete(result));
        })?;
        Ok(Self { buffer, mapping, submission })
    }

    /// The elements. Off the web this blocks in its first poll, since nothing else drives the device there.
    async fn elements(self, context: &Context, len: usize) -> Result<Vec<f32>> {
        #[cfg(not(target_family = "wasm"))]
        if let Some(submission) = self.submission {
            context.wait(submission)?;
        }
        #[cfg(target_family = "wasm")]
        drop(self.submission);
        let mapped = self.mapping.await;
        context.check()?;
        mapped.map_err(|error| device_error("mapping a result", &error))?;
        let buffer = &self.buffer.buffer;
        let view = buffer.get_mapped_range(..len as u64 * ELEMENT);
        let view = view.map_err(|error| device_error("reading a result", &error))?;
        let mut elements = vec![0.0; len];
        bytemuck::cast_slice_mut(&mut elements).copy_from_slice(&view);
        drop(view);
        buffer.unmap();
        self.buffer.read();
        Ok(elements)
    }
}

/// Brings a tensor back.
pub(crate) async fn download(stream: &mut WgpuStream, tensor: &WgpuTensor) -> Result<Tensor> {
    tensor.check("tensor", stream)?;
    let elements = match &tensor.data {
        Some(data) => {
            let (values, len) = (tensor.values, tensor.shape().len());
            values.decode(elements(stream, &[(data, values.words(len))]).await?, len)
        }
        None => {
            stream.submit()?;
            Vec::new()
        }
    };
    Tensor::new(tensor.shape(), tensor.layout(), elements)
}

/// The first elements of each part, one part after the other, by one submission.
pub(crate) async fn elements(stream: &mut WgpuStream, parts: &[(&Allocation, usize)]) -> Result<Vec<f32>> {
    let len = parts.iter().map(|(_, len)| len).sum();
    Readback::start(stream, parts)?.elements(stream.context(), len).await
}

type Mapped = std::result::Result<(), wgpu::BufferAsyncError>;

/// Completed by the mapping's callback.
#[derive(Clone, Default)]
pub(crate) struct Mapping(Arc<Mutex<MappingState>>);

#[derive(Default)]
struct MappingState {
    result: Option<Mapped>,
    waker: Option<Waker>,
}

impl Mapping {
    pub(crate) fn complete(&self, result: Mapped) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.result = Some(result);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl Future for Mapping {
    type Output = Mapped;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Mapped> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                state.waker = Some(task.waker().clone());
                Poll::Pending
            }
        }
    }
}
