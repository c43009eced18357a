//! Answers the driver's requests.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use crate::engines::{ENGINES, Engine, Form, Ready, Result};
use crate::layer::{Layer, Layout, Mode};
use crate::timing::timed;
use crate::workload::Workload;

/// Share of the largest value that an output may be off, as in `layer.py`.
const TOLERANCE: f64 = 1e-3;

/// What a line asks for.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Request {
    Prepare { prepare: Workload, batch: usize },
    Slice { slice: usize, ms: u64 },
}

/// What is said first.
#[derive(Serialize)]
pub struct Hello<'a> {
    version: u32,
    kind: &'static str,
    engines: Vec<Here>,
    absent: &'a [Absent],
}

#[derive(Serialize)]
struct Here {
    framework: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Absent {
    framework: &'static str,
    reason: String,
}

/// What is said to a request.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Answer {
    Prepared { forms: Vec<Prepared>, skipped: Vec<Skipped> },
    Slice { durations_us: Vec<f64> },
    Error { error: String },
}

/// A form that can be timed.
#[derive(Debug, Serialize)]
pub struct Prepared {
    framework: &'static str,
    variant: &'static str,
    mode: Mode,
    layout: Layout,
    worst_error: f64,
}

/// A form that can't.
#[derive(Debug, Serialize)]
pub struct Skipped {
    framework: &'static str,
    variant: &'static str,
    mode: Mode,
    reason: String,
}

/// The engines, and the layer's forms in them.
pub struct Worker {
    engines: Vec<Box<dyn Engine>>,
    absent: Vec<Absent>,
    /// Each with its engine's number.
    ready: Vec<(usize, Box<dyn Ready>)>,
}

impl Worker {
    pub fn new(threads: usize) -> Self {
        let mut worker = Self { engines: Vec::new(), absent: Vec::new(), ready: Vec::new() };
        for (framework, open) in ENGINES {
            match open(threads) {
                Ok(engine) => worker.engines.push(engine),
                Err(error) => worker.absent.push(Absent { framework, reason: words(&*error) }),
            }
        }
        worker
    }

    pub fn hello(&self) -> Hello<'_> {
        let here = |engine: &Box<dyn Engine>| Here { framework: engine.name(), version: engine.version() };
        let engines = self.engines.iter().map(here).collect();
        Hello { version: 1, kind: "worker", engines, absent: &self.absent }
    }

    /// Whatever an engine throws at us is an error in words.
    pub fn answer(&mut self, line: &str) -> Answer {
        let answer = match serde_json::from_str(line) {
            Ok(Request::Prepare { prepare, batch }) => self.prepare(prepare, batch),
            Ok(Request::Slice { slice, ms }) => self.slice(slice, ms),
            Err(error) => Err(format!("request: {error}").into()),
        };
        answer.unwrap_or_else(|error| Answer::Error { error: words(&*error) })
    }

    /// Builds and checks every form of a layer; the previous layer's are dropped first.
    fn prepare(&mut self, workload: Workload, batch: usize) -> Result<Answer> {
        self.ready.clear();
        workload.check()?;
        if batch == 0 {
            return Err("batch is 0; expected at least 1".into());
        }
        let layer = Layer::new(workload, batch);
        let (mut forms, mut skipped) = (Vec::new(), Vec::new());
        for (number, engine) in self.engines.iter().enumerate() {
            let framework = engine.name();
            for form in engine.forms(&layer) {
                let Form { variant, mode, layout, build } = form;
                match caught(|| checked(&layer, mode, layout, build)) {
                    Ok((ready, worst_error)) => {
                        self.ready.push((number, ready));
                        forms.push(Prepared { framework, variant, mode, layout, worst_error });
                    }
                    Err(error) => skipped.push(Skipped { framework, variant, mode, reason: words(&*error) }),
                }
            }
        }
        Ok(Answer::Prepared { forms, skipped })
    }

    fn slice(&mut self, slice: usize, ms: u64) -> Result<Answer> {
        let count = self.ready.len();
        let (number, ready) =
            self.ready.get_mut(slice).ok_or_else(|| format!("slice is {slice} of {count} forms"))?;
        let mut durations = Ok(Vec::new());
        self.engines[*number].enter(&mut || durations = caught(|| timed(|| ready.call(), ms)));
        Ok(Answer::Slice { durations_us: durations? })
    }
}

/// A form after its first call, and how far its output is off.
fn checked(
    layer: &Layer,
    mode: Mode,
    layout: Layout,
    build: impl FnOnce() -> Result<Box<dyn Ready>>,
) -> Result<(Box<dyn Ready>, f64)> {
    let mut ready = build()?;
    ready.call()?;
    match layer.worst_error(&ready.output()?, mode, layout) {
        error if error <= TOLERANCE => Ok((ready, error)),
        error => Err(format!("wrong output: {error:.3} of the largest value from the reference").into()),
    }
}

/// Turns a panic into an error; what panicked is never used again, or was left as it was.
fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("panic: {}", text.or(panic.downcast_ref().copied()).unwrap_or("without words")).into())
    })
}

/// An error and its causes in one line of bounded length.
fn words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::tests::layers;

    fn forms(worker: &mut Worker, layer: &Layer) -> (Vec<Prepared>, Vec<Skipped>) {
        match worker.prepare(layer.workload.clone(), layer.batch) {
            Ok(Answer::Prepared { forms, skipped }) => (forms, skipped),
            Ok(_) => panic!("another answer"),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn every_form_of_every_engine_computes_the_layer() {
        let mut worker = Worker::new(1);
        for batch in [1, 2] {
            for layer in layers(batch) {
                let (forms, skipped) = forms(&mut worker, &layer);
                let what = format!("{:?}, batch {batch}: {forms:?} {skipped:?}", layer.workload);
                assert!(skipped.is_empty(), "{what}");
                for engine in &worker.engines {
                    for mode in [Mode::Static, Mode::Dynamic] {
                        let found =
                            forms.iter().any(|form| form.framework == engine.name() && form.mode == mode);
                        assert!(found, "{} {mode:?}: {what}", engine.name());
                    }
                }
            }
        }
    }

    #[test]
    fn every_form_can_be_timed_again_and_again() {
        let mut worker = Worker::new(1);
        let (forms, _) = forms(&mut worker, &layers(1)[4]);
        for slice in (0..forms.len()).chain(0..forms.len()) {
            match worker.answer(&format!("{{\"slice\": {slice}, \"ms\": 1}}")) {
                Answer::Slice { durations_us } => assert!(durations_us.len() >= 3 && durations_us[0] > 0.0),
                _ => panic!("{:?}", forms[slice]),
            }
        }
    }

    #[test]
    fn versions_are_known() {
        let hello = serde_json::to_value(Worker::new(1).hello()).unwrap();
        for engine in hello["engines"].as_array().unwrap() {
            let version = engine["version"].as_str().unwrap();
            assert!(version.split('.').count() == 3, "{engine}");
        }
        assert_eq!((&hello["version"], &hello["kind"]), (&1.into(), &"worker".into()));
    }

    #[test]
    fn what_cannot_be_answered_is_an_error_in_words() {
        let mut worker = Worker::new(1);
        let layer = |groups: usize, batch: usize| {
            format!(
                "{{\"prepare\": {{\"in_channels\": 4, \"out_channels\": 4, \"kernel\": 3, \"stride\": 1, \
                 \"groups\": {groups}, \"extent\": 5, \"experts\": 2, \"hidden\": 2}}, \"batch\": {batch}}}"
            )
        };
        for (line, expected) in [
            ("", "request"),
            ("{\"prepare\": {}, \"batch\": 1}", "request"),
            ("{\"slice\": 0, \"ms\": 1}", "slice is 0 of 0"),
            (&layer(3, 1), "groups (3) must divide"),
            (&layer(1, 0), "batch is 0"),
        ] {
            match worker.answer(line) {
                Answer::Error { error } => assert!(error.contains(expected), "{line}: {error}"),
                _ => panic!("{line} was answered"),
            }
        }
    }

    #[test]
    fn wrong_outputs_and_panics_are_refused() {
        struct Constant(f32);
        impl Ready for Constant {
            fn call(&mut self) -> Result<()> {
                assert!(self.0 != 2.0, "not this one");
                Ok(())
            }
            fn output(&self) -> Result<Vec<f32>> {
                Ok(vec![self.0; 150])
            }
        }
        let layer = &layers(1)[0];
        for (value, expected) in
            [(1.0, "wrong output"), (f32::NAN, "wrong output: inf"), (2.0, "panic: not this one")]
        {
            let build = || Ok(Box::new(Constant(value)) as Box<dyn Ready>);
            let error =
                caught(|| checked(layer, Mode::Static, Layout::Nchw, build)).err().expect("it was accepted");
            assert!(words(&*error).starts_with(expected), "{error}");
        }
    }
}
