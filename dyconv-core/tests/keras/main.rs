//! The Keras layer: its arguments, its JSON, and what it has no words for.

mod arguments;
mod json;
