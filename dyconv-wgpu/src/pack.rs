//! The order in which convolution kernels read their weights; experts are packed into it once.
//!
//! ```text
//! tiled      [group][panel of 8 output channels][tap][input channel][8]   [bias]
//! depthwise  [tap][output channel]                                        [bias]
//! ```
//! Panels of 8 serve every tile, so the order doesn't depend on the input's shape. Rows beyond a group's last
//! output channel, and the gap before the bias, are zeros; both parts are whole vec4s. (Groups of few output
//! channels pay for that in memory: one channel of several inputs takes a panel of 8.)

use dyconv_core::Config;

/// Output channels per panel; `PANEL` in convolve.wgsl.
pub(crate) const PANEL: usize = 8;

/// A layer's packed order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packing {
    depth: usize,
    rows: usize,
    taps: usize,
    out_channels: usize,
    is_depthwise: bool,
    /// Floats of one expert or aggregated kernel.
    pub(crate) stride: usize,
    /// Where its bias starts.
    pub(crate) bias: usize,
}

impl Packing {
    pub(crate) fn new(config: &Config) -> Self {
        let (depth, rows) = (config.in_channels_per_group(), config.out_channels_per_group());
        let padded_rows = if config.is_depthwise() { rows } else { rows.next_multiple_of(PANEL) };
        let bias = (config.groups() * padded_rows * config.reduction_len()).next_multiple_of(4);
        let bias_len = if config.bias() { config.out_channels().next_multiple_of(4) } else { 0 };
        Self {
            depth,
            rows,
            taps: config.taps(),
            out_channels: config.out_channels(),
            is_depthwise: config.is_depthwise(),
            stride: bias + bias_len,
            bias,
        }
    }

    /// One expert, from `[Cout][Cin/G][tap]` and its bias.
    pub(crate) fn pack(&self, weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let mut packed = vec![0.0; self.stride];
        for (row, taps) in weight.chunks_exact(self.taps).enumerate() {
            let (out, channel) = (row / self.depth, row % self.depth);
            for (tap, &value) in taps.iter().enumerate() {
                packed[self.position(out, channel, tap)] = value;
            }
        }
        if let Some(bias) = bias {
            packed[self.bias..self.bias + bias.len()].copy_from_slice(bias);
        }
        packed
    }

    /// One expert again as `[Cout][Cin/G][tap]`.
    pub(crate) fn unpack(&self, packed: &[f32]) -> Vec<f32> {
        let mut weight = Vec::with_capacity(self.out_channels * self.depth * self.taps);
        for out in 0..self.out_channels {
            for channel in 0..self.depth {
                weight.extend((0..self.taps).map(|tap| packed[self.position(out, channel, tap)]));
            }
        }
        weight
    }

    fn position(&self, out: usize, channel: usize, tap: usize) -> usize {
        if self.is_depthwise {
            return tap * self.out_channels + out;
        }
        let (group, row) = (out / self.rows, out % self.rows);
        let panel = group * self.rows.div_ceil(PANEL) + row / PANEL;
        ((panel * self.taps + tap) * self.depth + channel) * PANEL + row % PANEL
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_core::Options;

    #[test]
    fn panels_interleave_eight_channels() {
        let config = Options::new(2, 9).kernel_size([1, 2]).bias(true).build().unwrap();
        let packing = Packing::new(&config);
        let weight: Vec<f32> = (0..36).map(|i| i as f32).collect();
        let bias: Vec<f32> = (100..109).map(|i| i as f32).collect();
        let packed = packing.pack(&weight, Some(&bias));
        assert_eq!((packing.bias, packing.stride), (64, 76));
        // First panel, tap 0, channel 0: weight[o][0][0] of eight channels.
        assert_eq!(packed[..8], [0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0, 28.0]);
        // Tap 0, channel 1, then tap 1.
        assert_eq!(packed[8..11], [2.0, 6.0, 10.0]);
        assert_eq!(packed[16..19], [1.0, 5.0, 9.0]);
        // Second panel holds the ninth channel alone.
        assert_eq!(packed[32..35], [32.0, 0.0, 0.0]);
        assert_eq!(packed[64..73], bias);
        assert_eq!(packing.unpack(&packed), weight);
    }

    #[test]
    fn depthwise_channels_are_neighbours() {
        let config = Options::new(3, 3).groups(3).kernel_size([1, 2]).build().unwrap();
        let weight = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let packed = Packing::new(&config).pack(&weight, None);
        assert_eq!(packed, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0, 0.0, 0.0]);
        assert_eq!(Packing::new(&config).unpack(&packed), weight);
    }
}
