//! Step 4: one block of output channels of one sample, tile by tile, from aggregation to the stored output.

use dyconv_core::{Activation, Layout};

use super::across::{Across, across, parts};
use super::aggregate::{aggregate, panels};
use super::ahead::LINE;
use super::finish::{Finish, Place, Running};
use super::first::{Experts, first};
use super::grouped::grouped;
use super::halved;
use super::output::Columns;
use super::tile::{self, Store, Tile, strided, windows};
use crate::lanes::Lanes;
use crate::pack::{Block, Packed, Weights};
use crate::plan::{Kernel, Part, Patch, Plan, Reading};
use crate::stream::Scratch;

/// One sample as its blocks see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample<'a> {
    /// What the plan reads: the input as it lies, or its padded copy.
    pub(crate) x: &'a [f32],
    /// π, or `None` for a static layer.
    pub(crate) pi: Option<&'a [f32]>,
    /// Added to the bias, a number for each of the layer's output channels.
    pub(crate) offset: Option<&'a [f32]>,
    /// A residual of the output's shape, from the first pixel that is computed on.
    pub(crate) residual: Option<&'a [f32]>,
    /// The activation.
    pub(crate) activation: Activation,
}

/// One sample's share of a block.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) sample: Sample<'a>,
    /// Where its outputs go.
    pub(crate) target: Columns<'a>,
    /// Their channel sums, where they are asked for.
    pub(crate) sums: &'a mut [f32],
}

/// Computes a part of a block, for samples that share its experts, with a plan of register tiles.
///
/// Input channels are taken in steps whose aggregated panels stay in cache; sums of earlier steps wait in scratch.
pub(crate) fn convolve<L: Lanes>(
    lanes: L,
    plan: &Plan,
    packed: &Packed,
    (block, part): (&Block, &Part),
    work: &mut [Option<Work<'_>>],
    scratch: &mut Scratch,
) {
    let block_lanes = block.vectors * L::WIDTH;
    let waiting = plan.waiting(part) * block_lanes;
    let count = work.iter().flatten().count();
    let Scratch { panel, offset, sums, running, .. } = scratch;
    let offsets = offset.scratch(count * block_lanes);
    for (work, offset) in work.iter().flatten().zip(offsets.chunks_exact_mut(block_lanes)) {
        channel_offsets(lanes, packed, block, &work.sample, offset);
    }
    let sums = sums.scratch(count * waiting);
    for from in (0..plan.reduction_channels).step_by(plan.step) {
        let channels = plan.step.min(plan.reduction_channels - from);
        let samples = work.iter().flatten().map(|work| &work.sample);
        let weights = packed.weights(block, from, channels);
        let len = channels * plan.config.taps() * block_lanes;
        let alone = if count == 1 { work.iter().flatten().find_map(|work| work.sample.pi) } else { None };
        let (mut own, panels) = match alone {
            Some(pi) => (
                Some(Panel::Experts { experts: Experts { weights, pi }, memory: panel.scratch(len) }),
                &[][..],
            ),
            None => (None, panels(lanes, weights, samples, panel)),
        };
        // While these panels are used, the experts of the next come nearer.
        let ahead = packed.after(block, from, channels);
        let mut begun = 0;
        let mut done = 0;
        let last = from + channels == plan.reduction_channels;
        // A static layer has one for all samples.
        let mut each = panels.chunks_exact(len).cycle();
        let scratch = offsets.chunks_exact(block_lanes).zip(sums.chunks_exact_mut(waiting));
        for (work, (offset, sums)) in work.iter_mut().flatten().zip(scratch) {
            let Work { sample, target, sums: channel_sums } = work;
            let panel = own.take().unwrap_or_else(|| Panel::Ready(each.next().unwrap_or_default()));
            let mut step = Step { plan, block, part, x: sample.x, from, panel, offset, last };
            let running = match last && !channel_sums.is_empty() {
                true => Running::new(lanes, block.vectors, plan.channels_first(), running),
                false => Running::Unasked,
            };
            let mut finish = finish(plan, block, sample, target, running);
            let mut at = 0;
            for (patch, patches) in plan.runs(part, step.most(&finish)) {
                done += patches * patch.pixels();
                let due = ahead.len() / LINE * done / (count * part.pixels()) * LINE;
                at += step.run(lanes, (patch, patches), &ahead[begun..due], &mut sums[at..], &mut finish);
                begun = due;
                if plan.step >= plan.reduction_channels {
                    at = 0;
                }
            }
            if last {
                finish.sums.finish(lanes, channel_sums);
            }
        }
    }
}

/// b~ + shift and the sample's own offset, one per lane.
pub(crate) fn channel_offsets<'a, L: Lanes>(
    lanes: L,
    packed: &Packed,
    block: &Block,
    sample: &Sample<'_>,
    out: &'a mut [f32],
) -> &'a [f32] {
    match (packed.bias(block), sample.pi) {
        (None, _) => out.fill(0.0),
        (Some(bias), None) => out.copy_from_slice(bias),
        (Some(bias), Some(pi)) => aggregate(lanes, Weights::F32(bias), pi, out),
    }
    if let Some(shift) = packed.shift(block) {
        out.iter_mut().zip(shift).for_each(|(offset, shift)| *offset += shift);
    }
    if let Some(own) = sample.offset {
        let own = &own[block.first..][..block.channels];
        out.iter_mut().zip(own).for_each(|(offset, own)| *offset += own);
    }
    out
}

/// What happens to the block's tiles after the last step.
pub(super) fn finish<'a>(
    plan: &Plan,
    block: &Block,
    sample: &Sample<'a>,
    target: &'a mut Columns<'_>,
    sums: Running<'a>,
) -> Finish<'a> {
    let turned = (plan.config.layout() == Layout::Nchw) != (plan.kernel == Kernel::Across);
    let (stride, first) = match plan.config.layout() {
        Layout::Nchw => (plan.pixels(), block.first * plan.pixels()),
        Layout::Nhwc => (plan.out_channels, block.first),
    };
    let residual = sample.residual.map(|residual| &residual[first..]);
    Finish { output: target.whole(), residual, stride, activation: sample.activation, turned, sums }
}

/// Aggregated weights.
enum Panel<'a> {
    Ready(&'a [f32]),
    /// What they will be made of, and where, when the first tile needs them: by [`first`], where that can.
    Experts {
        experts: Experts<'a>,
        memory: &'a mut [f32],
    },
}

/// Some input channels.
struct Step<'a> {
    plan: &'a Plan,
    block: &'a Block,
    part: &'a Part,
    x: &'a [f32],
    /// The first of the channels.
    from: usize,
    panel: Panel<'a>,
    offset: &'a [f32],
    /// Whether none are left.
    last: bool,
}

/// Neighbouring tiles that run over pixels read no more floats of the input than this, half a first-level cache, before
/// other channels read them again.
const NEAR: usize = 4 << 10;

impl<'a> Step<'a> {
    /// Whether other channels of the block read the same pixels again.
    fn again(&self) -> bool {
        self.plan.kernel == Kernel::Across && self.block.channels > self.plan.traits.across[0]
    }

    /// The most patches that are computed in one go.
    fn most(&self, finish: &Finish<'_>) -> usize {
        if self.last && !finish.is_direct() {
            return 1;
        }
        match &self.plan.reading {
            Reading::Windows { offsets, .. } if self.again() => {
                (NEAR / (offsets.len() * self.plan.patch_pixels())).max(1)
            }
            _ => usize::MAX,
        }
    }

    /// Adds these channels to the sums of a patch, and of the patches of its size that follow it; after the last step sees
    /// them to the output. Gives how many sums there are; `sums` begins with them.
    fn run<L: Lanes>(
        &mut self,
        lanes: L,
        run: (Patch, usize),
        ahead: &[f32],
        sums: &mut [f32],
        finish: &mut Finish<'_>,
    ) -> usize {
        let (patch, _) = run;
        match &self.plan.reading {
            Reading::Windows { offsets, row, channel } => {
                let start = patch.y * row + patch.x + (self.block.input + self.from) * channel;
                let x = &self.x[start..];
                if self.plan.kernel == Kernel::Across {
                    return self.across(lanes, run, (x, offsets), ahead, sums, finish);
                }
                let kernel = windows::<L>(patch.rows, patch.columns, self.block.vectors);
                self.along(lanes, run, kernel, (x, *row, offsets), ahead, sums, finish)
            }
            Reading::Strided { pixel } => {
                let x = &self.x[patch.x * pixel + self.block.input + self.from..];
                let kernel = if halved::fits(lanes, self.block.channels) {
                    halved::halved::<L>(patch.columns)
                } else {
                    strided::<L>(patch.columns, self.block.vectors)
                };
                self.along(lanes, run, kernel, (x, *pixel, &[]), ahead, sums, finish)
            }
            Reading::Groups(groups) => {
                let start = patch.y * groups.row + patch.x * groups.pixel + groups.input(self.block.first);
                let kernel = grouped::<L>(patch.columns, groups.run);
                let reading = (&self.x[start..], groups.pixel, &groups.offsets[..]);
                self.along(lanes, run, kernel, reading, ahead, sums, finish)
            }
            Reading::Points { .. } | Reading::Planes(_) | Reading::Channels | Reading::Tiles(_) => {
                unreachable!("mixing, depthwise and Winograd's plans have kernels of their own")
            }
        }
    }

    /// The panel, made when it is first asked for.
    fn panel<L: Lanes>(&mut self, lanes: L) -> &'a [f32] {
        if let Panel::Experts { experts, memory } = &mut self.panel {
            aggregate(lanes, experts.weights, experts.pi, memory);
        }
        self.made()
    }

    /// The panel, which is there.
    fn made(&mut self) -> &'a [f32] {
        let panel = match std::mem::replace(&mut self.panel, Panel::Ready(&[])) {
            Panel::Ready(panel) => panel,
            Panel::Experts { memory, .. } => memory,
        };
        self.panel = Panel::Ready(panel);
        panel
    }

    /// With the vector over channels.
    #[expect(clippy::too_many_arguments, reason = "the state of the loop above, no thing of its own")]
    fn along<L: Lanes>(
        &mut self,
        lanes: L,
        (patch, count): (Patch, usize),
        kernel: tile::Kernel<L>,
        (x, step, offsets): (&[f32], usize, &[usize]),
        ahead: &[f32],
        sums: &mut [f32],
        finish: &mut Finish<'_>,
    ) -> usize {
        let Self { plan, block, part, offset, from, last, .. } = *self;
        let (vectors, row) = (block.vectors, plan.grid[1]);
        let place = Place { line: patch.y * row + patch.x - part.first, lane: 0, lanes: block.channels };
        let row_sums = patch.columns * vectors * L::WIDTH;
        let direct = last && finish.is_direct();
        let resume = from > 0;
        let len = if direct && !resume { 0 } else { count * patch.rows * row_sums };
        let sums = &mut sums[..len];
        let store = direct.then_some(Store { finish: &mut *finish, place, row });
        let mut tile = Tile {
            count,
            x,
            step,
            offsets,
            places: plan.places(from),
            panel: &[],
            rounds: None,
            ahead,
            offset,
            sums: &mut *sums,
            resume,
            store,
        };
        let whole = vectors == 2 && !halved::fits(lanes, block.channels);
        let fused = match &mut self.panel {
            Panel::Experts { experts, memory } if whole && patch.rows == 1 => {
                first(lanes, patch.columns, &mut tile, *experts, memory)
            }
            _ => false,
        };
        tile.panel = if fused { self.made() } else { self.panel(lanes) };
        kernel(lanes, &mut tile);
        if last && !direct {
            for (r, sums) in sums.chunks_exact(row_sums).enumerate() {
                finish.tile(lanes, sums, vectors, Place { line: place.line + r * row, ..place });
            }
        }
        len
    }

    /// With the vector over pixels.
    fn across<L: Lanes>(
        &mut self,
        lanes: L,
        (patch, count): (Patch, usize),
        (x, offsets): (&[f32], &[usize]),
        mut ahead: &[f32],
        sums: &mut [f32],
        finish: &mut Finish<'_>,
    ) -> usize {
        let panel = self.panel(lanes);
        let Self { plan, block, part, offset, from, last, .. } = *self;
        let pixels = patch.columns;
        let pixel = patch.y * plan.grid[1] + patch.x - part.first;
        let (vectors, whole) = (pixels.div_ceil(L::WIDTH), pixels.is_multiple_of(L::WIDTH));
        let line = vectors * L::WIDTH;
        let apart = block.channels * line;
        let direct = last && finish.is_direct();
        let resume = from > 0;
        let len = if direct && !resume { 0 } else { count * apart };
        let sums = &mut sums[..len];
        for (first, channels) in parts(lanes, block.channels) {
            let sums = sums.get_mut(first * line..).unwrap_or_default();
            let place = Place { line: first, lane: pixel, lanes: pixels };
            let store = direct.then_some(Store { finish: &mut *finish, place, row: 0 });
            let mut tile = Across {
                count,
                x,
                pixels,
                offsets,
                panel,
                lanes: block.vectors * L::WIDTH,
                first,
                // Once is enough.
                ahead: std::mem::take(&mut ahead),
                offset,
                sums: &mut *sums,
                apart,
                resume,
                store,
            };
            across::<L>(channels, vectors, whole)(lanes, &mut tile);
            if last && !direct {
                finish.tile(lanes, &sums[..channels * line], vectors, place);
            }
        }
        len
    }
}
