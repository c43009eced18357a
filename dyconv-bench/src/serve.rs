//! Timing on request: one JSON line asks for a slice of calls, one answers with their durations. So another program can
//! time its own candidates in turn with this one, and whatever disturbs the machine disturbs both alike.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dyconv_core::{AnyBackend, AnyStream, AnyTensor, Backend, Error, Layout, Result};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::peak::beside;
use crate::precision::Storage;
use crate::problem::{Deviation, Form, Problem};
use crate::ready::{Pass, Ready};
use crate::record::VERSION;
use crate::timing::micros;
use crate::workloads::{Workload, by_name, check_batch};

/// The longest slice.
const LONGEST: Duration = Duration::from_secs(60);
/// Calls that aren't timed: so many, and for so long.
const WARM_UP: (usize, Duration) = (3, Duration::from_millis(20));

/// What a line on standard input asks for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// A workload's name.
    pub workload: String,
    /// Samples per call.
    pub batch: usize,
    /// The layer itself, or one kernel without attention.
    pub mode: Form,
    /// Layout of input and output.
    pub layout: Layout,
    /// How experts are stored.
    #[serde(default)]
    pub precision: Storage,
    /// Whether every call finds experts that no cache holds.
    #[serde(default)]
    pub cold: bool,
    /// What a call is.
    #[serde(default)]
    pub pass: Pass,
    /// Time for the timed calls, in milliseconds; one call is made in any case.
    pub ms: u64,
}

/// What the program says first.
#[derive(Clone, Debug, Serialize)]
pub struct Greeting {
    version: u32,
    kind: &'static str,
    program: &'static str,
    machine: Machine,
    backend: String,
    threads: usize,
}

/// What answers a request.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    workload: &'static str,
    batch: usize,
    mode: Form,
    layout: Layout,
    precision: Storage,
    cold: bool,
    pass: Pass,
    backend: String,
    threads: usize,
    plan: String,
    /// Every timed call.
    pub durations_us: Vec<f64>,
    /// Largest |got − reference| ÷ largest |reference|, of the first sample.
    pub worst_error: f64,
    /// Multiply-add peak of all threads, measured just before.
    pub peak_gflops: Option<f64>,
}

/// A layer that was prepared, and how far its outputs are off.
type Key = (Layout, Form, Storage, bool, Pass);

/// One layout's data.
#[derive(Debug)]
struct Data {
    problem: Problem,
    input: AnyTensor,
}

#[derive(Debug)]
struct Entry {
    ready: Ready,
    plan: String,
    worst_error: f64,
}

/// Answers requests with one backend. What it prepared is kept until another workload or batch is asked for.
#[derive(Debug)]
pub struct Server {
    backend: AnyBackend,
    stream: AnyStream,
    machine: Machine,
    current: Option<(&'static Workload, usize)>,
    data: HashMap<Layout, Data>,
    entries: HashMap<Key, Entry>,
}

impl Server {
    /// A server with nothing prepared.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn new(backend: AnyBackend) -> Result<Self> {
        let (stream, machine) = (backend.stream()?, Machine::look()?);
        Ok(Self { backend, stream, machine, current: None, data: HashMap::new(), entries: HashMap::new() })
    }

    /// Who answers.
    #[must_use]
    pub fn greeting(&self) -> Greeting {
        let info = self.backend.info();
        Greeting {
            version: VERSION,
            kind: "serve",
            program: env!("CARGO_PKG_VERSION"),
            machine: self.machine.clone(),
            backend: info.id.clone(),
            threads: info.threads,
        }
    }

    /// Times one slice.
    ///
    /// # Errors
    /// Where the request names something that isn't there, or the backend fails.
    pub fn answer(&mut self, request: &Request) -> Result<Answer> {
        let time = Duration::from_millis(request.ms);
        if time > LONGEST {
            return Err(Error::invalid("ms", request.ms, format!("at most {}", LONGEST.as_millis())));
        }
        self.turn_to(request)?;
        let peak_gflops = beside(self.backend.info())?;
        let key = (request.layout, request.mode, request.precision, request.cold, request.pass);
        let Self { backend, stream, data, entries, .. } = self;
        let (Some(data), Some(entry)) = (data.get(&key.0), entries.get_mut(&key)) else {
            return Err(Error::invalid("layout", key.0, "one that was prepared"));
        };
        let start = Instant::now();
        let mut calls = 0;
        while calls < WARM_UP.0 || start.elapsed() < WARM_UP.1 {
            entry.ready.timed(backend, stream, &data.input)?;
            calls += 1;
        }
        let mut durations_us = Vec::new();
        let start = Instant::now();
        while durations_us.is_empty() || start.elapsed() < time {
            durations_us.push(micros(entry.ready.timed(backend, stream, &data.input)?));
        }
        let info = backend.info();
        Ok(Answer {
            workload: self.current.map_or("", |(workload, _)| workload.name),
            batch: request.batch,
            mode: request.mode,
            layout: request.layout,
            precision: request.precision,
            cold: request.cold,
            pass: request.pass,
            backend: info.id.clone(),
            threads: info.threads,
            plan: entry.plan.clone(),
            durations_us,
            worst_error: entry.worst_error,
            peak_gflops,
        })
    }

    /// Prepares what the request needs, and lets go of other workloads.
    fn turn_to(&mut self, request: &Request) -> Result<()> {
        let (workload, batch) = (by_name(&request.workload)?, request.batch);
        check_batch(batch)?;
        if self.current != Some((workload, batch)) {
            self.entries.clear();
            self.data.clear();
            // Its scratch is as large as the largest layer so far.
            self.stream = self.backend.stream()?;
            self.current = Some((workload, batch));
        }
        let layout = request.layout;
        if !self.data.contains_key(&layout) {
            let problem = Problem::new(workload, batch, layout)?;
            let input = self.backend.upload(&mut self.stream, problem.input.view())?;
            self.data.insert(layout, Data { problem, input });
        }
        let key = (layout, request.mode, request.precision, request.cold, request.pass);
        if !self.entries.contains_key(&key) {
            let entry = self.prepare(key)?;
            self.entries.insert(key, entry);
        }
        Ok(())
    }

    fn prepare(&mut self, (layout, form, precision, cold, pass): Key) -> Result<Entry> {
        let Self { backend, stream, data, machine, .. } = self;
        let Some(Data { problem, input }) = data.get(&layout) else {
            return Err(Error::invalid("layout", layout, "one with data"));
        };
        let shape = problem.input.shape();
        let layer = problem.layer(form);
        let mut ready = match cold {
            true => Ready::cold(backend, layer, (precision, pass), shape, machine.last_level_cache())?,
            false => Ready::warm(backend, layer, (precision, pass), shape)?,
        };
        let plan = ready.plan(backend, shape)?.name;
        let got = ready.output(backend, stream, input)?;
        let worst_error = Deviation::of(&got, &problem.expected(form)?)?.relative();
        Ok(Entry { ready, plan, worst_error })
    }
}
