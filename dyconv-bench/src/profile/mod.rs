//! Where the time of a layer goes on a GPU: each kernel by the device's own clock, beside the naive kernel and the
//! static layer.

mod kernels;

use dyconv_core::{Backend, Call, Cost, DyConv2d, Layout, Options, Params, Prepare, Result};
use dyconv_wgpu::{Choice, WgpuBackend, WgpuLayer, WgpuStream, WgpuTensor};
use serde::Serialize;

pub use kernels::{Kernel, Kernels};

use crate::naive;
use crate::precision::Storage;
use crate::problem::{Form, Problem};
use crate::record::Row;
use crate::timing::Budget;

/// The kernels of one layer, and what they are compared with. All times are medians, in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// The workload's name.
    pub workload: &'static str,
    /// The backend's id.
    pub backend: String,
    /// Samples per call.
    pub batch: usize,
    /// Layout of input and output.
    pub layout: Layout,
    /// How experts are stored.
    pub precision: Storage,
    /// How activations are.
    pub activations: Storage,
    /// A call until its results exist, by the host's clock: recorded, submitted, waited for.
    pub call_us: f64,
    /// The same with upload and download.
    pub end_to_end_us: Option<f64>,
    /// All kernels of the dynamic layer, by the device's clock.
    pub kernel_us: f64,
    /// The kernels, in the order in which they run.
    pub kernels: Vec<Kernel>,
    /// All kernels of the dynamic layer in a network: its input brings its channel sums, and it emits its output's.
    pub chained_kernel_us: f64,
    /// All kernels of the static layer.
    pub static_kernel_us: f64,
    /// `chained_kernel_us` ÷ `static_kernel_us`.
    pub chained_to_static: f64,
    /// GFLOP/s of the static layer's convolution without Winograd: the kernel's own, whatever Winograd saves.
    pub direct_gflops: f64,
    /// The convolution with one thread per output, if that was asked for: without aggregation.
    pub naive_us: Option<f64>,
    /// `naive_us` ÷ the kernels of our stages aggregate and convolve.
    pub naive_ratio: Option<f64>,
}

/// What profiles are made with.
#[derive(Debug)]
pub struct Profiler {
    backend: WgpuBackend,
    /// The same that never takes Winograd.
    direct: WgpuBackend,
    budget: Budget,
    baseline: bool,
}

impl Profiler {
    /// Opens the GPU, which stores activations so; with `baseline`, profiles have the naive kernel.
    ///
    /// # Errors
    /// Where there is none, or it can't time its kernels.
    pub fn new(budget: Budget, baseline: bool, activations: Storage) -> Result<Self> {
        let timed = || WgpuBackend::builder().timestamps(true).activations(activations.into());
        let direct = timed().force(Choice::Aggregated).build()?;
        Ok(Self { backend: timed().build()?, direct, budget, baseline })
    }

    /// Profiles the layer of a row that was measured.
    ///
    /// # Errors
    /// Those of the backend; where the naive kernel fails or its output isn't ours.
    pub fn profile(&self, problem: &Problem, row: &Row) -> Result<Profile> {
        let (backend, budget) = (&self.backend, self.budget);
        let mut stream = backend.stream()?;
        let input = backend.upload(&mut stream, problem.input.view())?;
        let how = Prepare::default().precision(row.precision.into());
        let mut timed = |form, input: &WgpuTensor, emits| {
            let layer = backend.prepare(problem.layer(form), &how)?;
            time_kernels(backend, &mut stream, &layer, &Call::new(input).emit_sums(emits), budget)
        };
        let dynamic = timed(Form::Dynamic, &input, false)?;
        let static_ = timed(Form::Static, &input, false)?;
        let with_sums = emitting_its_sums(backend, &mut backend.stream()?, problem)?;
        let chained_us = timed(Form::Dynamic, &with_sums, true)?.together_us();
        let static_us = static_.together_us();
        let direct = if row.static_plan.contains("winograd") { self.direct(problem, &how)? } else { static_ };
        // The naive kernel's experts are f32, and so are its activations.
        let are_floats = [row.precision, row.activations] == [Storage::F32; 2];
        let naive_us = match self.baseline && are_floats {
            true => Some(naive::time(backend, problem, budget)?.median_us),
            false => None,
        };
        let cost = Cost::new(problem.layer.config(), problem.input.shape())?;
        let compared = dynamic.stage_us("aggregate") + dynamic.stage_us("convolve");
        Ok(Profile {
            workload: row.workload,
            backend: row.backend.clone(),
            batch: row.batch,
            layout: row.layout,
            precision: row.precision,
            activations: row.activations,
            call_us: row.median_us,
            end_to_end_us: row.end_to_end_median_us,
            kernel_us: dynamic.together_us(),
            kernels: dynamic.list(&cost),
            chained_kernel_us: chained_us,
            static_kernel_us: static_us,
            chained_to_static: chained_us / static_us,
            direct_gflops: 2e-3 * cost.convolve.multiply_adds as f64 / direct.stage_us("convolve"),
            naive_us,
            naive_ratio: naive_us.map(|naive| naive / compared),
        })
    }

    /// The static layer's kernels without Winograd.
    fn direct(&self, problem: &Problem, how: &Prepare) -> Result<Kernels> {
        let backend = &self.direct;
        let mut stream = backend.stream()?;
        let input = backend.upload(&mut stream, problem.input.view())?;
        let layer = backend.prepare(problem.layer(Form::Static), how)?;
        time_kernels(backend, &mut stream, &layer, &Call::new(&input), self.budget)
    }
}

/// Calls of one layer, each kernel timed, after a call that makes what later ones find again.
fn time_kernels(
    backend: &WgpuBackend,
    stream: &mut WgpuStream,
    layer: &WgpuLayer,
    call: &Call<'_, WgpuTensor>,
    budget: Budget,
) -> Result<Kernels> {
    let mut run = || {
        drop(backend.forward(stream, layer, call)?);
        backend.finish_timed(stream)
    };
    run()?;
    let mut kernels = Kernels::default();
    budget.repeat(|| {
        kernels.add(&run()?);
        Ok(())
    })?;
    Ok(kernels)
}

/// The problem's input as a network would hand it over: from a layer that emits its output's channel sums. The layer
/// multiplies each channel by one.
fn emitting_its_sums(
    backend: &WgpuBackend,
    stream: &mut WgpuStream,
    problem: &Problem,
) -> Result<WgpuTensor> {
    let channels = problem.input.shape().channels();
    let config = Options::new(channels, channels).groups(channels).layout(problem.input.layout()).build()?;
    let ones = Params { weight: vec![1.0; channels], bias: None, attention: None, batch_norm: None };
    let producer = backend.prepare(&DyConv2d::new(config, ones)?, &Prepare::default())?;
    let x = backend.upload(stream, problem.input.view())?;
    let y = backend.forward(stream, &producer, &Call::new(&x).emit_sums(true))?.output;
    backend.finish(stream)?;
    Ok(y)
}
