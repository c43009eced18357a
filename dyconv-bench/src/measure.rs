//! Timing one layer on one backend, dynamic and static in turn, and its distance from the reference.

use std::time::{Duration, Instant};

use dyconv_core::{
    Accuracy, AnyBackend, AnyStream, AnyTensor, Backend, Call, DyConv2d, Layout, Prepare, Reference, Result,
    Tensor, TensorView,
};

use crate::data::{SEED, random_layer, random_tensor};
use crate::workloads::Workload;

/// One workload with data: what every backend gets.
#[derive(Debug)]
pub struct Problem {
    /// The dynamic layer.
    pub layer: DyConv2d,
    /// The same layer with one kernel and no attention.
    pub static_layer: DyConv2d,
    /// The input.
    pub input: Tensor,
    /// The reference's output for the first sample.
    pub expected: Tensor,
}

impl Problem {
    /// A workload with seeded random data.
    ///
    /// # Errors
    /// Where the batch doesn't fit the address space.
    pub fn new(workload: &Workload, batch: usize, layout: Layout) -> Result<Self> {
        let config = workload.config(layout)?;
        let layer = random_layer(&config, SEED)?;
        let static_layer = random_layer(&config.static_form(), SEED)?;
        let input = random_tensor(workload.input_shape(batch)?, layout, SEED + 1);
        let expected = Reference::default().run(&layer, &first_sample(&input)?)?;
        Ok(Self { layer, static_layer, input, expected })
    }
}

/// How long one measurement may take.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Time for the calls of one row, warm-up apart.
    pub time: Duration,
    /// At most this many pairs of calls.
    pub most_runs: usize,
}

impl Budget {
    /// Good medians: half a second a row.
    pub const BENCH: Self = Self { time: Duration::from_millis(500), most_runs: 2000 };
    /// A first impression: what the main job can afford.
    pub const GLANCE: Self = Self { time: Duration::from_millis(60), most_runs: 200 };
    /// One pair of calls after the warm-up.
    pub const ONCE: Self = Self { time: Duration::ZERO, most_runs: 1 };
}

/// Durations of calls, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Median.
    pub median_us: f64,
    /// Minimum.
    pub min_us: f64,
    /// Calls timed.
    pub runs: usize,
}

impl Timing {
    /// Sums up at least one duration.
    fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        let micros = |i: usize| durations.get(i).map_or(0.0, |d| d.as_secs_f64() * 1e6);
        let (low, high) = (durations.len().saturating_sub(1) / 2, durations.len() / 2);
        Self { median_us: (micros(low) + micros(high)) / 2.0, min_us: micros(0), runs: durations.len() }
    }
}

/// What was measured of one problem on one backend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// The dynamic layer: input on the device, attention included, waited for.
    pub dynamic: Timing,
    /// The static layer, called in turn with the dynamic one.
    pub static_: Timing,
    /// The dynamic layer with upload and download, where a device has memory of its own.
    pub end_to_end: Option<Timing>,
    /// Largest |got − reference| over the first sample's outputs.
    pub worst_error: f64,
    /// The tolerance of case files for that sample: atol + rtol·max|reference|.
    pub tolerance: f64,
}

/// Times a problem on a backend.
///
/// # Errors
/// Those of the backend.
pub fn measure(backend: &AnyBackend, problem: &Problem, budget: Budget) -> Result<Measurement> {
    let how = Prepare::default().input(problem.input.shape());
    let mut stream = backend.stream()?;
    let dynamic = backend.prepare(&problem.layer, &how)?;
    let static_ = backend.prepare(&problem.static_layer, &how)?;
    let input = backend.upload(&mut stream, problem.input.view())?;

    // The first calls fill caches, build pipelines and give the outputs to be checked.
    let call = Call::new(&input);
    let output = backend.forward(&mut stream, &dynamic, &call)?.output;
    let got = backend.download(&mut stream, &output)?;
    let (worst_error, tolerance) =
        deviation(&first_sample(&got)?, &problem.expected, backend.info().accuracy);
    drop(output);
    timed(backend, &mut stream, &static_, &input)?;

    let mut durations = [Vec::new(), Vec::new()];
    let start = Instant::now();
    while durations[0].len() < budget.most_runs && (durations[0].is_empty() || start.elapsed() < budget.time)
    {
        for (layer, durations) in [&dynamic, &static_].into_iter().zip(&mut durations) {
            durations.push(timed(backend, &mut stream, layer, &input)?);
        }
    }
    let runs = durations[0].len();
    let end_to_end = match backend.info().accuracy {
        Accuracy::Gpu => Some(end_to_end(backend, &mut stream, &dynamic, problem, runs)?),
        _ => None,
    };
    let [dynamic, static_] = durations.map(Timing::of);
    Ok(Measurement { dynamic, static_, end_to_end, worst_error, tolerance })
}

/// One call, from the moment it is made until its results exist. A GPU is waited for by reading
/// the attention weights back: N·K numbers, behind everything else in the stream.
fn timed(
    backend: &AnyBackend,
    stream: &mut AnyStream,
    layer: &dyconv_core::AnyLayer,
    input: &AnyTensor,
) -> Result<Duration> {
    let start = Instant::now();
    let call = Call::new(input).return_attention(true);
    let output = backend.forward(stream, layer, &call)?;
    match &output.attention {
        Some(attention) => drop(backend.download(stream, attention)?),
        None => backend.finish(stream)?,
    }
    Ok(start.elapsed())
}

fn end_to_end(
    backend: &AnyBackend,
    stream: &mut AnyStream,
    layer: &dyconv_core::AnyLayer,
    problem: &Problem,
    runs: usize,
) -> Result<Timing> {
    let mut durations = Vec::with_capacity(runs);
    for _ in 0..runs {
        let start = Instant::now();
        let input = backend.upload(stream, problem.input.view())?;
        let output = backend.forward(stream, layer, &Call::new(&input))?.output;
        drop(backend.download(stream, &output)?);
        durations.push(start.elapsed());
    }
    Ok(Timing::of(durations))
}

/// The first sample of a batch; of an empty batch, nothing.
fn first_sample(batch: &Tensor) -> Result<Tensor> {
    let shape = batch.shape().with_batch(batch.shape().batch().min(1))?;
    let data = batch.data().get(..shape.len()).unwrap_or_default().to_vec();
    Tensor::new(shape, batch.layout(), data)
}

/// The largest |got − want|, and the tolerance of case files. NaN is an infinite error.
fn deviation(got: &Tensor, want: &Tensor, accuracy: Accuracy) -> (f64, f64) {
    let got = got.to_layout(want.layout());
    let worst = worst_difference(got.view(), want.view());
    let magnitude = want.data().iter().fold(0.0, |max: f64, &x| max.max(f64::from(x).abs()));
    let tolerance = accuracy.tolerance();
    (worst, tolerance.absolute + tolerance.relative * magnitude)
}

/// The largest |a − b|; infinite where shapes differ or anything is NaN.
#[must_use]
pub fn worst_difference(a: TensorView<'_>, b: TensorView<'_>) -> f64 {
    if a.shape() != b.shape() || a.layout() != b.layout() {
        return f64::INFINITY;
    }
    a.data().iter().zip(b.data()).fold(0.0, |worst, (&a, &b)| {
        let difference = (f64::from(a) - f64::from(b)).abs();
        if difference.is_nan() { f64::INFINITY } else { worst.max(difference) }
    })
}

#[cfg(test)]
mod tests {
    use dyconv_core::Shape;

    use super::*;

    #[test]
    fn median_and_minimum_of_durations() {
        let micros = |us: &[u64]| Timing::of(us.iter().map(|&us| Duration::from_micros(us)).collect());
        assert_eq!(micros(&[5, 1, 9]), Timing { median_us: 5.0, min_us: 1.0, runs: 3 });
        assert_eq!(micros(&[4, 2]), Timing { median_us: 3.0, min_us: 2.0, runs: 2 });
    }

    #[test]
    fn nan_is_an_infinite_error() {
        let shape = Shape::new(1, 1, 1, 2).unwrap();
        let tensor = |data: [f32; 2]| Tensor::new(shape, Layout::Nchw, data.to_vec()).unwrap();
        let want = tensor([1.0, -2.0]);
        assert_eq!(worst_difference(tensor([1.5, -2.0]).view(), want.view()), 0.5);
        assert_eq!(worst_difference(tensor([f32::NAN, -2.0]).view(), want.view()), f64::INFINITY);
        assert_eq!(worst_difference(tensor([1.0, f32::NAN]).view(), want.view()), f64::INFINITY);
    }
}
