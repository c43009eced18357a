//! Tests that need an adapter; a software one will do. Without one they say so and pass, unless
//! `DYCONV_REQUIRE_GPU=1`.

mod conformance;
mod device;
mod gathers;
mod halves;
mod limits;
mod memory;
mod narrow;
mod steady;
mod streams;
mod sums;
mod support;
mod training;
mod winograd;
