//! Configurations: what is refused, where the kernel stands, what a layer costs on paper.

mod cost;
mod geometry;
mod json;
mod options;
