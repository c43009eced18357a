//! Extents of a tensor and the two orders in which its elements may lie.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The order of a tensor's elements in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Channels first: `[batch][channel][row][column]`.
    #[default]
    Nchw,
    /// Channels last: `[batch][row][column][channel]`.
    Nhwc,
}

impl Layout {
    /// Both layouts.
    pub const ALL: [Self; 2] = [Self::Nchw, Self::Nhwc];
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nchw => "nchw",
            Self::Nhwc => "nhwc",
        })
    }
}

/// Batch, channels, height and width, whatever the layout.
///
/// A shape that exists can be allocated: batch ≥ 0, the other extents ≥ 1, and the f32 elements
/// fit the address space. Attention weights `[N, K]` and pooled channels `[N, C]` are shapes with
/// height and width 1, for which both layouts are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    batch: usize,
    channels: usize,
    height: usize,
    width: usize,
}

impl Shape {
    /// A shape from its extents.
    ///
    /// # Errors
    /// Where channels, height or width is 0, or the elements don't fit the address space.
    pub fn new(batch: usize, channels: usize, height: usize, width: usize) -> Result<Self> {
        for (name, extent) in [("channels", channels), ("height", height), ("width", width)] {
            if extent == 0 {
                return Err(Error::invalid(name, extent, "at least 1"));
            }
        }
        let shape = Self { batch, channels, height, width };
        // An empty batch must not hide extents that overflow.
        match checked_len(&[batch.max(1), channels, height, width]) {
            Some(_) => Ok(shape),
            None => Err(Error::invalid("shape", shape, "at most isize::MAX bytes of f32")),
        }
    }

    /// Samples, N.
    #[must_use]
    pub fn batch(self) -> usize {
        self.batch
    }

    /// Channels, C.
    #[must_use]
    pub fn channels(self) -> usize {
        self.channels
    }

    /// Rows, H.
    #[must_use]
    pub fn height(self) -> usize {
        self.height
    }

    /// Columns, W.
    #[must_use]
    pub fn width(self) -> usize {
        self.width
    }

    /// Positions of one channel, H·W.
    #[must_use]
    pub fn pixels(self) -> usize {
        self.height * self.width
    }

    /// Elements of one sample, C·H·W.
    #[must_use]
    pub fn sample_len(self) -> usize {
        self.channels * self.pixels()
    }

    /// All elements, N·C·H·W. Never overflows.
    #[must_use]
    pub fn len(self) -> usize {
        self.batch * self.sample_len()
    }

    /// Whether the batch is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.batch == 0
    }

    /// The same extents for another number of samples.
    ///
    /// # Errors
    /// As [`Shape::new`].
    pub fn with_batch(self, batch: usize) -> Result<Self> {
        Self::new(batch, self.channels, self.height, self.width)
    }

    /// Distance in elements between neighbours along batch, channel, row and column.
    #[must_use]
    pub fn strides(self, layout: Layout) -> [usize; 4] {
        match layout {
            Layout::Nchw => [self.sample_len(), self.pixels(), self.width, 1],
            Layout::Nhwc => [self.sample_len(), 1, self.width * self.channels, self.channels],
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { batch, channels, height, width } = self;
        write!(f, "{batch}×{channels}×{height}×{width} (N×C×H×W)")
    }
}

/// The product of extents, if that many f32 can exist.
pub(crate) fn checked_len(extents: &[usize]) -> Option<usize> {
    let len = extents.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))?;
    let bytes = len.checked_mul(size_of::<f32>())?;
    (bytes <= isize::MAX as usize).then_some(len)
}
