//! The conformance suite: on all that the adapter allows, on WebGPU's default limits, and with batches
//! split and dispatches folded.

use dyconv_wgpu::WgpuBackend;

use crate::support::{backend, is_required};

dyconv_core::conformance_tests!(adapter, backend(), cases = 256, required = is_required());

dyconv_core::conformance_tests!(
    default_limits,
    WgpuBackend::builder().default_limits(true).build(),
    cases = 256,
    required = is_required(),
);

dyconv_core::conformance_tests!(
    split_and_folded,
    WgpuBackend::builder().default_limits(true).max_part_samples(2).max_workgroups(50).build(),
    cases = 256,
    required = is_required(),
);
