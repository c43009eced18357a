//! Activate, backwards: g times the activation's derivative, after the slope of a penalty on the output was added.

use std::f32::consts::PI;

use dyconv_core::{Activation, Regularizer};

use crate::kernels::smooth;
use crate::lanes::{Lanes, Task};

/// Where the derivative is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// At the output, which says as much as what was activated: the activation only cuts off.
    Output,
    /// At what was activated.
    Preactivation,
}

impl Point {
    pub(crate) fn of(activation: Activation) -> Self {
        match activation {
            Activation::None | Activation::Relu | Activation::Relu6 => Self::Output,
            _ => Self::Preactivation,
        }
    }
}

/// Pieces of the same tensors.
#[derive(Debug)]
pub(crate) struct Derive<'a> {
    pub(crate) activation: Activation,
    pub(crate) activity: Option<Regularizer>,
    /// g
    pub(crate) g: &'a [f32],
    pub(crate) output: &'a [f32],
    /// Where the derivative is taken.
    pub(crate) point: &'a [f32],
    /// Written whole.
    pub(crate) out: &'a mut [f32],
}

impl Task for Derive<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { activation, activity, g, output, point, out } = self;
        let pieces = g.chunks(L::WIDTH).zip(output.chunks(L::WIDTH)).zip(point.chunks(L::WIDTH));
        for (((g, y), x), out) in pieces.zip(out.chunks_mut(L::WIDTH)) {
            let mut g = lanes.load_partial(g);
            if let Some(activity) = activity {
                let slope = penalty(lanes, activity, lanes.load_partial(y));
                g = lanes.add(g, slope);
            }
            lanes.store_partial(derive(lanes, activation, lanes.load_partial(x), g), out);
        }
    }
}

/// l1·sign(w) + 2·l2·w, with sign(0) = 0.
#[inline(always)]
pub(crate) fn penalty<L: Lanes>(lanes: L, penalty: Regularizer, w: L::V) -> L::V {
    let zero = lanes.splat(0.0);
    let l1 = penalty.l1 as f32;
    let negative = lanes.if_positive(lanes.sub(zero, w), lanes.splat(-l1), zero);
    let sign = lanes.if_positive(w, lanes.splat(l1), negative);
    lanes.mul_add(lanes.splat((2.0 * penalty.l2) as f32), w, sign)
}

/// g times the derivative at `x`; what is cut off is 0 whatever g is.
#[inline(always)]
fn derive<L: Lanes>(lanes: L, activation: Activation, x: L::V, g: L::V) -> L::V {
    let (zero, one) = (lanes.splat(0.0), lanes.splat(1.0));
    let between = |low: f32, high: f32, inside: L::V, above: L::V| {
        let below_high = lanes.sub(lanes.splat(high), x);
        let inside = lanes.if_positive(lanes.sub(x, lanes.splat(low)), inside, zero);
        lanes.if_positive(below_high, inside, above)
    };
    let times = |factor: L::V| lanes.mul(g, factor);
    match activation {
        Activation::None => g,
        Activation::Relu => lanes.if_positive(x, g, zero),
        Activation::Relu6 => between(0.0, 6.0, g, zero),
        Activation::LeakyRelu { slope } => lanes.if_positive(x, g, times(lanes.splat(slope as f32))),
        Activation::HardSigmoid => between(-3.0, 3.0, times(lanes.splat(1.0 / 6.0)), zero),
        Activation::KerasHardSigmoid => between(-2.5, 2.5, times(lanes.splat(0.2)), zero),
        Activation::HardSwish => {
            let slope = lanes.mul_add(x, lanes.splat(1.0 / 3.0), lanes.splat(0.5));
            between(-3.0, 3.0, times(slope), g)
        }
        Activation::Sigmoid => times(bell(lanes, x)),
        // 1 − tanh² = 4·σ(2x)·σ(−2x), in which nothing cancels.
        Activation::Tanh => times(lanes.mul(lanes.splat(4.0), bell(lanes, lanes.add(x, x)))),
        Activation::Silu => {
            // Beyond it the derivative is 0 or 1, and x·σ(−x) isn't ∞·0.
            let x = clamp(lanes, 120.0, x);
            let (up, down) = (smooth::sigmoid(lanes, x), smooth::sigmoid(lanes, lanes.sub(zero, x)));
            times(lanes.mul(up, lanes.mul_add(x, down, one)))
        }
        Activation::Gelu => {
            let x = clamp(lanes, 15.0, x);
            let tail = smooth::normal_tail(lanes, lanes.max(lanes.sub(zero, x), x));
            let below = lanes.if_positive(x, lanes.sub(one, tail), tail);
            let square = lanes.mul(lanes.splat(-0.5), lanes.mul(x, x));
            let density = lanes.mul(lanes.splat(1.0 / (2.0 * PI).sqrt()), smooth::exp(lanes, square));
            times(lanes.mul_add(x, density, below))
        }
        Activation::Elu => times(lanes.if_positive(x, one, smooth::exp(lanes, lanes.min(zero, x)))),
    }
}

/// σ(x)·σ(−x).
#[inline(always)]
fn bell<L: Lanes>(lanes: L, x: L::V) -> L::V {
    let down = smooth::sigmoid(lanes, lanes.sub(lanes.splat(0.0), x));
    lanes.mul(smooth::sigmoid(lanes, x), down)
}

#[inline(always)]
fn clamp<L: Lanes>(lanes: L, most: f32, x: L::V) -> L::V {
    lanes.min(lanes.splat(most), lanes.max(lanes.splat(-most), x))
}
