//! The stages of a forward, each recording its kernels: pool → attention → aggregate → convolve →
//! normalize; the activation is part of the last one. `backward` has the same stages for gradients.

mod activate;
pub(crate) mod aggregate;
mod attention;
pub(crate) mod backward;
mod convert;
mod convolve;
mod forward;
mod normalize;
mod outputs;
mod pool;
mod relayout;
mod winograd;

pub(crate) use aggregate::SAMPLES;
pub(crate) use attention::{HeadRun, hidden_units};
pub(crate) use forward::{Trace, forward, run};
pub(crate) use normalize::move_running;
pub(crate) use pool::{global_mean, max as max_pool};
pub(crate) use relayout::relayout;

use crate::kernel::THREADS;

/// Workgroups for one thread per element.
pub(crate) fn elementwise(count: usize) -> u64 {
    (count as u64).div_ceil(u64::from(THREADS))
}
