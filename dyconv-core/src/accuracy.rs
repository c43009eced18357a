//! How exact a plan is: the one table of slacks and tolerances.

/// The error contract of a plan.
///
/// | | slack of the *bounded* law | obeys the *exact* law | tolerance on case files (rtol, atol) |
/// | --- | --- | --- | --- |
/// | `Reference` | 1 | yes | 2e-5, 1e-6 |
/// | `Cpu` | 1 | yes | 2e-5, 1e-6 |
/// | `Gpu` | 2 | yes | 2e-5, 1e-6 |
///
/// The bound is `slack · terms · ε · magnitude`, the magnitude taken from the reference on absolute values; the
/// feature `testing` derives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Accuracy {
    /// f64 accumulation, rounded once.
    Reference,
    /// f32 on a CPU, any summation order, fused or not.
    Cpu,
    /// f32 on a GPU, whose `exp` and division are less exact than a CPU's.
    Gpu,
}

impl Accuracy {
    /// The factor in the bound.
    #[must_use]
    pub fn slack(self) -> f64 {
        match self {
            Self::Reference | Self::Cpu => 1.0,
            Self::Gpu => 2.0,
        }
    }

    /// Whether small-integer data with dyadic attention must give equal results.
    #[must_use]
    pub fn is_exact(self) -> bool {
        match self {
            Self::Reference | Self::Cpu | Self::Gpu => true,
        }
    }

    /// The tolerance on outputs and attention of case files.
    #[must_use]
    pub fn tolerance(self) -> Tolerance {
        match self {
            Self::Reference | Self::Cpu | Self::Gpu => Tolerance { relative: 2e-5, absolute: 1e-6 },
        }
    }
}

/// A result passes where |got − want| ≤ absolute + relative·max|want| for every element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Times the largest magnitude of the expected tensor.
    pub relative: f64,
    /// Added.
    pub absolute: f64,
}
