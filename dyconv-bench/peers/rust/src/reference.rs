//! What every output is held against: the layer in plain loops, in f64.

use crate::layer::{Layer, Mode};
use crate::workload::Workload;

/// The output `[batch, out_channels, out_extent, out_extent]`.
pub fn forward(layer: &Layer, mode: Mode) -> Vec<f64> {
    let w = &layer.workload;
    let image = w.in_channels * w.extent * w.extent;
    let of_sample = |x: &[f32]| {
        let pi = match mode {
            Mode::Dynamic => attention(layer, x),
            Mode::Static => vec![1.0],
        };
        convolve(w, x, &mixed(&pi, &layer.weight, w.kernel_len()), &mixed(&pi, &layer.bias, w.out_channels))
    };
    layer.x.chunks_exact(image).flat_map(of_sample).collect()
}

/// Every expert's weight π for one image.
pub fn attention(layer: &Layer, x: &[f32]) -> Vec<f64> {
    let pixels = layer.workload.extent * layer.workload.extent;
    let pooled: Vec<f64> = x.chunks_exact(pixels).map(|plane| sum(plane) / pixels as f64).collect();
    let hidden =
        dense(&layer.fc1_weight, &layer.fc1_bias, &pooled).into_iter().map(|value| value.max(0.0)).collect();
    let powers: Vec<f64> =
        dense(&layer.fc2_weight, &layer.fc2_bias, &hidden).into_iter().map(f64::exp).collect();
    let total: f64 = powers.iter().sum();
    powers.iter().map(|power| power / total).collect()
}

fn sum(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum()
}

/// `weight` `[bias.len(), x.len()]` times `x`, plus `bias`.
fn dense(weight: &[f32], bias: &[f32], x: &Vec<f64>) -> Vec<f64> {
    let row = |(row, &bias): (&[f32], &f32)| {
        f64::from(bias) + row.iter().zip(x).map(|(&weight, x)| f64::from(weight) * x).sum::<f64>()
    };
    weight.chunks_exact(x.len()).zip(bias).map(row).collect()
}

/// Σ πₖ · parametersₖ over as many experts as `pi` has.
fn mixed(pi: &[f64], parameters: &[f32], len: usize) -> Vec<f64> {
    let mut sum = vec![0.0; len];
    for (pi, expert) in pi.iter().zip(parameters.chunks_exact(len)) {
        for (sum, &value) in sum.iter_mut().zip(expert) {
            *sum += pi * f64::from(value);
        }
    }
    sum
}

/// One image with one kernel: for every tap, rows of the padded image times the tap's weight.
fn convolve(w: &Workload, x: &[f32], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let (extent, out) = (w.extent + 2 * w.padding(), w.out_extent());
    let padded = padded(w, x);
    let group_outputs = w.out_channels / w.groups;
    let mut y: Vec<f64> = bias.iter().flat_map(|&bias| std::iter::repeat_n(bias, out * out)).collect();
    for (o, plane) in y.chunks_exact_mut(out * out).enumerate() {
        let first = o / group_outputs * w.group_channels();
        for c in 0..w.group_channels() {
            for tap in 0..w.kernel * w.kernel {
                let weight = weight[(o * w.group_channels() + c) * w.kernel * w.kernel + tap];
                for (row, y) in plane.chunks_exact_mut(out).enumerate() {
                    let line = (first + c) * extent + row * w.stride + tap / w.kernel;
                    let x = &padded[line * extent + tap % w.kernel..(line + 1) * extent];
                    for (y, x) in y.iter_mut().zip(x.iter().step_by(w.stride)) {
                        *y += weight * x;
                    }
                }
            }
        }
    }
    y
}

/// The image with zeros around it.
fn padded(w: &Workload, x: &[f32]) -> Vec<f64> {
    let (pad, extent) = (w.padding(), w.extent + 2 * w.padding());
    let mut padded = vec![0.0; w.in_channels * extent * extent];
    for (i, row) in x.chunks_exact(w.extent).enumerate() {
        let line = i / w.extent * extent + i % w.extent + pad;
        for (to, &from) in padded[line * extent + pad..].iter_mut().zip(row) {
            *to = f64::from(from);
        }
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::tests::layers;

    /// One output number, tap by tap, with a test for the border.
    fn tap_by_tap(layer: &Layer, n: usize, expert: usize, o: usize, row: usize, column: usize) -> f64 {
        let w = &layer.workload;
        let (group, pad) = (w.group_channels(), w.padding());
        let first = n * w.in_channels + o / (w.out_channels / w.groups) * group;
        let mut total = f64::from(layer.bias[expert * w.out_channels + o]);
        for (c, i, j) in (0..group * w.kernel * w.kernel)
            .map(|t| (t / w.kernel / w.kernel, t / w.kernel % w.kernel, t % w.kernel))
        {
            let (y, x) = ((row * w.stride + i).wrapping_sub(pad), (column * w.stride + j).wrapping_sub(pad));
            if y < w.extent && x < w.extent {
                let weight = (((expert * w.out_channels + o) * group + c) * w.kernel + i) * w.kernel + j;
                total += f64::from(layer.weight[weight])
                    * f64::from(layer.x[((first + c) * w.extent + y) * w.extent + x]);
            }
        }
        total
    }

    #[test]
    fn loops_by_rows_agree_with_loops_tap_by_tap() {
        for layer in layers(2) {
            let w = &layer.workload;
            let image = layer.x.len() / 2;
            let [_, outputs, height, width] = w.output_shape(2);
            for i in 0..2 * outputs * height * width {
                let (column, row, o) = (i % width, i / width % height, i / width / height % outputs);
                let n = i / width / height / outputs;
                let of_expert = |expert| tap_by_tap(&layer, n, expert, o, row, column);
                let pi = attention(&layer, &layer.x[n * image..][..image]);
                let dynamic: f64 = pi.iter().enumerate().map(|(expert, pi)| pi * of_expert(expert)).sum();
                for (mode, want) in [(Mode::Static, of_expert(0)), (Mode::Dynamic, dynamic)] {
                    let got = layer.expected(mode)[i];
                    assert!((got - want).abs() < 1e-12, "{w:?} {mode:?} {i}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn every_expert_counts_and_samples_differ() {
        for layer in layers(2) {
            let [first, second] =
                [0, 1].map(|n| attention(&layer, &layer.x[n * layer.x.len() / 2..][..layer.x.len() / 2]));
            assert!((first.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!(first.iter().all(|&pi| pi > 1e-3), "{first:?}");
            assert!(first.len() == 1 || (first[0] - second[0]).abs() > 1e-6, "{first:?} {second:?}");
        }
    }
}
