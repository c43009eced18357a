//! The environment variables that this crate reads; wgpu reads its own, such as `WGPU_BACKEND`.

/// A part of the adapter's name that must be in it.
pub(crate) const ADAPTER: &str = "DYCONV_WGPU_ADAPTER";

/// `default` asks for WebGPU's default limits instead of the adapter's.
pub(crate) const LIMITS: &str = "DYCONV_WGPU_LIMITS";

/// A variable's value, where it is set to something.
pub(crate) fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
