//! Which recording a tensor was made by, or a buffer was last used by, and whether it was submitted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

const RECORDING: u8 = 0;
const SUBMITTED: u8 = 1;
const ABANDONED: u8 = 2;

/// One recording of one stream.
#[derive(Debug)]
pub(crate) struct Ticket {
    stream: u64,
    state: AtomicU8,
}

impl Ticket {
    pub(crate) fn new(stream: u64) -> Arc<Self> {
        Arc::new(Self { stream, state: AtomicU8::new(RECORDING) })
    }

    /// Its commands are in the queue: whatever is submitted later comes after them.
    pub(crate) fn submit(&self) {
        self.state.store(SUBMITTED, Ordering::Release);
    }

    /// Its commands will never run.
    pub(crate) fn abandon(&self) {
        self.state.store(ABANDONED, Ordering::Release);
    }

    pub(crate) fn is_recording(&self) -> bool {
        self.state.load(Ordering::Acquire) == RECORDING
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.state.load(Ordering::Acquire) == ABANDONED
    }

    /// Whether commands recorded now on `stream` will run after this recording's.
    pub(crate) fn precedes(&self, stream: u64) -> bool {
        !self.is_recording() || self.stream == stream
    }
}

/// A number that no other device or stream of this process has.
pub(crate) fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
