//! Steps 4 and 3 for the experts and their biases: their gradients, and dπ.

use std::sync::Arc;

use super::BackwardRun;
use crate::buffer::Buffer;
use crate::forward::sample_sums;
use crate::kernels::backward::aggregate::{Shared, aggregate_backward};
use crate::kernels::backward::convolve::{Correlate, correlate};
use crate::kernels::backward::depthwise::correlate_channels;
use crate::kernels::backward::panels::{self, Channels};
use crate::lanes::Lanes;
use crate::pack::{Block, Family};
use crate::plan::{SAMPLES, Tile};

/// The panels of some samples.
struct Panels<'a> {
    first: usize,
    count: usize,
    inputs: &'a [f32],
    gradients: &'a [f32],
}

impl BackwardRun<'_> {
    /// Steps 4 and 3 for the experts: their gradients, and their part of dπ. A few samples at a time: their panels first,
    /// then tiles, each by one thread.
    pub(super) fn mix<L: Lanes>(&mut self, lanes: L, g: &[f32], dpi: &mut [f32]) {
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
    pub(super) fn add_bias<L: Lanes>(&mut self, lanes: L, g: &[f32], dpi: &mut [f32]) {
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
}
