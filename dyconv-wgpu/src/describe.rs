//! A plan in words and figures: what `explain` prints.

use dyconv_core::{Cost, Prepared, Result, Shape, round};

use crate::kernel::{Convolution, Kernel};
use crate::layer::WgpuLayer;
use crate::limits::ELEMENT;
use crate::plan::Plan;
use crate::stages::SAMPLES;
use crate::values::Values;

impl Plan {
    /// What `explain` prints.
    ///
    /// # Errors
    /// Where the input doesn't fit the layer.
    pub(crate) fn describe(&self, layer: &WgpuLayer, input: Shape) -> Result<dyconv_core::Plan> {
        let output = layer.config().output_shape(input)?;
        let sizes = Sizes::new(self, layer, input, output);
        let total = sizes.cost()?.total();
        let peak = sizes.peak();
        Ok(dyconv_core::Plan::new(
            self.name(layer.values),
            total.multiply_adds,
            total.bytes,
            peak,
            self.accuracy(),
        ))
    }

    /// The kernel and how its work is divided: `tiled 64×64×16 from experts, 4 slices, 2 parts`.
    fn name(&self, values: Values) -> String {
        let mut name = match self.winograd {
            Some(tiles) => format!("winograd {0}×{0}, {1}", tiles.size.outputs(), self.kernel),
            None => self.kernel.to_string(),
        };
        if self.is_fused() {
            name += " from experts";
        }
        if values != Values::F32 {
            name += &format!(", activations in {}", round::largest(values.precision()).1);
        }
        let parts = self.split.parts().count();
        for (count, what) in [(self.slices.unwrap_or(1) as usize, "slices"), (parts, "parts")] {
            if count > 1 {
                name += &format!(", {count} {what}");
            }
        }
        name
    }
}

/// Bytes of what a plan reads and writes.
struct Sizes<'a> {
    plan: &'a Plan,
    layer: &'a WgpuLayer,
    input: Shape,
    output: Shape,
    /// One expert as it is stored, and one aggregated kernel.
    expert: u64,
    kernel: u64,
    /// One sample's input and products as Winograd has them.
    images: u64,
    /// The sums of all slices.
    slices: u64,
}

impl<'a> Sizes<'a> {
    fn new(plan: &'a Plan, layer: &'a WgpuLayer, input: Shape, output: Shape) -> Self {
        let plain = bytes(layer.packing.stride);
        let [kernel, images] = match plan.winograd {
            None => [plain, 0],
            Some(tiles) => {
                let points = tiles.size.points() as u64;
                let images = [input, output].map(|shape| bytes(tiles.image_len(shape.channels())));
                [
                    plain.saturating_mul(points) / layer.config().taps() as u64,
                    images[0].saturating_add(images[1]),
                ]
            }
        };
        let slices = bytes(output.len()).saturating_mul(plan.slices.unwrap_or(0).into());
        let expert = bytes(layer.stored.stride(&layer.packing));
        Self { plan, layer, input, output, expert, kernel, images, slices }
    }

    /// What a run costs on paper, as the plan goes about it.
    fn cost(&self) -> Result<Cost> {
        let config = self.layer.config();
        let mut cost = Cost::new(config, self.input)?;
        let [experts, batch] = [config.experts(), self.input.batch()].map(|count| count as u64);
        let tiles = self.column_tiles();
        // Of the convolution as it is on paper, the kernels are not what this plan reads.
        let on_paper = config.expert_len() + if config.bias() { config.out_channels() } else { 0 };
        let stored = |bytes: u64| bytes / ELEMENT * self.layer.values.bytes();
        let activations = stored(cost.convolve.bytes.saturating_sub(bytes(on_paper).saturating_mul(batch)));
        cost.pool.bytes = stored(cost.pool.bytes);
        let by_tiles = |each: u64| each.saturating_mul(batch).saturating_mul(tiles);
        let kernels;
        if self.plan.is_fused() {
            cost.aggregate.bytes = by_tiles(self.expert.saturating_mul(experts));
            cost.aggregate.multiply_adds = cost.aggregate.multiply_adds.saturating_mul(tiles);
            kernels = 0;
        } else if config.attention().is_none() {
            cost.aggregate.bytes = 0;
            kernels = self.expert;
        } else {
            let readings = experts.saturating_mul(batch.div_ceil(SAMPLES as u64));
            cost.aggregate.bytes =
                self.expert.saturating_mul(readings).saturating_add(self.kernel.saturating_mul(batch));
            kernels = by_tiles(self.kernel);
        }
        if let Some(tiles) = self.plan.winograd {
            let products = tiles.image_len(self.output.channels());
            let products = products.saturating_mul(config.in_channels_per_group()) as u64;
            cost.convolve.multiply_adds = products.saturating_mul(batch);
        }
        // What is between two kernels is written and read.
        let between = self.images.saturating_mul(batch).saturating_add(self.slices).saturating_mul(2);
        cost.convolve.bytes = activations.saturating_add(kernels).saturating_add(between);
        Ok(cost)
    }

    /// Tiles that read one kernel, side by side.
    fn column_tiles(&self) -> u64 {
        let Kernel::Convolve(Convolution { tile, .. }) = self.plan.kernel else { return 1 };
        let pixels = self.plan.winograd.map_or(self.output.pixels(), |tiles| tiles.pixels);
        if self.plan.shares { 1 } else { pixels.div_ceil(tile.columns as usize) as u64 }
    }

    /// Memory of one forward.
    fn peak(&self) -> u64 {
        let config = self.layer.config();
        let samples = self.plan.split.largest() as u64;
        let kernels = match (config.attention(), self.plan.winograd) {
            (None, None) => 0,
            (None, Some(_)) => 1,
            (Some(_), _) if self.plan.is_fused() => 0,
            (Some(_), _) => samples,
        };
        let parts = [
            self.layer.values.bytes().saturating_mul(self.input.len() as u64),
            self.layer.values.bytes().saturating_mul(self.output.len() as u64),
            self.expert.saturating_mul(config.experts() as u64),
            self.kernel.saturating_mul(kernels),
            self.images.saturating_mul(samples),
            self.slices,
        ];
        parts.iter().fold(0, |sum: u64, part| sum.saturating_add(*part))
    }
}

fn bytes(elements: usize) -> u64 {
    (elements as u64).saturating_mul(ELEMENT)
}
