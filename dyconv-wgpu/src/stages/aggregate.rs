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

/// The kernels of a part of the batch, from π [N, K]; without, the layer's one expert as floats.
pub(crate) fn record(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    weights: Option<&Allocation>,
    part: Range<usize>,
) -> Result<Allocation> {
    let experts = layer.config().experts();
    stream.context().limits.check_loop_steps("experts", experts as u64)?;
    let (packing, stored) = (&layer.packing, layer.stored);
    let expert_stride = stored.stride(packing);
    let kernels = stream.take(part.len() * packing.stride)?;
    let blocks = elementwise(packing.stride / 4);
    let params = AggregateParams {
        length: index("elements of one kernel", packing.stride / 4)?,
        bias: (packing.bias / 4) as u32,
        expert_stride: expert_stride as u32,
        expert_bias: stored.bias(packing) as u32,
        experts: experts as u32,
        samples: part.len() as u32,
        blocks: blocks as u32,
        first_sample: index("batch", part.start)?,
        is_static: u32::from(weights.is_none()),
    };
    let experts_binding = stream.bind(&layer.experts, 0, experts * expert_stride)?;
    let weights = match weights {
        Some(weights) => stream.bind(weights, 0, part.end * experts)?,
        None => experts_binding.clone(),
    };
    let kernels_binding = stream.bind(&kernels, 0, part.len() * packing.stride)?;
    let storage = [experts_binding.clone(), experts_binding, weights, kernels_binding];
    let workgroups = blocks * part.len().div_ceil(SAMPLES) as u64;
    stream.dispatch(Kernel::Aggregate(stored), &params, storage, workgroups)?;
    Ok(kernels)
}
