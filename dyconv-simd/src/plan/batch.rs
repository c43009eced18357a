//! How many samples of a batch are computed side by side.

use dyconv_core::{Config, Geometry, Precision};

use super::{Kernel, Plan};
use crate::pack::word_bytes;

/// The most samples that share each read of the experts. Their panels and inputs stay in a second-level cache of 1 MiB.
pub(crate) const MOST_SAMPLES: usize = 4;

/// Bytes of experts for every byte of activations, from which on sharing them pays: one more sample at a time puts its
/// activations in the place of experts in the caches.
const EXPERTS_PER_ACTIVATION: usize = 8;

/// Samples that share each read of the experts: the more, the more these outweigh what a sample reads and writes. It has
/// no influence on a result.
pub(super) fn samples(kernel: Kernel, config: &Config, geometry: &Geometry, precision: Precision) -> usize {
    let pixels = |[height, width]: [usize; 2]| height.saturating_mul(width);
    let input = pixels(geometry.input).saturating_mul(config.in_channels());
    let output = pixels(geometry.output).saturating_mul(config.out_channels());
    let activations = input.saturating_add(output).saturating_mul(EXPERTS_PER_ACTIVATION * size_of::<f32>());
    match kernel {
        Kernel::Direct
        | Kernel::Pointwise
        | Kernel::Across
        | Kernel::Grouped
        | Kernel::Mixing
        | Kernel::WinogradF2
        | Kernel::WinogradF4 => {
            let weights = config.experts().saturating_mul(config.expert_len());
            let experts = weights.saturating_mul(word_bytes(precision));
            (experts / activations.max(1)).clamp(1, MOST_SAMPLES)
        }
        Kernel::Depthwise => 1,
    }
}

impl Plan {
    /// Samples whose copies are made before any of them is computed: a group for every thread; all, where there are none.
    pub(crate) fn at_once(&self, threads: usize, batch: usize) -> usize {
        let all = batch.max(1);
        if self.copied() == 0 { all } else { threads.max(1).next_multiple_of(self.samples).min(all) }
    }
}

#[cfg(test)]
mod tests {
    use dyconv_core::{Attention, Options, Padding};

    use super::super::tests::AVX512;
    use super::*;

    #[test]
    fn samples_share_experts_where_these_outweigh_activations() {
        let square = |i, o| Options::new(i, o).kernel_size([3, 3]).padding(Padding::Same).experts(4);
        let table = [
            (square(64, 64), 56, Kernel::Direct, [1, 1]),
            (square(128, 128), 28, Kernel::Direct, [1, 1]),
            (square(256, 256), 14, Kernel::Direct, [2, 1]),
            (square(512, 512), 7, Kernel::Direct, [4, 4]),
            (square(512, 512), 14, Kernel::Direct, [4, 2]),
            (Options::new(960, 320).experts(4), 7, Kernel::Pointwise, [2, 1]),
            (Options::new(320, 1280).experts(4), 1, Kernel::Mixing, [4, 4]),
            (square(960, 960).groups(960), 7, Kernel::Depthwise, [1, 1]),
        ];
        for (options, image, kernel, want) in table {
            let config = options.attention(Attention::Given).build().unwrap();
            let geometry = config.geometry(image, image).unwrap();
            let got = [Precision::F32, Precision::Bf16].map(|p| samples(kernel, &config, &geometry, p));
            assert_eq!(got, want, "{options:?} at {image}");
        }
    }

    #[test]
    fn copies_are_made_for_whole_groups_and_no_more_samples_than_there_are() {
        let config = Options::new(512, 512).kernel_size([3, 3]).padding(Padding::Same).build().unwrap();
        let plan = Plan::choose(&config, [7, 7], AVX512, Precision::F32, None, Some(Kernel::Direct)).unwrap();
        assert_eq!(plan.samples, 4);
        for (threads, batch, want) in [(1, 1, 1), (1, 8, 4), (4, 8, 4), (5, 32, 8), (5, 7, 7)] {
            assert_eq!(plan.at_once(threads, batch), want);
        }
    }
}
