//! How the padded copy lies, so that neighbouring outputs are neighbours in it for every stride.
//!
//! ```text
//! copy  [row position][input channel][column position]
//! ```
//!
//! Along one axis, output `o` and tap `k` read input `o·stride + k·dilation − before`. The copy holds those inputs in
//! *segments*, each a run of inputs `stride` apart, so that outputs `o` and `o + 1` are neighbours in a segment
//! whatever the stride. Taps whose inputs differ by a multiple of the stride share a segment, shifted, where that is
//! shorter than a segment of their own. With stride 1 there is one segment, the padded row itself; inputs that no tap
//! reads aren't copied, so padding, strides and dilations of any size cost at most a segment of one output row per tap.

use std::ops::Range;

use dyconv_core::{Config, Error, Geometry, Result};

/// One axis of the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    /// Positions.
    pub(crate) len: usize,
    /// Where each tap's input for output 0 is; output `o` is `o` further.
    pub(crate) offsets: Vec<usize>,
    /// What is where.
    pub(crate) segments: Vec<Segment>,
}

/// A run of inputs in the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// First position.
    pub(crate) at: usize,
    /// Positions.
    pub(crate) len: usize,
    /// Of them, counted from the first, those that hold inputs; the others are padding.
    pub(crate) inside: Range<usize>,
    /// The input at the first position inside.
    pub(crate) first: usize,
    /// Distance between the inputs of neighbouring positions.
    pub(crate) step: usize,
}

impl Segment {
    /// A segment whose first position is `start` inputs into an axis with `before` zeros in front.
    fn new(at: usize, len: usize, [start, before]: [usize; 2], step: usize, input: usize) -> Self {
        let padding = before.saturating_sub(start).div_ceil(step).min(len);
        let first = (start + padding * step).saturating_sub(before);
        let inputs = input.saturating_sub(first).div_ceil(step).min(len - padding);
        Self { at, len, inside: padding..padding + inputs, first, step }
    }
}

/// A segment under construction: its first tap, its last tap's shift, its length.
struct Open {
    phase: usize,
    first_tap: usize,
    last: usize,
    len: usize,
}

impl Axis {
    fn new(config: &Config, geometry: &Geometry, axis: usize) -> Option<Self> {
        let (stride, dilation) = (config.stride()[axis], config.dilation()[axis]);
        let (output, before) = (geometry.output[axis], geometry.before[axis]);
        let mut open: Vec<Open> = Vec::new();
        let mut places = Vec::new();
        for k in 0..config.kernel_size()[axis] {
            let (shift, phase) = (k * dilation / stride, k * dilation % stride);
            let newest = open.iter().rposition(|segment| segment.phase == phase);
            let index = match newest {
                Some(i) if shift - open[i].last < output => {
                    open[i].len += shift - open[i].last;
                    open[i].last = shift;
                    i
                }
                _ => {
                    open.push(Open { phase, first_tap: k, last: shift, len: output });
                    open.len() - 1
                }
            };
            places.push((index, shift - open[index].first_tap * dilation / stride));
        }
        let mut segments = Vec::with_capacity(open.len());
        let mut at = 0usize;
        for Open { first_tap, len, .. } in open {
            segments.push(Segment::new(
                at,
                len,
                [first_tap * dilation, before],
                stride,
                geometry.input[axis],
            ));
            at = at.checked_add(len)?;
        }
        let offsets = places.into_iter().map(|(index, shift)| segments[index].at + shift).collect();
        Some(Self { len: at, offsets, segments })
    }

    /// The input at each position, or `None` for padding.
    fn sources(&self) -> Vec<Option<usize>> {
        let inputs = |segment: &Segment| {
            let Segment { len, inside, first, step, .. } = segment.clone();
            (0..len).map(move |i| inside.contains(&i).then(|| first + (i - inside.start) * step))
        };
        self.segments.iter().flat_map(inputs).collect()
    }
}

/// The copy's two axes and its extent for one sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) rows: Axis,
    pub(crate) columns: Axis,
    /// The input row at each row position, or `None` for padding.
    pub(crate) sources: Vec<Option<usize>>,
    /// Channels in the copy.
    pub(crate) channels: usize,
    /// Floats of one row position: all its channels.
    pub(crate) row: usize,
}

impl Window {
    /// The copy of `channels` channels.
    pub(crate) fn new(config: &Config, geometry: &Geometry, channels: usize) -> Result<Self> {
        let window = || {
            let (rows, columns) = (Axis::new(config, geometry, 0)?, Axis::new(config, geometry, 1)?);
            let row = columns.len.checked_mul(channels)?;
            let bytes = row.checked_mul(rows.len)?.checked_mul(size_of::<f32>())?;
            let sources = (bytes <= isize::MAX as usize).then(|| rows.sources())?;
            Some(Self { rows, columns, sources, channels, row })
        };
        window().ok_or(Error::OutOfMemory { requested: u64::MAX, in_use: 0, budget: isize::MAX as u64 })
    }

    /// Floats of one sample's copy.
    pub(crate) fn len(&self) -> usize {
        self.row * self.rows.len
    }

    /// Where each step of a reduction over `channels` channels begins: `[channel][tap]`.
    pub(crate) fn offsets(&self, channels: usize) -> Vec<usize> {
        let mut offsets = Vec::with_capacity(channels * self.rows.offsets.len() * self.columns.offsets.len());
        for channel in 0..channels {
            for row in &self.rows.offsets {
                offsets.extend(
                    self.columns.offsets.iter().map(|x| row * self.row + channel * self.columns.len + x),
                );
            }
        }
        offsets
    }
}

#[cfg(test)]
mod tests {
    use dyconv_core::{Options, Padding};

    use super::*;

    /// Every output and tap finds its input, or padding, for many shapes.
    #[test]
    fn every_output_and_tap_reads_the_right_input() {
        for kernel in 1..5 {
            for stride in 1..6 {
                for dilation in 1..5 {
                    for pad in [0, 1, 5] {
                        for input in [1, 2, 7, 12] {
                            check([kernel, stride, dilation, pad, input]);
                        }
                    }
                }
            }
        }
    }

    fn check([kernel, stride, dilation, pad, input]: [usize; 5]) {
        let options = Options::new(1, 1).kernel_size([kernel, 1]).stride([stride, 1]).dilation([dilation, 1]);
        let padding = Padding::Explicit { top: pad, bottom: pad / 2, left: 0, right: 0 };
        let config = options.padding(padding).build().unwrap();
        let Ok(geometry) = config.geometry(input, 1) else { return };
        let axis = Axis::new(&config, &geometry, 0).unwrap();
        let sources = axis.sources();
        assert!(axis.len == sources.len() && axis.len <= kernel * geometry.output[0]);
        for o in 0..geometry.output[0] {
            for k in 0..kernel {
                let want = (o * stride + k * dilation).checked_sub(pad).filter(|&i| i < input);
                let got = sources[axis.offsets[k] + o];
                assert_eq!(
                    got, want,
                    "{kernel} taps, stride {stride}, dilation {dilation}, output {o}, tap {k}"
                );
            }
        }
    }

    #[test]
    fn stride_one_is_the_padded_row_itself() {
        let options = Options::new(1, 1).kernel_size([3, 3]).padding(Padding::Same);
        let config = options.build().unwrap();
        let geometry = config.geometry(7, 9).unwrap();
        let window = Window::new(&config, &geometry, 2).unwrap();
        assert_eq!((window.rows.len, window.columns.len, window.row), (9, 11, 22));
        assert_eq!(window.offsets(1), [0, 1, 2, 22, 23, 24, 44, 45, 46]);
    }

    #[test]
    fn huge_padding_and_dilation_copy_no_more_than_is_read() {
        let far = i32::MAX as usize;
        let padding = Padding::Explicit { top: far, bottom: far, left: 0, right: 0 };
        let options = Options::new(1, 1).kernel_size([2, 1]).dilation([far, 1]).stride([far, 1]);
        let config = options.padding(padding).build().unwrap();
        let geometry = config.geometry(1, 1).unwrap();
        let axis = Axis::new(&config, &geometry, 0).unwrap();
        assert!(axis.len <= 2 * geometry.output[0]);
    }
}
