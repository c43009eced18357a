//! Fills the padded copy, one row position at a time; those that hold no row of the input are 0.

use dyconv_core::{Layout, Shape};

use super::Window;
use crate::lanes::{Lanes, transpose};

/// Writes row `y` of one sample to its position in the copy: `[input channel][column position]`.
pub(crate) fn copy_row<L: Lanes>(
    lanes: L,
    window: &Window,
    (sample, shape, layout): (&[f32], Shape, Layout),
    y: usize,
    copy: &mut [f32],
) {
    let columns = window.columns.len;
    for segment in &window.columns.segments {
        let inside = &segment.inside;
        let end = segment.at + segment.len;
        for channel in copy.chunks_exact_mut(columns) {
            zero(&mut channel[segment.at..segment.at + inside.start]);
            zero(&mut channel[segment.at + inside.end..end]);
        }
        if inside.is_empty() {
            continue;
        }
        let x = segment.first;
        let at = segment.at + inside.start;
        match layout {
            Layout::Nchw => {
                for (c, channel) in copy.chunks_exact_mut(columns).enumerate() {
                    let row = &sample[(c * shape.height() + y) * shape.width() + x..];
                    gather(row, segment.step, &mut channel[at..][..inside.len()]);
                }
            }
            Layout::Nhwc => {
                let channels = shape.channels();
                let pixels = &sample[(y * shape.width() + x) * channels..];
                let step = segment.step * channels;
                if channels < L::WIDTH / 2 {
                    // Most of a vector would be empty.
                    for (c, channel) in copy.chunks_exact_mut(columns).enumerate() {
                        gather(&pixels[c..], step, &mut channel[at..][..inside.len()]);
                    }
                    continue;
                }
                transpose(lanes, (pixels, step), (&mut copy[at..], columns), [inside.len(), channels]);
            }
        }
    }
}

/// As [`copy_row`], with channels last: `[column position][channel]`, and zeros where the copy has more channels.
pub(crate) fn copy_pixels<L: Lanes>(
    lanes: L,
    window: &Window,
    (sample, shape, layout): (&[f32], Shape, Layout),
    y: usize,
    copy: &mut [f32],
) {
    let (channels, wide) = (shape.channels(), window.channels);
    for segment in &window.columns.segments {
        let inside = &segment.inside;
        let copy = &mut copy[segment.at * wide..][..segment.len * wide];
        copy[..inside.start * wide].fill(0.0);
        copy[inside.end * wide..].fill(0.0);
        let pixels = &mut copy[inside.start * wide..inside.end * wide];
        if wide > channels {
            pixels.chunks_exact_mut(wide).for_each(|pixel| pixel[channels..].fill(0.0));
        }
        if pixels.is_empty() {
            continue;
        }
        let x = y * shape.width() + segment.first;
        match layout {
            Layout::Nhwc => {
                let from = sample[x * channels..].chunks(channels).step_by(segment.step);
                for (pixel, from) in pixels.chunks_exact_mut(wide).zip(from) {
                    pixel[..channels].copy_from_slice(from);
                }
            }
            Layout::Nchw if segment.step == 1 => {
                let planes = (&sample[x..], shape.pixels());
                transpose(lanes, planes, (pixels, wide), [channels, inside.len()]);
            }
            Layout::Nchw => {
                for (c, plane) in sample.chunks_exact(shape.pixels()).enumerate() {
                    let values = plane[x..].iter().step_by(segment.step);
                    pixels.chunks_exact_mut(wide).zip(values).for_each(|(pixel, &value)| pixel[c] = value);
                }
            }
        }
    }
}

/// Padding is mostly one value, for which `fill` would call a function.
fn zero(values: &mut [f32]) {
    match values {
        [] => {}
        [value] => *value = 0.0,
        values => values.fill(0.0),
    }
}

fn gather(row: &[f32], step: usize, out: &mut [f32]) {
    if step == 1 {
        out.copy_from_slice(&row[..out.len()]);
        return;
    }
    for (out, &x) in out.iter_mut().zip(row.iter().step_by(step)) {
        *out = x;
    }
}
