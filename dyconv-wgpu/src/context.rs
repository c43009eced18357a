//! A device, what it allows, and what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dyconv_core::{Error, Result};

use crate::faults::Faults;
use crate::limits::Limits;
use crate::memory::{Memory, device_error};
use crate::pipelines::Pipelines;
use crate::ticket::unique;
use crate::values::Values;

/// A device and everything that all streams share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) id: u64,
    pub(crate) backend: String,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) limits: Limits,
    /// How activations are stored.
    pub(crate) values: Values,
    pub(crate) memory: Arc<Memory>,
    pub(crate) pipelines: Pipelines,
    pub(crate) submissions: AtomicU64,
    #[cfg_attr(target_family = "wasm", expect(dead_code, reason = "nothing waits in a browser"))]
    timeout: Duration,
    faults: Arc<Faults>,
}

/// What a backend is made of besides the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) values: Values,
    pub(crate) budget: u64,
    pub(crate) timeout: Duration,
    /// Whether the device was made here, so that its handler for uncaptured errors is ours to set.
    pub(crate) owns_device: bool,
}

impl Context {
    pub(crate) fn new(
        backend: String,
        device: wgpu::Device,
        queue: wgpu::Queue,
        settings: Settings,
    ) -> Arc<Self> {
        let faults = Faults::of(&device);
        if settings.owns_device || cfg!(target_family = "wasm") {
            faults.take_uncaptured_errors(&device);
        }
        Arc::new(Self {
            id: unique(),
            backend,
            device,
            queue,
            limits: settings.limits,
            values: settings.values,
            memory: Memory::new(settings.budget),
            pipelines: Pipelines::default(),
            submissions: AtomicU64::new(0),
            timeout: settings.timeout,
            faults,
        })
    }

    /// Whether shaders may use f16.
    pub(crate) fn has_f16(&self) -> bool {
        self.device.features().contains(wgpu::Features::SHADER_F16)
    }

    /// Errors that the device reported on its own: that it is lost, for ever; anything else, once.
    pub(crate) fn check(&self) -> Result<()> {
        self.faults.check()
    }

    /// Calls `f` and turns what the device has against it into an error. `bytes` are those of a buffer that
    /// `f` creates.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn guarded<T>(&self, what: &str, bytes: Option<u64>, f: impl FnOnce() -> T) -> Result<T> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let value = f();
        // Off the web these futures are ready at once.
        let errors = [validation.pop(), internal.pop()].map(pollster::block_on);
        let out_of_memory = pollster::block_on(memory.pop());
        self.check()?;
        if out_of_memory.is_some() {
            return Err(self.memory.out_of_memory(bytes.unwrap_or(0)));
        }
        match errors.into_iter().flatten().next() {
            Some(error) => Err(device_error(what, &error)),
            None => Ok(value),
        }
    }

    /// Calls `f`. In a browser a scope's answer comes only when the caller yields, so that errors go to the
    /// handler for uncaptured ones and surface at the next call or download.
    #[cfg(target_family = "wasm")]
    pub(crate) fn guarded<T>(&self, _what: &str, _bytes: Option<u64>, f: impl FnOnce() -> T) -> Result<T> {
        let value = f();
        self.check()?;
        Ok(value)
    }

    pub(crate) fn submit(&self, commands: wgpu::CommandBuffer) -> wgpu::SubmissionIndex {
        self.submissions.fetch_add(1, Ordering::Relaxed);
        self.queue.submit([commands])
    }

    /// Waits for a submission, and for the callbacks of what it mapped.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        self.wait_for(Some(submission))
    }

    #[cfg(not(target_family = "wasm"))]
    fn wait_for(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let poll = wgpu::PollType::Wait { submission_index, timeout: Some(self.timeout) };
        let polled = self.device.poll(poll);
        self.check()?;
        match polled {
            Ok(_) => Ok(()),
            Err(wgpu::PollError::Timeout) => {
                Err(Error::Timeout { what: "work on the device".into(), seconds: self.timeout.as_secs() })
            }
            Err(error) => Err(device_error("waiting", &error)),
        }
    }

    /// Waits for everything that was submitted, and for its callbacks.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn settle(&self) -> Result<()> {
        self.wait_for(None)
    }

    /// Lets callbacks run that are due, without waiting.
    pub(crate) fn poll(&self) -> Result<()> {
        // Only a wait for a submission can fail.
        let _ = self.device.poll(wgpu::PollType::Poll);
        self.check()
    }
}
