//! Who computes: this thread alone, the program's rayon pool, or a pool of one's own.
//!
//! Only outputs are divided among threads, never a sum, so results don't depend on how many there are.

use std::sync::{Arc, Mutex, PoisonError};

use dyconv_core::{Error, Result};
use rayon::{Scope, ThreadPool};

/// What [`is_allowed`] accepts, in words.
pub(crate) const EXPECTED: &str = "a whole number from 1 to 1024";

pub(crate) fn is_allowed(threads: usize) -> bool {
    (1..=1024).contains(&threads)
}

/// Where work runs.
#[derive(Clone, Debug)]
pub(crate) enum Threads {
    /// The caller's thread.
    Serial,
    /// The pool that the caller is in, or else rayon's global one.
    Current,
    /// A pool of the backend's or the user's own.
    Pool(Arc<ThreadPool>),
}

impl Threads {
    /// `count` threads of the backend's own.
    pub(crate) fn new(count: usize) -> Result<Self> {
        if !is_allowed(count) {
            return Err(Error::invalid("threads", count, EXPECTED));
        }
        if count == 1 {
            return Ok(Self::Serial);
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build();
        let pool = pool.map_err(|reason| Error::Device {
            what: "starting threads".into(),
            reason: reason.to_string(),
        })?;
        Ok(Self::Pool(Arc::new(pool)))
    }

    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Serial => 1,
            Self::Current => rayon::current_num_threads(),
            Self::Pool(pool) => pool.current_num_threads(),
        }
    }

    /// Does every item once, in any order, on any thread. The caller's begins at once and others help as they wake; each
    /// takes one item at a time, since items are few and of unequal size, and threads may be busy elsewhere.
    pub(crate) fn for_each<I>(&self, items: impl Iterator<Item = I> + Send, work: impl Fn(I) + Send + Sync) {
        let helpers = items.size_hint().1.map_or(self.count(), |items| items.min(self.count())).max(1) - 1;
        if helpers == 0 {
            return items.for_each(work);
        }
        let items = Mutex::new(items);
        // After a panic there is nothing left to do.
        let next = || items.lock().ok()?.next();
        let take = || {
            while let Some(item) = next() {
                work(item);
            }
        };
        match self {
            Self::Pool(pool) => pool.in_place_scope(|scope| share(scope, helpers, &take)),
            Self::Serial | Self::Current => rayon::in_place_scope(|scope| share(scope, helpers, &take)),
        }
    }
}

/// Does `work` here and on as many other threads.
fn share<'scope>(scope: &Scope<'scope>, helpers: usize, work: &'scope (impl Fn() + Sync)) {
    for _ in 0..helpers {
        scope.spawn(move |_| work());
    }
    work();
}

/// Things that threads borrow for the length of an item, as many as ever worked at once.
#[derive(Debug)]
pub(crate) struct Lent<T>(Mutex<Vec<T>>);

impl<T> Default for Lent<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<T: Default> Lent<T> {
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        // A panic elsewhere can't leave the list of free things half-changed.
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut thing = taken.unwrap_or_default();
        let result = work(&mut thing);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(thing);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_item_is_done_once_however_many_threads() {
        for threads in [Threads::Serial, Threads::Current, Threads::new(3).unwrap()] {
            let done: Vec<AtomicUsize> = (0..100).map(|_| AtomicUsize::new(0)).collect();
            threads.for_each(0..100, |i: usize| {
                done[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn impossible_counts_are_refused() {
        assert_eq!(Threads::new(1).unwrap().count(), 1);
        assert_eq!(Threads::new(2).unwrap().count(), 2);
        for count in [0, 5000] {
            let error = Threads::new(count).unwrap_err().to_string();
            assert_eq!(error, format!("threads is {count}; expected {EXPECTED}"));
        }
    }

    #[test]
    fn lent_things_are_used_again() {
        let lent = Lent::<Vec<u8>>::default();
        lent.with(|v| v.push(1));
        lent.with(|v| assert_eq!(v, &[1]));
    }
}
