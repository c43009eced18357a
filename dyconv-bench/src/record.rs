//! The JSON record of a comparison.

use dyconv_core::{AnyBackend, Backend, Error, Layout};
use serde::Serialize;

use crate::compare::Outcome;
use crate::machine::Machine;
use crate::measure::Measurement;
use crate::roster::Candidate;

/// The version of every JSON form here. It rises when a field changes its meaning or goes; new fields don't raise it.
pub const VERSION: u32 = 1;

/// One layer on one backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// The workload's name.
    pub workload: &'static str,
    /// Whether it is beyond the layers that the paper makes dynamic.
    pub extra: bool,
    /// The backend's id.
    pub backend: String,
    /// Threads that computed.
    pub threads: usize,
    /// Samples per call.
    pub batch: usize,
    /// Layout of input and output.
    pub layout: Layout,
    /// Median time of a call of the dynamic layer: input on the device, attention included, waited for.
    pub median_us: f64,
    /// Minimum of the same.
    pub min_us: f64,
    /// Calls timed.
    pub runs: usize,
    /// Median time of the static layer (one kernel, no attention), called in turn with the dynamic one.
    pub static_median_us: f64,
    /// Minimum of the same.
    pub static_min_us: f64,
    /// Median time with upload and download, where the device has memory of its own.
    pub end_to_end_median_us: Option<f64>,
    /// 2 · multiply-adds of all stages ÷ median time. Winograd needs fewer, so this can exceed the peak.
    pub gflops: f64,
    /// Largest |got − reference| over the outputs of the first sample; `null` if one is NaN or infinite.
    pub worst_error: f64,
    /// What case files allow for that sample: atol + rtol·max|reference|.
    pub tolerance: f64,
    /// The plan that the backend chose.
    pub plan: String,
}

impl Row {
    /// Dynamic over static median.
    #[must_use]
    pub fn ratio_to_static(&self) -> f64 {
        self.median_us / self.static_median_us
    }

    /// Takes over what was measured.
    #[must_use]
    pub fn measured(self, m: &Measurement, multiply_adds: u64) -> Self {
        Self {
            median_us: m.dynamic.median_us,
            min_us: m.dynamic.min_us,
            runs: m.dynamic.runs,
            static_median_us: m.static_.median_us,
            static_min_us: m.static_.min_us,
            end_to_end_median_us: m.end_to_end.map(|timing| timing.median_us),
            gflops: 2e-3 * multiply_adds as f64 / m.dynamic.median_us,
            worst_error: m.worst_error,
            tolerance: m.tolerance,
            ..self
        }
    }
}

/// A row that wasn't measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Skipped {
    /// The workload's name.
    pub workload: &'static str,
    /// The backend's id.
    pub backend: String,
    /// Samples per call.
    pub batch: usize,
    /// Layout of input and output.
    pub layout: Layout,
    /// Why not.
    pub reason: String,
}

/// A backend that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Present {
    /// The backend's id.
    pub backend: String,
    /// The device, in words.
    pub device: String,
    /// Threads that compute.
    pub threads: usize,
}

impl Present {
    /// What each backend says of itself.
    #[must_use]
    pub fn of(backends: &[AnyBackend]) -> Vec<Self> {
        let present = |backend: &AnyBackend| {
            let info = backend.info();
            Self { backend: info.id.clone(), device: info.device.clone(), threads: info.threads }
        };
        backends.iter().map(present).collect()
    }
}

/// A backend that this machine hasn't got.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Absent {
    /// The name that was looked for.
    pub backend: &'static str,
    /// What is missing, and how to get it.
    pub reason: String,
}

impl Absent {
    /// The absent ones of some candidates.
    #[must_use]
    pub fn among(candidates: &[Candidate]) -> Vec<Self> {
        let absent = |candidate: &Candidate| {
            let reason = match candidate.backend.as_ref().err()? {
                Error::Unavailable { reason, hint, .. } => format!("{reason}; {hint}"),
                other => other.to_string(),
            };
            Some(Self { backend: candidate.name, reason })
        };
        candidates.iter().filter_map(absent).collect()
    }
}

/// What `dyconv bench --json` and the main job write.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// `bench`.
    pub kind: &'static str,
    /// The program's version.
    pub program: &'static str,
    /// Where it ran.
    pub machine: Machine,
    /// What ran.
    pub backends: Vec<Present>,
    /// What was measured.
    pub rows: Vec<Row>,
    /// What wasn't, of what was asked for.
    pub skipped: Vec<Skipped>,
    /// Backends that aren't here.
    pub absent: Vec<Absent>,
}

impl Record {
    /// A record of measurements.
    #[must_use]
    pub fn new(machine: Machine, backends: &[AnyBackend], outcome: Outcome, absent: Vec<Absent>) -> Self {
        Self {
            version: VERSION,
            kind: "bench",
            program: env!("CARGO_PKG_VERSION"),
            machine,
            backends: Present::of(backends),
            rows: outcome.rows,
            skipped: outcome.skipped,
            absent,
        }
    }
}
