//! Attention, backwards: π → logits → the head's matrices → the pooled channels.

use dyconv_core::{Attention, Prepared, Result, Squash};

use crate::kernel::{Kernel, THREADS, TrainKernel};
use crate::layer::WgpuLayer;
use crate::limits::index;
use crate::memory::{Allocation, device_error};
use crate::params::train::{AttentionBackwardParams, HeadBackwardParams};
use crate::stages::{HeadRun, elementwise, hidden_units};
use crate::stream::WgpuStream;

/// The gradient of the channel means [N, Cin], from that of π [N, K]; the head's go into `gradients`, or onto what is
/// there.
pub(crate) fn record(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    run: &HeadRun,
    (gradient, batch): (&Allocation, usize),
    temperature: f64,
    (gradients, add): (&Allocation, bool),
) -> Result<Allocation> {
    let config = layer.config();
    let (channels, experts, hidden) = (config.in_channels(), config.experts(), hidden_units(layer));
    // A checked layer whose π comes from a head has one.
    let head = layer.head.as_ref().ok_or_else(|| device_error("attention", &"the layer has no head"))?;
    check_steps(stream, [channels, hidden, experts, batch])?;
    let logit_weights = hidden * (channels + 1);
    let head_len = head_len(layer);
    let (pairs, scratch_len) = (batch * experts, batch * (hidden + experts));
    let units = stream.take(scratch_len)?;
    let pooled = stream.take(batch * channels)?;
    let is_sigmoid = config.attention().and_then(Attention::squash) == Some(Squash::Sigmoid);
    let params = AttentionBackwardParams {
        samples: index("batch", batch)?,
        channels: channels as u32,
        hidden: hidden as u32,
        experts: experts as u32,
        logit_weights: index("elements of the attention head", logit_weights)?,
        is_sigmoid: u32::from(is_sigmoid),
        temperature: temperature as f32,
    };
    let storage = [
        stream.bind(&run.weights, 0, pairs)?,
        stream.bind(gradient, 0, pairs)?,
        stream.bind(&run.scratch, 0, scratch_len)?,
        stream.bind(head, 0, head_len)?,
        stream.bind(&units, 0, scratch_len)?,
        stream.bind(&pooled, 0, batch * channels)?,
    ];
    stream.dispatch(Kernel::Train(TrainKernel::AttentionBackward), &params, storage, batch as u64)?;

    let params = HeadBackwardParams {
        count: index("elements of the attention head", head_len)?,
        samples: params.samples,
        channels: params.channels,
        hidden: params.hidden,
        experts: params.experts,
        logit_weights: params.logit_weights,
        add: u32::from(add),
    };
    let storage = [
        stream.bind(&run.means, 0, batch * channels)?,
        stream.bind(&run.scratch, 0, scratch_len)?,
        stream.bind(&units, 0, scratch_len)?,
        stream.bind(gradients, 0, head_len)?,
    ];
    stream.dispatch(Kernel::Train(TrainKernel::HeadBackward), &params, storage, elementwise(head_len))?;
    Ok(pooled)
}

/// Floats of the head, absent biases included.
pub(crate) fn head_len(layer: &WgpuLayer) -> usize {
    let (channels, experts) = (layer.config().in_channels(), layer.config().experts());
    match hidden_units(layer) {
        0 => experts * (channels + 1),
        hidden => hidden * (channels + 1) + experts * (hidden + 1),
    }
}

/// Refuses a head, or a batch, so large that the loops of one invocation might not be run to their ends.
fn check_steps(stream: &WgpuStream, [channels, hidden, experts, batch]: [usize; 4]) -> Result<()> {
    let rounds = |count: usize| (count as u64).div_ceil(u64::from(THREADS));
    let rows = if hidden > 0 { hidden } else { experts } as u64;
    let of_sample =
        rounds(hidden) * (experts as u64 + 1) + rounds(channels) * (rows + 1) + 2 * rounds(experts);
    let limits = stream.context().limits;
    limits.check_loop_steps("loop steps of the attention head's backward", of_sample + 8)?;
    limits.check_loop_steps("samples of the attention head's backward", batch as u64)
}
