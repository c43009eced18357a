//! Misfits: every backend refuses the same calls, with the same words.

use crate::testing::fill::Fill;
use crate::testing::{Failure, Instance, Problem, Verdict};
use crate::{Attention, Backend, BatchNorm, Error, Precision, Reference, Result, Shape, Tensor};

/// Every call that doesn't fit its layer is an [`Error::Invalid`] that names the parameter, the
/// value and the expectation as [`crate::Call::check`] does.
///
/// # Errors
/// The first misfit that was accepted, or refused otherwise.
pub fn misfits_are_refused_by_name<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    for (parameter, instance) in misfits(problem)? {
        // The reference has experts in f32 only.
        let at_f32 = Instance { how: instance.how.precision(Precision::F32), ..instance.clone() };
        let want = match at_f32.run(&Reference::default()) {
            Err(Error::Invalid { parameter: named, value, expected }) if named == parameter => {
                Error::Invalid { parameter: named, value, expected }
            }
            other => {
                let other = other.map(|_| "a result");
                return Err(Failure::new(format!("the reference gave {other:?} for a bad {parameter}")));
            }
        };
        match instance.run(backend) {
            Err(got) if got == want => {}
            Err(got) => return Err(Failure::new(format!("refused with `{got}`, expected `{want}`"))),
            Ok(_) => return Err(Failure::new(format!("accepted; expected `{want}`"))),
        }
    }
    Ok(())
}

/// Calls that can't be served, each with the parameter that is to blame.
fn misfits(problem: &Problem) -> Result<Vec<(&'static str, Instance)>> {
    let fits = problem.build()?;
    let mut all = Vec::new();
    let mut add = |parameter, change: &dyn Fn(&mut Instance)| {
        let mut instance = fits.clone();
        change(&mut instance);
        all.push((parameter, instance));
    };
    inputs(problem, &fits, &mut add)?;
    attentions(problem, &fits, &mut add)?;
    temperatures(problem, &fits, &mut add);
    residuals(problem, &fits, &mut add)?;
    // Only in f32 is a layer trainable.
    if problem.activations == Precision::F32 {
        all.extend(statistics(&problem.clone().at(Precision::F32))?);
    }
    Ok(all)
}

type Add<'a> = dyn FnMut(&'static str, &dyn Fn(&mut Instance)) + 'a;

fn inputs(problem: &Problem, fits: &Instance, add: &mut Add<'_>) -> Result<()> {
    let shape = fits.input.shape();
    let other = |channels, height, width| -> Result<Tensor> {
        Ok(Tensor::zeros(Shape::new(shape.batch(), channels, height, width)?, problem.config.layout()))
    };
    let wider = other(shape.channels() + 1, shape.height(), shape.width())?;
    add("input", &|instance| instance.input = wider.clone());
    if shape.pixels() > 1 && shape.channels() > 1 {
        let turned = fits.input.to_layout(super::opposite(problem.config.layout()));
        add("layout of input", &|instance| instance.input = turned.clone());
    }
    for (axis, parameter) in ["input height", "input width"].into_iter().enumerate() {
        let mut extents = [shape.height(), shape.width()];
        extents[axis] = 1;
        if problem.config.geometry(extents[0], extents[1]).is_err() {
            let small = other(shape.channels(), extents[0], extents[1])?;
            add(parameter, &|instance| {
                instance.input = small.clone();
                instance.residual = None;
            });
        }
    }
    Ok(())
}

fn attentions(problem: &Problem, fits: &Instance, add: &mut Add<'_>) -> Result<()> {
    let (batch, experts) = (problem.batch, problem.config.experts());
    let weights =
        |batch: usize, experts: usize| Tensor::attention(batch, experts, vec![0.5; batch * experts]);
    let (right, longer, wider) =
        (weights(batch, experts)?, weights(batch + 1, experts)?, weights(batch, experts + 1)?);
    match fits.config().attention() {
        None => add("attention", &|instance| instance.attention = Some(right.clone())),
        Some(kind) => {
            if kind == Attention::Given {
                add("attention", &|instance| instance.attention = None);
            }
            add("attention", &|instance| instance.attention = Some(longer.clone()));
            add("attention", &|instance| instance.attention = Some(wider.clone()));
        }
    }
    Ok(())
}

fn temperatures(problem: &Problem, fits: &Instance, add: &mut Add<'_>) {
    let softmax = fits.config().attention().and_then(Attention::temperature).is_some();
    let uses_it = softmax && fits.attention.is_none();
    if !uses_it {
        add("temperature", &|instance| instance.temperature = Some(2.0));
        return;
    }
    let bad = [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 1e-300];
    let bad = bad[Fill::new(problem.seed, "bad temperature").below(bad.len())];
    add("temperature", &|instance| instance.temperature = Some(bad));
}

fn residuals(problem: &Problem, fits: &Instance, add: &mut Add<'_>) -> Result<()> {
    let (config, shape) = (fits.config(), fits.config().output_shape(fits.input.shape())?);
    let larger = Shape::new(shape.batch(), shape.channels(), shape.height() + 1, shape.width())?;
    let larger = Tensor::zeros(larger, config.layout());
    add("residual", &|instance| instance.residual = Some(larger.clone()));
    let longer = Tensor::zeros(shape.with_batch(shape.batch() + 1)?, config.layout());
    add("residual", &|instance| instance.residual = Some(longer.clone()));
    if shape.pixels() > 1 && shape.channels() > 1 {
        let turned = Tensor::zeros(shape, super::opposite(problem.config.layout()));
        add("layout of residual", &|instance| instance.residual = Some(turned.clone()));
    }
    Ok(())
}

/// Batch statistics where batch norm is folded, and of too few values.
fn statistics(problem: &Problem) -> Result<Vec<(&'static str, Instance)>> {
    let norm = problem.config.batch_norm().unwrap_or(BatchNorm::PYTORCH);
    let normed = problem.clone().with(|options| options.batch_norm(norm));
    let normed = Problem { batch_statistics: false, ..normed };
    let mut folded = Problem { trainable: false, ..normed.clone() }.build()?;
    folded.batch_statistics = true;
    let mut nothing = Problem { trainable: true, batch: 0, ..normed.clone() }.build()?;
    nothing.batch_statistics = true;
    let mut all = vec![("batch_statistics", folded), ("output", nothing)];
    let single = normed.with(|options| options.batch_norm(BatchNorm { unbiased: true, ..norm }));
    let single = Problem { trainable: true, batch: 1, ..single };
    if single.config.output_shape(single.input_shape()?)?.pixels() == 1 {
        let mut single = single.build()?;
        single.batch_statistics = true;
        all.push(("output", single));
    }
    Ok(all)
}
