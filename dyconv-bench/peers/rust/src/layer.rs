//! One workload with data: random f32 numbers of ordinary size, images `[N, C, H, W]`.

use std::cell::OnceCell;

use serde::Serialize;

use crate::reference;
use crate::workload::Workload;

const SEED: u64 = 1_912_034_580;

/// The whole layer, or one kernel without attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Dynamic,
    Static,
}

/// Order of an image's numbers, of input and output alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    Nchw,
    Nhwc,
}

impl Layout {
    /// An image's shape in this order.
    pub fn shape(self, [n, c, h, w]: [usize; 4]) -> [usize; 4] {
        match self {
            Self::Nchw => [n, c, h, w],
            Self::Nhwc => [n, h, w, c],
        }
    }
}

/// Data of one workload and batch; the static layer has the first expert's kernel and bias.
#[derive(Debug)]
pub struct Layer {
    pub workload: Workload,
    pub batch: usize,
    /// `[batch, in_channels, extent, extent]`
    pub x: Vec<f32>,
    /// `[experts, out_channels, group_channels, kernel, kernel]`
    pub weight: Vec<f32>,
    /// `[experts, out_channels]`
    pub bias: Vec<f32>,
    /// `[hidden, in_channels]`
    pub fc1_weight: Vec<f32>,
    /// `[hidden]`
    pub fc1_bias: Vec<f32>,
    /// `[experts, hidden]`
    pub fc2_weight: Vec<f32>,
    /// `[experts]`
    pub fc2_bias: Vec<f32>,
    expected: [OnceCell<Vec<f64>>; 2],
}

impl Layer {
    pub fn new(workload: Workload, batch: usize) -> Self {
        let w = &workload;
        let (inputs, outputs, hidden) = (w.in_channels, w.out_channels, w.hidden);
        let fan_in = (w.group_channels() * w.kernel * w.kernel) as f32;
        let mut random = Random(SEED);
        let mut uniform = |bound, len| random.uniform(bound, len);
        Self {
            x: uniform(1.0, w.input_shape(batch).iter().product()),
            weight: uniform((3.0 / fan_in).sqrt(), w.experts * w.kernel_len()),
            bias: uniform(1.0, w.experts * outputs),
            // Pooled noise is close to 0: only large biases give experts different weights. The second layer is
            // scaled so that no expert's weight vanishes: an expert left out must be seen in the output.
            fc1_weight: uniform(2.0, hidden * inputs),
            fc1_bias: uniform(2.0, hidden),
            fc2_weight: uniform(2.0 / (hidden as f32).sqrt(), w.experts * hidden),
            fc2_bias: uniform(1.0, w.experts),
            expected: Default::default(),
            workload,
            batch,
        }
    }

    pub fn static_weight(&self) -> &[f32] {
        &self.weight[..self.workload.kernel_len()]
    }

    pub fn static_bias(&self) -> &[f32] {
        &self.bias[..self.workload.out_channels]
    }

    /// The input in the order of `layout`.
    pub fn input(&self, layout: Layout) -> Vec<f32> {
        let [_, c, h, w] = self.workload.input_shape(self.batch);
        match layout {
            Layout::Nchw => self.x.clone(),
            Layout::Nhwc => {
                self.x.chunks_exact(c * h * w).flat_map(|image| transposed(image, c, h * w)).collect()
            }
        }
    }

    /// The experts' kernels; for images in NHWC, as matrices `[in_channels, out_channels]` that pixels are multiplied by.
    pub fn kernels(&self, layout: Layout) -> Vec<f32> {
        let (inputs, outputs) = (self.workload.group_channels(), self.workload.out_channels);
        match layout {
            Layout::Nchw => self.weight.clone(),
            Layout::Nhwc => {
                let kernels = self.weight.chunks_exact(inputs * outputs);
                kernels.flat_map(|kernel| transposed(kernel, outputs, inputs)).collect()
            }
        }
    }

    /// What the layer computes, `[batch, out_channels, out_extent, out_extent]`.
    pub fn expected(&self, mode: Mode) -> &[f64] {
        self.expected[mode as usize].get_or_init(|| reference::forward(self, mode))
    }

    /// max |got − expected| ÷ max |expected|; infinite where the size is wrong or anything isn't finite.
    pub fn worst_error(&self, got: &[f32], mode: Mode, layout: Layout) -> f64 {
        let want = self.expected(mode);
        if got.len() != want.len() || got.iter().any(|value| !value.is_finite()) {
            return f64::INFINITY;
        }
        let [_, c, h, w] = self.workload.output_shape(self.batch);
        let pixels = h * w;
        // Where the reference's number i, at (n, c, pixel), is found in the output.
        let place = |i: usize| match layout {
            Layout::Nchw => i,
            Layout::Nhwc => i / (c * pixels) * c * pixels + i % pixels * c + i / pixels % c,
        };
        let off = want.iter().enumerate().map(|(i, want)| (f64::from(got[place(i)]) - want).abs());
        off.fold(0.0, f64::max) / want.iter().fold(0.0, |largest, want| want.abs().max(largest))
    }
}

/// A `[rows, columns]` matrix by columns.
fn transposed(matrix: &[f32], rows: usize, columns: usize) -> impl Iterator<Item = f32> {
    (0..rows * columns).map(move |i| matrix[i % rows * columns + i / rows])
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Numbers in −bound .. bound.
    fn uniform(&mut self, bound: f32, len: usize) -> Vec<f32> {
        (0..len).map(|_| ((self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * bound).collect()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Small layers of every kind: in, out, kernel, stride, groups, extent, experts.
    pub fn layers(batch: usize) -> Vec<Layer> {
        let shapes = [
            (4, 6, 3, 1, 1, 5, 3),
            (4, 6, 3, 2, 2, 6, 2),
            (6, 6, 3, 1, 6, 4, 4),
            (6, 6, 3, 2, 6, 7, 4),
            (5, 3, 1, 1, 1, 4, 4),
            (3, 4, 3, 2, 1, 8, 1),
        ];
        let workload = |(in_channels, out_channels, kernel, stride, groups, extent, experts)| Workload {
            in_channels,
            out_channels,
            kernel,
            stride,
            groups,
            extent,
            experts,
            hidden: 4,
        };
        shapes.map(|shape| Layer::new(workload(shape), batch)).into()
    }

    #[test]
    fn numbers_fill_their_interval() {
        let numbers = Random(1).uniform(2.0, 10_000);
        let (low, high) = numbers.iter().fold((0f32, 0f32), |(low, high), &v| (low.min(v), high.max(v)));
        assert!((-2.0..-1.99).contains(&low) && (1.99..2.0).contains(&high), "{low} {high}");
        assert!((numbers.iter().sum::<f32>() / 1e4).abs() < 0.05);
    }

    #[test]
    fn layouts_hold_the_same_image() {
        let layer = &layers(2)[0];
        let [_, channels, height, width] = layer.workload.input_shape(2);
        let nhwc = layer.input(Layout::Nhwc);
        for (n, c, y, x) in [(0, 0, 0, 0), (1, 3, 4, 2), (0, 2, 1, 4)] {
            let want = layer.x[((n * channels + c) * height + y) * width + x];
            assert_eq!(nhwc[((n * height + y) * width + x) * channels + c], want);
        }
    }

    #[test]
    fn errors_are_seen() {
        let layer = &layers(2)[0];
        let right: Vec<f32> = layer.expected(Mode::Dynamic).iter().map(|&value| value as f32).collect();
        let error = |got: &[f32]| layer.worst_error(got, Mode::Dynamic, Layout::Nchw);
        assert!(error(&right) < 1e-6);
        assert!(
            layer.worst_error(&right, Mode::Static, Layout::Nchw) > 0.01,
            "a static output passed as dynamic"
        );
        assert!(layer.worst_error(&right, Mode::Dynamic, Layout::Nhwc) > 0.01, "NCHW passed as NHWC");
        let mut wrong = right.clone();
        wrong[299] += 0.01 * right.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        assert!((0.009..0.011).contains(&error(&wrong)), "{}", error(&wrong));
        wrong[0] = f32::NAN;
        assert_eq!(error(&wrong), f64::INFINITY);
        assert_eq!(error(&right[1..]), f64::INFINITY);
    }
}
