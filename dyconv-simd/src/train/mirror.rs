//! The experts a second time, as the input's gradient reads them: dx is a convolution of g with W~, transposed and
//! flipped, so every kernel of the forward serves it, Winograd's among them, if only its experts are packed that way.
//! That takes as much memory as the experts do, and a step writes both.
//!
//! With stride s, input i meets tap k where (i + before − k·d) is a multiple of s. So inputs fall into s *phases* along an
//! axis by (i + before) mod s, and each has some of the taps to itself, evenly apart: its dx is a convolution of g
//! without a stride, and all phases together have as many weights as the layer. Phases without taps get nothing of g.

use std::sync::Arc;

use dyconv_core::{
    Attention, Config, DyConv2d, Geometry, Options, Padding, Params, Prepare, Prepared, Result, Shape,
};

use crate::isa::{Isa, Traits};
use crate::kernels::backward::mirror::turn_over;
use crate::lanes::Lanes;
use crate::layer::SimdLayer;
use crate::pack::{Family, Packed};
use crate::plan::{Kernel, Plan};
use crate::threads::Threads;

/// Every phase that has taps.
#[derive(Debug)]
pub(crate) struct Mirror {
    pub(crate) phases: Vec<Phase>,
}

/// The inputs that meet the same taps.
#[derive(Debug)]
pub(crate) struct Phase {
    /// Which taps, along each axis.
    taps: [Vec<usize>; 2],
    /// (i + before) mod s of its inputs, along each axis.
    residue: [usize; 2],
    /// From g to dx, unpadded.
    pub(crate) layer: SimdLayer,
}

/// One axis of a phase for one image size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its first input.
    pub(crate) first: usize,
    /// How many inputs it has, a stride apart.
    pub(crate) count: usize,
    /// Zeros around g, before and after; less than none where so many of g are left out.
    around: [isize; 2],
}

impl Line {
    /// What is left out of g at either end.
    pub(crate) fn left_out(&self) -> [usize; 2] {
        self.around.map(|zeros| (-zeros).max(0).cast_unsigned())
    }

    fn padding(&self) -> [usize; 2] {
        self.around.map(|zeros| zeros.max(0).cast_unsigned())
    }
}

impl Mirror {
    pub(crate) fn new(
        layer: &DyConv2d,
        input: Option<Shape>,
        isa: Isa,
        traits: Traits,
        forced: Option<Kernel>,
    ) -> Result<Self> {
        let config = layer.config();
        let mut phases = Vec::new();
        for (row, rows) in classes(config, 0) {
            for (column, columns) in classes(config, 1) {
                let taps = [rows.clone(), columns];
                let weight = mirrored(config, &taps, &layer.params().weight);
                let params = Params { weight, bias: None, attention: None, batch_norm: None };
                let own = DyConv2d::new(options(config, &taps).build()?, params)?;
                // A hint: phases of one image differ by a pixel at most.
                let gradient = input.and_then(|input| config.output_shape(input).ok());
                let gradient = gradient.filter(|shape| own.config().output_shape(*shape).is_ok());
                let how = gradient.map_or(Prepare::default(), |shape| Prepare::default().input(shape));
                let layer = SimdLayer::new(&own, &how, isa, traits, forced)?;
                phases.push(Phase { taps, residue: [row, column], layer });
            }
        }
        Ok(Self { phases })
    }

    /// Takes over experts that have changed.
    pub(crate) fn refresh<L: Lanes>(
        &mut self,
        lanes: L,
        threads: &Threads,
        config: &Config,
        experts: &Packed,
    ) {
        for Phase { taps, layer, .. } in &mut self.phases {
            let own = &mut layer.packed;
            if experts.family == Family::Shared && own.family == Family::Shared {
                let taps = taps.each_ref().map(Vec::as_slice);
                turn_over(lanes, threads, config, taps, (experts, own));
            } else {
                let plain = experts.unpack(experts.reduction(), experts.all_weights());
                own.repack(&mirrored(config, taps, &plain));
            }
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.phases.iter().map(|phase| phase.layer.bytes()).sum()
    }
}

impl Phase {
    /// Its inputs in an image.
    pub(crate) fn lines(&self, config: &Config, geometry: &Geometry) -> [Line; 2] {
        [0, 1].map(|axis| {
            let (stride, dilation) = (config.stride()[axis], config.dilation()[axis]);
            let (before, residue) = (geometry.before[axis], self.residue[axis]);
            let first = (residue + stride - before % stride) % stride;
            let count = geometry.input[axis].saturating_sub(first).div_ceil(stride);
            let taps = &self.taps[axis];
            let apart = apart(config, axis);
            // Where the first input's first tap reads g.
            let at =
                ((first + before).cast_signed() - (taps[0] * dilation).cast_signed()) / stride.cast_signed();
            let reach = ((taps.len() - 1) * apart).cast_signed();
            let zeros = reach - at;
            let output = geometry.output[axis].cast_signed();
            Line { first, count, around: [zeros, count.cast_signed() + reach - output - zeros] }
        })
    }

    /// Its plan for an image size, where it reads any of g.
    ///
    /// # Errors
    /// Where extents overflow.
    pub(crate) fn plan(&self, config: &Config, geometry: &Geometry) -> Result<Option<Arc<Plan>>> {
        if !self.reads(config, geometry) {
            return Ok(None);
        }
        let lines = self.lines(config, geometry);
        let left = |axis: usize| geometry.output[axis] - lines[axis].left_out().iter().sum::<usize>();
        self.layer.plan_as(&self.config(&lines)?, [left(0), left(1)]).map(Some)
    }

    /// Whether it has inputs that meet any of g.
    pub(crate) fn reads(&self, config: &Config, geometry: &Geometry) -> bool {
        let lines = self.lines(config, geometry);
        let left = |axis: usize| lines[axis].left_out().iter().sum::<usize>() < geometry.output[axis];
        lines.iter().all(|line| line.count > 0) && left(0) && left(1)
    }

    /// Whether it reads all of g.
    pub(crate) fn reads_all(&self, config: &Config, geometry: &Geometry) -> bool {
        self.lines(config, geometry).iter().all(|line| line.left_out() == [0, 0])
    }

    /// The convolution that gives these inputs' dx.
    ///
    /// # Errors
    /// Where extents overflow.
    pub(crate) fn config(&self, lines: &[Line; 2]) -> Result<Config> {
        let [[top, bottom], [left, right]] = lines.each_ref().map(Line::padding);
        self.layer.config().options().padding(Padding::Explicit { top, bottom, left, right }).build()
    }
}

/// From tap to tap of a phase, in outputs.
fn apart(config: &Config, axis: usize) -> usize {
    let (stride, dilation) = (config.stride()[axis], config.dilation()[axis]);
    dilation / gcd(stride, dilation)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The taps of each phase along an axis, by the phase's residue.
fn classes(config: &Config, axis: usize) -> Vec<(usize, Vec<usize>)> {
    let mut classes: Vec<(usize, Vec<usize>)> = Vec::new();
    for tap in 0..config.kernel_size()[axis] {
        let residue = tap * config.dilation()[axis] % config.stride()[axis];
        match classes.iter_mut().find(|(other, _)| *other == residue) {
            Some((_, taps)) => taps.push(tap),
            None => classes.push((residue, vec![tap])),
        }
    }
    classes
}

fn options(config: &Config, taps: &[Vec<usize>; 2]) -> Options {
    let dilation = [0, 1].map(|axis| if taps[axis].len() == 1 { 1 } else { apart(config, axis) });
    Options::new(config.out_channels(), config.in_channels())
        .kernel_size(taps.each_ref().map(Vec::len))
        .dilation(dilation)
        .groups(config.groups())
        .experts(config.experts())
        .layout(config.layout())
        .attention(config.attention().map(|_| Attention::Given))
}

/// `[K, Cin, Cout/G, taps]` of `[K, Cout, Cin/G, kh, kw]`, the last tap first.
fn mirrored(config: &Config, taps: &[Vec<usize>; 2], weight: &[f32]) -> Vec<f32> {
    let (inputs, outputs) = (config.in_channels_per_group(), config.out_channels_per_group());
    let ([kh, kw], mut mirrored) = (config.kernel_size(), Vec::with_capacity(weight.len()));
    for group in 0..config.experts() * config.groups() {
        for input in 0..inputs {
            for output in 0..outputs {
                let kernel = &weight[((group * outputs + output) * inputs + input) * kh * kw..];
                for row in taps[0].iter().rev() {
                    mirrored.extend(taps[1].iter().rev().map(|column| kernel[row * kw + column]));
                }
            }
        }
    }
    mirrored
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of an output and a tap is met once, by the right input.
    #[test]
    fn phases_meet_every_output_and_tap_where_the_forward_does() {
        for kernel in 1..5 {
            for stride in 1..5 {
                for dilation in 1..4 {
                    for pad in [0, 1, 2, 7] {
                        for input in [1, 2, 7, 12] {
                            check([kernel, stride, dilation, pad, input]);
                        }
                    }
                }
            }
        }
    }

    fn check([kernel, stride, dilation, pad, input]: [usize; 5]) {
        let padding = Padding::Explicit { top: pad, bottom: pad / 2, left: 0, right: 0 };
        let options = Options::new(1, 1).kernel_size([kernel, 1]).stride([stride, 1]).dilation([dilation, 1]);
        let config = options.padding(padding).build().unwrap();
        let Ok(geometry) = config.geometry(input, 1) else { return };
        let params = Params { weight: vec![1.0; kernel], bias: None, attention: None, batch_norm: None };
        let layer = DyConv2d::new(config, params).unwrap();
        let isa = Isa::Portable;
        let mirror = Mirror::new(&layer, None, isa, isa.token().unwrap().traits(), None).unwrap();
        let mut met = Vec::new();
        for phase in &mirror.phases {
            let [line, _] = phase.lines(&config, &geometry);
            let apart = phase.layer.config().dilation()[0];
            for m in 0..line.count {
                for (t, tap) in phase.taps[0].iter().rev().enumerate() {
                    let output = (m + t * apart).cast_signed() - line.around[0];
                    if (0..geometry.output[0].cast_signed()).contains(&output) {
                        met.push((output.cast_unsigned(), *tap, line.first + m * stride));
                    }
                }
            }
        }
        met.sort_unstable();
        let mut want = Vec::new();
        for output in 0..geometry.output[0] {
            for tap in 0..kernel {
                let place = (output * stride + tap * dilation).checked_sub(pad).filter(|&i| i < input);
                want.extend(place.map(|place| (output, tap, place)));
            }
        }
        assert_eq!(met, want, "{kernel} taps, stride {stride}, dilation {dilation}, padding {pad}, {input}");
    }
}
