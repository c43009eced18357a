//! How exact a plan is: the one table of slacks and tolerances.

/// The error contract of a plan.
///
/// | | slack of the *bounded* law | growth, reach | obeys the *exact* law | tolerance on case files (rtol, atol) |
/// | --- | --- | --- | --- | --- |
/// | `Reference` | 1 | – | yes | 2e-5, 1e-6 |
/// | `Cpu` | 1 | – | yes | 2e-5, 1e-6 |
/// | `Gpu` | 2 | – | yes | 2e-5, 1e-6 |
/// | `WinogradF2` | 1 | 16, 3 | yes | 2e-5, 1e-6 |
/// | `WinogradF4` | 1 | 861, 5 | no | 1e-4, 1e-6 |
/// | `GpuWinogradF2` | 2 | 16, 3 | yes | 2e-5, 1e-6 |
/// | `GpuWinogradF4` | 2 | 861, 5 | no | 1e-4, 1e-6 |
///
/// The bound is `slack · terms · ε · magnitude`, the magnitude taken from the reference on absolute values; where a
/// plan computes tiles of outputs from each other's inputs, it is that of the largest inputs within *reach*, times
/// *growth* ([`Spread`]). The feature `testing` derives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Accuracy {
    /// f64 accumulation, rounded once.
    Reference,
    /// f32 on a CPU, any summation order, fused or not.
    Cpu,
    /// f32 on a GPU, whose `exp` and division are less exact than a CPU's.
    Gpu,
    /// f32 on a CPU, 3×3 kernels by Winograd's F(2×2).
    WinogradF2,
    /// f32 on a CPU, 3×3 kernels by Winograd's F(4×4) and smaller tiles.
    WinogradF4,
    /// f32 on a GPU, 3×3 kernels by Winograd's F(2×2).
    GpuWinogradF2,
    /// f32 on a GPU, 3×3 kernels by Winograd's F(4×4).
    GpuWinogradF4,
}

impl Accuracy {
    /// The factor in the bound.
    #[must_use]
    pub fn slack(self) -> f64 {
        match self {
            Self::Reference | Self::Cpu | Self::WinogradF2 | Self::WinogradF4 => 1.0,
            Self::Gpu | Self::GpuWinogradF2 | Self::GpuWinogradF4 => 2.0,
        }
    }

    /// How an input's roundings spread over a tile of outputs; `None` where each output has its own inputs alone.
    #[must_use]
    pub fn spread(self) -> Option<Spread> {
        match self {
            Self::Reference | Self::Cpu | Self::Gpu => None,
            Self::WinogradF2 | Self::GpuWinogradF2 => Some(Spread { growth: 16.0, reach: 3 }),
            Self::WinogradF4 | Self::GpuWinogradF4 => Some(Spread { growth: 861.0, reach: 5 }),
        }
    }

    /// Whether small-integer data with dyadic attention must give equal results.
    #[must_use]
    pub fn is_exact(self) -> bool {
        match self {
            Self::Reference | Self::Cpu | Self::Gpu | Self::WinogradF2 | Self::GpuWinogradF2 => true,
            Self::WinogradF4 | Self::GpuWinogradF4 => false,
        }
    }

    /// The tolerance on outputs and attention of case files.
    #[must_use]
    pub fn tolerance(self) -> Tolerance {
        match self {
            Self::Reference | Self::Cpu | Self::Gpu | Self::WinogradF2 | Self::GpuWinogradF2 => {
                Tolerance { relative: 2e-5, absolute: 1e-6 }
            }
            Self::WinogradF4 | Self::GpuWinogradF4 => Tolerance { relative: 1e-4, absolute: 1e-6 },
        }
    }
}

/// How far, and how much larger, roundings get by Winograd's transforms.
///
/// A tile of m outputs along an axis is Σ over its m + 2 points p of A\[i,p\]·(Σ G\[p,k\]·w\[k\])·(Σ B\[p,l\]·x\[l\]). In
/// magnitudes that is at most Σ|w|·max|x| times c = max over i, k of Σ|A\[i,p\]|·|G\[p,k\]|·Σ|B\[p,l\]|: 4 for m = 2, 29⅓ for
/// m = 4; for both axes, c². The largest x is one of the tile's.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Spread {
    /// c², rounded up.
    pub growth: f64,
    /// Inputs that share a tile with one, to each side of it: m + 1.
    pub reach: usize,
}

/// A result passes where |got − want| ≤ absolute + relative·max|want| for every element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Times the largest magnitude of the expected tensor.
    pub relative: f64,
    /// Added.
    pub absolute: f64,
}
