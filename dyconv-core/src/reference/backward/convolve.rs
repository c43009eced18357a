//! Convolve, backwards: every product w·x of the forward gives g·w to dx and g·x to dW~.

use crate::reference::aggregate::Kernel;
use crate::reference::convolve::source;
use crate::reference::tensor::F64Tensor;
use crate::{Config, Geometry};

/// Adds sample `n`'s dx to `dx`, and gives its dW~ and db~.
pub(super) fn backward(
    config: &Config,
    geometry: &Geometry,
    kernel: &Kernel,
    n: usize,
    [x, gradient]: [&F64Tensor; 2],
    dx: &mut F64Tensor,
) -> Kernel {
    let mut sums = Kernel {
        weight: vec![0.0; kernel.weight.len()],
        bias: kernel.bias.as_ref().map(|bias| vec![0.0; bias.len()]),
    };
    let ([kh, kw], taps) = (config.kernel_size(), config.taps());
    let inputs = config.in_channels_per_group();
    let [per_sample, per_channel, per_row, per_column] = x.strides();
    for o in 0..config.out_channels() {
        let first = o / config.out_channels_per_group() * inputs;
        for oy in 0..geometry.output[0] {
            for ox in 0..geometry.output[1] {
                let g = gradient.at([n, o, oy, ox]);
                if let Some(bias) = &mut sums.bias {
                    bias[o] += g;
                }
                for ky in 0..kh {
                    let Some(row) = source(config, geometry, 0, oy, ky) else { continue };
                    for kx in 0..kw {
                        let Some(column) = source(config, geometry, 1, ox, kx) else { continue };
                        for c in 0..inputs {
                            let w = (o * inputs + c) * taps + ky * kw + kx;
                            let i = n * per_sample
                                + (first + c) * per_channel
                                + row * per_row
                                + column * per_column;
                            dx.data_mut()[i] += g * kernel.weight[w];
                            sums.weight[w] += g * x.data()[i];
                        }
                    }
                }
            }
        }
    }
    sums
}
