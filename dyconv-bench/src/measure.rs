//! Timing one layer on one backend, dynamic and static in turn, and its distance from the reference.

use std::time::{Duration, Instant};

use dyconv_core::{Accuracy, AnyBackend, AnyStream, AnyTensor, Backend, Result};

use crate::handoff;
use crate::peak::beside;
use crate::precision::Storage;
use crate::problem::{Deviation, Form, Problem};
use crate::ready::{Pass, Ready};
use crate::timing::{Budget, Timing};

/// What to measure of one problem, and how.
#[derive(Clone, Debug)]
pub struct Manner {
    /// How long.
    pub budget: Budget,
    /// How experts are stored.
    pub storage: Storage,
    /// What a call is.
    pub pass: Pass,
    /// Also with experts that no cache holds: the last-level cache's size in bytes.
    pub cold: Option<u64>,
    /// Also the static layer on this backend, which takes the direct kernel.
    pub direct: Option<AnyBackend>,
}

impl Manner {
    /// Experts in 32 bits and warm, nothing else.
    #[must_use]
    pub fn plain(budget: Budget) -> Self {
        Self { budget, storage: Storage::F32, pass: Pass::Forward, cold: None, direct: None }
    }
}

/// What was measured of one problem on one backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The dynamic layer: input on the device, attention included, waited for.
    pub dynamic: Timing,
    /// The static layer, called in turn with the dynamic one.
    pub static_: Timing,
    /// Both with experts that no cache holds, where that was asked for.
    pub cold: Option<[Timing; 2]>,
    /// The static layer by the direct kernel, where that was asked for.
    pub direct: Option<Timing>,
    /// The dynamic layer with upload and download, where a device has memory of its own.
    pub end_to_end: Option<Timing>,
    /// The multiply-add peak of all threads, in GFLOP/s: the better of just before and just after.
    pub peak_gflops: Option<f64>,
    /// Nanoseconds from core to core, where several threads computed: the worse of just before and just after.
    pub handoff_ns: Option<f64>,
    /// Largest |got − reference| over the first sample's outputs.
    pub worst_error: f64,
    /// What is allowed there: the tolerance of case files, and what the storage of the experts rounds.
    pub tolerance: f64,
    /// The dynamic layer's plan.
    pub plan: String,
    /// The static layer's plan.
    pub static_plan: String,
}

impl Measurement {
    /// The middle one of several of the same: of what was called in turn, of cold calls and of the direct kernel's each for
    /// itself. What disturbed one of three then counts nowhere.
    #[must_use]
    pub fn middle(passes: Vec<Self>) -> Option<Self> {
        let cold = middle(passes.iter().filter_map(|pass| pass.cold), |[dynamic, _]| dynamic.median_us);
        let direct = middle(passes.iter().filter_map(|pass| pass.direct), |direct| direct.median_us);
        let end_to_end = middle(passes.iter().filter_map(|pass| pass.end_to_end), |whole| whole.median_us);
        let worst_error = passes.iter().map(|pass| pass.worst_error).reduce(f64::max)?;
        let middle = middle(passes.into_iter(), |pass| pass.dynamic.median_us)?;
        Some(Self { cold, direct, end_to_end, worst_error, ..middle })
    }
}

/// The one of middle size; of two, the smaller.
fn middle<T>(of: impl Iterator<Item = T>, size: impl Fn(&T) -> f64) -> Option<T> {
    let mut all: Vec<T> = of.collect();
    all.sort_by(|a, b| size(a).total_cmp(&size(b)));
    let at = all.len().saturating_sub(1) / 2;
    all.into_iter().nth(at)
}

/// A backend, its stream and an input on it.
struct Bench<'a> {
    backend: &'a AnyBackend,
    stream: AnyStream,
    input: AnyTensor,
    problem: &'a Problem,
    how: (Storage, Pass),
}

/// Times a problem on a backend.
///
/// # Errors
/// Those of the backend.
pub fn measure(backend: &AnyBackend, problem: &Problem, manner: &Manner) -> Result<Measurement> {
    let mut bench = Bench::new(backend, problem, (manner.storage, manner.pass))?;
    let mut both = [bench.warm(Form::Dynamic)?, bench.warm(Form::Static)?];

    // The first calls fill caches, build pipelines and give the outputs to be checked.
    let got = both[0].output(backend, &mut bench.stream, &bench.input)?;
    let deviation = Deviation::of(&got, &problem.expected)?;
    bench.timed(&mut both[1])?;

    let info = backend.info();
    let before = (beside(info)?, handoff::beside(info));
    let [dynamic, static_] = bench.in_turn(&mut both, manner.budget)?;
    let after = (beside(info)?, handoff::beside(info));
    let [plan, static_plan] = [bench.plan(&both[0])?, bench.plan(&both[1])?];
    drop(both);

    let end_to_end = match info.accuracy {
        Accuracy::Gpu | Accuracy::GpuWinogradF2 | Accuracy::GpuWinogradF4 if manner.pass == Pass::Forward => {
            Some(bench.end_to_end(dynamic.runs)?)
        }
        _ => None,
    };
    let cold = match manner.cold.filter(|_| before.0.is_some()) {
        Some(cache_bytes) => Some(bench.cold(cache_bytes, manner.budget)?),
        None => None,
    };
    let direct = match &manner.direct {
        Some(direct) => {
            let how = (manner.storage, manner.pass);
            Some(Bench::new(direct, problem, how)?.alone(Form::Static, manner.budget)?)
        }
        None => None,
    };
    let reduced = rounding(manner.storage, deviation)
        // Inputs are rounded, and outputs once more.
        + 2.0 * rounding(info.activations.into(), deviation);
    let tolerance = deviation.allowed(plan.accuracy.tolerance()) + reduced;
    Ok(Measurement {
        dynamic,
        static_,
        cold,
        direct,
        end_to_end,
        peak_gflops: before.0.into_iter().chain(after.0).reduce(f64::max),
        handoff_ns: before.1.into_iter().chain(after.1).reduce(f64::max),
        worst_error: deviation.worst,
        tolerance,
        plan: plan.name,
        static_plan: static_plan.name,
    })
}

/// What experts, or activations, in fewer bits may add to the tolerance: half a step of each, in sums whose signs mix.
fn rounding(storage: Storage, deviation: Deviation) -> f64 {
    match storage {
        Storage::F32 => 0.0,
        reduced => reduced.epsilon() / 2.0 * deviation.magnitude,
    }
}

impl<'a> Bench<'a> {
    fn new(backend: &'a AnyBackend, problem: &'a Problem, how: (Storage, Pass)) -> Result<Self> {
        let mut stream = backend.stream()?;
        let input = backend.upload(&mut stream, problem.input.view())?;
        Ok(Self { backend, stream, input, problem, how })
    }

    fn warm(&self, form: Form) -> Result<Ready> {
        Ready::warm(self.backend, self.problem.layer(form), self.how, self.problem.input.shape())
    }

    fn timed(&mut self, ready: &mut Ready) -> Result<Duration> {
        ready.timed(self.backend, &mut self.stream, &self.input)
    }

    fn plan(&self, ready: &Ready) -> Result<dyconv_core::Plan> {
        ready.plan(self.backend, self.problem.input.shape())
    }

    /// Turns of the dynamic and the static form, until the time is up.
    fn in_turn(&mut self, both: &mut [Ready; 2], budget: Budget) -> Result<[Timing; 2]> {
        let mut durations = [Vec::new(), Vec::new()];
        let start = Instant::now();
        while durations[0].len() < budget.most_runs
            && (durations[0].is_empty() || start.elapsed() < budget.time)
        {
            for (ready, durations) in both.iter_mut().zip(&mut durations) {
                self.turn(ready, budget, durations)?;
            }
        }
        Ok(durations.map(Timing::of))
    }

    /// One form's calls until its turn is over: at least one.
    fn turn(&mut self, ready: &mut Ready, budget: Budget, durations: &mut Vec<Duration>) -> Result<()> {
        let (start, first) = (Instant::now(), durations.len());
        while durations.len() == first
            || (durations.len() < budget.most_runs && start.elapsed() < budget.turn)
        {
            durations.push(self.timed(ready)?);
        }
        Ok(())
    }

    /// One form alone, after a warm-up.
    fn alone(&mut self, form: Form, budget: Budget) -> Result<Timing> {
        let mut ready = self.warm(form)?;
        self.timed(&mut ready)?;
        let mut durations = Vec::new();
        let whole = Budget { turn: budget.time / 2, ..budget };
        self.turn(&mut ready, whole, &mut durations)?;
        Ok(Timing::of(durations))
    }

    /// Both forms over copies that exceed the cache, for half the time.
    fn cold(&mut self, cache_bytes: u64, budget: Budget) -> Result<[Timing; 2]> {
        let (problem, shape) = (self.problem, self.problem.input.shape());
        let copies = |form| Ready::cold(self.backend, problem.layer(form), self.how, shape, cache_bytes);
        // A call each between turns: what one form reads pushes the other's experts out, which is what cold means.
        let mut both = [copies(Form::Dynamic)?, copies(Form::Static)?];
        self.in_turn(&mut both, Budget { time: budget.time / 2, turn: Duration::ZERO, ..budget })
    }

    fn end_to_end(&mut self, runs: usize) -> Result<Timing> {
        let mut ready = self.warm(Form::Dynamic)?;
        let mut durations = Vec::with_capacity(runs);
        for _ in 0..runs {
            let start = Instant::now();
            let input = self.backend.upload(&mut self.stream, self.problem.input.view())?;
            drop(ready.output(self.backend, &mut self.stream, &input)?);
            durations.push(start.elapsed());
        }
        Ok(Timing::of(durations))
    }
}
