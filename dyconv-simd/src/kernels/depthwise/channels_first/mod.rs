//! The vector over pixels of one channel, whose weights are the same for all of them.
//!
//! Squares of three and five taps read planes where they lie: with stride 1 as one run of pixels ([`flat`]), with stride
//! 2 row by row, even and odd pixels apart ([`halves`]). Any other geometry copies a plane with its padding first
//! ([`any`]). Small planes would fill few vectors and begin often: they are turned over ([`turned`]).

mod any;
mod flat;
mod halves;
mod turned;

use dyconv_core::{Config, Geometry, Result};

use self::flat::{Ends, Flat};
use self::halves::Halves;
use super::Work;
use crate::buffer::Buffer;
use crate::kernels::activate::bounds;
use crate::kernels::direct::Window;
use crate::lanes::Lanes;
use crate::plan::{Plan, Reading};

/// How planes are read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Way {
    /// As one run of pixels.
    Flat(Ends),
    /// Row by row, even and odd pixels apart.
    Halves,
    /// Turned over, to run over channels after all.
    Turned,
    /// From a padded copy.
    Copied {
        /// The copy.
        window: Window,
        /// Where each tap begins in it.
        offsets: Vec<usize>,
    },
}

impl Way {
    /// The way for a layer and image, with vectors of `vector` floats.
    ///
    /// # Errors
    /// Where a copy would exceed the address space.
    pub(crate) fn new(config: &Config, geometry: &Geometry, vector: usize) -> Result<Self> {
        let [taps, columns] = config.kernel_size();
        let square = taps == columns && matches!(taps, 3 | 5) && config.dilation() == [1, 1];
        let before = geometry.before;
        let small = turned::pays(geometry) && config.out_channels_per_group() == 1;
        Ok(match config.stride() {
            [1, 1] | [2, 2] if square && small => Self::Turned,
            [1, 1] if square && geometry.output == geometry.input && before == [taps / 2; 2] => {
                Self::Flat(Ends::new(taps, geometry.input, vector))
            }
            [2, 2] if square && (before[1] == taps / 2 || before[1] + 1 == taps / 2) => Self::Halves,
            _ => {
                let window = Window::new(config, geometry, 1)?;
                let offsets = window.offsets(1);
                Self::Copied { window, offsets }
            }
        })
    }

    /// Floats of scratch for a block of one vector of channels.
    pub(crate) fn scratch(&self, geometry: &Geometry, vector: usize) -> usize {
        match self {
            Self::Flat(ends) => ends.scratch(vector),
            Self::Halves => 0,
            Self::Turned => turned::scratch(geometry, vector),
            Self::Copied { window, .. } => any::scratch(window, geometry.output[0], vector),
        }
    }
}

/// The input of a block's channels.
struct Input<'a> {
    /// Of the whole sample.
    x: &'a [f32],
    /// The block's first output channel.
    first: usize,
    /// Output channels per input channel.
    multiplier: usize,
}

impl<'a> Input<'a> {
    /// The plane that an output channel of the block reads.
    fn plane(&self, plan: &Plan, channel: usize) -> &'a [f32] {
        let pixels = plan.geometry.input[0] * plan.geometry.input[1];
        &self.x[(self.first + channel) / self.multiplier * pixels..][..pixels]
    }

    /// The planes from the block's first on.
    fn planes(&self, plan: &Plan) -> &'a [f32] {
        let pixels = plan.geometry.input[0] * plan.geometry.input[1];
        &self.x[self.first / self.multiplier * pixels..]
    }
}

/// A block of planes of outputs, and what they are made of.
struct Planes<'a> {
    plan: &'a Plan,
    input: Input<'a>,
    /// `[tap][lane]`
    weights: &'a [f32],
    offset: &'a [f32],
    /// The least and the greatest output.
    clamp: [f32; 2],
    /// The block's.
    residual: Option<&'a [f32]>,
    out: &'a mut [f32],
    /// The planes' sums, as many as are asked for.
    sums: &'a mut [f32],
    scratch: &'a mut Buffer,
}

pub(super) fn run<L: Lanes>(lanes: L, work: Work<'_, '_>, scratch: &mut Buffer) {
    let Work { plan, block, sample, weights, offset, target, sums } = work;
    let out = target.planes();
    let (config, geometry) = (&plan.config, &plan.geometry);
    let planes = Planes {
        plan,
        input: Input { x: sample.x, first: block.first, multiplier: config.out_channels_per_group() },
        weights,
        offset,
        clamp: bounds(sample.activation).unwrap_or([f32::NEG_INFINITY, f32::INFINITY]),
        residual: sample.residual.map(|r| &r[block.first * plan.pixels()..][..out.len()]),
        out,
        sums,
        scratch,
    };
    let Reading::Planes(way) = &plan.reading else { return };
    match (way, config.kernel_size()[1], geometry.before[1]) {
        (Way::Flat(ends), 3, _) => lanes.vectorize(Flat::<3>(planes, ends)),
        (Way::Flat(ends), _, _) => lanes.vectorize(Flat::<5>(planes, ends)),
        (Way::Turned, _, _) => turned::run(lanes, planes),
        (Way::Halves, 3, 0) => lanes.vectorize(Halves::<3, 0>(planes)),
        (Way::Halves, 3, _) => lanes.vectorize(Halves::<3, 1>(planes)),
        (Way::Halves, _, 1) => lanes.vectorize(Halves::<5, 1>(planes)),
        (Way::Halves, _, _) => lanes.vectorize(Halves::<5, 2>(planes)),
        (Way::Copied { window, offsets }, _, _) => any::run(lanes, planes, window, offsets),
    }
}
