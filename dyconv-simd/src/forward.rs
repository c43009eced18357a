//! One run of a prepared layer over slices: the stages in order, and what is divided among threads.

use std::sync::Arc;

use dyconv_core::{AttentionSource, CheckedCall, Layout, Prepared, Shape};

use crate::isa::OnLanes;
use crate::kernels::attention::attention;
use crate::kernels::convolve::{Sample, Work, convolve};
use crate::kernels::depthwise::depthwise;
use crate::kernels::direct::{copy_pixels, copy_row};
use crate::kernels::mixing::mixing;
use crate::kernels::normalize::{normalize, statistics};
use crate::kernels::output::{Columns, split};
use crate::kernels::pool::channel_sums;
use crate::kernels::winograd::winograd;
use crate::lanes::Lanes;
use crate::layer::SimdLayer;
use crate::pack::Block;
use crate::plan::{Division, MOST_SAMPLES, Part, Plan, Reading};
use crate::stream::{Scratch, SimdStream};
use crate::tensor::Source;
use crate::threads::Threads;

/// A batch's mean and biased variance, channel by channel.
pub(crate) type Statistics = [Vec<f64>; 2];

/// A call that fits its layer, on slices.
pub(crate) struct Run<'a> {
    pub(crate) layer: &'a SimdLayer,
    pub(crate) plan: Arc<Plan>,
    pub(crate) call: CheckedCall,
    pub(crate) threads: &'a Threads,
    pub(crate) stream: &'a mut SimdStream,
    pub(crate) input: Source<'a>,
    /// π that the caller gives.
    pub(crate) given: Option<&'a [f32]>,
    pub(crate) residual: Option<&'a [f32]>,
    /// Written whole.
    pub(crate) output: &'a mut [f32],
    /// The output's channel sums `[N, Cout]`, written whole where asked for.
    pub(crate) sums: Option<&'a mut [f32]>,
    /// Added to the biases, `[N, Cout]`.
    pub(crate) offset: Option<&'a [f32]>,
    /// What is kept for a backward.
    pub(crate) kept: Kept<'a>,
}

/// Results on the way to the output that a backward needs, written whole where asked for.
#[derive(Debug, Default)]
pub(crate) struct Kept<'a> {
    /// The convolution's output, before batch norm.
    pub(crate) convolved: Option<&'a mut [f32]>,
    /// What the activation takes.
    pub(crate) preactivation: Option<&'a mut [f32]>,
}

impl OnLanes for Run<'_> {
    /// The batch's mean and biased variance, where batch norm took them.
    type Output = Option<Statistics>;

    fn run<L: Lanes>(mut self, lanes: L) -> Self::Output {
        let mut pi = std::mem::take(&mut self.stream.pi);
        self.attend(lanes, &mut pi);
        let convolved = self.kept.convolved.take();
        let output = std::mem::take(&mut self.output);
        let (target, output) = match convolved {
            Some(convolved) => (convolved, Some(output)),
            None => (output, None),
        };
        self.convolve(lanes, &pi, target);
        self.stream.pi = pi;
        match output {
            Some(output) => {
                output.copy_from_slice(target);
                self.output = output;
            }
            None => self.output = target,
        }
        if self.fused() { None } else { self.normalize(lanes) }
    }
}

impl Run<'_> {
    /// Whether tiles are finished as they leave the convolution. Batch norm that isn't folded comes before residual and
    /// activation, which then wait for it; and a preactivation that is kept must be there before it is activated.
    fn fused(&self) -> bool {
        !self.layer.normalizes() && self.kept.preactivation.is_none()
    }

    fn sample(&self, n: usize) -> &[f32] {
        &self.input.data[n * self.call.input.sample_len()..][..self.call.input.sample_len()]
    }

    /// Steps 1 and 2: π of every sample.
    fn attend<L: Lanes>(&mut self, lanes: L, pi: &mut Vec<f32>) {
        let experts = self.layer.config().experts();
        pi.clear();
        pi.resize(self.call.input.batch() * experts, 1.0);
        if let Some(given) = self.given {
            pi.copy_from_slice(given);
        }
        let (AttentionSource::Head { temperature }, Some(head)) = (self.call.attention, &self.layer.head)
        else {
            return;
        };
        let (batch, channels) = (self.call.input.batch(), self.call.input.channels());
        let units = head.hidden(channels);
        let SimdStream { pooled, hidden, .. } = &mut *self.stream;
        let (mut pooled, mut hidden) = (std::mem::take(pooled), std::mem::take(hidden));
        pooled.resize(batch * channels, 0.0);
        hidden.resize(batch * units, 0.0);
        let samples = pi.chunks_exact_mut(experts).zip(pooled.chunks_exact_mut(channels));
        let samples = samples.zip(rows(&mut hidden, units)).enumerate();
        self.threads.for_each(samples, |(n, ((pi, pooled), hidden))| {
            self.pool(lanes, n, pooled);
            attention(lanes, head, pooled, temperature, hidden, pi);
        });
        (self.stream.pooled, self.stream.hidden) = (pooled, hidden);
    }

    /// z of one sample, from the input's own sums where it has them.
    fn pool<L: Lanes>(&self, lanes: L, n: usize, z: &mut [f32]) {
        let shape = self.call.input;
        match self.input.sums {
            Some(sums) => z.copy_from_slice(&sums[n * shape.channels()..][..shape.channels()]),
            None => channel_sums(lanes, self.sample(n), shape, self.layer.config().layout(), z),
        }
        z.iter_mut().for_each(|sum| *sum /= shape.pixels() as f32);
    }

    /// Steps 3 to 7 (without batch norm where it isn't folded), a few samples at a time: their padded copies first, then
    /// all blocks of all of them, or parts of blocks, each by one thread, which aggregates that block's panels alone.
    fn convolve<L: Lanes>(&mut self, lanes: L, pi: &[f32], output: &mut [f32]) {
        let fused = self.fused();
        let mut sums = self.sums.take_if(|_| fused).unwrap_or_default();
        let wanted = usize::from(!sums.is_empty());
        let out = self.call.output;
        let copied = self.plan.copied();
        let mut copies = std::mem::take(&mut self.stream.copies);
        let at_once = self.plan.at_once(self.threads.count(), out.batch());
        for first in (0..out.batch()).step_by(at_once) {
            let count = at_once.min(out.batch() - first);
            let copies = copies.scratch(count * copied);
            if copied > 0 {
                self.copy(lanes, first, copies);
            }
            let copies = &*copies;
            let chunk = &mut output[first * out.sample_len()..][..count * out.sample_len()];
            let (now, rest) = std::mem::take(&mut sums).split_at_mut(wanted * count * out.channels());
            sums = rest;
            let blocks = &self.layer.packed.blocks;
            let shared = [count.div_ceil(self.plan.samples), blocks.len()];
            // Channel sums aren't divided, so neither are blocks whose sums are asked for.
            let division = self.plan.division(self.threads.count(), shared, wanted == 0);
            let items = groups(&self.plan, blocks, division, out, chunk, now);
            self.threads.for_each_by(items, |who, (i, blocks, part, shares)| {
                let x = |i: usize| match copied {
                    0 => self.sample(first + i),
                    _ => &copies[i * copied..][..copied],
                };
                self.stream.scratch.with(who, |scratch| {
                    self.blocks(lanes, pi, x, [first, i], (blocks, &part), (shares, scratch));
                });
            });
        }
        self.stream.copies = copies;
    }

    /// The padded copies of some samples. Threads take runs of rows: one row is no more work than taking it.
    fn copy<L: Lanes>(&self, lanes: L, first: usize, copies: &mut [f32]) {
        let Some(window) = &self.plan.copy else { return };
        let layout = self.layer.config().layout();
        let copy = if matches!(self.plan.reading, Reading::Groups(_)) { copy_pixels } else { copy_row };
        let run = (copies.len() / window.row).div_ceil(COPY_RUNS * self.threads.count());
        let runs = copies.chunks_mut(run * window.row).enumerate();
        self.threads.for_each(runs, |(i, rows)| {
            for (i, row) in (i * run..).zip(rows.chunks_exact_mut(window.row)) {
                let image = (self.sample(first + i / window.rows.len), self.call.input, layout);
                match window.sources[i % window.rows.len] {
                    Some(y) => copy(lanes, window, image, y, row),
                    None => row.fill(0.0),
                }
            }
        });
    }

    /// A part of some blocks of some samples, from the `i`th after `first` on.
    fn blocks<'x, L: Lanes>(
        &'x self,
        lanes: L,
        pi: &'x [f32],
        x: impl Fn(usize) -> &'x [f32],
        [first, i]: [usize; 2],
        (blocks, part): (&[Block], &Part),
        (shares, scratch): ([Option<Share<'x>>; MOST_SAMPLES], &mut Scratch),
    ) {
        let (config, plan) = (self.layer.config(), &*self.plan);
        let out = self.call.output;
        let fused = self.fused();
        let skipped = part.first * if config.layout() == Layout::Nchw { 1 } else { out.channels() };
        let sample = |i: usize| Sample {
            x: x(i),
            pi: (self.call.attention != AttentionSource::Static)
                .then(|| &pi[(first + i) * config.experts()..][..config.experts()]),
            offset: self.offset.map(|offset| &offset[(first + i) * out.channels()..][..out.channels()]),
            residual: self
                .residual
                .filter(|_| fused)
                .map(|r| &r[(first + i) * out.sample_len()..][skipped..out.sample_len()]),
            activation: if fused { config.activation() } else { dyconv_core::Activation::None },
        };
        let mut next = i;
        let mut work = shares.map(|share| {
            let Share { target, sums } = share?;
            next += 1;
            Some(Work { sample: sample(next - 1), target, sums })
        });
        let packed = &self.layer.packed;
        match (&plan.reading, blocks) {
            (Reading::Tiles(tiles), _) => {
                winograd(lanes, (plan, tiles), packed, (blocks, part), &mut work, scratch);
            }
            (Reading::Planes(_) | Reading::Channels, _) => {
                depthwise(lanes, plan, packed, blocks, &mut work, scratch);
            }
            // Others take a block at a time.
            (Reading::Points { .. }, [block]) => mixing(lanes, plan, packed, block, &mut work, scratch),
            (Reading::Windows { .. } | Reading::Strided { .. } | Reading::Groups(_), [block]) => {
                convolve(lanes, plan, packed, (block, part), &mut work, scratch);
            }
            _ => unreachable!("{} blocks", blocks.len()),
        }
    }

    /// Step 5 where it isn't folded, and what had to wait.
    fn normalize<L: Lanes>(&mut self, lanes: L) -> Option<Statistics> {
        let (config, shape) = (*self.layer.config(), self.call.output);
        let layout = config.layout();
        let taken =
            self.call.batch_statistics.then(|| statistics(lanes, self.threads, self.output, shape, layout));
        let mut affine = std::mem::take(&mut self.stream.affine);
        self.layer.affine(taken.as_ref(), &mut affine);
        let (len, residual) = (shape.sample_len(), self.residual);
        let mut kept = self.kept.preactivation.as_deref_mut().map(|kept| kept.chunks_exact_mut(len));
        let kept = std::iter::repeat_with(move || kept.as_mut().and_then(Iterator::next));
        let samples = self.output.chunks_exact_mut(len).zip(kept).enumerate();
        self.threads.for_each(samples, |(n, (sample, kept))| {
            let residual = residual.map(|r| &r[n * len..][..len]);
            normalize(lanes, &affine, (sample, shape, layout), residual, kept, config.activation());
        });
        self.stream.affine = affine;
        if let Some(sums) = self.sums.as_deref_mut() {
            sample_sums(lanes, self.threads, self.output, shape, layout, sums);
        }
        taken
    }
}

/// Runs of rows that each thread copies, for balance.
const COPY_RUNS: usize = 4;

/// `data` cut into rows of `len`, which may be 0, as many as are asked for.
fn rows(mut data: &mut [f32], len: usize) -> impl Iterator<Item = &mut [f32]> {
    std::iter::repeat_with(move || {
        let (row, rest) = std::mem::take(&mut data).split_at_mut(len);
        data = rest;
        row
    })
}

/// Where a part of some blocks of a sample goes.
struct Share<'a> {
    target: Columns<'a>,
    /// Its channel sums, where they are asked for.
    sums: &'a mut [f32],
}

/// Every part of every run of blocks of as many samples as share its experts, with the first one's number: `output` is
/// theirs and `sums`, where asked for.
fn groups<'a>(
    plan: &'a Plan,
    blocks: &'a [Block],
    division: Division,
    out: Shape,
    output: &'a mut [f32],
    sums: &'a mut [f32],
) -> impl Iterator<Item = (usize, &'a [Block], Part, [Option<Share<'a>>; MOST_SAMPLES])> {
    let count = output.len() / out.sample_len();
    let mut samples = output.chunks_exact_mut(out.sample_len());
    let wanted = !sums.is_empty();
    let mut sums = sums.chunks_exact_mut(out.channels());
    let cut = plan.cut(division.parts);
    let channels = |blocks: &[Block]| blocks.iter().map(|block| block.channels).sum::<usize>();
    let blocks = blocks.chunks(division.blocks);
    (0..count).step_by(plan.samples).flat_map(move |i| {
        let pixels = cut.clone().map(|part| part.pixels());
        let mut samples: [_; MOST_SAMPLES] = std::array::from_fn(|j| {
            let sample = if j < plan.samples { samples.next()? } else { return None };
            let sums = sums.next().unwrap_or_default();
            let targets = split(
                plan.config.layout(),
                sample,
                out.pixels(),
                blocks.clone().map(channels),
                pixels.clone(),
            );
            Some((targets, sums))
        });
        let cut = cut.clone();
        blocks.clone().flat_map(move |blocks| cut.clone().map(move |part| (blocks, part))).map(
            move |(blocks, part)| {
                let shares = samples.each_mut().map(|sample| {
                    let (targets, sums) = sample.as_mut()?;
                    let (own, rest) =
                        std::mem::take(sums).split_at_mut(if wanted { channels(blocks) } else { 0 });
                    *sums = rest;
                    targets.next().map(|target| Share { target, sums: own })
                });
                (i, blocks, part, shares)
            },
        )
    })
}

/// The channel sums of every sample.
pub(crate) fn sample_sums<L: Lanes>(
    lanes: L,
    threads: &Threads,
    data: &[f32],
    shape: Shape,
    layout: Layout,
    sums: &mut [f32],
) {
    let samples = data.chunks_exact(shape.sample_len()).zip(sums.chunks_exact_mut(shape.channels()));
    threads.for_each(samples, |(sample, sums)| channel_sums(lanes, sample, shape, layout, sums));
}
