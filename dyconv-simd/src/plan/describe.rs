//! A plan in words and figures: what `explain` prints.

use dyconv_core::{Accuracy, Cost, Layout, Precision, Result, Shape};

use super::patch::{across, rows};
use super::{Kernel, Plan, Reading};
use crate::isa::Traits;
use crate::pack::{blocks, word_bytes};

impl Plan {
    /// The kernel and its tile: `direct 14×32`.
    pub(crate) fn name(&self) -> String {
        let Traits { width, vectors, .. } = self.traits;
        let rows = rows(self.kernel, &self.config, self.traits);
        let [channels, pixel_vectors] = across(&self.config, self.traits);
        match self.kernel {
            Kernel::Across => format!("across {channels}×{}", pixel_vectors * width),
            Kernel::Direct => format!("direct {rows}×{}", vectors * width),
            Kernel::Pointwise => format!("pointwise {rows}×{}", vectors * width),
            Kernel::Depthwise => format!("depthwise {width}"),
            Kernel::Grouped => format!("grouped {rows}×{width}"),
            Kernel::Mixing => format!("mixing {}×{}", self.patch_pixels(), vectors * width),
            Kernel::WinogradF2 | Kernel::WinogradF4 => match &self.reading {
                Reading::Tiles(tiles) => format!("winograd {}", tiles.name()),
                _ => unreachable!("Winograd's plans have tiles"),
            },
        }
    }

    /// What `explain` prints, for a batch and a number of threads; `resident` are the prepared layer's bytes.
    ///
    /// # Errors
    /// Where the input doesn't fit the layer.
    pub(crate) fn describe(
        &self,
        input: Shape,
        threads: usize,
        resident: usize,
    ) -> Result<dyconv_core::Plan> {
        let total = self.cost(input)?.total();
        let output = self.config.output_shape(input)?;
        let copies = self.rewritten().saturating_mul(input.batch());
        let bytes = total.bytes.saturating_add(floats(copies.saturating_mul(2)));
        let (groups, blocks) = (input.batch().max(1).div_ceil(self.samples), self.blocks());
        let division = self.division(threads, [groups, blocks], true);
        let items = groups.saturating_mul(blocks.div_ceil(division.blocks)).saturating_mul(division.parts);
        let workers = threads.min(items);
        let peak = floats(input.len())
            .saturating_add(floats(output.len()))
            .saturating_add(floats(self.copied().saturating_mul(self.at_once(threads, input.batch()))))
            .saturating_add(floats(
                self.scratch(self.samples.min(input.batch().max(1)), division.parts).saturating_mul(workers),
            ))
            .saturating_add(resident as u64);
        Ok(dyconv_core::Plan::new(self.name(), total.multiply_adds, bytes, peak, self.accuracy()))
    }

    /// The error contract.
    pub(crate) fn accuracy(&self) -> Accuracy {
        match self.kernel {
            Kernel::WinogradF2 => Accuracy::WinogradF2,
            Kernel::WinogradF4 => Accuracy::WinogradF4,
            Kernel::Direct
            | Kernel::Pointwise
            | Kernel::Across
            | Kernel::Depthwise
            | Kernel::Grouped
            | Kernel::Mixing => Accuracy::Cpu,
        }
    }

    /// What a run costs on paper, as this plan goes about it.
    fn cost(&self, input: Shape) -> Result<Cost> {
        let mut cost = Cost::new(&self.config, input)?;
        let outputs = self.config.output_shape(input)?.len();
        let kernel = self.config.expert_len();
        let biases = if self.config.bias() { self.config.out_channels() } else { 0 };
        let word = word_bytes(self.precision) as u64;
        let expert = (kernel as u64).saturating_mul(word).saturating_add(floats(biases));
        // Samples that are computed side by side share what is read.
        let reads = input.batch().div_ceil(self.samples).saturating_mul(self.config.experts()) as u64;
        let experts = expert.saturating_mul(reads);
        let panels = floats(input.batch().saturating_mul(kernel + biases));
        let activations = cost.convolve.bytes.saturating_sub(panels);
        let is_panel = self.config.attention().is_none() && self.precision == Precision::F32;
        if let Reading::Tiles(tiles) = &self.reading {
            let channels = self.out_channels.saturating_mul(self.reduction_channels);
            cost.convolve.multiply_adds =
                channels.saturating_mul(tiles.products()).saturating_mul(input.batch()) as u64;
        }
        if self.kernel == Kernel::Mixing {
            let each = cost.convolve.multiply_adds.saturating_add(outputs as u64);
            cost.convolve.multiply_adds = each.saturating_mul(self.config.experts() as u64);
            cost.aggregate.multiply_adds = 0;
        }
        if self.kernel == Kernel::Mixing || is_panel {
            cost.aggregate.bytes = 0;
            cost.convolve.bytes = activations.saturating_add(experts);
        } else {
            cost.aggregate.bytes = experts.saturating_add(panels);
        }
        Ok(cost)
    }

    /// Floats that the input becomes before products are taken of it: a padded copy, or V.
    fn rewritten(&self) -> usize {
        match &self.reading {
            Reading::Tiles(tiles) => {
                let blocks = tiles.rows.len().div_ceil(tiles.block);
                tiles.v_len(blocks).saturating_mul(self.config.groups())
            }
            _ => self.copied(),
        }
    }

    fn blocks(&self) -> usize {
        blocks(&self.config, self.kernel.family(), self.traits).len()
    }

    /// Floats that each thread keeps for so many samples at once, of pixels in so many parts: a panel, offsets, channel
    /// sums, sums that wait, a plane of a depthwise layer, Winograd's tiles.
    fn scratch(&self, samples: usize, parts: usize) -> usize {
        let Traits { width, vectors, .. } = self.traits;
        let taps = self.config.taps();
        if self.kernel == Kernel::Depthwise {
            let spread = self.config.out_channels_per_group() > 1;
            let plane = match &self.reading {
                Reading::Planes(way) => way.scratch(&self.geometry, width),
                _ if spread => self.geometry.input[0] * self.geometry.input[1] * width,
                _ => 0,
            };
            return (taps * width + width + plane) * samples;
        }
        if let Reading::Tiles(tiles) = &self.reading {
            let lanes = vectors * width;
            let [height, columns] = self.grid;
            let turned = match self.config.layout() {
                Layout::Nchw => {
                    (tiles.size.outputs() + 2).min(self.geometry.input[0]) * self.geometry.input[1]
                }
                Layout::Nhwc => 0,
            };
            let strip = tiles.size.outputs().min(height) * columns * lanes;
            let plane = strip.max(turned * tiles.row);
            let blocks = tiles.rows.len().div_ceil(parts).div_ceil(tiles.block);
            let sample = tiles.v_len(blocks) + tiles.m_len(blocks, lanes);
            return tiles.u_len(lanes) + sample * samples + lanes * (2 + width) + plane;
        }
        let panel = if self.kernel == Kernel::Mixing { self.patch_pixels() } else { self.step * taps };
        (panel + 1 + width + self.waiting(&self.whole())) * vectors * width * samples
    }
}

fn floats(count: usize) -> u64 {
    (count as u64).saturating_mul(4)
}

#[cfg(test)]
mod tests {
    use dyconv_core::{Attention, Options};

    use super::super::tests::AVX512;
    use super::*;

    #[test]
    fn bytes_and_multiply_adds_are_the_plans_own() {
        let config = Options::new(320, 1280).experts(4).attention(Attention::Given).build().unwrap();
        let kernel = 320 * 1280;
        let table = [
            // Experts, W~ written and read, input and output.
            (Kernel::Direct, Precision::F32, 1, 4 * kernel + kernel, 16 * kernel + 8 * kernel + 6400),
            (Kernel::Direct, Precision::Bf16, 1, 4 * kernel + kernel, 8 * kernel + 8 * kernel + 6400),
            // Four samples read the experts once.
            (Kernel::Direct, Precision::F32, 4, 4 * 5 * kernel, 16 * kernel + 4 * (8 * kernel + 6400)),
            // No W~, and outputs of four experts to be mixed.
            (Kernel::Mixing, Precision::F32, 1, 4 * kernel + 4 * 1280, 16 * kernel + 6400),
            (Kernel::Mixing, Precision::F16, 1, 4 * kernel + 4 * 1280, 8 * kernel + 6400),
        ];
        for (kernel, precision, batch, multiply_adds, bytes) in table {
            let plan = Plan::choose(&config, [1, 1], AVX512, precision, None, Some(kernel)).unwrap();
            let total = plan.cost(Shape::new(batch, 320, 1, 1).unwrap()).unwrap().total();
            assert_eq!(
                (total.multiply_adds, total.bytes),
                (multiply_adds, bytes),
                "{kernel:?}, {precision:?}"
            );
        }
    }
}
