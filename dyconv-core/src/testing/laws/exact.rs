//! Exact: where f32 rounds nothing, every backend gives the reference's numbers.

use crate::Backend;
use crate::testing::estimate::{Expected, stored};
use crate::testing::verdict::{equal, shaped};
use crate::testing::{Problem, Verdict};

/// Integers with attention in quarters give the reference's numbers exactly, in any order of
/// summation, by every plan whose constants are dyadic; rounded once where outputs are stored in fewer bits.
///
/// # Errors
/// The first element that differs.
pub fn integers_are_exact<B: Backend>(backend: &B, problem: &Problem) -> Verdict {
    let instance = problem.clone().exact().build()?;
    let ran = instance.run(backend)?;
    let expected = Expected::new(&instance, ran.accuracy)?.evaluation.output.to_f32();
    let expected = stored(&expected, instance.activations);
    if ran.accuracy.is_exact() {
        return equal("output", &ran.output, &expected);
    }
    shaped("output", &ran.output, &expected)
}
