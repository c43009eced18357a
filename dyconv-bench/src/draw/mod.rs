//! Pictures that the program draws.

mod canvas;
mod plot;
mod ratios;
mod text;

pub use canvas::{Area, Canvas, Colour, FAINT, INK, RULE, WHITE};
pub use plot::comparison_plot;
pub use ratios::ratio_plot;
pub use text::{Align, Weight};
