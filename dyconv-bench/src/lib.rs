//! The parts of the program `dyconv`: layers at their real sizes, every backend that is present, and what came of
//! running the ones on the others, as tables, pictures and JSON.

#![forbid(unsafe_code)]

pub mod against;
pub mod commands;
pub mod compare;
pub mod data;
pub mod demo;
pub mod digits;
pub mod draw;
pub mod handoff;
pub mod interrupt;
pub mod machine;
pub mod measure;
pub mod naive;
pub mod output;
pub mod peak;
pub mod picture;
pub mod precision;
pub mod problem;
pub mod profile;
pub mod progress;
pub mod reading;
pub mod ready;
pub mod record;
pub mod roster;
pub mod serve;
pub mod table;
pub mod timing;
pub mod training;
pub mod workloads;

/// The README's example, compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
