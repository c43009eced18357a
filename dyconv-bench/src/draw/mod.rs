//! Pictures that the program draws.

mod attention;
mod canvas;
mod chart;
mod history;
mod plot;
mod ratios;
mod reading;
mod seeds;
mod text;

pub use attention::attention_plot;
pub use canvas::{Area, Canvas, Colour, FAINT, INK, RULE, WHITE};
pub use history::history_plot;
pub use plot::comparison_plot;
pub use ratios::ratio_plot;
pub use reading::reading_sheet;
pub use seeds::seeds_plot;
pub use text::{Align, Weight};
