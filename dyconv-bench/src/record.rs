//! The JSON record of a comparison.

use std::collections::BTreeMap;

use dyconv_core::{AnyBackend, Backend, Error, Layout};
use serde::Serialize;

use crate::against::{Beside, PeerLine, Target};
use crate::compare::Outcome;
use crate::machine::Machine;
use crate::measure::Measurement;
use crate::precision::Storage;
use crate::profile::Profile;
use crate::ready::Pass;
use crate::roster::Candidate;
use crate::timing::Timing;

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
    /// What case files allow for that sample, atol + rtol·max|reference|, and what experts in fewer bits may add.
    pub tolerance: f64,
    /// The plan that the backend chose.
    pub plan: String,
    /// The plan for the static layer.
    pub static_plan: String,
    /// How experts are stored.
    pub precision: Storage,
    /// How activations are.
    pub activations: Storage,
    /// What a call was.
    pub pass: Pass,
    /// Multiply-add peak of this backend's instruction set and threads, measured beside this row; `null` for a backend
    /// that has none here.
    pub peak_gflops: Option<f64>,
    /// Nanoseconds that a cache line took from core to core beside this row, where several threads computed.
    pub handoff_ns: Option<f64>,
    /// 2 · multiply-adds of the convolution alone, as the mathematics states it, ÷ median time of the dynamic layer:
    /// what shares of the peak are taken of.
    pub effective_gflops: f64,
    /// Median time where every call finds experts that no cache holds, if that was asked for.
    pub cold_median_us: Option<f64>,
    /// The same of the static layer.
    pub static_cold_median_us: Option<f64>,
    /// Median time of the static layer by the direct kernel, for dense 3×3 layers at batch 1.
    pub direct_static_median_us: Option<f64>,
}

impl Row {
    /// Dynamic over static median.
    #[must_use]
    pub fn ratio_to_static(&self) -> f64 {
        self.median_us / self.static_median_us
    }

    /// The convolution's operations as a share of the peak, at the dynamic layer's time.
    #[must_use]
    pub fn share_of_peak(&self) -> Option<f64> {
        self.peak_gflops.map(|peak| self.effective_gflops / peak)
    }

    /// The same at the static layer's time.
    #[must_use]
    pub fn static_share_of_peak(&self) -> Option<f64> {
        self.share_of_peak().map(|share| share * self.ratio_to_static())
    }

    /// The same at the direct kernel's time.
    #[must_use]
    pub fn direct_share_of_peak(&self) -> Option<f64> {
        let direct = self.direct_static_median_us?;
        self.share_of_peak().map(|share| share * self.median_us / direct)
    }

    /// Takes over what was measured of layers with so many multiply-adds, dynamic and static.
    #[must_use]
    pub fn measured(self, m: &Measurement, [multiply_adds, static_multiply_adds]: [u64; 2]) -> Self {
        let median = |timing: Timing| timing.median_us;
        let [cold, static_cold] = [0, 1].map(|i| m.cold.map(|cold| cold[i].median_us));
        Self {
            median_us: m.dynamic.median_us,
            min_us: m.dynamic.min_us,
            runs: m.dynamic.runs,
            static_median_us: m.static_.median_us,
            static_min_us: m.static_.min_us,
            end_to_end_median_us: m.end_to_end.map(median),
            gflops: 2e-3 * multiply_adds as f64 / m.dynamic.median_us,
            effective_gflops: 2e-3 * static_multiply_adds as f64 / m.dynamic.median_us,
            cold_median_us: cold,
            static_cold_median_us: static_cold,
            direct_static_median_us: m.direct.map(median),
            peak_gflops: m.peak_gflops,
            handoff_ns: m.handoff_ns,
            plan: m.plan.clone(),
            static_plan: m.static_plan.clone(),
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
    /// How experts should have been stored.
    pub precision: Storage,
    /// How activations should have been.
    pub activations: Storage,
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
    /// How often each row was measured; it says the middle of what it took.
    pub passes: usize,
    /// What was measured.
    pub rows: Vec<Row>,
    /// What wasn't, of what was asked for.
    pub skipped: Vec<Skipped>,
    /// Backends that aren't here.
    pub absent: Vec<Absent>,
    /// The comparison with peers, if that was asked for.
    pub against: Option<Against>,
    /// The kernels of the GPU's rows, if that was asked for.
    pub profiles: Vec<Profile>,
}

/// Ours beside the peers of a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Against {
    /// When the file was made, where it says.
    pub made: Option<String>,
    /// How the file was made, where it says.
    pub command: Option<String>,
    /// Version by engine.
    pub versions: BTreeMap<String, String>,
    /// Threads of every peer.
    pub threads: usize,
    /// A line per layer and batch.
    pub lines: Vec<PeerLine>,
    /// The project's goals.
    pub targets: Vec<Target>,
    /// Our shares of the peak beside the prototype's for this chip, where there is one.
    pub prototypes: Vec<Beside>,
    /// What a reader should know before believing the lines.
    pub warnings: Vec<String>,
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
            passes: outcome.passes,
            rows: outcome.rows,
            skipped: outcome.skipped,
            absent,
            against: None,
            profiles: Vec::new(),
        }
    }
}
