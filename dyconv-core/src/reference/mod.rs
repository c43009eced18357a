//! The reference: f64 accumulation, plain loops, every option. The only definition of right.
//!
//! Two levels. Below, [`F64Layer::evaluate`] computes a whole layer from f64 parameters and f64
//! inputs and hands back every intermediate result: derivatives by central differences and the
//! magnitudes of error bounds are taken there. Above, [`Reference`] is a [`crate::Backend`] that
//! rounds what the evaluation gives to f32, once. Gradients have the same two levels: [`F64Layer::backward`]
//! differentiates an evaluation, and [`Reference`] is [`crate::Train`], too.
//!
//! One file per stage, in the order of the mathematics: `pool`, `attention`, `aggregate`,
//! `convolve`, `normalize`, `activate`; and the same files in `backward`.

mod activate;
mod aggregate;
mod attention;
mod backend;
mod backward;
mod convolve;
mod evaluate;
mod normalize;
mod pool;
mod step;
mod tensor;
mod train;

pub use activate::activate;
pub use aggregate::Kernel;
pub use attention::Head;
pub use backend::{Reference, ReferenceLayer, ReferenceStream, ReferenceTensor};
pub use backward::{F64Gradients, Mixed, MixedInput, activate_backward, pool_backward};
pub use evaluate::{Evaluation, F64Layer};
pub(crate) use pool::output_shape as pool_output_shape;
pub use pool::pool;
#[cfg(all(feature = "testing", not(target_family = "wasm")))]
pub(crate) use step::step;
pub use step::{norm_group, norm_share};
pub use tensor::F64Tensor;
pub use train::{ReferenceGradients, ReferenceMoments, ReferenceTape};
