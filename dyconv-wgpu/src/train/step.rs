//! One step of an optimiser: parameters and moments move where they lie.

use dyconv_core::{Constraint, Error, Optimizer, Prepared, Result, Rule, Step};

use super::order::{Arrays, Order, Segment, WgpuMoments, WgpuParamGradients};
use super::{renew, trainable};
use crate::kernel::{Kernel, THREADS, TrainKernel};
use crate::layer::WgpuLayer;
use crate::limits::index;
use crate::memory::{Allocation, device_error};
use crate::origin::Origin;
use crate::params::train::{ConstrainParams, MoveParams};
use crate::stages::backward::reduce;
use crate::stages::elementwise;
use crate::stream::{Binding, WgpuStream};
use crate::values::Values;

/// Numbers of a norm whose squares one workgroup adds; `SECTION` in squares.wgsl.
pub(crate) const SECTION: usize = 4096;

/// How numbers lie, as groups.wgsl knows it.
const ROW_MAJOR: u32 = 0;
const PANELS: u32 = 1;
const DEPTHWISE: u32 = 2;

pub(super) fn step(
    stream: &mut WgpuStream,
    layer: &mut WgpuLayer,
    gradients: &WgpuParamGradients,
    moments: &mut WgpuMoments,
    step: &Step,
) -> Result<()> {
    step.check(layer, moments.slots.len())?;
    let order = Order::new(layer, trainable(layer)?);
    gradients.check("gradients", &order, stream)?;
    moments.check(&order, stream)?;
    check_free(stream, "layer", layer.arrays())?;
    moments.slots.iter().try_for_each(|slot| check_free(stream, "moments", slot.arrays()))?;
    moments.steps += 1;
    tell(stream, moments, numbers(step, moments.steps))?;
    for segment in order.segments() {
        move_segment(stream, layer, &order, segment, (gradients, moments), step)?;
        if let Some(constraint) = &step.rules.of(segment.spec.name).constraint {
            constrain(stream, layer, &order, segment, constraint)?;
        }
    }
    moments.origin = Origin::new(stream);
    renew(stream, layer);
    Ok(())
}

/// What changes from step to step: the rate, and what corrects the moments; `steps` counts this step, too.
fn numbers(step: &Step, steps: u64) -> [f32; 3] {
    let correction = |beta: f64| 1.0 - beta.powf(steps as f64);
    let [first, second] = match step.optimizer {
        Optimizer::Sgd { .. } => [1.0, 1.0],
        Optimizer::AdamW { beta1, beta2, .. } => [correction(beta1), correction(beta2)],
    };
    [step.rate, first, second].map(|number| number as f32)
}

/// Brings the numbers to the device, unless they are there since the last step.
fn tell(stream: &mut WgpuStream, moments: &mut WgpuMoments, numbers: [f32; 3]) -> Result<()> {
    let told = match moments.numbers.take() {
        Some((told, before)) if before == numbers => told,
        before => {
            let told = before.map_or_else(|| stream.take(numbers.len()), |(told, _)| Ok(told))?;
            stream.upload(&numbers, Values::F32, &told)?;
            told
        }
    };
    moments.numbers = Some((told, numbers));
    Ok(())
}

/// What another stream has recorded, and not submitted, may not be changed under it.
fn check_free(stream: &WgpuStream, name: &str, arrays: Arrays<'_>) -> Result<()> {
    if arrays.into_iter().flatten().all(|array| array.is_free_for(stream.id())) {
        return Ok(());
    }
    let value = "in use by another stream that hasn't finished";
    Err(Error::invalid(name, value, "free, or in use by streams that were finished"))
}

/// The array of a segment, which is there if the segment is.
fn array<'a>(arrays: Arrays<'a>, segment: &Segment) -> Result<&'a Allocation> {
    arrays[segment.array as usize].ok_or_else(|| device_error("step", &"an array is missing"))
}

/// Moves one tensor, and its moments.
fn move_segment(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    order: &Order,
    segment: &Segment,
    (gradients, moments): (&WgpuParamGradients, &WgpuMoments),
    step: &Step,
) -> Result<()> {
    let len = order.len(segment.array);
    let count = segment.length * segment.repeats;
    let params = MoveParams {
        count: index("parameters of one tensor", count)?,
        length: segment.length as u32,
        stride: segment.stride as u32,
        first: segment.first as u32,
        ..arithmetic(step.optimizer, step.rules.of(segment.spec.name))
    };
    let (numbers, _) = moments.numbers.as_ref().ok_or_else(|| device_error("step", &"it has no numbers"))?;
    // A binding that isn't used is one that nobody reads.
    let unused = [stream.take(1)?, stream.take(1)?];
    let slot = |i: usize| -> Result<_> {
        match moments.slots.get(i) {
            Some(slot) => stream.bind(array(slot.arrays(), segment)?, 0, len),
            None => stream.bind(&unused[i], 0, 1),
        }
    };
    let storage = [
        stream.bind(array(gradients.packed.arrays(), segment)?, 0, len)?,
        stream.bind(numbers, 0, 3)?,
        stream.bind(array(layer.arrays(), segment)?, 0, len)?,
        slot(0)?,
        slot(1)?,
    ];
    stream.dispatch(Kernel::Train(TrainKernel::MoveParameters), &params, storage, elementwise(count))
}

/// What stays the same from step to step, for one kind of parameter.
fn arithmetic(optimizer: Optimizer, rule: &Rule) -> MoveParams {
    let penalty = rule.regularizer.unwrap_or_default();
    let common = MoveParams {
        rate: rule.rate as f32,
        decay: rule.weight_decay as f32,
        l1: penalty.l1 as f32,
        l2: penalty.l2 as f32,
        ..MoveParams::default()
    };
    match optimizer {
        Optimizer::Sgd { momentum, nesterov } => {
            MoveParams { momentum: momentum as f32, nesterov: u32::from(nesterov), ..common }
        }
        Optimizer::AdamW { beta1, beta2, epsilon } => MoveParams {
            is_adam: 1,
            momentum: beta1 as f32,
            taken: (1.0 - beta1) as f32,
            momentum_2: beta2 as f32,
            taken_2: (1.0 - beta2) as f32,
            epsilon: epsilon as f32,
            ..common
        },
    }
}

/// Brings one tensor back, each expert on its own.
fn constrain(
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    order: &Order,
    segment: &Segment,
    constraint: &Constraint,
) -> Result<()> {
    let params = constraint_params(layer, segment, constraint)?;
    let parameters = stream.bind(array(layer.arrays(), segment)?, 0, order.len(segment.array))?;
    let norms = match constraint {
        // A binding that isn't used.
        Constraint::NonNeg => stream.take(1).and_then(|unused| stream.bind(&unused, 0, 1))?,
        _ => squares(stream, &params, &parameters)?,
    };
    let count = (params.experts * params.count) as usize;
    let kernel = Kernel::Train(TrainKernel::Constrain);
    stream.dispatch(kernel, &params, [norms, parameters], elementwise(count))
}

/// The sum of squares of every group that shares a norm.
fn squares(stream: &mut WgpuStream, params: &ConstrainParams, parameters: &Binding) -> Result<Binding> {
    let (groups, sections) = ((params.experts * params.groups) as usize, params.sections as usize);
    let partial = stream.take(groups * sections)?;
    let output = stream.bind(&partial, 0, groups * sections)?;
    let kernel = Kernel::Train(TrainKernel::SumSquares);
    let storage = [parameters.clone(), output.clone()];
    let lanes = (THREADS / params.sharers) as usize;
    stream.dispatch(kernel, params, storage, (groups.div_ceil(lanes) * sections) as u64)?;
    if sections == 1 {
        return Ok(output);
    }
    let sums = stream.take(groups)?;
    reduce(stream, &partial, [sections, groups], (&sums, 0), false)?;
    stream.bind(&sums, 0, groups)
}

fn constraint_params(
    layer: &WgpuLayer,
    segment: &Segment,
    constraint: &Constraint,
) -> Result<ConstrainParams> {
    let own = segment.spec.own_shape();
    let axes = match constraint {
        Constraint::NonNeg => Vec::new(),
        _ => constraint.axes_of(segment.spec.name, own)?,
    };
    let extent = |axis: usize| own.get(axis).copied().unwrap_or(1);
    let members: usize = axes.iter().map(|&axis| extent(axis)).product();
    let count: usize = own.iter().product();
    let order = match segment.spec.name {
        "weight" if layer.config().is_depthwise() => DEPTHWISE,
        "weight" => PANELS,
        _ => ROW_MAJOR,
    };
    let (kind, low, high, rate) = match *constraint {
        Constraint::NonNeg => (0, 0.0, 0.0, 0.0),
        Constraint::MaxNorm { max, .. } => (1, 0.0, max, 0.0),
        Constraint::UnitNorm { .. } => (2, 0.0, 0.0, 0.0),
        Constraint::MinMaxNorm { min, max, rate, .. } => (3, min, max, rate),
    };
    Ok(ConstrainParams {
        count: index("parameters of one tensor", count)?,
        experts: segment.repeats as u32,
        first: segment.first as u32,
        stride: segment.stride as u32,
        extent_0: extent(0) as u32,
        extent_1: extent(1) as u32,
        extent_2: extent(2) as u32,
        extent_3: extent(3) as u32,
        axes: axes.iter().fold(0, |bits, axis| bits | 1 << axis),
        groups: (count / members) as u32,
        members: members as u32,
        sections: members.div_ceil(SECTION) as u32,
        sharers: members.next_power_of_two().min(THREADS as usize) as u32,
        order,
        rows: layer.config().out_channels_per_group() as u32,
        kind,
        low: low as f32,
        high: high as f32,
        rate: rate as f32,
    })
}
