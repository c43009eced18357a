//! Step 5 where batch norm isn't folded: a pass of its own over the convolution's output, which then also adds the
//! residual and activates. Statistics are taken in f64, twice over the data, in an order that only shapes decide: threads
//! divide channels.

use dyconv_core::{Activation, Layout, Shape};

use super::activate::activate;
use crate::lanes::{Lanes, Task};
use crate::threads::Threads;

/// Channels that a thread sums at a time.
const CHANNELS: usize = 64;

/// Sums of a plane that grow side by side.
const SIDE: usize = 8;

/// Each channel's mean and biased variance over batch and pixels.
pub(crate) fn statistics<L: Lanes>(
    lanes: L,
    threads: &Threads,
    y: &[f32],
    shape: Shape,
    layout: Layout,
) -> [Vec<f64>; 2] {
    let values = (shape.batch() * shape.pixels()) as f64;
    let take = |mean: Option<&[f64]>| {
        let mut sums = vec![0.0; shape.channels()];
        threads.for_each(sums.chunks_mut(CHANNELS).enumerate(), |(i, sums)| {
            let first = i * CHANNELS;
            let mean = mean.map(|mean| &mean[first..][..sums.len()]);
            lanes.vectorize(Sums { y, shape, layout, first, mean, sums });
        });
        sums.iter_mut().for_each(|sum| *sum /= values);
        sums
    };
    let mean = take(None);
    let variance = take(Some(&mean));
    [mean, variance]
}

/// Sums some channels from `first` on: their values or, where their means are known, squared deviations.
struct Sums<'a> {
    y: &'a [f32],
    shape: Shape,
    layout: Layout,
    first: usize,
    mean: Option<&'a [f64]>,
    sums: &'a mut [f64],
}

impl Task for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let Self { y, shape, layout, first, mean, sums } = self;
        let square = |y: f32, mean: f64| (f64::from(y) - mean) * (f64::from(y) - mean);
        for sample in y.chunks_exact(shape.sample_len()) {
            match layout {
                Layout::Nchw => {
                    let planes = sample[first * shape.pixels()..].chunks_exact(shape.pixels());
                    for (c, (sum, plane)) in sums.iter_mut().zip(planes).enumerate() {
                        *sum += match mean {
                            None => sum_of(plane, f64::from),
                            Some(mean) => sum_of(plane, |y| square(y, mean[c])),
                        };
                    }
                }
                Layout::Nhwc => {
                    for row in sample.chunks_exact(shape.channels()) {
                        let row = &row[first..][..sums.len()];
                        match mean {
                            None => sums.iter_mut().zip(row).for_each(|(sum, &y)| *sum += f64::from(y)),
                            Some(mean) => {
                                let each = sums.iter_mut().zip(row.iter().zip(mean));
                                each.for_each(|(sum, (&y, &mean))| *sum += square(y, mean));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The sum over a plane, several of its values side by side.
#[inline(always)]
fn sum_of(plane: &[f32], of: impl Fn(f32) -> f64) -> f64 {
    let mut side = [0.0; SIDE];
    let pieces = plane.chunks_exact(SIDE);
    let rest: f64 = pieces.remainder().iter().map(|&y| of(y)).sum();
    for piece in pieces {
        side.iter_mut().zip(piece).for_each(|(sum, &y)| *sum += of(y));
    }
    side.iter().sum::<f64>() + rest
}

/// Batch norm of every channel, rounded: (y − mean)·scale + beta. Empty where there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Affine {
    pub(crate) mean: Vec<f32>,
    pub(crate) scale: Vec<f32>,
    pub(crate) beta: Vec<f32>,
}

impl Affine {
    pub(crate) fn clear(&mut self) {
        [&mut self.mean, &mut self.scale, &mut self.beta].into_iter().for_each(Vec::clear);
    }

    pub(crate) fn push(&mut self, mean: f64, scale: f64, beta: f32) {
        self.mean.push(mean as f32);
        self.scale.push(scale as f32);
        self.beta.push(beta);
    }
}

/// Normalises, where `affine` isn't empty, adds the residual, keeps what comes of it, and activates one sample in place.
pub(crate) fn normalize<L: Lanes>(
    lanes: L,
    affine: &Affine,
    (sample, shape, layout): (&mut [f32], Shape, Layout),
    residual: Option<&[f32]>,
    kept: Option<&mut [f32]>,
    activation: Activation,
) {
    lanes.vectorize(Normalize { affine, sample, shape, layout, residual, kept, activation });
}

struct Normalize<'a> {
    affine: &'a Affine,
    sample: &'a mut [f32],
    shape: Shape,
    layout: Layout,
    residual: Option<&'a [f32]>,
    kept: Option<&'a mut [f32]>,
    activation: Activation,
}

impl Task for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { affine, sample, shape, layout, residual, kept, activation } = self;
        let mut rest = Rest { residual, kept, activation };
        if affine.mean.is_empty() {
            return rest.line(lanes, 0, sample, Normal::Unasked);
        }
        let len = if layout == Layout::Nchw { shape.pixels() } else { shape.channels() };
        for (i, line) in sample.chunks_exact_mut(len).enumerate() {
            let normal = match layout {
                Layout::Nchw => Normal::Channel([
                    lanes.splat(affine.mean[i]),
                    lanes.splat(affine.scale[i]),
                    lanes.splat(affine.beta[i]),
                ]),
                Layout::Nhwc => Normal::Channels(affine),
            };
            rest.line(lanes, i * len, line, normal);
        }
    }
}

/// Batch norm of a line. No closure: what one calls is compiled for no instruction set.
enum Normal<'a, L: Lanes> {
    Unasked,
    /// Of one channel: mean, scale and beta.
    Channel([L::V; 3]),
    /// Of all channels, from the first on.
    Channels(&'a Affine),
}

impl<L: Lanes> Normal<'_, L> {
    /// Of a vector, `at` floats into the line.
    #[inline(always)]
    fn of(&self, lanes: L, at: usize, y: L::V) -> L::V {
        let [mean, scale, beta] = match self {
            Self::Unasked => return y,
            Self::Channel(numbers) => *numbers,
            Self::Channels(Affine { mean, scale, beta }) => [
                lanes.load_partial(&mean[at..]),
                lanes.load_partial(&scale[at..]),
                lanes.load_partial(&beta[at..]),
            ],
        };
        lanes.mul_add(lanes.sub(y, mean), scale, beta)
    }
}

/// What comes after.
struct Rest<'a> {
    residual: Option<&'a [f32]>,
    kept: Option<&'a mut [f32]>,
    activation: Activation,
}

impl Rest<'_> {
    /// Does a piece that begins `start` floats into the sample.
    #[inline(always)]
    fn line<L: Lanes>(&mut self, lanes: L, start: usize, line: &mut [f32], normal: Normal<'_, L>) {
        for (i, out) in line.chunks_mut(L::WIDTH).enumerate() {
            let at = i * L::WIDTH;
            let mut y = normal.of(lanes, at, lanes.load_partial(out));
            if let Some(residual) = self.residual {
                y = lanes.add(y, lanes.load_partial(&residual[start + at..][..out.len()]));
            }
            if let Some(kept) = &mut self.kept {
                lanes.store_partial(y, &mut kept[start + at..][..out.len()]);
            }
            lanes.store_partial(activate(lanes, self.activation, y), out);
        }
    }
}
