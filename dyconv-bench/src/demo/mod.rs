//! The demonstration: a photograph and copies of it through a layer whose experts people know.

mod copies;
mod filters;
mod layer;
mod run;
mod sheet;

pub use copies::{Copy, copies};
pub use filters::{FILTERS, Filter, Sign};
pub use layer::{layer, mean_colour};
pub use run::{Demo, Mixed};
pub use sheet::sheet;

/// The photograph that ships with the program; see `data/README.md` for its source and licence.
pub const PHOTOGRAPH: &[u8] = include_bytes!("../../data/coffee.png");

/// The temperatures of the demonstration: the paper anneals from 30 to 1.
pub const TEMPERATURES: [f64; 3] = [30.0, 5.0, 1.0];

/// How the head decides, in words.
pub const EXPLANATION: &str = "How the head decides: a brighter picture calls for the blur, a darker one for sharpening, \
                               a bluer one for horizontal edges, a greener one for vertical edges; the original calls \
                               for none, and so for all alike.";
