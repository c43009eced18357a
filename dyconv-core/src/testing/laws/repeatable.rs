//! Repeatable: the same call gives the same bits, whoever else computes.

use crate::Backend;
use crate::testing::instance::Ran;
use crate::testing::verdict::same_bits;
use crate::testing::{Failure, Problem, Verdict};

/// Two runs of one prepared layer on one stream, and one of a layer prepared anew on a new stream,
/// give the same bits: neither scratch nor anything cached leaks into a result.
///
/// # Errors
/// The first element that differs.
pub fn two_runs_give_the_same_bits<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    let instance = problem.build()?;
    let mut stream = backend.stream()?;
    let layer = backend.prepare(&instance.layer, &instance.how)?;
    let first = instance.run_prepared(backend, &mut stream, &layer)?;
    let second = instance.run_prepared(backend, &mut stream, &layer)?;
    same_run(&second, &first).map_err(|failure| failure.context("the second run"))?;
    same_run(&instance.run(backend)?, &first).map_err(|failure| failure.context("a new stream"))
}

/// Work on two streams at once gives what each alone gives.
///
/// # Errors
/// The first element that differs.
pub fn streams_are_independent<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    let one = problem.build()?;
    let other = Problem { seed: problem.seed ^ 0x07e4, ..problem.clone() }.build()?;
    let (mut first, mut second) = (backend.stream()?, backend.stream()?);
    let layer = backend.prepare(&one.layer, &one.how)?;
    let other_layer = backend.prepare(&other.layer, &other.how)?;
    let y = one.forward(backend, &mut first, &layer)?.output;
    let z = other.forward(backend, &mut second, &other_layer)?.output;
    let (z, y) = (backend.download(&mut second, &z)?, backend.download(&mut first, &y)?);
    same_bits("output of the first stream", &y, &one.run(backend)?.output)?;
    same_bits("output of the second stream", &z, &other.run(backend)?.output)
}

/// Two backends, say of 1 and N threads, give the same bits.
///
/// # Errors
/// The first element that differs.
pub fn repeatable_across<A: Backend, B: Backend>(one: &A, other: &B, problem: &Problem) -> Verdict {
    let instance = problem.build()?;
    same_run(&instance.run(other)?, &instance.run(one)?)
}

fn same_run(got: &Ran, want: &Ran) -> Verdict {
    same_bits("output", &got.output, &want.output)?;
    match (&got.attention, &want.attention) {
        (Some(got), Some(want)) => same_bits("π", got, want)?,
        (None, None) => {}
        _ => return Err(Failure::new("π came back from one of two equal calls")),
    }
    match (&got.statistics, &want.statistics) {
        (Some([mean, variance]), Some([want_mean, want_variance])) => {
            same_bits("mean", mean, want_mean)?;
            same_bits("variance", variance, want_variance)
        }
        (None, None) => Ok(()),
        _ => Err(Failure::new("statistics came back from one of two equal calls")),
    }
}
