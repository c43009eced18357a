//! Aggregate, backwards: dW~ to the experts' gradients and to π's, in one pass.

use std::ops::Range;

use dyconv_core::{Prepared, Result};

use super::convolve::Kernels;
use super::reduce::reduce;
use crate::kernel::{Kernel, TrainKernel};
use crate::layer::WgpuLayer;
use crate::limits::index;
use crate::memory::Allocation;
use crate::params::train::AggregateBackwardParams;
use crate::stages::elementwise;
use crate::stream::WgpuStream;

/// Experts that share one reading of dW~; `EXPERTS` in aggregate.wgsl.
pub(crate) const EXPERTS: usize = 4;

/// Kernels that one dispatch may visit, so that its loops end.
pub(crate) const MOST_KERNELS: usize = 2048;

/// π and its gradient, [N, K] both, and the samples whose rows they are.
pub(crate) struct Attention<'a> {
    pub(crate) weights: &'a Allocation,
    pub(crate) gradient: &'a Allocation,
    pub(crate) part: Range<usize>,
}

/// Shares out kernels' gradients: to the experts' ones, or onto what is there, and to π's.
pub(crate) fn record(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    &Kernels { ref sums, count, sections }: &Kernels,
    attention: Option<&Attention<'_>>,
    (gradients, add): (&Allocation, bool),
) -> Result<()> {
    let (experts, stride) = (layer.config().experts(), layer.packing.stride);
    let blocks = elementwise(stride / 4) as usize;
    let partials_len = blocks * count * experts;
    let partials = stream.take(if attention.is_some() { partials_len } else { 1 })?;
    let params = AggregateBackwardParams {
        length: index("elements of one kernel", stride / 4)?,
        experts: experts as u32,
        samples: count as u32,
        sections: sections as u32,
        blocks: blocks as u32,
        first_sample: index("batch", attention.map_or(0, |attention| attention.part.start))?,
        add: u32::from(add),
        has_weights: u32::from(attention.is_some()),
    };
    let layer_experts = stream.bind(&layer.experts, 0, experts * stride)?;
    let storage = [
        stream.bind(sums, 0, count * sections * stride)?,
        layer_experts.clone(),
        match attention {
            Some(attention) => stream.bind(attention.weights, 0, attention.part.end * experts)?,
            // A binding that isn't used is any that may be read.
            None => layer_experts,
        },
        stream.bind(gradients, 0, experts * stride)?,
        stream.bind(&partials, 0, if attention.is_some() { partials_len } else { 1 })?,
    ];
    let workgroups = blocks as u64 * experts.div_ceil(EXPERTS) as u64;
    stream.dispatch(Kernel::Train(TrainKernel::AggregateBackward), &params, storage, workgroups)?;
    if let Some(Attention { gradient, part, .. }) = attention {
        let columns = count * experts;
        reduce(stream, &partials, [blocks, columns], (gradient, part.start * experts), false)?;
    }
    Ok(())
}
