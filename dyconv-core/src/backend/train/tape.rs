//! What a forward leaves for its backward, and whose it is.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::{CheckedCall, MaybeSend};

/// What one recorded run needs for its backward, and no more.
pub trait Tape: Debug + MaybeSend + 'static {
    /// Which run this was.
    fn recorded(&self) -> &Recorded;

    /// The bytes that it keeps alive, those of handles that it shares with others in full.
    fn bytes(&self) -> u64;
}

/// One state of one layer's parameters.
///
/// A prepared trainable layer has one, and takes a new one with every step; a tape notes the one it was
/// recorded with. Equal ones are the same layer with the same parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Generation(u64);

impl Generation {
    /// One that no other layer and no other state has.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "no two are equal, which a default would suggest")]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Which run a tape is of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recorded {
    /// The call: shapes, geometry, where π came from, whether batch norm took the batch's statistics.
    pub call: CheckedCall,
    /// Whether a residual was added.
    pub residual: bool,
    /// The parameters it ran with.
    pub generation: Generation,
}
