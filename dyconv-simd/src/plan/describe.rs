//! A plan in words and figures: what `explain` prints.

use dyconv_core::{Accuracy, Cost, Result, Shape};

use super::patch::rows;
use super::{Kernel, Plan, Reading};
use crate::isa::Traits;
use crate::pack::blocks;

impl Plan {
    /// The kernel and its tile: `direct 14×32`.
    pub(crate) fn name(&self) -> String {
        let Traits { width, vectors, .. } = self.traits;
        let rows = rows(self.kernel, &self.config, self.traits);
        let [channels, pixel_vectors] = self.traits.across;
        match self.kernel {
            Kernel::Across => format!("across {channels}×{}", pixel_vectors * width),
            Kernel::Direct => format!("direct {rows}×{}", vectors * width),
            Kernel::Pointwise => format!("pointwise {rows}×{}", vectors * width),
            Kernel::Depthwise => format!("depthwise {width}"),
            Kernel::Mixing => format!("mixing {}×{}", self.patch_pixels(), vectors * width),
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
        let total = Cost::new(&self.config, input)?.total();
        let output = self.config.output_shape(input)?;
        let copies = self.copied().saturating_mul(input.batch());
        let bytes = total.bytes.saturating_add(floats(copies.saturating_mul(2)));
        let blocks = input.batch().max(1).div_ceil(self.samples).saturating_mul(self.blocks());
        let workers = threads.min(blocks.saturating_mul(self.parts(threads, blocks)));
        let peak = floats(input.len())
            .saturating_add(floats(output.len()))
            .saturating_add(floats(self.copied().saturating_mul(self.at_once(threads, input.batch()))))
            .saturating_add(floats(
                self.scratch().saturating_mul(workers).saturating_mul(self.samples.min(input.batch().max(1))),
            ))
            .saturating_add(resident as u64);
        Ok(dyconv_core::Plan::new(self.name(), total.multiply_adds, bytes, peak, Accuracy::Cpu))
    }

    fn blocks(&self) -> usize {
        blocks(&self.config, self.kernel.family(), self.traits).len()
    }

    /// Floats that each thread keeps: a panel, offsets, channel sums, sums that wait, a plane of a depthwise layer.
    fn scratch(&self) -> usize {
        let Traits { width, vectors, .. } = self.traits;
        let taps = self.config.taps();
        if self.kernel == Kernel::Depthwise {
            let spread = self.config.out_channels_per_group() > 1;
            let plane = match &self.reading {
                Reading::Planes(way) => way.scratch(&self.geometry, width),
                _ if spread => self.geometry.input[0] * self.geometry.input[1] * width,
                _ => 0,
            };
            return taps * width + width + plane;
        }
        let panel = if self.kernel == Kernel::Mixing { self.patch_pixels() } else { self.step * taps };
        (panel + 1 + width + self.waiting(&self.whole())) * vectors * width
    }
}

fn floats(count: usize) -> u64 {
    (count as u64).saturating_mul(4)
}
