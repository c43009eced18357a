//! Case files: what is read, what is written, what is refused.

mod check;
mod hostile;
mod properties;
mod sample;
mod writing;
