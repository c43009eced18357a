//! Pool and relayout: what a backend does to a tensor between layers, the host does too.

use crate::testing::estimate::stored;
use crate::testing::fill::Fill;
use crate::testing::verdict::{equal_or_nan, same_bits, shaped, within};
use crate::testing::{Data, Failure, Problem, Verdict};
use crate::{Backend, Handle, Layout, Pool, Shape, Tensor, reference};

/// The global mean within its bound, the maximum over windows exactly; windows that don't fit are
/// refused as [`reference::pool`] refuses them.
///
/// # Errors
/// The first or worst element that differs.
pub fn pool_agrees_with_the_host<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    let mut x = Problem { data: Data::Reals, ..problem.clone() }.build()?.input;
    let mut fill = Fill::new(problem.seed, "pool");
    let mut stream = backend.stream()?;
    let device = backend.upload(&mut stream, x.view())?;
    let mean = backend.pool(&mut stream, &device, &Pool::GlobalMean)?;
    let slack = backend.info().accuracy.slack();
    mean_holds(&backend.download(&mut stream, &mean)?, &stored(&x, problem.activations), slack)?;

    if fill.below(4) == 0 && !x.shape().is_empty() {
        let i = fill.below(x.data().len());
        x.data_mut()[i] = f32::NAN;
    }
    let device = backend.upload(&mut stream, x.view())?;
    let x = stored(&x, problem.activations);
    for kind in [fitting_window(&mut fill, x.shape()), any_window(&mut fill)] {
        match (backend.pool(&mut stream, &device, &kind), reference::pool(x.view(), &kind)) {
            (Ok(got), Ok(want)) => {
                let got = backend.download(&mut stream, &got)?;
                equal_or_nan("maximum", &got, &want).map_err(|f| f.context(format!("{kind:?}")))?;
            }
            (Err(got), Err(want)) if got == want => {}
            (got, want) => {
                let (got, want) = (got.map(|t| t.shape()), want.map(|t| t.shape()));
                return Err(Failure::new(format!("{kind:?} gave {got:?}, expected {want:?}")));
            }
        }
    }
    Ok(())
}

/// The other layout, and back, bit for bit.
///
/// # Errors
/// The first element that differs.
pub fn relayout_agrees_with_the_host<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    let x = Problem { data: Data::Reals, ..problem.clone() }.build()?.input;
    let mut stream = backend.stream()?;
    let device = backend.upload(&mut stream, x.view())?;
    let x = stored(&x, problem.activations);
    for to in Layout::ALL {
        let there = backend.relayout(&mut stream, &device, to)?;
        if there.layout() != to {
            return Err(Failure::new(format!("a handle in {}, expected {to}", there.layout())));
        }
        same_bits("relayout", &backend.download(&mut stream, &there)?, &x.to_layout(to))?;
        let back = backend.relayout(&mut stream, &there, x.layout())?;
        same_bits("relayout and back", &backend.download(&mut stream, &back)?, &x)?;
    }
    Ok(())
}

/// `got` is the global mean of `x`, as exact as a sum of its pixels (and one rounding more, since
/// attached sums may be those of the elements before they were rounded).
pub(super) fn mean_holds(got: &Tensor, x: &Tensor, slack: f64) -> Verdict {
    let sums = |x: &Tensor| reference::pool(x.view(), &Pool::GlobalMean);
    let magnitudes = Tensor::new(x.shape(), x.layout(), x.data().iter().map(|x| x.abs()).collect())?;
    let (want, magnitudes) = (sums(x)?, sums(&magnitudes)?);
    shaped("mean", got, &want)?;
    let terms = (x.shape().pixels() + 4) as f64;
    let wide = |x: &Tensor| x.data().iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let error: Vec<f64> =
        wide(&magnitudes).iter().map(|m| slack * terms * f64::from(f32::EPSILON) * m).collect();
    within("mean", got, &wide(&want), &error)
}

/// A window that fits the shape.
pub(super) fn fitting_window(fill: &mut Fill, shape: Shape) -> Pool {
    let window = [shape.height(), shape.width()].map(|extent| 1 + fill.below(extent.min(4)));
    let stride = [1 + fill.below(3), 1 + fill.below(3)];
    let padding = window.map(|extent| fill.below(extent / 2 + 1));
    Pool::Max { window, stride, padding }
}

/// A window that may well not fit.
pub(super) fn any_window(fill: &mut Fill) -> Pool {
    let mut pair = |below| [fill.below(below), fill.below(below)];
    Pool::Max { window: pair(6), stride: pair(3), padding: pair(4) }
}
