//! Fills the padded copy, one row position at a time.

use dyconv_core::{Layout, Shape};

use super::{Segment, Window};
use crate::lanes::{Lanes, transpose};

/// Writes row position `position` of the copy of one sample: `[input channel][column position]`.
pub(crate) fn copy_row<L: Lanes>(
    lanes: L,
    window: &Window,
    (sample, shape, layout): (&[f32], Shape, Layout),
    position: usize,
    copy: &mut [f32],
) {
    let Some(y) = window.sources[position] else {
        copy.fill(0.0);
        return;
    };
    let columns = window.columns.len;
    for segment in &window.columns.segments {
        let inside = &segment.inside;
        let end = segment.at + segment.len;
        for channel in copy.chunks_exact_mut(columns) {
            channel[segment.at..segment.at + inside.start].fill(0.0);
            channel[segment.at + inside.end..end].fill(0.0);
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
                    gather(row, segment, &mut channel[at..][..inside.len()]);
                }
            }
            Layout::Nhwc => {
                let pixels = &sample[(y * shape.width() + x) * shape.channels()..];
                let src = (pixels, segment.step * shape.channels());
                transpose(lanes, src, (&mut copy[at..], columns), [inside.len(), shape.channels()]);
            }
        }
    }
}

fn gather(row: &[f32], segment: &Segment, out: &mut [f32]) {
    if segment.step == 1 {
        out.copy_from_slice(&row[..out.len()]);
        return;
    }
    for (out, &x) in out.iter_mut().zip(row.iter().step_by(segment.step)) {
        *out = x;
    }
}
