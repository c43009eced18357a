//! What `dyconv train` does: networks that learn to read handwritten digits.

mod compare;
mod findings;
mod net;
mod record;
mod session;
mod spread;

pub use compare::{LayerOutcome, Outcome, Paired, SeedRun, Variant, compare};
pub use findings::Findings;
pub use net::{Setup, annealed};
pub use record::{CompareRecord, Data, Summary, TrainRecord};
pub use session::Session;
pub use spread::Spread;
