//! Networks on the reference backend: gradients, training, checkpoints, read-outs.

mod checkpoint;
mod common;
mod gradients;
mod hostile;
mod inference;
mod readout;
mod training;
