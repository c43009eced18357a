//! Normalize, backwards: with running statistics batch norm is a scale; with the batch's, mean and variance depend on
//! every value, too. Sums over a channel are taken in f64, in an order that only shapes decide.

use dyconv_core::{Layout, Shape};

/// Batch norm of one channel, and what its values' gradients add up to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Channel {
    pub(crate) mean: f64,
    /// 1/sqrt(σ² + ε)
    pub(crate) rate: f64,
    pub(crate) gamma: f64,
    /// Σ g, which is beta's gradient.
    pub(crate) sum: f64,
    /// Σ g·ŷ, which is gamma's.
    pub(crate) product: f64,
}

/// Takes each channel's sums; ŷ is y normalised.
pub(crate) fn sums(channels: &mut [Channel], [y, g]: [&[f32]; 2], shape: Shape, layout: Layout) {
    let add = |channel: &mut Channel, y: f32, g: f32| {
        let g = f64::from(g);
        channel.sum += g;
        channel.product += g * (f64::from(y) - channel.mean) * channel.rate;
    };
    match layout {
        Layout::Nchw => {
            let planes = y.chunks_exact(shape.pixels()).zip(g.chunks_exact(shape.pixels()));
            for (i, (y, g)) in planes.enumerate() {
                let channel = &mut channels[i % shape.channels()];
                y.iter().zip(g).for_each(|(y, g)| add(channel, *y, *g));
            }
        }
        Layout::Nhwc => {
            let rows = y.chunks_exact(shape.channels()).zip(g.chunks_exact(shape.channels()));
            for (y, g) in rows {
                for (channel, (y, g)) in channels.iter_mut().zip(y.iter().zip(g)) {
                    add(channel, *y, *g);
                }
            }
        }
    }
}

/// The gradient of one sample's y. `values` is how many values the batch's statistics were taken of, `None` where they
/// are the running ones, which have no part in the gradient: times 0 it would carry NaN from one sample to others.
pub(crate) fn normalize_backward(
    channels: &[Channel],
    [y, g]: [&[f32]; 2],
    (out, shape, layout): (&mut [f32], Shape, Layout),
    values: Option<f64>,
) {
    let one = |channel: &Channel, y: f32, g: f32| {
        let through = values.map_or(0.0, |values| {
            let standard = (f64::from(y) - channel.mean) * channel.rate;
            (channel.sum + standard * channel.product) / values
        });
        ((f64::from(g) - through) * channel.gamma * channel.rate) as f32
    };
    match layout {
        Layout::Nchw => {
            let pixels = shape.pixels();
            let planes = y.chunks_exact(pixels).zip(g.chunks_exact(pixels)).zip(channels);
            for (out, ((y, g), channel)) in out.chunks_exact_mut(pixels).zip(planes) {
                out.iter_mut().zip(y.iter().zip(g)).for_each(|(out, (y, g))| *out = one(channel, *y, *g));
            }
        }
        Layout::Nhwc => {
            let all = shape.channels();
            let rows = y.chunks_exact(all).zip(g.chunks_exact(all));
            for (out, (y, g)) in out.chunks_exact_mut(all).zip(rows) {
                for ((out, channel), (y, g)) in out.iter_mut().zip(channels).zip(y.iter().zip(g)) {
                    *out = one(channel, *y, *g);
                }
            }
        }
    }
}
