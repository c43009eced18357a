//! Step 5 where batch norm isn't folded: a pass of its own over the convolution's output, which then also adds the
//! residual and activates. Statistics are taken in f64, twice over the data, in an order that only shapes decide.

use dyconv_core::{Activation, Layout, Shape};

use super::activate::activate;
use crate::lanes::{Lanes, Task};

/// One channel's normalisation: (y − mean)·scale + beta.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Affine {
    pub(crate) mean: f64,
    pub(crate) scale: f64,
    pub(crate) beta: f64,
}

/// Each channel's mean and biased variance over batch and pixels.
pub(crate) fn statistics(y: &[f32], shape: Shape, layout: Layout) -> [Vec<f64>; 2] {
    let values = (shape.batch() * shape.pixels()) as f64;
    let mut mean = channel_sums(y, shape, layout, |_, y| y);
    mean.iter_mut().for_each(|sum| *sum /= values);
    let mut variance = channel_sums(y, shape, layout, |c, y| (y - mean[c]) * (y - mean[c]));
    variance.iter_mut().for_each(|sum| *sum /= values);
    [mean, variance]
}

fn channel_sums(y: &[f32], shape: Shape, layout: Layout, f: impl Fn(usize, f64) -> f64) -> Vec<f64> {
    let mut sums = vec![0.0; shape.channels()];
    match layout {
        Layout::Nchw => {
            for (i, plane) in y.chunks_exact(shape.pixels()).enumerate() {
                let channel = i % shape.channels();
                sums[channel] += plane.iter().map(|&y| f(channel, f64::from(y))).sum::<f64>();
            }
        }
        Layout::Nhwc => {
            for row in y.chunks_exact(shape.channels()) {
                for (channel, (sum, &y)) in sums.iter_mut().zip(row).enumerate() {
                    *sum += f(channel, f64::from(y));
                }
            }
        }
    }
    sums
}

/// Normalises, where `affine` isn't empty, adds the residual, keeps what comes of it, and activates one sample in place.
pub(crate) fn normalize<L: Lanes>(
    lanes: L,
    affine: &[Affine],
    (sample, shape, layout): (&mut [f32], Shape, Layout),
    residual: Option<&[f32]>,
    kept: Option<&mut [f32]>,
    activation: Activation,
) {
    match layout {
        _ if affine.is_empty() => {}
        Layout::Nchw => {
            for (plane, affine) in sample.chunks_exact_mut(shape.pixels()).zip(affine) {
                plane.iter_mut().for_each(|y| *y = affine.apply(*y));
            }
        }
        Layout::Nhwc => {
            for row in sample.chunks_exact_mut(shape.channels()) {
                row.iter_mut().zip(affine).for_each(|(y, affine)| *y = affine.apply(*y));
            }
        }
    }
    lanes.vectorize(AddAndActivate { sample, residual, kept, activation });
}

impl Affine {
    fn apply(self, y: f32) -> f32 {
        ((f64::from(y) - self.mean) * self.scale + self.beta) as f32
    }
}

struct AddAndActivate<'a> {
    sample: &'a mut [f32],
    residual: Option<&'a [f32]>,
    kept: Option<&'a mut [f32]>,
    activation: Activation,
}

impl Task for AddAndActivate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        for (i, out) in self.sample.chunks_mut(L::WIDTH).enumerate() {
            let mut y = lanes.load_partial(out);
            if let Some(residual) = self.residual {
                y = lanes.add(y, lanes.load_partial(&residual[i * L::WIDTH..][..out.len()]));
            }
            if let Some(kept) = &mut self.kept {
                lanes.store_partial(y, &mut kept[i * L::WIDTH..][..out.len()]);
            }
            lanes.store_partial(activate(lanes, self.activation, y), out);
        }
    }
}
