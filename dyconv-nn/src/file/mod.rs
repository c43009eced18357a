//! Networks and checkpoints on disk: safetensors, whose metadata says what they are and carries a checksum.
//!
//! | metadata | network | checkpoint |
//! | --- | --- | --- |
//! | `format` | `dyconv.network` | `dyconv.checkpoint` |
//! | `version` | `1` | `1` |
//! | `architecture` | [`Architecture`](crate::Architecture) as JSON | the same |
//! | `temperature` | a number, or `null` | the same |
//! | `recipe`, `progress`, `moment_steps`, `data` | | [`Recipe`](crate::Recipe) and [`Progress`](crate::Progress) as JSON, each layer's steps, the data set's fingerprint |
//! | `checksum` | of all metadata and tensors, FNV-1a, 16 hexadecimal digits | the same |
//!
//! Tensors are f32, named `layer/parameter` as in case files, and in a checkpoint also `layer/parameter/moment.0` and
//! `.1`, one for each slot of the optimiser. The same parts give the same bytes. A file is written under another name
//! and renamed, so that one that is there is whole; one that isn't what it should be is an
//! [`Error::File`](dyconv_core::Error::File) with what is wrong.

#[cfg(not(target_family = "wasm"))]
mod checkpoint;
mod network;
mod sealed;

#[cfg(not(target_family = "wasm"))]
pub use checkpoint::Checkpoint;
