//! A backend's results held against the expected ones.

use serde::Serialize;

use super::{Case, Expected, Mode};
use crate::{Backend, Call, DyConv2d, Error, Layout, Prepare, Result, Tensor, Tolerance};

/// What a check found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Whether every tensor passed.
    pub passed: bool,
    /// Every tensor that was compared, by its name in the file.
    pub tensors: Vec<TensorReport>,
    /// Expected tensors that weren't compared, by name: gradients, where nobody computed them.
    pub skipped: Vec<String>,
}

/// How one tensor compares.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TensorReport {
    /// The name in the file: `expect.output`, `expect.pi`.
    pub name: String,
    /// The largest |got − want|; NaN where a result is NaN, infinite where shapes differ (both null in JSON).
    pub worst_error: f64,
    /// What is allowed: absolute + relative · max|want|.
    pub tolerance: f64,
    /// Whether worst error is within tolerance.
    pub passed: bool,
    /// What is wrong, where it isn't a matter of size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Case {
    /// Runs the case on a backend and compares what comes out, within the tolerance of the backend's plan.
    ///
    /// A result passes where |got − want| ≤ absolute + relative·max|want| for every element, nothing is
    /// NaN, and shapes agree. Gradients are skipped; [`Case::check_training`] compares them.
    ///
    /// # Errors
    /// Where the backend can't run the layer. A wrong result is a report that didn't pass.
    #[cfg(not(target_family = "wasm"))]
    pub fn check<B: Backend>(&self, backend: &B) -> Result<Report> {
        pollster::block_on(self.check_async(backend))
    }

    /// As [`Case::check`], where waiting isn't possible.
    ///
    /// # Errors
    /// Where the backend can't run the layer.
    pub async fn check_async<B: Backend>(&self, backend: &B) -> Result<Report> {
        let run = Run { layer: &self.layer, mode: self.mode, input: &self.input };
        let (output, attention, tolerance) = run.on(backend, self.attention.as_ref()).await?;
        let want = &self.expected;
        Ok(Report::new(
            vec![
                compare("expect.output", Some(&output), &want.output, tolerance),
                compare("expect.pi", attention.as_ref(), &want.attention, tolerance),
            ],
            self.gradient_names(),
        ))
    }

    /// A case that expects what a backend computes: the reference's results, for a case to hand on.
    ///
    /// # Errors
    /// As [`Case::new`], or where the backend can't run the layer.
    #[cfg(not(target_family = "wasm"))]
    pub fn compute<B: Backend>(
        backend: &B,
        layer: DyConv2d,
        mode: Mode,
        input: Tensor,
        attention: Option<Tensor>,
    ) -> Result<Self> {
        let run = Run { layer: &layer, mode, input: &input };
        let (output, pi, _) = pollster::block_on(run.on(backend, attention.as_ref()))?;
        let pi = pi.ok_or_else(|| Error::invalid("attention", "missing", "π, which was asked for"))?;
        let expected = Expected { output, attention: pi, gradients: None };
        Self::new(layer, mode, input, attention, expected)
    }

    fn gradient_names(&self) -> Vec<String> {
        let Some(gradients) = &self.expected.gradients else {
            return Vec::new();
        };
        let tensors = [
            gradients.input.as_ref().map(|_| "expect.grad.input".to_owned()),
            gradients.attention.as_ref().map(|_| "expect.grad.pi".to_owned()),
        ];
        let params = gradients.params.keys().map(|name| super::expected::gradient_name(name));
        tensors.into_iter().flatten().chain(params).collect()
    }
}

/// A layer's run, as a case has it.
struct Run<'a> {
    layer: &'a DyConv2d,
    mode: Mode,
    input: &'a Tensor,
}

impl Run<'_> {
    /// Output, π, and the tolerance of the plan that computed them.
    async fn on<B: Backend>(
        self,
        backend: &B,
        attention: Option<&Tensor>,
    ) -> Result<(Tensor, Option<Tensor>, Tolerance)> {
        let input = self.input.shape();
        let statistics = super::batch_statistics(self.layer, self.mode);
        let layer = backend.prepare(self.layer, &Prepare::default().input(input).trainable(statistics))?;
        let tolerance = backend.plan(&layer, input)?.accuracy.tolerance();
        let mut stream = backend.stream()?;
        let x = backend.upload(&mut stream, self.input.view())?;
        let pi = match attention {
            Some(pi) => Some(backend.upload(&mut stream, pi.view())?),
            None => None,
        };
        let call = Call::new(&x).attention(pi.as_ref()).batch_statistics(statistics).return_attention(true);
        let got = backend.forward(&mut stream, &layer, &call)?;
        let output = backend.download_async(&mut stream, &got.output).await?;
        let attention = match &got.attention {
            Some(pi) => Some(backend.download_async(&mut stream, pi).await?),
            None => None,
        };
        Ok((output, attention, tolerance))
    }
}

impl Report {
    fn new(tensors: Vec<TensorReport>, skipped: Vec<String>) -> Self {
        Self { passed: tensors.iter().all(|tensor| tensor.passed), tensors, skipped }
    }

    /// The same report with gradients compared instead of skipped.
    pub(super) fn with_gradients(self, gradients: Vec<TensorReport>) -> Self {
        Self::new(self.tensors.into_iter().chain(gradients).collect(), Vec::new())
    }
}

pub(super) fn compare(name: &str, got: Option<&Tensor>, want: &Tensor, tolerance: Tolerance) -> TensorReport {
    let largest = want.data().iter().fold(0.0, |max, value| f64::max(max, f64::from(value.abs())));
    let tolerance = tolerance.absolute + tolerance.relative * largest;
    let report = |worst_error: f64, reason| TensorReport {
        name: name.to_owned(),
        worst_error,
        tolerance,
        passed: worst_error <= tolerance,
        reason,
    };
    let misfit = match got {
        None => Some("it didn't come back".to_owned()),
        Some(got) if got.shape() != want.shape() => {
            Some(format!("shape is {}; expected {}", got.shape(), want.shape()))
        }
        Some(got) if order(got) != order(want) => {
            Some(format!("layout is {}; expected {}", got.layout(), want.layout()))
        }
        Some(_) => None,
    };
    match (got, misfit) {
        (Some(got), None) => {
            let (worst, nan) = worst_error(got.data(), want.data());
            report(worst, nan.map(|i| format!("element {i} is NaN")))
        }
        (_, misfit) => report(f64::INFINITY, misfit),
    }
}

/// The layout, where it makes a difference.
fn order(tensor: &Tensor) -> Option<Layout> {
    (tensor.shape().pixels() > 1 && tensor.shape().channels() > 1).then_some(tensor.layout())
}

/// The largest |got − want|, and where the first NaN is, which makes it NaN.
fn worst_error(got: &[f32], want: &[f32]) -> (f64, Option<usize>) {
    if let Some(i) = got.iter().position(|value| value.is_nan()) {
        return (f64::NAN, Some(i));
    }
    let errors = got.iter().zip(want).map(|(&got, &want)| (f64::from(got) - f64::from(want)).abs());
    (errors.fold(0.0, f64::max), None)
}
