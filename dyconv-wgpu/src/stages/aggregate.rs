//! Step 3: one kernel per sample, in the convolution's order.

use std::ops::Range;

use dyconv_core::{Prepared, Result};

use super::elementwise;
use crate::kernel::Kernel;
use crate::layer::WgpuLayer;
use crate::limits::index;
use crate::memory::Allocation;
use crate::params::AggregateParams;
use crate::stream::WgpuStream;

/// Samples that share one reading of the experts; `SAMPLES` in aggregate.wgsl.
pub(crate) const SAMPLES: usize = 4;

/// The kernels of a part of the batch, from π [N, K].
pub(crate) fn record(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    weights: &Allocation,
    part: Range<usize>,
) -> Result<Allocation> {
    let experts = layer.config().experts();
    stream.context().limits.check_loop_steps("experts", experts as u64)?;
    let stride = layer.packing.stride;
    let kernels = stream.take(part.len() * stride)?;
    let blocks = elementwise(stride / 4);
    let params = AggregateParams {
        length: index("elements of one kernel", stride / 4)?,
        experts: experts as u32,
        samples: part.len() as u32,
        blocks: blocks as u32,
        first_sample: index("batch", part.start)?,
    };
    let storage = [
        stream.bind(&layer.experts, 0, experts * stride)?,
        stream.bind(weights, 0, part.end * experts)?,
        stream.bind(&kernels, 0, part.len() * stride)?,
    ];
    let workgroups = blocks * part.len().div_ceil(SAMPLES) as u64;
    stream.dispatch(Kernel::Aggregate, &params, storage, workgroups)?;
    Ok(kernels)
}
