//! Convolve: cross-correlation with zero padding, groups, stride and dilation.

use super::aggregate::Kernel;
use super::tensor::F64Tensor;
use crate::{Config, Geometry};

/// Convolves sample `n` of `x` with its kernel into sample `n` of `y`.
pub(super) fn convolve(
    config: &Config,
    geometry: &Geometry,
    kernel: &Kernel,
    n: usize,
    x: &F64Tensor,
    y: &mut F64Tensor,
) {
    let [per_sample, per_channel, per_row, per_column] = y.strides();
    for o in 0..config.out_channels() {
        for oy in 0..geometry.output[0] {
            for ox in 0..geometry.output[1] {
                let sum = output(config, geometry, kernel, x, [n, o, oy, ox]);
                y.data_mut()[n * per_sample + o * per_channel + oy * per_row + ox * per_column] = sum;
            }
        }
    }
}

/// One output.
fn output(
    config: &Config,
    geometry: &Geometry,
    kernel: &Kernel,
    x: &F64Tensor,
    [n, o, oy, ox]: [usize; 4],
) -> f64 {
    let [kh, kw] = config.kernel_size();
    let (in_group, taps) = (config.in_channels_per_group(), config.taps());
    let first_channel = o / config.out_channels_per_group() * in_group;
    let [per_sample, per_channel, per_row, per_column] = x.strides();
    let mut sum = kernel.bias.as_ref().map_or(0.0, |bias| bias[o]);
    for ky in 0..kh {
        let Some(row) = source(config, geometry, 0, oy, ky) else { continue };
        for kx in 0..kw {
            let Some(column) = source(config, geometry, 1, ox, kx) else { continue };
            let pixel = n * per_sample + first_channel * per_channel + row * per_row + column * per_column;
            let tap = o * in_group * taps + ky * kw + kx;
            for c in 0..in_group {
                sum += kernel.weight[tap + c * taps] * x.data()[pixel + c * per_channel];
            }
        }
    }
    sum
}

/// The input position under tap `k` of output `o`; `None` in the padding.
pub(super) fn source(config: &Config, geometry: &Geometry, axis: usize, o: usize, k: usize) -> Option<usize> {
    let padded = o * config.stride()[axis] + k * config.dilation()[axis];
    padded.checked_sub(geometry.before[axis]).filter(|&position| position < geometry.input[axis])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Layout, Options, Padding, Shape};

    fn convolved(options: Options, input: [usize; 2], x: &[f64], weight: &[f64]) -> Vec<f64> {
        let config = options.build().unwrap();
        let shape = Shape::new(1, config.in_channels(), input[0], input[1]).unwrap();
        let x = F64Tensor::new(shape, config.layout(), x.to_vec()).unwrap();
        let mut y = F64Tensor::zeros(config.output_shape(shape).unwrap(), config.layout());
        let geometry = config.geometry(input[0], input[1]).unwrap();
        let kernel = Kernel { weight: weight.to_vec(), bias: None };
        convolve(&config, &geometry, &kernel, 0, &x, &mut y);
        y.data().to_vec()
    }

    #[test]
    fn it_is_cross_correlation_with_zeros_around() {
        let row = Options::new(1, 1).kernel_size([1, 3]);
        assert_eq!(convolved(row, [1, 4], &[1., 2., 3., 4.], &[1., 10., 100.]), [321., 432.]);
        let same = row.padding(Padding::Same);
        assert_eq!(convolved(same, [1, 4], &[1., 2., 3., 4.], &[1., 10., 100.]), [210., 321., 432., 43.]);
        let far = row.padding(Padding::Explicit { top: 1, bottom: 0, left: 4, right: 0 });
        let got = convolved(far, [1, 4], &[1., 2., 3., 4.], &[1., 10., 100.]);
        assert_eq!(got[..6], [0.; 6], "the row above is padding alone");
        assert_eq!(got[6..], [0., 0., 100., 210., 321., 432.]);
    }

    #[test]
    fn stride_and_dilation_are_per_axis() {
        let x: Vec<f64> = (0..12).map(f64::from).collect();
        let options = Options::new(1, 1).kernel_size([2, 2]).stride([2, 1]).dilation([1, 2]);
        // Rows 0 and 1, columns x and x + 2, of a 3×4 image.
        assert_eq!(convolved(options, [3, 4], &x, &[1., 10., 100., 1000.]), [6420., 7531.]);
    }

    #[test]
    fn groups_read_their_own_channels_in_both_layouts() {
        // Two groups of two inputs and two outputs, 1×1.
        let weight = [1., 10., 2., 20., 3., 30., 4., 40.];
        let options = Options::new(4, 4).groups(2);
        for layout in Layout::ALL {
            let y = convolved(options.layout(layout), [1, 1], &[1., 2., 3., 4.], &weight);
            assert_eq!(y, [21., 42., 129., 172.]);
        }
    }

    #[test]
    fn same_puts_the_odd_zero_at_the_end() {
        let options = Options::new(1, 1).kernel_size([1, 2]).padding(Padding::Same);
        assert_eq!(convolved(options, [1, 3], &[1., 2., 3.], &[1., 10.]), [21., 32., 3.]);
    }

    #[test]
    fn a_channel_is_last_in_nhwc() {
        let options = Options::new(2, 1).kernel_size([1, 2]).layout(Layout::Nhwc);
        // Pixels (1, 2), (3, 4); weight [channel][tap].
        assert_eq!(convolved(options, [1, 2], &[1., 2., 3., 4.], &[1., 10., 100., 1000.]), [4231.]);
    }
}
