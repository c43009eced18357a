//! Tries laws on named and random problems, and says how to see a failure again.

use std::any::Any;
use std::fmt;
use std::io::Write as _;
use std::sync::OnceLock;

use proptest::test_runner::{
    Config as RunnerConfig, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner,
};

use super::fill::Fill;
use super::verdict::{Failure, Verdict};
use super::{Problem, Settings, cases, problems};
use crate::{Backend, Error, Precision, Result};

/// A problem for which a law is broken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Broken {
    /// The law's name.
    pub law: String,
    /// The named case, or which random one.
    pub case: String,
    /// The problem, shrunk where it was random.
    pub problem: Problem,
    /// What is wrong.
    pub failure: Failure,
    /// The seed of the run.
    pub seed: u64,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { law, case, problem, failure, seed } = self;
        writeln!(f, "{law} is broken ({case}): {failure}")?;
        writeln!(f, "  this problem again: DYCONV_PROBLEM='{problem:?}' cargo test --release {law}")?;
        write!(f, "  the whole run again: DYCONV_SEED={seed:#x} cargo test --release {law}")
    }
}

/// Tries a law on every named case, then on random problems, and shrinks what breaks it.
///
/// # Errors
/// The problem for which the law is broken.
// A failure is reported once per run; its size doesn't matter.
#[expect(clippy::result_large_err, reason = "one error per run")]
pub fn for_all(law: &str, settings: &Settings, test: impl Fn(&Problem) -> Verdict) -> Result<(), Broken> {
    let broken = |case: String, problem: Problem, failure: Failure| Broken {
        law: law.to_owned(),
        case,
        problem,
        failure,
        seed: settings.seed,
    };
    let named = match &settings.problem {
        Some(problem) => vec![("DYCONV_PROBLEM", problem.clone())],
        None => cases::all(),
    };
    for (name, problem) in named {
        test(&problem).map_err(|failure| broken(name.to_owned(), problem, failure))?;
    }
    if settings.problem.is_some() || settings.cases == 0 {
        return Ok(());
    }
    match runner(law, settings).run(&problems(), |problem| {
        test(&problem).map_err(|failure| TestCaseError::fail(failure.to_string()))
    }) {
        Ok(()) => Ok(()),
        Err(TestError::Fail(reason, problem)) => {
            let case = format!("one of {} random problems, shrunk", settings.cases);
            Err(broken(case, problem, Failure::new(reason.message())))
        }
        Err(TestError::Abort(reason)) => unreachable!("no strategy here rejects anything: {reason}"),
    }
}

fn runner(law: &str, settings: &Settings) -> TestRunner {
    let config = RunnerConfig {
        cases: settings.cases,
        failure_persistence: None,
        max_shrink_iters: settings.shrinks,
        ..RunnerConfig::default()
    };
    let mut fill = Fill::new(settings.seed, law);
    let mut seed = [0u8; 32];
    for bytes in seed.chunks_exact_mut(8) {
        bytes.copy_from_slice(&fill.next().to_le_bytes());
    }
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
}

/// One module's backend, made by whichever of its tests comes first. Made by [`crate::conformance_tests!`].
#[derive(Debug, Default)]
pub struct Shared(OnceLock<Made>);

#[derive(Debug)]
enum Made {
    Ready(Box<dyn Any + Send + Sync>),
    Absent,
    Failed(String),
}

impl Shared {
    /// Nothing made yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The backend; `None` where this machine lacks it and nobody requires it.
    ///
    /// # Panics
    /// Where it can't be made.
    pub fn get<B: Backend>(
        &self,
        module: &str,
        required: bool,
        make: impl FnOnce() -> Result<B>,
    ) -> Option<&B> {
        let made = self.0.get_or_init(|| match make() {
            Ok(backend) => Made::Ready(Box::new(backend)),
            Err(error @ Error::Unavailable { .. }) if !required => {
                skipped(module, &error);
                Made::Absent
            }
            Err(error) => Made::Failed(error.to_string()),
        });
        match made {
            // A test that silently tests nothing is worse than one that fails.
            Made::Ready(backend) => match backend.downcast_ref() {
                None => panic!("{module} made backends of two types"),
                backend => backend,
            },
            Made::Absent => None,
            Made::Failed(error) => panic!("{module} has no backend: {error}"),
        }
    }
}

/// Says so past the test harness, which swallows what passing tests print.
fn skipped(module: &str, error: &Error) {
    let _ = writeln!(std::io::stderr().lock(), "SKIPPED {module}: {error}");
}

/// Tries a law on a backend, in a test.
///
/// # Panics
/// Where the law is broken.
pub fn check<B: Backend>(
    backend: Option<&B>,
    module: &str,
    law: &str,
    (cases, precision): (u32, Precision),
    test: fn(&B, &Problem) -> Verdict,
) {
    let Some(backend) = backend else { return };
    let settings = Settings::from_environment(cases);
    let its_own = |problem: &Problem| problem.clone().at(precision).storing(backend.info().activations);
    if let Err(broken) = for_all(law, &settings, |problem| test(backend, &its_own(problem))) {
        let broken = Broken { problem: its_own(&broken.problem), ..broken };
        panic!("{module}: {}: {broken}", backend.info().id);
    }
}

/// Tries whether two backends give the same bits, in a test.
///
/// # Panics
/// Where they don't.
pub fn check_pair<A: Backend, B: Backend>(
    one: Option<&A>,
    other: Option<&B>,
    module: &str,
    (cases, precision): (u32, Precision),
    test: fn(&A, &B, &Problem) -> Verdict,
) {
    let (Some(one), Some(other)) = (one, other) else { return };
    let settings = Settings::from_environment(cases);
    let law = "same_bits";
    let its_own = |problem: &Problem| problem.clone().at(precision).storing(one.info().activations);
    if let Err(broken) = for_all(law, &settings, |problem| test(one, other, &its_own(problem))) {
        let broken = Broken { problem: its_own(&broken.problem), ..broken };
        panic!("{module}: {} and {}: {broken}", one.info().id, other.info().id);
    }
}
