//! A training backend's gradients held against the expected ones.

use super::check::{TensorReport, compare};
use super::{Case, ExpectedGradients, Report, expected};
use crate::{Backward, Call, Gradients, Layout, ParamMap, Prepare, Result, Shape, Tensor, Tolerance, Train};

impl Tolerance {
    /// Of gradients, which sum over batch and pixels what outputs sum over channels, too: ten times as wide.
    #[must_use]
    pub fn of_gradients(self) -> Self {
        Self { relative: 10.0 * self.relative, absolute: 10.0 * self.absolute }
    }
}

impl Case {
    /// As [`Case::check`], and compares gradients, too, where the case expects some and the backend
    /// [trains](Train::trains); they are skipped where it doesn't.
    ///
    /// # Errors
    /// Where the backend can't run the layer. A wrong result is a report that didn't pass.
    #[cfg(not(target_family = "wasm"))]
    pub fn check_training<B: Train>(&self, backend: &B) -> Result<Report> {
        pollster::block_on(self.check_training_async(backend))
    }

    /// As [`Case::check_training`], where waiting isn't possible.
    ///
    /// # Errors
    /// Where the backend can't run the layer.
    pub async fn check_training_async<B: Train>(&self, backend: &B) -> Result<Report> {
        let report = self.check_async(backend).await?;
        let Some(want) = self.expected().gradients.as_ref().filter(|_| backend.trains()) else {
            return Ok(report);
        };
        let (got, tolerance) = self.gradients(backend, want).await?;
        Ok(report.with_gradients(compare_all(&got, want, tolerance)?))
    }

    /// What a backend computes for the case's g, and the tolerance of its plans.
    async fn gradients<B: Train>(
        &self,
        backend: &B,
        want: &ExpectedGradients,
    ) -> Result<(Gradients<Tensor, ParamMap>, Tolerance)> {
        let input = self.input().shape();
        let mut layer = backend.prepare(self.layer(), &Prepare::default().input(input).trainable(true))?;
        let forward = backend.plan(&layer, input)?.accuracy.tolerance();
        let backward = backend.plan_backward(&layer, input)?.accuracy.tolerance();
        let tolerance = if backward.relative > forward.relative { backward } else { forward };
        let mut stream = backend.stream()?;
        let x = backend.upload(&mut stream, self.input().view())?;
        let pi = self.attention().map(|pi| backend.upload(&mut stream, pi.view())).transpose()?;
        let g = backend.upload(&mut stream, want.output.view())?;
        let statistics = super::batch_statistics(self.layer(), self.mode());
        let call = Call::new(&x).attention(pi.as_ref()).batch_statistics(statistics);
        let (_, tape) = backend.forward_train(&mut stream, &mut layer, &call)?;
        let found = backend.backward(&mut stream, &layer, tape, &Backward::new(&g), None)?;
        let params = backend.gradients_async(&mut stream, &layer, &found.params).await?;
        let mut gradients = Gradients::new(params);
        for (tensor, to) in
            [(&found.input, &mut gradients.input), (&found.attention, &mut gradients.attention)]
        {
            if let Some(tensor) = tensor {
                *to = Some(backend.download_async(&mut stream, tensor).await?);
            }
        }
        Ok((gradients, tolerance.of_gradients()))
    }
}

fn compare_all(
    got: &Gradients<Tensor, ParamMap>,
    want: &ExpectedGradients,
    tolerance: Tolerance,
) -> Result<Vec<TensorReport>> {
    let tensors = [("input", &got.input, &want.input), ("pi", &got.attention, &want.attention)];
    let mut reports = Vec::new();
    for (name, got, want) in tensors {
        if let Some(want) = want {
            reports.push(compare(&expected::gradient_name(name), got.as_ref(), want, tolerance));
        }
    }
    for (name, want) in &want.params {
        let got = got.params.get(name).map(|data| flat(data)).transpose()?;
        reports.push(compare(&expected::gradient_name(name), got.as_ref(), &flat(want)?, tolerance));
    }
    Ok(reports)
}

/// A parameter's gradient as a tensor of one row.
fn flat(data: &[f32]) -> Result<Tensor> {
    Tensor::new(Shape::new(1, data.len(), 1, 1)?, Layout::Nchw, data.to_vec())
}
