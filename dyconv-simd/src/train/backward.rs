//! One backward over slices: the stages in reverse, and what is divided among threads. As in the forward, no sum is.

use std::sync::Arc;

use dyconv_core::{
    AttentionSource, CheckedCall, Config, Gradients, Handle, Layout, Prepared, Regularizer, Result, Shape,
};

use super::mirror::{Line, Phase};
use super::numbers::{Numbers, SimdGradients};
use super::tape::SimdTape;
use super::training::Training;
use crate::buffer::Buffer;
use crate::forward::{Kept, Run, sample_sums};
use crate::isa::OnLanes;
use crate::kernels::backward::activate::{Derive, Point};
use crate::kernels::backward::aggregate::{Shared, aggregate_backward};
use crate::kernels::backward::attention::{DenseBackward, dense_backward, squash_backward};
use crate::kernels::backward::convolve::{Correlate, correlate};
use crate::kernels::backward::depthwise::correlate_channels;
use crate::kernels::backward::normalize::{self, Channel, Through, normalize_backward};
use crate::kernels::backward::panels::{self, Channels};
use crate::lanes::Lanes;
use crate::layer::SimdLayer;
use crate::pack::{Block, Family};
use crate::plan::{Correlation, SAMPLES, Tile};
use crate::stream::SimdStream;
use crate::tensor::{SimdTensor, Source};
use crate::threads::Threads;

/// A backward that fits its layer and tape.
pub(crate) struct BackwardRun<'a> {
    pub(crate) layer: &'a SimdLayer,
    pub(crate) training: &'a Training,
    pub(crate) correlation: &'a Correlation,
    pub(crate) tape: &'a SimdTape,
    pub(crate) threads: &'a Threads,
    pub(crate) stream: &'a mut SimdStream,
    pub(crate) gradient: &'a SimdTensor,
    pub(crate) activity: Option<Regularizer>,
    pub(crate) add: Option<&'a SimdTensor>,
    /// Whether the input's gradient is wanted.
    pub(crate) input: bool,
    /// What the parameters' gradients are added to.
    pub(crate) params: Numbers,
    /// Whether there are none yet: the experts' are unspecified, the others 0.
    pub(crate) fresh: bool,
}

impl OnLanes for BackwardRun<'_> {
    type Output = Result<Gradients<SimdTensor, SimdGradients>>;

    fn run<L: Lanes>(mut self, lanes: L) -> Self::Output {
        let g = self.activate(lanes);
        let convolved = self.normalize(lanes, &g);
        let mut dpi = vec![0.0; self.tape.pi.len()];
        self.mix(lanes, convolved.data(), &mut dpi)?;
        self.add_bias(lanes, convolved.data(), &mut dpi);
        let dz = self.attend(lanes, &dpi);
        let input = if self.input { Some(self.convolve(lanes, &convolved, dz.as_deref())?) } else { None };
        let attention = match self.config().attention() {
            Some(_) => Some(self.attention_tensor(&dpi)?),
            None => None,
        };
        let Self { tape, params, .. } = self;
        Ok(Gradients::new(SimdGradients(params))
            .input(input)
            .residual(tape.recorded.residual.then_some(g))
            .attention(attention))
    }
}

impl BackwardRun<'_> {
    fn config(&self) -> &Config {
        self.layer.config()
    }

    fn call(&self) -> &CheckedCall {
        &self.tape.recorded.call
    }

    /// A tensor of the output's shape, which `write` writes a piece at a time.
    fn written(&mut self, write: impl Fn(usize, &mut [f32]) + Send + Sync) -> SimdTensor {
        let shape = self.call().output;
        let len = shape.sample_len();
        let threads = self.threads;
        let data = self.stream.recycled.fill(shape.len(), |data| {
            threads.for_each(data.chunks_exact_mut(len).enumerate(), |(n, sample)| write(n, sample));
        });
        SimdTensor::new(shape, self.config().layout(), data)
    }

    /// Step 7: the gradient of what was activated, which is the residual's.
    fn activate<L: Lanes>(&mut self, lanes: L) -> SimdTensor {
        let (activation, activity) = (self.config().activation(), self.activity);
        if activation == dyconv_core::Activation::None && activity.is_none() {
            return self.gradient.relabel(self.config().layout());
        }
        let (g, tape) = (self.gradient, self.tape);
        let point = match Point::of(activation) {
            Point::Output => tape.output.data(),
            Point::Preactivation => tape.preactivation.as_ref().map_or(&[][..], |data| data.as_slice()),
        };
        let len = self.call().output.sample_len();
        self.written(move |n, out| {
            let piece = |of: &'_ [f32]| n * len..((n + 1) * len).min(of.len());
            let [g, output, point] = [g.data(), tape.output.data(), point].map(|of| &of[piece(of)]);
            lanes.vectorize(Derive { activation, activity, g, output, point, out });
        })
    }

    /// Step 5: the gradient of the convolution's output; gamma's and beta's on the way.
    fn normalize<L: Lanes>(&mut self, lanes: L, g: &SimdTensor) -> SimdTensor {
        let (Some(norm), Some([mean, variance]), Some(y)) =
            (&self.layer.norm, &self.tape.normalized_by, &self.tape.convolved)
        else {
            return g.clone();
        };
        let epsilon = self.config().batch_norm().map_or(0.0, |norm| norm.epsilon);
        let (shape, layout) = (self.call().output, self.config().layout());
        let channel = |c: usize| Channel {
            mean: mean[c],
            rate: 1.0 / (variance[c] + epsilon).sqrt(),
            gamma: f64::from(norm.weight[c]),
            ..Channel::default()
        };
        let mut channels: Vec<Channel> = (0..shape.channels()).map(channel).collect();
        normalize::sums(lanes, self.threads, &mut channels, [y.as_slice(), g.data()], (shape, layout));
        for (i, name) in ["bn.weight", "bn.bias"].into_iter().enumerate() {
            let sums = channels.iter().map(|channel| [channel.product, channel.sum][i]);
            let into = self.params.get_mut(name).iter_mut();
            into.zip(sums).for_each(|(into, sum)| *into = (f64::from(*into) + sum) as f32);
        }
        let values = self.call().batch_statistics.then(|| (shape.batch() * shape.pixels()) as f64);
        let through = Through::new(&channels, values);
        let (y, g, len) = (y.as_slice(), g.data(), shape.sample_len());
        self.written(move |n, out| {
            let pieces = [y, g].map(|of| &of[n * len..][..len]);
            normalize_backward(lanes, &through, pieces, (out, shape, layout));
        })
    }

    /// Steps 4 and 3 for the experts: their gradients, and their part of dπ. A few samples at a time: their panels first,
    /// then tiles, each by one thread.
    fn mix<L: Lanes>(&mut self, lanes: L, g: &[f32], dpi: &mut [f32]) -> Result<()> {
        let experts = self.config().experts();
        let batch = self.call().output.batch();
        let [mut inputs, mut gradients] = std::mem::take(&mut self.stream.panels);
        let mut products = std::mem::take(&mut self.stream.products);
        let mut weight = self.params.take("weight");
        if batch == 0 && self.fresh {
            Arc::make_mut(&mut weight).as_mut_slice().fill(0.0);
        }
        let tiles = || self.tiles();
        for first in (0..batch).step_by(SAMPLES) {
            let count = SAMPLES.min(batch - first);
            let panels = Panels { first, count, inputs: &[], gradients: &[] };
            let inputs = inputs.scratch(count * self.inputs_len());
            let gradients = gradients.scratch(count * self.gradients_len::<L>());
            self.fill(lanes, &panels, g, inputs, gradients);
            let panels = Panels { inputs, gradients, ..panels };
            let products = products.scratch(tiles().count() * count * experts);
            let mut rest = Arc::make_mut(&mut weight).as_mut_slice();
            let items = tiles().zip(products.chunks_exact_mut(count * experts)).map(|(tile, products)| {
                let block = &self.layer.packed.blocks[tile.block];
                let len = self.layer.packed.place(block, tile.from, tile.channels).len();
                // Tiles come in the order in which they lie.
                let (own, after) = std::mem::take(&mut rest).split_at_mut(len);
                rest = after;
                (tile, own, products)
            });
            self.threads.for_each_by(items, |who, (tile, gradients, products)| {
                self.stream.scratch.with(who, |scratch| {
                    self.tile(lanes, &panels, tile, gradients, (products, &mut scratch.panel));
                });
            });
            for (i, dpi) in dpi[first * experts..][..count * experts].iter_mut().enumerate() {
                let parts = products.chunks_exact(count * experts).map(|part| f64::from(part[i]));
                *dpi = parts.sum::<f64>() as f32;
            }
        }
        self.params.put("weight", weight);
        self.stream.panels = [inputs, gradients];
        self.stream.products = products;
        Ok(())
    }

    /// Every tile, block by block.
    fn tiles(&self) -> impl Iterator<Item = Tile> + use<'_> {
        let blocks = self.layer.packed.blocks.iter().enumerate();
        blocks.flat_map(|(i, block)| self.correlation.tiles(i, block))
    }

    /// Floats of a sample's panels of inputs.
    fn inputs_len(&self) -> usize {
        self.correlation.panels * self.correlation.window.len()
    }

    /// Floats of a sample's panels of g.
    fn gradients_len<L: Lanes>(&self) -> usize {
        let lanes = self.layer.packed.blocks.last().map_or(0, |b| b.lanes_before + b.vectors * L::WIDTH);
        lanes * self.call().output.pixels()
    }

    /// Writes the panels of some samples.
    fn fill<L: Lanes>(
        &self,
        lanes: L,
        Panels { first, count, .. }: &Panels<'_>,
        g: &[f32],
        inputs: &mut [f32],
        gradients: &mut [f32],
    ) {
        let (config, call, correlation) = (self.config(), self.call(), self.correlation);
        let (packed, layout) = (&self.layer.packed, config.layout());
        let (x, output) = (self.tape.input.data(), call.output);
        let panels = inputs.chunks_exact_mut(correlation.window.len()).enumerate();
        self.threads.for_each(panels, |(i, panel)| {
            let (n, which) = (first + i / correlation.panels, i % correlation.panels);
            let len = call.input.sample_len();
            let (first, channels, spread) = match packed.family {
                Family::Shared => {
                    let (first, channels) = correlation.channels_of(which);
                    (first, channels, 1)
                }
                Family::Lanewise => {
                    let block = &packed.blocks[which];
                    (block.first, block.channels, config.out_channels_per_group())
                }
            };
            let sample = &x[n * len..][..len];
            let channels = Channels { sample, shape: call.input, layout, first, count: channels, spread };
            panels::input(lanes, &correlation.window, channels, correlation.channels, panel);
        });
        let mut rest = gradients;
        let pixels = output.pixels();
        let items = (0..*count).flat_map(|i| packed.blocks.iter().map(move |block| (i, block)));
        let items = items.map(|(i, block)| {
            let (own, after) = std::mem::take(&mut rest).split_at_mut(block.vectors * L::WIDTH * pixels);
            rest = after;
            (i, block, own)
        });
        self.threads.for_each(items, |(i, block, panel)| {
            let sample = &g[(first + i) * output.sample_len()..][..output.sample_len()];
            panels::gradient(lanes, (sample, output, layout), block, panel);
        });
    }

    /// dW~ of a tile for some samples, and what becomes of it.
    fn tile<L: Lanes>(
        &self,
        lanes: L,
        panels: &Panels<'_>,
        tile: Tile,
        gradients: &mut [f32],
        (products, scratch): (&mut [f32], &mut Buffer),
    ) {
        let (packed, correlation) = (&self.layer.packed, self.correlation);
        let (block, count) = (&packed.blocks[tile.block], self.config().experts());
        let place = packed.place(block, tile.from, tile.channels);
        let experts = &packed.all_weights()[place];
        let len = experts.len() / count;
        let window = &correlation.window;
        let sums = scratch.scratch(panels.count * len);
        for (i, sums) in sums.chunks_exact_mut(len).enumerate() {
            let mut of = Correlate {
                x: &panels.inputs[i * self.inputs_len() + tile.panel * window.len()..][..window.len()],
                position: correlation.channels,
                columns: window.columns.len,
                taps: [&window.rows.offsets, &window.columns.offsets],
                g: self.gradients_of::<L>(panels, i, block),
                output: correlation.output(),
                sums,
            };
            match packed.family {
                Family::Shared => correlate::<L>(tile.channels, block.vectors)(lanes, &mut of),
                Family::Lanewise => correlate_channels(lanes, &mut of),
            }
        }
        let pi = &self.tape.pi[panels.first * count..][..panels.count * count];
        let fresh = self.fresh && panels.first == 0;
        aggregate_backward(lanes, Shared { sums, experts, gradients, fresh, pi, products, count });
    }

    /// A block's panel of g.
    fn gradients_of<'p, L: Lanes>(&self, panels: &Panels<'p>, i: usize, block: &Block) -> &'p [f32] {
        let pixels = self.call().output.pixels();
        let start = i * self.gradients_len::<L>() + block.lanes_before * pixels;
        &panels.gradients[start..][..block.vectors * L::WIDTH * pixels]
    }

    /// The experts' biases: db~ are the channel sums of g.
    fn add_bias<L: Lanes>(&mut self, lanes: L, g: &[f32], dpi: &mut [f32]) {
        let Some(biases) = self.layer.parameter("bias") else { return };
        let (shape, experts) = (self.call().output, self.config().experts());
        let mut sums = vec![0.0; shape.batch() * shape.channels()];
        sample_sums(lanes, self.threads, g, shape, self.config().layout(), &mut sums);
        let gradients = self.params.get_mut("bias");
        let samples = sums.chunks_exact(shape.channels()).zip(self.tape.pi.chunks_exact(experts));
        for ((sums, pi), dpi) in samples.zip(dpi.chunks_exact_mut(experts)) {
            for row in self.layer.packed.rows(1) {
                let (expert, channel) = (row.plain / shape.channels(), row.plain % shape.channels());
                gradients[row.packed] += pi[expert] * sums[channel];
                dpi[expert] += sums[channel] * biases[row.packed];
            }
        }
    }

    /// Step 2, and of step 1 what comes to each channel's pixels: dz/(H·W), `[N, Cin]`, where a head computed π.
    fn attend<L: Lanes>(&mut self, lanes: L, dpi: &[f32]) -> Option<Vec<f32>> {
        let (AttentionSource::Head { temperature }, Some(head)) = (self.call().attention, &self.layer.head)
        else {
            return None;
        };
        let (input, tape) = (self.call().input, self.tape);
        let (channels, experts) = (input.channels(), self.config().experts());
        let units = head.hidden(channels);
        let mut dz = vec![0.0; input.batch() * channels];
        let (mut logits, mut gradient) = (vec![0.0; experts], vec![0.0; units]);
        for (n, dz) in dz.chunks_exact_mut(channels).enumerate() {
            logits.copy_from_slice(&dpi[n * experts..][..experts]);
            let pi = &tape.pi[n * experts..][..experts];
            squash_backward(head.squash, pi, temperature, &mut logits);
            let pooled = &tape.pooled[n * channels..][..channels];
            let hidden = &tape.hidden[n * units..][..units];
            let inputs = if head.fc1.is_some() { hidden } else { pooled };
            let out = if head.fc1.is_some() { &mut gradient[..] } else { &mut *dz };
            let [weight, bias] = self.params.both_mut(["attention.fc2.weight", "attention.fc2.bias"]);
            dense_backward(
                lanes,
                DenseBackward { dense: &head.fc2, weight, bias, inputs, gradient: &logits, out },
            );
            if let Some(fc1) = &head.fc1 {
                // After its relu a unit is 0 wherever the derivative is.
                for (gradient, unit) in gradient.iter_mut().zip(hidden) {
                    *gradient = if *unit <= 0.0 { 0.0 } else { *gradient };
                }
                let [weight, bias] = self.params.both_mut(["attention.fc1.weight", "attention.fc1.bias"]);
                let of =
                    DenseBackward { dense: fc1, weight, bias, inputs: pooled, gradient: &gradient, out: dz };
                dense_backward(lanes, of);
            }
            dz.iter_mut().for_each(|dz| *dz /= input.pixels() as f32);
        }
        Some(dz)
    }

    /// Step 4 for the input: a convolution of g with W~ as the mirror has it, to which the pool's share and what the
    /// caller adds come on the way.
    fn convolve<L: Lanes>(&mut self, lanes: L, g: &SimdTensor, dz: Option<&[f32]>) -> Result<SimdTensor> {
        let (shape, config) = (self.call().input, *self.config());
        let mut data = self.stream.recycled.take(shape.len());
        let dx = Arc::make_mut(&mut data).as_mut_slice();
        let phases = &self.training.mirror.phases;
        let add = self.add.map(SimdTensor::data);
        let geometry = self.call().geometry;
        match phases.as_slice() {
            [phase] if config.stride() == [1, 1] && phase.reads_all(&config, &geometry) => {
                self.phase(lanes, phase, g, (dz, add), dx)?;
            }
            phases => {
                let mut out = std::mem::take(&mut self.stream.phase);
                fill_channels(shape, config.layout(), dz, dx);
                for phase in phases {
                    let lines = phase.lines(&config, &geometry);
                    if phase.reads(&config, &geometry) {
                        let len = shape.batch() * shape.channels() * lines[0].count * lines[1].count;
                        self.phase(lanes, phase, g, (dz, None), out.scratch(len))?;
                        scatter(shape, &config, &lines, out.as_slice(), dx);
                    }
                }
                self.stream.phase = out;
                let add = add.unwrap_or_default();
                dx.iter_mut().zip(add).for_each(|(dx, add)| *dx += add);
            }
        }
        self.stream.recycled.keep(&data);
        Ok(SimdTensor::new(shape, config.layout(), data))
    }

    /// dx of one phase, close together.
    fn phase<L: Lanes>(
        &mut self,
        lanes: L,
        phase: &Phase,
        g: &SimdTensor,
        (offset, residual): (Option<&[f32]>, Option<&[f32]>),
        output: &mut [f32],
    ) -> Result<()> {
        let (config, tape) = (*self.config(), self.tape);
        let lines = phase.lines(&config, &self.call().geometry);
        let own = phase.config(&lines)?;
        let left_out = lines.each_ref().map(Line::left_out);
        let mut cropped = std::mem::take(&mut self.stream.cropped);
        let (shape, data) = crop(g, left_out, &mut cropped)?;
        let image = [shape.height(), shape.width()];
        let geometry = own.geometry(image[0], image[1])?;
        let call = CheckedCall {
            input: shape,
            output: own.output_shape(shape)?,
            geometry,
            attention: match config.attention() {
                Some(_) => AttentionSource::Given,
                None => AttentionSource::Static,
            },
            batch_statistics: false,
        };
        lanes_run(
            lanes,
            Run {
                layer: &phase.layer,
                plan: phase.layer.plan_as(&own, image)?,
                call,
                threads: self.threads,
                stream: &mut *self.stream,
                input: Source { data, sums: None },
                given: config.attention().map(|_| &tape.pi[..]),
                residual,
                output,
                sums: None,
                offset,
                kept: Kept::default(),
            },
        );
        self.stream.cropped = cropped;
        Ok(())
    }

    /// dπ as a tensor.
    fn attention_tensor(&mut self, dpi: &[f32]) -> Result<SimdTensor> {
        let shape = Shape::new(self.call().input.batch(), self.config().experts(), 1, 1)?;
        let data = self.stream.recycled.fill(dpi.len(), |data| data.copy_from_slice(dpi));
        Ok(SimdTensor::new(shape, Layout::Nchw, data))
    }
}

fn lanes_run<L: Lanes>(lanes: L, run: Run<'_>) {
    run.run(lanes);
}

/// The panels of some samples.
struct Panels<'a> {
    first: usize,
    count: usize,
    inputs: &'a [f32],
    gradients: &'a [f32],
}

/// g without the rows and columns at its ends that nothing reads.
fn crop<'a>(
    g: &'a SimdTensor,
    [[top, bottom], [left, right]]: [[usize; 2]; 2],
    cropped: &'a mut Buffer,
) -> Result<(Shape, &'a [f32])> {
    let from = g.shape();
    if [top, bottom, left, right] == [0; 4] {
        return Ok((from, g.data()));
    }
    let (height, width) = (from.height() - top - bottom, from.width() - left - right);
    let shape = Shape::new(from.batch(), from.channels(), height, width)?;
    let depth = if g.layout() == Layout::Nchw { 1 } else { from.channels() };
    let out = cropped.scratch(shape.len());
    let images =
        g.data().chunks_exact(from.pixels() * depth).zip(out.chunks_exact_mut(shape.pixels() * depth));
    for (image, out) in images {
        let rows = image.chunks_exact(from.width() * depth).skip(top);
        for (row, out) in rows.zip(out.chunks_exact_mut(width * depth)) {
            out.copy_from_slice(&row[left * depth..][..width * depth]);
        }
    }
    Ok((shape, out))
}

/// Every pixel gets its channel's number, or 0.
fn fill_channels(shape: Shape, layout: Layout, numbers: Option<&[f32]>, out: &mut [f32]) {
    let Some(numbers) = numbers else { return out.fill(0.0) };
    let samples = out.chunks_exact_mut(shape.sample_len()).zip(numbers.chunks_exact(shape.channels()));
    for (sample, numbers) in samples {
        match layout {
            Layout::Nchw => {
                let planes = sample.chunks_exact_mut(shape.pixels()).zip(numbers);
                planes.for_each(|(plane, number)| plane.fill(*number));
            }
            Layout::Nhwc => {
                let rows = sample.chunks_exact_mut(shape.channels());
                rows.for_each(|row| row.copy_from_slice(numbers));
            }
        }
    }
}

/// Writes a phase's dx to its places.
fn scatter(shape: Shape, config: &Config, [rows, columns]: &[Line; 2], phase: &[f32], dx: &mut [f32]) {
    let depth = if config.layout() == Layout::Nchw { 1 } else { shape.channels() };
    let ([down, right], image) = (config.stride(), shape.pixels() * depth);
    let images = phase.chunks_exact(rows.count * columns.count * depth).zip(dx.chunks_exact_mut(image));
    for (phase, dx) in images {
        for (y, row) in phase.chunks_exact(columns.count * depth).enumerate() {
            let to = &mut dx[(rows.first + y * down) * shape.width() * depth..][..shape.width() * depth];
            for (x, pixel) in row.chunks_exact(depth).enumerate() {
                to[(columns.first + x * right) * depth..][..depth].copy_from_slice(pixel);
            }
        }
    }
}
