//! Normalize, backwards: with running statistics batch norm is a scale; with the batch's, mean and variance depend on
//! every value, too. Sums over a channel are taken in f64, in an order that only shapes decide: threads divide channels.

use dyconv_core::{Layout, Shape};

use crate::lanes::{Lanes, Task};
use crate::threads::Threads;

/// Channels that a thread sums at a time.
const CHANNELS: usize = 64;

/// Sums of a plane that grow side by side.
const SIDE: usize = 8;

/// Batch norm of one channel, and what its values' gradients add up to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Channel {
    pub(crate) mean: f64,
    /// 1/sqrt(σ² + ε)
    pub(crate) rate: f64,
    pub(crate) gamma: f64,
    /// Σ g, which is beta's gradient.
    pub(crate) sum: f64,
    /// Σ g·ŷ, which is gamma's; ŷ is y normalised.
    pub(crate) product: f64,
}

/// Takes each channel's sums.
pub(crate) fn sums<L: Lanes>(
    lanes: L,
    threads: &Threads,
    channels: &mut [Channel],
    data: [&[f32]; 2],
    (shape, layout): (Shape, Layout),
) {
    threads.for_each(channels.chunks_mut(CHANNELS).enumerate(), |(i, channels)| {
        lanes.vectorize(Sums { channels, first: i * CHANNELS, data, shape, layout });
    });
}

struct Sums<'a> {
    channels: &'a mut [Channel],
    first: usize,
    /// y and g.
    data: [&'a [f32]; 2],
    shape: Shape,
    layout: Layout,
}

impl Task for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let Self { channels, first, data: [y, g], shape, layout } = self;
        let (mut sums, mut products) = ([0.0; CHANNELS], [0.0; CHANNELS]);
        let mut means = [0.0; CHANNELS];
        means.iter_mut().zip(&*channels).for_each(|(mean, channel)| *mean = channel.mean);
        let count = channels.len();
        let samples = y.chunks_exact(shape.sample_len()).zip(g.chunks_exact(shape.sample_len()));
        for (y, g) in samples {
            match layout {
                Layout::Nchw => {
                    let planes = |data| pieces(data, first, shape.pixels());
                    for (c, (y, g)) in planes(y).zip(planes(g)).take(count).enumerate() {
                        let [sum, product] = plane(y, g, means[c]);
                        sums[c] += sum;
                        products[c] += product;
                    }
                }
                Layout::Nhwc => {
                    for (y, g) in y.chunks_exact(shape.channels()).zip(g.chunks_exact(shape.channels())) {
                        let (y, g) = (&y[first..][..count], &g[first..][..count]);
                        for c in 0..count {
                            let wide = f64::from(g[c]);
                            sums[c] += wide;
                            products[c] += wide * (f64::from(y[c]) - means[c]);
                        }
                    }
                }
            }
        }
        for (channel, (sum, product)) in channels.iter_mut().zip(sums.iter().zip(products)) {
            channel.sum += sum;
            channel.product += product * channel.rate;
        }
    }
}

fn pieces(data: &[f32], first: usize, len: usize) -> impl Iterator<Item = &[f32]> {
    data[first * len..].chunks_exact(len)
}

/// Σ g and Σ g·(y − mean) of a plane, several of its values side by side.
#[inline(always)]
fn plane(y: &[f32], g: &[f32], mean: f64) -> [f64; 2] {
    let (mut sums, mut products) = ([0.0; SIDE], [0.0; SIDE]);
    let mut add = |y: &[f32], g: &[f32]| {
        for (i, (&y, &g)) in y.iter().zip(g).enumerate() {
            let g = f64::from(g);
            sums[i] += g;
            products[i] += g * (f64::from(y) - mean);
        }
    };
    let (ys, gs) = (y.as_chunks::<SIDE>(), g.as_chunks::<SIDE>());
    ys.0.iter().zip(gs.0).for_each(|(y, g)| add(y, g));
    add(ys.1, gs.1);
    [sums, products].map(|side| side.iter().sum())
}

/// Batch norm backwards of every channel, rounded: (g − a − (y − mean)·b)·scale.
#[derive(Debug)]
pub(crate) struct Through {
    mean: Vec<f32>,
    scale: Vec<f32>,
    /// By way of the batch's mean, and by way of its variance. `None` with running statistics, which have no part in the
    /// gradient: times 0 it would carry NaN from one sample to others.
    ways: Option<[Vec<f32>; 2]>,
}

impl Through {
    /// `values` is how many values the batch's statistics were taken of, `None` where they are the running ones.
    pub(crate) fn new(channels: &[Channel], values: Option<f64>) -> Self {
        let each = |of: &dyn Fn(&Channel) -> f64| channels.iter().map(|channel| of(channel) as f32).collect();
        Self {
            mean: each(&|channel| channel.mean),
            scale: each(&|channel| channel.gamma * channel.rate),
            ways: values.map(|values| {
                [
                    each(&|channel| channel.sum / values),
                    each(&|channel| channel.product / values * channel.rate),
                ]
            }),
        }
    }
}

/// The gradient of one sample's y.
pub(crate) fn normalize_backward<L: Lanes>(
    lanes: L,
    through: &Through,
    data: [&[f32]; 2],
    (out, shape, layout): (&mut [f32], Shape, Layout),
) {
    lanes.vectorize(Backward { through, data, out, shape, layout });
}

struct Backward<'a> {
    through: &'a Through,
    /// y and g.
    data: [&'a [f32]; 2],
    out: &'a mut [f32],
    shape: Shape,
    layout: Layout,
}

impl Task for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { through, data: [y, g], out, shape, layout } = self;
        let len = if layout == Layout::Nchw { shape.pixels() } else { shape.channels() };
        let lines = y.chunks_exact(len).zip(g.chunks_exact(len)).zip(out.chunks_exact_mut(len));
        for (i, ((y, g), out)) in lines.enumerate() {
            let pieces = y.chunks(L::WIDTH).zip(g.chunks(L::WIDTH)).zip(out.chunks_mut(L::WIDTH));
            for (j, ((y, g), out)) in pieces.enumerate() {
                let at = [i, j * L::WIDTH];
                let mut left = lanes.load_partial(g);
                if let Some([mean, variance]) = &through.ways {
                    let deviation =
                        lanes.sub(lanes.load_partial(y), number(lanes, layout, &through.mean, at));
                    left = lanes.sub(left, number(lanes, layout, mean, at));
                    left = lanes.sub(left, lanes.mul(deviation, number(lanes, layout, variance, at)));
                }
                lanes.store_partial(lanes.mul(left, number(lanes, layout, &through.scale, at)), out);
            }
        }
    }
}

/// The numbers of line `line`'s channel, or of the channels from `at` on. No closure: what one calls is compiled for no
/// instruction set.
#[inline(always)]
fn number<L: Lanes>(lanes: L, layout: Layout, of: &[f32], [line, at]: [usize; 2]) -> L::V {
    match layout {
        Layout::Nchw => lanes.splat(of[line]),
        Layout::Nhwc => lanes.load_partial(&of[at..]),
    }
}
