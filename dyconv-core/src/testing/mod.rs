//! The conformance suite: what every backend is held to, your own too.
//!
//! Feature `testing`, for dev-dependencies only: this module is exempt from semantic versioning.
//!
//! # Running it on a backend of your own
//! ```toml
//! [dev-dependencies]
//! dyconv-core = { version = "0.1", features = ["testing"] }
//! ```
//! and, in a file of your `tests/` folder, one line per variant of your backend:
//! ```no_run
//! # use dyconv_core::Reference as MyBackend;
//! dyconv_core::conformance_tests!(mine, Ok(MyBackend::default()));
//! # fn main() {}
//! ```
//! That makes a module `mine` with one test per law. `examples/own_backend.rs` is a whole backend in
//! some 200 lines, with its tests. Start there: copy it, run its tests, replace its loops by yours.
//!
//! A backend that this machine may lack returns [`Error::Unavailable`](crate::Error::Unavailable);
//! its tests pass then, and one line on stderr starts with `SKIPPED`. `required = true` makes that a
//! failure, so that a test machine can't silently test nothing.
//!
//! # The laws
//! - **Exact**: on small integers with attention in quarters f32 rounds nothing, so every order of
//!   summation gives the reference's numbers.
//! - **Bounded**: on real numbers every element is within a *derived* bound of the reference's,
//!   stage by stage ([`estimate`](Expected)). The only factors are [`Accuracy::slack`](crate::Accuracy::slack)
//!   and [`Accuracy::spread`](crate::Accuracy::spread) of the plan that your backend reports; no test changes them.
//! - **Repeatable**: two runs, and 1 and N threads, give the same bits.
//! - **Metamorphic**: what must hold between your own results: one-hot attention is a static
//!   convolution, results are linear in attention, a sample doesn't know its batch, layouts agree,
//!   equal experts are one.
//!
//! A backend that stores activations as f16 ([`Info::activations`](crate::Info::activations)) is held to the reference's
//! results for tensors rounded so. Its outputs are then rounded once: on integers they equal the reference's, rounded to
//! nearest even; on reals half a unit in the last place, |y|·2⁻¹¹ + 2⁻²⁵, comes on top of the bound. Beyond 65504 they
//! are infinite.
//!
//! Beside them stand the contract of [`Backend`](crate::Backend): calls that don't fit are refused
//! with the same error everywhere, NaN stays in its sample, an empty batch is empty, a prepared layer
//! serves every shape and temperature, emitted sums are the pool.
//!
//! # The laws of training
//! A backend that is [`Train`](crate::Train), too, gets a second module beside the first:
//! ```no_run
//! # use dyconv_core::Reference as MyBackend;
//! dyconv_core::training_tests!(mine_training, Ok(MyBackend::default()));
//! # fn main() {}
//! ```
//! They are of the same kinds, on a [`Lesson`]: a problem's call and the gradient that comes back for its output.
//! Gradients are exact on integers and bounded on reals, where the forward's errors, which the tape keeps, travel
//! backwards ([`estimate`](ExpectedLesson)); steps are bounded one by one, from the gradients that the backend had;
//! two trainings give the same bits, and so does one that goes on from a checkpoint. The contract of
//! [`Train`](crate::Train) comes beside: tapes, sums of gradients, refusals, NaN, empty batches.
//!
//! A law is a function of [`laws`], so you can call one on a [`Problem`] of your own.
//!
//! # When a law is broken
//! The message says which element, got, want, bound and their ratio, and then how to see it again:
//! - `DYCONV_PROBLEM='{…}'` tries that problem alone (it was shrunk to the smallest that still fails);
//! - `DYCONV_SEED=…` repeats the whole run: a run's random problems are new otherwise;
//! - `DYCONV_CASES=…` sets how many random problems each law gets (256, or what the line says).
//!
//! Nothing is written to your source tree.

pub mod cases;
mod estimate;
mod fill;
mod instance;
pub mod laws;
mod lesson;
mod macros;
mod problem;
mod settings;
mod strategy;
mod suite;
mod verdict;

pub use estimate::{Estimate, Expected, ExpectedLesson};
pub use instance::{Instance, Ran};
pub use lesson::{Contracts, Learned, Lesson, Trainee};
pub use problem::{Data, Hint, Problem};
pub use settings::Settings;
pub use strategy::problems;
pub use suite::{Broken, Shared, check, check_pair, for_all};
pub use verdict::{Failure, Verdict};
