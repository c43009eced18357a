//! The reference: f64 accumulation, plain loops, every option. The only definition of right.
//!
//! Two levels. Below, [`F64Layer::evaluate`] computes a whole layer from f64 parameters and f64
//! inputs and hands back every intermediate result: derivatives by central differences and the
//! magnitudes of error bounds are taken there. Above, [`Reference`] is a [`crate::Backend`] that
//! rounds what the evaluation gives to f32, once.
//!
//! One file per stage, in the order of the mathematics: `pool`, `attention`, `aggregate`,
//! `convolve`, `normalize`, `activate`.

mod activate;
mod aggregate;
mod attention;
mod backend;
mod convolve;
mod evaluate;
mod normalize;
mod pool;
mod tensor;

pub use activate::activate;
pub use aggregate::Kernel;
pub use attention::Head;
pub use backend::{Reference, ReferenceStream, ReferenceTensor};
pub use evaluate::{Evaluation, F64Layer};
pub use pool::pool;
pub use tensor::F64Tensor;
