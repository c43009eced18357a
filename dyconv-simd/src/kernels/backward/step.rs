//! Step: parameters, gradients and moments in one pass, in the arithmetic of [`dyconv_core::Step`].

use dyconv_core::{Optimizer, Regularizer};

use super::activate::penalty;
use crate::lanes::{Lanes, Task};

/// What a step does to one kind of parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) optimizer: Optimizer,
    /// η
    pub(crate) rate: f64,
    /// λ
    pub(crate) decay: f64,
    pub(crate) regularizer: Option<Regularizer>,
    /// t, this step counted.
    pub(crate) steps: u64,
}

/// Pieces of a parameter, its gradient and its moments, which are empty where the optimiser has none.
#[derive(Debug)]
pub(crate) struct Move<'a> {
    pub(crate) how: How,
    pub(crate) w: &'a mut [f32],
    pub(crate) gradient: &'a [f32],
    pub(crate) moments: [&'a mut [f32]; 2],
}

impl Task for Move<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { how, w, gradient, moments: [first, second] } = self;
        let step = Constants::new(lanes, how);
        for (i, (w, g)) in w.chunks_mut(L::WIDTH).zip(gradient.chunks(L::WIDTH)).enumerate() {
            let at = i * L::WIDTH..i * L::WIDTH + w.len();
            let (old, mut g) = (lanes.load_partial(w), lanes.load_partial(g));
            if let Some(regularizer) = how.regularizer {
                g = lanes.add(g, penalty(lanes, regularizer, old));
            }
            let new = match how.optimizer {
                Optimizer::Sgd { momentum, nesterov } => {
                    g = lanes.mul_add(step.decay, old, g);
                    let mut by = g;
                    if momentum > 0.0 {
                        let v = &mut first[at];
                        let moved = lanes.mul_add(step.keep[0], lanes.load_partial(v), g);
                        lanes.store_partial(moved, v);
                        by = if nesterov { lanes.mul_add(step.keep[0], moved, g) } else { moved };
                    }
                    lanes.sub(old, lanes.mul(step.rate, by))
                }
                Optimizer::AdamW { .. } => {
                    let (m, v) = (&mut first[at.clone()], &mut second[at]);
                    let kept = lanes.mul(step.keep[0], lanes.load_partial(m));
                    let mean = lanes.mul_add(step.take[0], g, kept);
                    lanes.store_partial(mean, m);
                    let kept = lanes.mul(step.keep[1], lanes.load_partial(v));
                    let square = lanes.mul_add(step.take[1], lanes.mul(g, g), kept);
                    lanes.store_partial(square, v);
                    let root = lanes.sqrt(lanes.mul(step.correct[1], square));
                    let by = lanes.div(lanes.mul(step.correct[0], mean), lanes.add(root, step.epsilon));
                    let decayed = lanes.sub(old, lanes.mul(lanes.mul(step.rate, step.decay), old));
                    lanes.sub(decayed, lanes.mul(step.rate, by))
                }
            };
            lanes.store_partial(new, w);
        }
    }
}

/// The step's numbers, in every lane.
struct Constants<V> {
    rate: V,
    decay: V,
    /// μ; β₁ and β₂.
    keep: [V; 2],
    /// 1 − β
    take: [V; 2],
    /// 1/(1 − βᵗ)
    correct: [V; 2],
    epsilon: V,
}

impl<V: Copy> Constants<V> {
    #[inline(always)]
    fn new<L: Lanes<V = V>>(lanes: L, how: How) -> Self {
        let (betas, epsilon) = match how.optimizer {
            Optimizer::Sgd { momentum, .. } => ([momentum, 0.0], 1.0),
            Optimizer::AdamW { beta1, beta2, epsilon } => ([beta1, beta2], epsilon),
        };
        let splat = |value: f64| lanes.splat(value as f32);
        let power = |beta: f64| beta.powf(how.steps as f64);
        Self {
            rate: splat(how.rate),
            decay: splat(how.decay),
            keep: [splat(betas[0]), splat(betas[1])],
            take: [splat(1.0 - betas[0]), splat(1.0 - betas[1])],
            correct: [splat(1.0 / (1.0 - power(betas[0]))), splat(1.0 / (1.0 - power(betas[1])))],
            epsilon: splat(epsilon),
        }
    }
}
