//! The comparison: workloads × batches × layouts × backends, within a budget.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dyconv_core::{AnyBackend, Backend, Cost, Error, Layout, Result, Train};

use crate::measure::{Manner, Measurement, measure};
use crate::precision::Storage;
use crate::problem::Problem;
use crate::progress::Progress;
use crate::ready::Pass;
use crate::record::{Row, Skipped};
use crate::roster::direct_like;
use crate::timing::Budget;
use crate::workloads::Workload;

/// What to measure, and how long that may take.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The layers.
    pub workloads: Vec<&'static Workload>,
    /// Batch sizes; `None` for each workload's own.
    pub batches: Option<Vec<usize>>,
    /// Layouts.
    pub layouts: Vec<Layout>,
    /// How experts are stored.
    pub storages: Vec<Storage>,
    /// How activations are: rows for each of these come from the backends that store them so.
    pub activations: Vec<Storage>,
    /// What a call is.
    pub pass: Pass,
    /// Also with experts that no cache holds: the last-level cache's size in bytes.
    pub cold: Option<u64>,
    /// Also dense 3×3 layers at batch 1, static, by the direct kernel.
    pub direct: bool,
    /// Time for the calls of one row, each time that it is measured.
    pub budget: Budget,
    /// How often the whole comparison is gone through, to keep the middle of what each row took; at least once.
    pub passes: usize,
    /// A row that is expected to take longer than this is skipped, and said so.
    pub longest_row: Duration,
    /// When a backend has used this much time, its remaining rows are skipped, and said so.
    pub longest_backend: Duration,
}

/// What came of a [`Plan`].
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What was measured.
    pub rows: Vec<Row>,
    /// What wasn't.
    pub skipped: Vec<Skipped>,
    /// How often each row was.
    pub passes: usize,
}

/// What was measured of one row, pass by pass.
struct Measured<'a> {
    workload: &'static Workload,
    backend: &'a AnyBackend,
    manner: Manner,
    /// Of the dynamic and the static layer.
    multiply_adds: [u64; 2],
    /// What is known of it without measuring.
    row: Row,
    passes: Vec<Measurement>,
}

impl Measured<'_> {
    /// What the same data serve.
    fn problem(&self) -> (&'static str, usize, Layout) {
        (self.workload.name, self.row.batch, self.row.layout)
    }

    fn row(self) -> Option<Row> {
        Some(self.row.measured(&Measurement::middle(self.passes)?, self.multiply_adds))
    }
}

/// What one backend has cost so far.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    time: Duration,
    /// Of the slowest row so far; layers differ, so this is a cautious guess for the next one.
    seconds_per_multiply_add: f64,
}

impl Plan {
    fn batches_of(&self, workload: &Workload) -> Vec<usize> {
        self.batches.clone().unwrap_or_else(|| workload.batches.to_vec())
    }

    /// Rows that each backend will be asked for.
    #[must_use]
    pub fn rows_per_backend(&self) -> usize {
        let batches: usize = self.workloads.iter().map(|w| self.batches_of(w).len()).sum();
        batches * self.layouts.len() * self.storages.len()
    }

    /// Every layer, batch and storage, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<(&'static Workload, usize, Storage)> {
        let batches =
            self.workloads.iter().flat_map(|&w| self.batches_of(w).into_iter().map(move |b| (w, b)));
        batches.flat_map(|(w, b)| self.storages.iter().map(move |&storage| (w, b, storage))).collect()
    }

    /// Measures every row, backend by backend on the same data, and then all of them again for each further pass.
    ///
    /// # Errors
    /// The first error of a backend.
    pub fn run(&self, backends: &[AnyBackend], progress: &Progress) -> Result<Outcome> {
        let (mut measured, skipped) = self.first_pass(backends, progress)?;
        for pass in 1..self.passes {
            for same in measured.chunk_by_mut(|one, next| one.problem() == next.problem()) {
                let Some(Measured { workload, row: Row { batch, layout, .. }, .. }) = same.first() else {
                    continue;
                };
                progress.say(&format!("pass {}: {} batch {batch} {layout}", pass + 1, workload.name));
                let problem = Problem::new(workload, *batch, *layout)?;
                for row in same {
                    row.passes.push(measure(row.backend, &problem, &row.manner)?);
                    progress.step();
                }
            }
        }
        let rows = measured.into_iter().filter_map(Measured::row).collect();
        Ok(Outcome { rows, skipped, passes: self.passes.max(1) })
    }

    fn first_pass<'a>(
        &self,
        backends: &'a [AnyBackend],
        progress: &Progress,
    ) -> Result<(Vec<Measured<'a>>, Vec<Skipped>)> {
        let (mut measured, mut skipped) = (Vec::new(), Vec::new());
        let mut spent = BTreeMap::new();
        for workload in &self.workloads {
            for batch in self.batches_of(workload) {
                for &layout in &self.layouts {
                    progress.say(&format!("{} batch {batch} {layout}: reference", workload.name));
                    let problem = Problem::new(workload, batch, layout)?;
                    for (i, backend) in backends.iter().enumerate() {
                        let id = &backend.info().id;
                        let spent = spent.entry(i).or_default();
                        for &storage in &self.storages {
                            progress
                                .say(&format!("{} batch {batch} {layout}: {id} {storage}", workload.name));
                            for other in self.lacking(backend, backends) {
                                skipped.push(lacks(workload, &problem, (backend, storage), other));
                            }
                            if self.activations.contains(&stored_by(backend)) {
                                match self.row(workload, &problem, (backend, storage), spent)? {
                                    Ok(row) => measured.push(row),
                                    Err(reason) => skipped.push(reason),
                                }
                            }
                            progress.step();
                        }
                    }
                }
            }
        }
        Ok((measured, skipped))
    }

    /// The storages of activations that were asked for and that neither a backend nor another of its name has: said once
    /// for each name and number of threads.
    fn lacking(&self, backend: &AnyBackend, backends: &[AnyBackend]) -> Vec<Storage> {
        let same = |other: &&AnyBackend| {
            (&other.info().id, other.info().threads) == (&backend.info().id, backend.info().threads)
        };
        let has = |wanted: Storage| backends.iter().filter(same).any(|other| stored_by(other) == wanted);
        self.activations.iter().copied().filter(|&wanted| !has(wanted)).collect()
    }

    /// Measures a row for the first time, or says why not.
    fn row<'a>(
        &self,
        workload: &'static Workload,
        problem: &Problem,
        (backend, storage): (&'a AnyBackend, Storage),
        spent: &mut Spent,
    ) -> Result<std::result::Result<Measured<'a>, Skipped>> {
        let config = problem.layer.config();
        let (shape, layout) = (problem.input.shape(), config.layout());
        let info = backend.info();
        let skip = |reason| Skipped {
            workload: workload.name,
            backend: info.id.clone(),
            batch: shape.batch(),
            layout,
            precision: storage,
            activations: stored_by(backend),
            reason,
        };
        if self.pass == Pass::Training && !backend.trains() {
            return Ok(Err(skip("it doesn't train".into())));
        }
        let times = self.pass.convolutions();
        let multiply_adds =
            |config| Cost::new(config, shape).map(|cost| cost.total().multiply_adds.saturating_mul(times));
        let multiply_adds = [multiply_adds(config)?, multiply_adds(problem.static_layer.config())?];
        if let Some(reason) = self.reason_to_skip(*spent, multiply_adds[0]) {
            return Ok(Err(skip(reason)));
        }
        let direct =
            self.direct && storage == Storage::F32 && workload.is_dense_spatial() && shape.batch() == 1;
        let manner = Manner {
            budget: self.budget,
            storage,
            pass: self.pass,
            cold: self.cold,
            direct: if direct { direct_like(info)? } else { None },
        };
        let start = Instant::now();
        let measured = match measure(backend, problem, &manner) {
            // Storage that a backend lacks is no failure: the other rows are still wanted.
            Err(error @ Error::Unsupported { .. })
                if (storage, stored_by(backend)) != (Storage::F32, Storage::F32) =>
            {
                return Ok(Err(skip(error.to_string())));
            }
            measured => measured?,
        };
        spent.time += start.elapsed();
        let rate = 1e-6 * measured.dynamic.median_us / multiply_adds[0].max(1) as f64;
        spent.seconds_per_multiply_add = spent.seconds_per_multiply_add.max(rate);
        let row = Row {
            workload: workload.name,
            extra: workload.extra,
            backend: info.id.clone(),
            threads: info.threads,
            batch: shape.batch(),
            layout,
            precision: storage,
            activations: stored_by(backend),
            pass: self.pass,
            ..Row::default()
        };
        Ok(Ok(Measured { workload, backend, manner, multiply_adds, row, passes: vec![measured] }))
    }

    fn reason_to_skip(&self, spent: Spent, multiply_adds: u64) -> Option<String> {
        if spent.time >= self.longest_backend {
            return Some(format!("this backend's {} s were used up", self.longest_backend.as_secs()));
        }
        // A warm-up and one timed call, each dynamic and static.
        let expected = 4.0 * spent.seconds_per_multiply_add * multiply_adds as f64;
        (expected > self.longest_row.as_secs_f64())
            .then(|| format!("would take about {expected:.0} s; at most {} s", self.longest_row.as_secs()))
    }
}

/// How a backend stores activations.
fn stored_by(backend: &AnyBackend) -> Storage {
    backend.info().activations.into()
}

/// A row whose activations the backend has no such form for.
fn lacks(
    workload: &Workload,
    problem: &Problem,
    (backend, precision): (&AnyBackend, Storage),
    activations: Storage,
) -> Skipped {
    Skipped {
        workload: workload.name,
        backend: backend.info().id.clone(),
        batch: problem.input.shape().batch(),
        layout: problem.layer.config().layout(),
        precision,
        activations,
        reason: format!("it stores activations in {}, not {activations}", stored_by(backend)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            workloads: crate::workloads::select(&["resnet18".into()]).unwrap(),
            batches: None,
            layouts: vec![Layout::Nchw],
            storages: vec![Storage::F32],
            activations: vec![Storage::F32],
            pass: Pass::Forward,
            cold: None,
            direct: false,
            budget: Budget::ONCE,
            passes: 1,
            longest_row: Duration::from_secs(4),
            longest_backend: Duration::from_secs(10),
        }
    }

    #[test]
    fn a_workload_brings_its_batches_unless_others_are_asked_for() {
        assert_eq!(plan().rows_per_backend(), 1 + 3 + 1 + 3);
        let storages = vec![Storage::F32, Storage::Bf16];
        let two = Plan { batches: Some(vec![2]), layouts: Layout::ALL.to_vec(), storages, ..plan() };
        assert_eq!(two.rows_per_backend(), 16);
    }

    #[test]
    fn rows_beyond_the_budget_are_skipped_with_a_reason() {
        let spent =
            |seconds, rate| Spent { time: Duration::from_secs(seconds), seconds_per_multiply_add: rate };
        assert_eq!(plan().reason_to_skip(spent(9, 1e-9), 900_000_000), None);
        let slow = plan().reason_to_skip(spent(9, 1e-9), 2_000_000_000).unwrap();
        assert_eq!(slow, "would take about 8 s; at most 4 s");
        let late = plan().reason_to_skip(spent(10, 0.0), 1).unwrap();
        assert_eq!(late, "this backend's 10 s were used up");
    }
}
