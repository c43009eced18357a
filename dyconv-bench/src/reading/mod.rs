//! The digits that no training has seen, read by the trained network that ships, on every backend.

mod agreement;
mod answers;
mod list;

pub use agreement::{Agreement, NEAR_TIE};
pub use answers::Answers;
pub use list::every_answer;

/// A network that [`COMMAND`] has trained; the same command gives the same bits on every machine, since the reference
/// computes the same everywhere.
pub const NETWORK: &[u8] = include_bytes!("../../data/digits.safetensors");

/// How to train [`NETWORK`] again: it is then `network.safetensors` in the folder of results.
pub const COMMAND: &str = "dyconv train --backend reference --seed 1";
