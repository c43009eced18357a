//! Pool, backwards: what a backend does to gradients between layers, the host does too.

use crate::testing::fill::Fill;
use crate::testing::laws::pool::{any_window, fitting_window};
use crate::testing::verdict::{equal, within};
use crate::testing::{Data, Failure, Problem, Verdict};
use crate::{Pool, Result, Shape, Tensor, Train, reference};

/// The mean's share of every pixel within its roundings; the maximum's on integers, which tie often, exactly; a
/// gradient or a window that doesn't fit is refused as [`reference::pool_backward`] refuses it.
///
/// # Errors
/// The first or worst element that differs.
pub fn pool_backward_agrees_with_the_host<B: Train>(backend: &B, problem: &Problem) -> Verdict {
    let mut x = Problem { data: Data::Integers, ..problem.clone() }.build()?.input;
    let mut fill = Fill::new(problem.seed, "pool backward");
    if fill.below(4) == 0 && !x.shape().is_empty() {
        let i = fill.below(x.data().len());
        x.data_mut()[i] = f32::NAN;
    }
    let fitting = fitting_window(&mut fill, x.shape());
    for kind in [Pool::GlobalMean, fitting, any_window(&mut fill)] {
        let output = reference::pool(x.view(), &kind).map(|y| y.shape()).unwrap_or(x.shape());
        let gradient =
            |shape: Shape, fill: &mut Fill| Tensor::from_fn(shape, x.layout(), |_| fill.integer(3));
        let fits = gradient(output, &mut fill);
        let longer = gradient(output.with_batch(output.batch() + 1)?, &mut fill);
        for g in [fits, longer] {
            agree(backend, &x, &kind, &g).map_err(|failure| failure.context(format!("{kind:?}")))?;
        }
    }
    Ok(())
}

fn agree<B: Train>(backend: &B, x: &Tensor, kind: &Pool, g: &Tensor) -> Verdict {
    match (on_device(backend, x, kind, g), reference::pool_backward(x.view(), kind, g.view())) {
        (Ok(got), Ok(want)) => {
            let wide: Vec<f64> = want.data().iter().map(|&value| f64::from(value)).collect();
            let u = backend.info().accuracy.slack() * f64::from(f32::EPSILON);
            let error: Vec<f64> = wide.iter().map(|value| 3.0 * u * value.abs()).collect();
            match kind {
                Pool::GlobalMean => within("dx", &got, &wide, &error),
                Pool::Max { .. } => equal("dx", &got, &want),
            }
        }
        (Err(got), Err(want)) if got == want => Ok(()),
        (got, want) => {
            let (got, want) = (got.map(|t| t.shape()), want.map(|t| t.shape()));
            Err(Failure::new(format!("a gradient {} gave {got:?}, expected {want:?}", g.shape())))
        }
    }
}

fn on_device<B: Train>(backend: &B, x: &Tensor, kind: &Pool, g: &Tensor) -> Result<Tensor> {
    let mut stream = backend.stream()?;
    let (x, g) = (backend.upload(&mut stream, x.view())?, backend.upload(&mut stream, g.view())?);
    let dx = backend.pool_backward(&mut stream, &x, kind, &g)?;
    backend.download(&mut stream, &dx)
}
