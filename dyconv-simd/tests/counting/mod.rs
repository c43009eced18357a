//! A global allocator that counts bytes: what is live, the most that was, and all that were ever asked for.
#![allow(dead_code, reason = "each test counts what it is about")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, counted. Memory that is mapped goes past it.
pub(crate) struct Counting {
    live: AtomicUsize,
    peak: AtomicUsize,
    asked: AtomicUsize,
}

impl Counting {
    pub(crate) const fn new() -> Self {
        Self { live: AtomicUsize::new(0), peak: AtomicUsize::new(0), asked: AtomicUsize::new(0) }
    }

    /// The bytes that `work` asks for, on any thread.
    pub(crate) fn asked(&self, work: impl FnOnce()) -> usize {
        let before = self.asked.load(Relaxed);
        work();
        self.asked.load(Relaxed) - before
    }

    /// The most bytes that are live at once during `work` beyond those that were before it, on any thread.
    pub(crate) fn peak(&self, work: impl FnOnce()) -> usize {
        let before = self.live.load(Relaxed);
        self.peak.store(before, Relaxed);
        work();
        self.peak.load(Relaxed) - before
    }

    fn grow(&self, bytes: usize) {
        self.asked.fetch_add(bytes, Relaxed);
        let live = self.live.fetch_add(bytes, Relaxed) + bytes;
        self.peak.fetch_max(live, Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.grow(layout.size());
        // SAFETY: the caller keeps to `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.grow(layout.size());
        // SAFETY: the caller keeps to `alloc_zeroed`'s contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        self.live.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps to `dealloc`'s contract.
        unsafe { System.dealloc(memory, layout) }
    }
}
