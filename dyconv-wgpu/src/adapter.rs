//! Which GPUs there are, and which one is taken.

use dyconv_core::{Error, Result};

/// How to get an adapter, for those who have none.
const HINT: &str = "install the GPU's Vulkan driver, or a software one: Debian package mesa-vulkan-drivers";

/// The backend's name before a device is known.
pub(crate) const NAME: &str = "wgpu";

/// An adapter that could run this backend.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdapterSummary {
    /// Its name: `NVIDIA H100`, `llvmpipe (LLVM 15.0.6, 256 bits)`.
    pub name: String,
    /// The API it is reached by: `vulkan`, `metal`, `dx12`, `gl`, `webgpu`.
    pub api: String,
    /// Driver and version, in the driver's words.
    pub driver: String,
    /// Whether it is a program on the CPU.
    pub is_software: bool,
}

impl AdapterSummary {
    pub(crate) fn new(info: &wgpu::AdapterInfo) -> Self {
        Self {
            name: info.name.clone(),
            api: info.backend.to_str().to_owned(),
            driver: [info.driver.trim(), info.driver_info.trim()].join(" ").trim().to_owned(),
            is_software: info.device_type == wgpu::DeviceType::Cpu,
        }
    }

    /// The backend's id on it.
    pub(crate) fn id(&self) -> String {
        format!("{NAME}-{}", self.api)
    }

    /// The device, in words.
    pub(crate) fn words(&self) -> String {
        if self.driver.is_empty() { self.name.clone() } else { format!("{}, {}", self.name, self.driver) }
    }
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env())
}

/// Adapters that can compute, the fastest kind first.
async fn candidates() -> Vec<wgpu::Adapter> {
    let mut adapters = instance().enumerate_adapters(wgpu::Backends::all()).await;
    adapters.retain(|adapter| {
        adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
    });
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    adapters
}

/// The adapters of this machine, in the order in which they are preferred.
pub async fn adapters_async() -> Vec<AdapterSummary> {
    candidates().await.iter().map(|adapter| AdapterSummary::new(&adapter.get_info())).collect()
}

/// As [`adapters_async`], but waits.
#[cfg(not(target_family = "wasm"))]
#[must_use]
pub fn adapters() -> Vec<AdapterSummary> {
    pollster::block_on(adapters_async())
}

/// The first adapter whose name contains `name`, whatever the case.
pub(crate) async fn choose(name: Option<&str>) -> Result<wgpu::Adapter> {
    let adapters = candidates().await;
    let names: Vec<_> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
    let matches = |candidate: &wgpu::Adapter| {
        name.is_none_or(|name| candidate.get_info().name.to_lowercase().contains(&name.to_lowercase()))
    };
    let Some(adapter) = adapters.into_iter().find(matches) else {
        return Err(match name {
            Some(name) if !names.is_empty() => unavailable(
                format!("no adapter's name contains `{name}`"),
                format!("there are: {}", names.join("; ")),
            ),
            _ => unavailable("no GPU adapter found", HINT),
        });
    };
    Ok(adapter)
}

pub(crate) fn unavailable(reason: impl Into<String>, hint: impl Into<String>) -> Error {
    Error::Unavailable { backend: NAME.into(), reason: reason.into(), hint: hint.into() }
}
