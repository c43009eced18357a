//! What correlations read, in the order of pixels:
//!
//! ```text
//! x  [row position][column position][channel]    of a few input channels; positions are those of the direct plan's copy
//! g  [pixel][vector][lane]                       of a block of output channels
//! ```

use dyconv_core::{Layout, Shape};

use crate::kernels::direct::{Segment, Window};
use crate::lanes::{Lanes, transpose};
use crate::pack::Block;

/// Some channels of one sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channels<'a> {
    pub(crate) sample: &'a [f32],
    pub(crate) shape: Shape,
    pub(crate) layout: Layout,
    /// The first one.
    pub(crate) first: usize,
    /// How many.
    pub(crate) count: usize,
    /// How many places in a row each has: as many as output channels read it, where the panel has one for each. `first`
    /// and `count` then count places.
    pub(crate) spread: usize,
}

impl Channels<'_> {
    fn channel(&self, place: usize) -> usize {
        (self.first + place) / self.spread
    }
}

/// Writes a panel of inputs of `position` floats for every position; those beyond the channels are 0.
pub(crate) fn input<L: Lanes>(
    lanes: L,
    window: &Window,
    channels: Channels<'_>,
    position: usize,
    panel: &mut [f32],
) {
    let rows = panel.chunks_exact_mut(window.columns.len * position);
    for (row, source) in rows.zip(&window.sources) {
        let Some(y) = *source else {
            row.fill(0.0);
            continue;
        };
        for segment in &window.columns.segments {
            let Segment { at, len, inside, .. } = segment;
            row[at * position..][..inside.start * position].fill(0.0);
            row[(at + inside.end) * position..(at + len) * position].fill(0.0);
            if inside.is_empty() {
                continue;
            }
            let inside = &mut row[(at + inside.start) * position..][..inside.len() * position];
            pixels(lanes, channels, (y, segment.first, segment.step), position, inside);
        }
    }
}

/// Writes the pixels of row `y` from column `x` on, `step` apart.
fn pixels<L: Lanes>(
    lanes: L,
    channels: Channels<'_>,
    (y, x, step): (usize, usize, usize),
    position: usize,
    out: &mut [f32],
) {
    let Channels { sample, shape, layout, first, count, spread } = channels;
    if count < position {
        out.fill(0.0);
    }
    let pixel = y * shape.width() + x;
    match layout {
        Layout::Nhwc => {
            let all = shape.channels();
            for (i, out) in out.chunks_exact_mut(position).enumerate() {
                let pixel = &sample[(pixel + i * step) * all..][..all];
                if spread == 1 {
                    out[..count].copy_from_slice(&pixel[first..first + count]);
                } else {
                    out[..count]
                        .iter_mut()
                        .enumerate()
                        .for_each(|(c, out)| *out = pixel[channels.channel(c)]);
                }
            }
        }
        Layout::Nchw if step == 1 && spread == 1 => {
            let planes = &sample[first * shape.pixels() + pixel..];
            let width = out.len() / position;
            transpose(lanes, (planes, shape.pixels()), (out, position), [count, width]);
        }
        Layout::Nchw => {
            for c in 0..count {
                let plane = &sample[channels.channel(c) * shape.pixels() + pixel..];
                for (out, x) in out[c..].iter_mut().step_by(position).zip(plane.iter().step_by(step)) {
                    *out = *x;
                }
            }
        }
    }
}

/// Writes a block's panel of g.
pub(crate) fn gradient<L: Lanes>(
    lanes: L,
    (sample, shape, layout): (&[f32], Shape, Layout),
    block: &Block,
    panel: &mut [f32],
) {
    let line = block.vectors * L::WIDTH;
    if block.channels < line {
        panel.fill(0.0);
    }
    match layout {
        Layout::Nhwc => {
            for (out, pixel) in panel.chunks_exact_mut(line).zip(sample.chunks_exact(shape.channels())) {
                out[..block.channels].copy_from_slice(&pixel[block.first..][..block.channels]);
            }
        }
        Layout::Nchw => {
            let planes = &sample[block.first * shape.pixels()..];
            transpose(lanes, (planes, shape.pixels()), (panel, line), [block.channels, shape.pixels()]);
        }
    }
}
