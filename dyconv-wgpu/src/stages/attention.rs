//! Step 2: the head and its squash.

use std::sync::Arc;

use dyconv_core::{Attention, Prepared, Result, Shape, Squash};

use crate::kernel::{Kernel, THREADS};
use crate::layer::WgpuLayer;
use crate::limits::index;
use crate::memory::{Allocation, device_error};
use crate::params::AttentionParams;
use crate::stream::WgpuStream;

/// What a head was computed from, and what it computed.
#[derive(Clone, Debug)]
pub(crate) struct HeadRun {
    /// Channel means [N, Cin].
    pub(crate) means: Arc<Allocation>,
    /// Hidden units and logits, [N][hidden + K].
    pub(crate) scratch: Arc<Allocation>,
    /// π [N, K].
    pub(crate) weights: Arc<Allocation>,
}

/// Hidden units of the layer's head; 0 without an MLP.
pub(crate) fn hidden_units(layer: &WgpuLayer) -> usize {
    match layer.config().attention() {
        Some(Attention::Mlp { hidden, .. }) => hidden,
        _ => 0,
    }
}

/// π [N, K] from channel means [N, C].
pub(super) fn record(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    means: Arc<Allocation>,
    batch: usize,
    temperature: f64,
) -> Result<HeadRun> {
    let config = layer.config();
    let (channels, experts) = (config.in_channels(), config.experts());
    let hidden = hidden_units(layer);
    let is_sigmoid = config.attention().and_then(Attention::squash) == Some(Squash::Sigmoid);
    // A checked layer whose π comes from a head has one.
    let head = layer.head.as_ref().ok_or_else(|| device_error("attention", &"the layer has no head"))?;
    let first = hidden * (channels + 1);
    let head_len = first + experts * (if hidden > 0 { hidden } else { channels } + 1);
    // Shapes check that so many elements can exist.
    let scratch_len = Shape::new(batch, hidden + experts, 1, 1)?.len();
    let weights_len = Shape::new(batch, experts, 1, 1)?.len();
    check_steps(stream, hidden, channels, experts)?;
    let scratch = stream.take(scratch_len)?;
    let weights = stream.take(weights_len)?;
    let params = AttentionParams {
        samples: index("batch", batch)?,
        channels: channels as u32,
        hidden: hidden as u32,
        experts: experts as u32,
        hidden_sharers: sharers(hidden),
        logit_sharers: sharers(experts),
        logit_weights: index("elements of the attention head", first)?,
        is_sigmoid: u32::from(is_sigmoid),
        temperature: temperature as f32,
    };
    let storage = [
        stream.bind(&means, 0, batch * channels)?,
        stream.bind(head, 0, head_len)?,
        stream.bind(&scratch, 0, scratch_len)?,
        stream.bind(&weights, 0, weights_len)?,
    ];
    let kernel = Kernel::Attention(stream.context().limits.across);
    stream.dispatch(kernel, &params, storage, batch as u64)?;
    Ok(HeadRun { means, scratch: Arc::new(scratch), weights: Arc::new(weights) })
}

/// Refuses a head so large that the loops of one invocation might not be run to their ends.
fn check_steps(stream: &WgpuStream, hidden: usize, channels: usize, experts: usize) -> Result<()> {
    let dense = |rows: usize, depth: usize| {
        let sharers = sharers(rows);
        // Besides the products, each row takes the halvings of its sum and the loop around them.
        let row = (depth as u64).div_ceil(u64::from(sharers)) + u64::from(sharers.ilog2()) + 2;
        (rows as u64).div_ceil(u64::from(THREADS / sharers)) * row
    };
    let products = match hidden {
        0 => dense(experts, channels),
        _ => dense(hidden, channels) + dense(experts, hidden),
    };
    let squash = 3 * (experts as u64).div_ceil(u64::from(THREADS)) + 16;
    stream.context().limits.check_loop_steps("loop steps of the attention head", products + squash)
}

/// Threads that share one row's dot product: all rows at once, if there are few.
fn sharers(rows: usize) -> u32 {
    let rows = rows.clamp(1, THREADS as usize).next_power_of_two();
    THREADS / rows as u32
}
