//! A plan in words and figures: what `explain` prints.

use dyconv_core::{Accuracy, Cost, Prepared, Result, Shape};

use crate::kernel::{Convolution, Kernel};
use crate::layer::WgpuLayer;
use crate::limits::ELEMENT;
use crate::plan::Plan;
use crate::stages::SAMPLES;

impl Plan {
    /// The kernel and how its work is divided: `tiled 64×64×16 from experts, 4 slices, 2 parts`.
    fn name(&self) -> String {
        let mut name = self.kernel.to_string();
        if self.is_fused() {
            name += " from experts";
        }
        let parts = self.split.parts().count();
        for (count, what) in [(self.slices as usize, "slices"), (parts, "parts")] {
            if count > 1 {
                name += &format!(", {count} {what}");
            }
        }
        name
    }

    /// What `explain` prints.
    ///
    /// # Errors
    /// Where the input doesn't fit the layer.
    pub(crate) fn describe(&self, layer: &WgpuLayer, input: Shape) -> Result<dyconv_core::Plan> {
        let config = layer.config();
        let output = config.output_shape(input)?;
        let mut cost = Cost::new(config, input)?;
        let [experts, batch, outputs] = [config.experts(), input.batch(), output.len()].map(|n| n as u64);
        let kernel = bytes(layer.packing.stride);
        let expert = bytes(layer.stored.stride(&layer.packing));
        let is_static = config.attention().is_none();

        // What tiles read of kernels: each column of tiles all of them.
        let tiles = match self.kernel {
            Kernel::Convolve(Convolution { tile, .. }) if !self.shares => {
                output.pixels().div_ceil(tile.columns as usize) as u64
            }
            _ => 1,
        };
        let on_paper = config.expert_len() + if config.bias() { config.out_channels() } else { 0 };
        let activations = cost.convolve.bytes.saturating_sub(bytes(on_paper).saturating_mul(batch));
        let reads = |each: u64| each.saturating_mul(batch).saturating_mul(tiles);
        if self.is_fused() {
            cost.aggregate.bytes = reads(expert.saturating_mul(experts));
            cost.aggregate.multiply_adds = cost.aggregate.multiply_adds.saturating_mul(tiles);
            cost.convolve.bytes = activations;
        } else if is_static {
            cost.aggregate.bytes = 0;
            cost.convolve.bytes = activations.saturating_add(expert);
        } else {
            let shared = expert.saturating_mul(experts).saturating_mul(batch.div_ceil(SAMPLES as u64));
            cost.aggregate.bytes = shared.saturating_add(kernel.saturating_mul(batch));
            cost.convolve.bytes = activations.saturating_add(reads(kernel));
        }
        let sliced =
            if self.slices > 1 { u64::from(self.slices).saturating_mul(outputs * ELEMENT) } else { 0 };
        cost.convolve.bytes = cost.convolve.bytes.saturating_add(sliced.saturating_mul(2));

        let aggregated = if is_static || self.is_fused() { 0 } else { self.split.largest() as u64 };
        let peak = [
            bytes(input.len()),
            bytes(output.len()),
            expert.saturating_mul(experts),
            kernel.saturating_mul(aggregated),
            sliced,
        ];
        let peak = peak.iter().fold(0, |sum: u64, part| sum.saturating_add(*part));
        let total = cost.total();
        Ok(dyconv_core::Plan::new(self.name(), total.multiply_adds, total.bytes, peak, Accuracy::Gpu))
    }
}

fn bytes(elements: usize) -> u64 {
    (elements as u64).saturating_mul(ELEMENT)
}
