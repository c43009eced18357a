//! Where the kernel stands: padding rules and output extents.

use serde::{Deserialize, Serialize};

use super::Config;
use crate::{Error, Result};

/// Zeros around the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "PaddingJson", into = "PaddingJson")]
pub enum Padding {
    /// None.
    #[default]
    Valid,
    /// `TensorFlow`'s rule: out = ⌈in/stride⌉, the odd one at the bottom and right.
    Same,
    /// As many rows and columns as said; they may exceed the kernel.
    Explicit {
        /// Rows above.
        top: usize,
        /// Rows below.
        bottom: usize,
        /// Columns at the left.
        left: usize,
        /// Columns at the right.
        right: usize,
    },
}

impl Padding {
    /// The same number of rows above and below, and of columns at the left and right, as PyTorch has it.
    #[must_use]
    pub fn symmetric([rows, columns]: [usize; 2]) -> Self {
        Self::Explicit { top: rows, bottom: rows, left: columns, right: columns }
    }
}

/// The JSON form: `"valid"`, `"same"` or `{"top": 1, "bottom": 1, "left": 1, "right": 1}`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PaddingJson {
    Rule(Rule),
    Explicit(Sides),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Rule {
    Valid,
    Same,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sides {
    top: usize,
    bottom: usize,
    left: usize,
    right: usize,
}

impl From<PaddingJson> for Padding {
    fn from(json: PaddingJson) -> Self {
        match json {
            PaddingJson::Rule(Rule::Valid) => Self::Valid,
            PaddingJson::Rule(Rule::Same) => Self::Same,
            PaddingJson::Explicit(Sides { top, bottom, left, right }) => {
                Self::Explicit { top, bottom, left, right }
            }
        }
    }
}

impl From<Padding> for PaddingJson {
    fn from(padding: Padding) -> Self {
        match padding {
            Padding::Valid => Self::Rule(Rule::Valid),
            Padding::Same => Self::Rule(Rule::Same),
            Padding::Explicit { top, bottom, left, right } => {
                Self::Explicit(Sides { top, bottom, left, right })
            }
        }
    }
}

/// A layer's extents for one input size, padding resolved. Pairs are `[height, width]`.
///
/// Output row `oy` and tap row `ky` read input row `oy·stride + ky·dilation − before`, and 0 outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Input extents.
    pub input: [usize; 2],
    /// Output extents.
    pub output: [usize; 2],
    /// Zeros above and at the left.
    pub before: [usize; 2],
    /// Zeros below and at the right.
    pub after: [usize; 2],
}

impl Geometry {
    pub(super) fn new(config: &Config, input: [usize; 2]) -> Result<Self> {
        let rows = Axis::new(config, 0, input[0])?;
        let columns = Axis::new(config, 1, input[1])?;
        Ok(Self {
            input,
            output: [rows.output, columns.output],
            before: [rows.before, columns.before],
            after: [rows.after, columns.after],
        })
    }
}

struct Axis {
    output: usize,
    before: usize,
    after: usize,
}

impl Axis {
    fn new(config: &Config, axis: usize, input: usize) -> Result<Self> {
        let name = ["height", "width"][axis];
        let stride = config.stride()[axis];
        let reach = config.reach()[axis];
        let overflow = || Error::invalid(name, input, "an extent whose padded size fits the address space");
        let (before, after) = match config.padding() {
            Padding::Valid => (0, 0),
            Padding::Explicit { top, bottom, left, right } => [(top, bottom), (left, right)][axis],
            Padding::Same => {
                let output = input.div_ceil(stride);
                let needed = output.saturating_sub(1).checked_mul(stride).and_then(|n| n.checked_add(reach));
                let total = needed.ok_or_else(overflow)?.saturating_sub(input);
                (total / 2, total - total / 2)
            }
        };
        let padded = input.checked_add(before).and_then(|n| n.checked_add(after)).ok_or_else(overflow)?;
        // Before the division, which would hide it.
        if input == 0 || padded < reach {
            let expected = format!(
                "at least 1, and with padding {before} + {after} at least {reach}, the extent of the dilated kernel"
            );
            return Err(Error::invalid(format!("input {name}"), input, expected));
        }
        Ok(Self { output: (padded - reach) / stride + 1, before, after })
    }
}
