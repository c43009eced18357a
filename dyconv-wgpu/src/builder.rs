//! How a backend comes to its device.

use std::time::Duration;

use dyconv_core::{Error, Precision, Result};

use crate::adapter::{self, AdapterSummary, unavailable};
use crate::backend::WgpuBackend;
use crate::choice::Choice;
use crate::context::{Context, Settings};
use crate::env;
use crate::kernel::{Across, Kernel, THREADS};
use crate::limits::{LOOP_STEPS, Limits, Rates};
use crate::tile::Tile;
use crate::values::Values;

/// What a backend is made with; [`WgpuBackend::builder`] starts one.
///
/// ```no_run
/// use dyconv_wgpu::WgpuBackend;
///
/// let backend = WgpuBackend::builder().adapter("nvidia").memory_budget(8 << 30).build()?;
/// # Ok::<(), dyconv_core::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct WgpuBuilder {
    adapter: Option<String>,
    limits: DeviceLimits,
    timestamps: bool,
    activations: Precision,
    budget: u64,
    timeout: Duration,
    binding_bytes: u64,
    workgroups: u32,
    part_samples: usize,
    subgroups: bool,
    forced: Option<Choice>,
}

impl WgpuBuilder {
    /// Reads `DYCONV_WGPU_ADAPTER` and `DYCONV_WGPU_LIMITS`.
    pub(crate) fn from_env() -> Self {
        Self {
            adapter: env::var(env::ADAPTER),
            limits: DeviceLimits::from_env(),
            timestamps: false,
            activations: Precision::F32,
            budget: u64::MAX,
            timeout: Duration::from_secs(120),
            binding_bytes: u64::MAX,
            workgroups: u32::MAX,
            part_samples: usize::MAX,
            subgroups: true,
            forced: None,
        }
    }

    /// Takes the first adapter whose name contains this, whatever the case.
    pub fn adapter(mut self, name: impl Into<String>) -> Self {
        self.adapter = Some(name.into());
        self
    }

    /// Asks for WebGPU's default limits instead of all that the adapter has.
    pub fn default_limits(mut self, default_limits: bool) -> Self {
        self.limits = if default_limits { DeviceLimits::WebGpu } else { DeviceLimits::Adapter };
        self
    }

    /// Asks for a device that can [time kernels](WgpuBackend::finish_timed).
    pub fn timestamps(mut self, timestamps: bool) -> Self {
        self.timestamps = timestamps;
        self
    }

    /// How tensors are stored that are uploaded, given π among them, and those that layers and the maximum over windows
    /// give: [`Precision::F32`], the default, or [`Precision::F16`], rounded to nearest even, beyond 65504 infinite. Every
    /// sum is f32 either way; π, means and statistics that are handed back are, too. With f16 nothing trains.
    ///
    /// Kernels use the device's own f16 where it has that, and two halves of a word elsewhere; the bits are the same.
    pub fn activations(mut self, activations: Precision) -> Self {
        self.activations = activations;
        self
    }

    /// Bytes of device memory that the backend may hold at once; without, as many as the device gives.
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.budget = bytes;
        self
    }

    /// How long to wait for the device before [`Error::Timeout`]; 120 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether to add by subgroups where the device has them, as it does by default; without, in workgroup memory.
    /// Either way a device gives the same bits for the same call.
    pub fn subgroups(mut self, subgroups: bool) -> Self {
        self.subgroups = subgroups;
        self
    }

    /// Plans as if no binding could be larger than this: how tests reach the splitting of batches.
    #[doc(hidden)]
    pub fn max_binding_bytes(mut self, bytes: u64) -> Self {
        self.binding_bytes = bytes;
        self
    }

    /// Plans as if no dispatch could be longer than this: how tests reach the folding of dispatches.
    #[doc(hidden)]
    pub fn max_workgroups(mut self, workgroups: u32) -> Self {
        self.workgroups = workgroups;
        self
    }

    /// Splits batches into parts of this many samples, whatever fits: so that a whole suite can run split.
    #[doc(hidden)]
    pub fn max_part_samples(mut self, samples: usize) -> Self {
        self.part_samples = samples;
        self
    }

    /// Takes a choice of the plan wherever it fits: how tests reach every plan on small shapes.
    #[doc(hidden)]
    pub fn force(mut self, choice: Choice) -> Self {
        self.forced = Some(choice);
        self
    }

    /// Opens the device and waits for it.
    ///
    /// # Errors
    /// As [`WgpuBuilder::build_async`].
    #[cfg(not(target_family = "wasm"))]
    pub fn build(self) -> Result<WgpuBackend> {
        pollster::block_on(self.build_async())
    }

    /// Opens the device.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where no adapter fits, with a hint how to get one; [`Error::Unsupported`] where it lacks a
    /// feature that was asked for, by name; [`Error::Invalid`] for [activations](WgpuBuilder::activations) in bf16.
    pub async fn build_async(self) -> Result<WgpuBackend> {
        let adapter = adapter::choose(self.adapter.as_deref()).await?;
        let required_limits = self.limits.of(&adapter)?;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("dyconv"),
            required_features: self.features_of(&adapter)?,
            required_limits,
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        };
        let info = adapter.get_info();
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| {
            let hint = "choose another adapter, or update the driver";
            unavailable(format!("{} gives no device: {error}", info.name), hint)
        })?;
        self.finish(device, queue, &info, true)
    }

    fn features_of(&self, adapter: &wgpu::Adapter) -> Result<wgpu::Features> {
        let mut wanted = self.limits.features(adapter);
        wanted.set(wgpu::Features::SUBGROUP, self.subgroups && wanted.contains(wgpu::Features::SUBGROUP));
        wanted.set(wgpu::Features::TIMESTAMP_QUERY, self.timestamps);
        let missing = wanted - adapter.features();
        if missing.is_empty() {
            return Ok(wanted);
        }
        let info = adapter.get_info();
        let what = format!("{missing}, which {} lacks", info.name);
        Err(Error::Unsupported { backend: AdapterSummary::new(&info).id(), what })
    }

    /// Runs on the caller's own device, so that tensors can be shared with other work on it. Takes over the
    /// device-lost callback, for all backends on the device; a caller's handler for uncaptured errors stays, except in
    /// a browser.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the device's limits are below WebGPU's defaults.
    pub fn build_on(
        self,
        device: wgpu::Device,
        queue: wgpu::Queue,
        info: &wgpu::AdapterInfo,
    ) -> Result<WgpuBackend> {
        self.finish(device, queue, info, false)
    }

    fn finish(
        self,
        device: wgpu::Device,
        queue: wgpu::Queue,
        info: &wgpu::AdapterInfo,
        owns_device: bool,
    ) -> Result<WgpuBackend> {
        let summary = AdapterSummary::new(info);
        let allowed = device.limits();
        check_needs(&summary, &allowed)?;
        let mut limits = Limits::new(&allowed);
        limits.binding_bytes = limits.binding_bytes.min(self.binding_bytes);
        limits.workgroups = limits.workgroups.min(self.workgroups);
        limits.part_samples = self.part_samples;
        // A quarter of the budget: tensors and experts have to fit, too.
        limits.aggregated_bytes = limits.aggregated_bytes.min(self.budget / 4);
        if self.subgroups && device.features().contains(wgpu::Features::SUBGROUP) && !SUBGROUPS.is_empty() {
            limits.across = Across::Subgroup;
        }
        limits.forced = self.forced;
        if summary.is_software {
            limits.loop_steps = 2 * u64::from(LOOP_STEPS) - 1;
            limits.busy_threads = THREADS;
            limits.rates = Rates::SOFTWARE;
        }
        let values = Values::new(self.activations, device.features().contains(wgpu::Features::SHADER_F16))?;
        let settings = Settings { limits, values, budget: self.budget, timeout: self.timeout, owns_device };
        let context = Context::new(summary.id(), device, queue, settings);
        Ok(WgpuBackend::on(context, &summary, &allowed))
    }
}

/// Adding by subgroups: not in a browser, which demands a directive that the native parser doesn't know.
const SUBGROUPS: wgpu::Features =
    if cfg!(target_family = "wasm") { wgpu::Features::empty() } else { wgpu::Features::SUBGROUP };

/// Which limits a device is asked for.
#[derive(Clone, Debug)]
enum DeviceLimits {
    /// All that the adapter has.
    Adapter,
    /// WebGPU's defaults.
    WebGpu,
    /// Something that the environment asks for and that isn't known.
    Unknown(String),
}

impl DeviceLimits {
    fn from_env() -> Self {
        match env::var(env::LIMITS) {
            None => Self::Adapter,
            Some(name) if name == "default" => Self::WebGpu,
            Some(name) => Self::Unknown(name),
        }
    }

    /// What kernels have another form for: WebGPU's defaults have no features.
    fn features(&self, adapter: &wgpu::Adapter) -> wgpu::Features {
        match self {
            Self::Adapter => adapter.features() & (wgpu::Features::SHADER_F16 | SUBGROUPS),
            Self::WebGpu | Self::Unknown(_) => wgpu::Features::empty(),
        }
    }

    fn of(&self, adapter: &wgpu::Adapter) -> Result<wgpu::Limits> {
        match self {
            Self::Adapter => Ok(adapter.limits()),
            Self::WebGpu => Ok(wgpu::Limits::default()),
            Self::Unknown(name) => Err(Error::invalid(env::LIMITS, name, "`default`, or unset")),
        }
    }
}

/// What every kernel needs, all of it within WebGPU's defaults.
fn check_needs(summary: &AdapterSummary, limits: &wgpu::Limits) -> Result<()> {
    let buffers = Kernel::all().map(|kernel| kernel.storage().len()).max().unwrap_or(0) as u32;
    let threads = Kernel::all().map(Kernel::threads).max().unwrap_or(0);
    let needs = [
        ("max_storage_buffers_per_shader_stage", buffers, limits.max_storage_buffers_per_shader_stage),
        ("max_compute_invocations_per_workgroup", threads, limits.max_compute_invocations_per_workgroup),
        ("max_compute_workgroup_size_x", threads, limits.max_compute_workgroup_size_x),
        ("max_compute_workgroup_storage_size", Tile::HUGE.bytes(), limits.max_compute_workgroup_storage_size),
    ];
    for (name, needed, allowed) in needs {
        if allowed < needed {
            let reason = format!("{name} of {} is {allowed}, and {needed} is needed", summary.name);
            return Err(unavailable(reason, "choose another adapter"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subgroups_are_used_where_the_adapter_has_them_and_nobody_says_no() {
        let name = env::var(env::ADAPTER);
        let Ok(adapter) = pollster::block_on(adapter::choose(name.as_deref())) else {
            println!("SKIPPED: no adapter");
            return;
        };
        let across = |builder: WgpuBuilder| builder.build().map(|backend| backend.context().limits.across);
        let has_them = adapter.features().contains(wgpu::Features::SUBGROUP);
        let expected = if has_them { Across::Subgroup } else { Across::Workgroup };
        let builder = || WgpuBackend::builder().default_limits(false);
        assert_eq!(across(builder()), Ok(expected));
        assert_eq!(across(builder().subgroups(false)), Ok(Across::Workgroup));
        assert_eq!(across(builder().default_limits(true)), Ok(Across::Workgroup));
    }
}
