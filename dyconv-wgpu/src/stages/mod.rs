//! The stages of a forward, each recording its kernels: pool → attention → aggregate → convolve →
//! normalize; the activation is part of the last one.

mod aggregate;
mod attention;
mod convolve;
mod forward;
mod normalize;
mod pool;
mod relayout;

#[cfg(test)]
pub(crate) use aggregate::SAMPLES;
pub(crate) use convolve::plan;
pub(crate) use forward::forward;
pub(crate) use pool::{global_mean, max as max_pool};
pub(crate) use relayout::relayout;

use crate::kernel::THREADS;

/// Workgroups for one thread per element.
fn elementwise(count: usize) -> u64 {
    (count as u64).div_ceil(u64::from(THREADS))
}
