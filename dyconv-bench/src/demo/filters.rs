//! Experts that people know: 5×5 filters for photographs.

/// What an expert answers to in the picture's mean colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Brighter than the original.
    Bright,
    /// Darker than the original.
    Dark,
    /// Bluer than the original.
    Blue,
    /// Greener than the original.
    Green,
}

impl Sign {
    /// Every sign, in the order of the head's hidden units.
    pub const ALL: [Self; 4] = [Self::Bright, Self::Dark, Self::Blue, Self::Green];
}

/// One expert: the same 5×5 kernel and bias for red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Filter {
    /// What people call it.
    pub name: &'static str,
    /// The kernel, row by row.
    pub kernel: [f32; 25],
    /// The bias. Grey for filters whose kernel sums to 0, so that both signs of an edge can be seen.
    pub bias: f32,
    /// What it answers to.
    pub sign: Sign,
    /// Its colour in charts.
    pub colour: [u8; 3],
}

/// 5×5 from 3×3.
const fn padded(kernel: [f32; 9]) -> [f32; 25] {
    let mut wide = [0.0; 25];
    let mut i = 0;
    while i < 9 {
        wide[6 + (i / 3) * 5 + i % 3] = kernel[i];
        i += 1;
    }
    wide
}

/// The binomial approximation of a Gaussian, σ ≈ 1.
const fn gaussian() -> [f32; 25] {
    let row = [1.0, 4.0, 6.0, 4.0, 1.0];
    let mut kernel = [0.0; 25];
    let mut i = 0;
    while i < 25 {
        kernel[i] = row[i / 5] * row[i % 5] / 256.0;
        i += 1;
    }
    kernel
}

/// The experts in order: a layer of K experts takes the first K.
pub const FILTERS: [Filter; 8] = [
    Filter { name: "blur", kernel: gaussian(), bias: 0.0, sign: Sign::Bright, colour: [66, 133, 244] },
    Filter {
        name: "sharpen",
        kernel: padded([-0.5, -1.0, -0.5, -1.0, 7.0, -1.0, -0.5, -1.0, -0.5]),
        bias: 0.0,
        sign: Sign::Dark,
        colour: [219, 68, 55],
    },
    Filter {
        name: "horizontal edges",
        kernel: padded([-1.0, -2.0, -1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 1.0]),
        bias: 0.5,
        sign: Sign::Blue,
        colour: [244, 160, 0],
    },
    Filter {
        name: "vertical edges",
        kernel: padded([-1.0, 0.0, 1.0, -2.0, 0.0, 2.0, -1.0, 0.0, 1.0]),
        bias: 0.5,
        sign: Sign::Green,
        colour: [15, 157, 88],
    },
    Filter {
        name: "unchanged",
        kernel: padded([0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]),
        bias: 0.0,
        sign: Sign::Bright,
        colour: [120, 120, 120],
    },
    Filter {
        name: "emboss",
        kernel: padded([-2.0, -1.0, 0.0, -1.0, 1.0, 1.0, 0.0, 1.0, 2.0]),
        bias: 0.0,
        sign: Sign::Dark,
        colour: [171, 71, 188],
    },
    Filter {
        name: "outline",
        kernel: padded([-1.0, -1.0, -1.0, -1.0, 8.0, -1.0, -1.0, -1.0, -1.0]),
        bias: 0.0,
        sign: Sign::Blue,
        colour: [0, 172, 193],
    },
    Filter {
        name: "motion blur",
        kernel: [
            0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.2,
            0.0, 0.0, 0.0, 0.0, 0.0, 0.2,
        ],
        bias: 0.0,
        sign: Sign::Green,
        colour: [121, 85, 72],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_keep_the_brightness_or_answer_to_edges_alone() {
        for filter in FILTERS {
            let sum: f32 = filter.kernel.iter().sum();
            assert!((sum - 1.0).abs() < 1e-6 || sum.abs() < 1e-6, "{} sums to {sum}", filter.name);
        }
    }
}
