//! Several seeds in two numbers.

use std::fmt;

use serde::Serialize;

/// Mean and sample standard deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// √(Σ(x − mean)²/(n − 1)); `null` for one number.
    pub std: Option<f64>,
}

impl Spread {
    /// Of numbers; NaN where there are none.
    #[must_use]
    pub fn of(numbers: &[f64]) -> Self {
        let count = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / count;
        let squares: f64 = numbers.iter().map(|number| (number - mean) * (number - mean)).sum();
        Self { mean, std: (numbers.len() > 1).then(|| (squares / (count - 1.0)).sqrt()) }
    }

    /// Both times a factor.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { mean: factor * self.mean, std: self.std.map(|std| factor.abs() * std) }
    }
}

/// `{:.2}`: two digits for both.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        match self.std {
            Some(std) => write!(f, "{:.digits$} ± {std:.digits$}", self.mean),
            None => write!(f, "{:.digits$}", self.mean),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_sample_deviation() {
        let spread = Spread::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!((spread.mean, spread.std), (5.0, Some((32.0f64 / 7.0).sqrt())));
        assert_eq!(format!("{spread:.1}"), "5.0 ± 2.1");
        assert_eq!(format!("{}", spread.times(-10.0)), "-50.00 ± 21.38");
        assert_eq!(Spread::of(&[3.0]), Spread { mean: 3.0, std: None });
        assert_eq!(format!("{}", Spread::of(&[3.0])), "3.00");
        assert!(Spread::of(&[]).mean.is_nan());
    }
}
