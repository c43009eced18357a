//! Who computes: this thread alone, the program's rayon pool, or a pool of one's own.
//!
//! Only outputs are divided among threads, never a sum, so results don't depend on how many there are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
        self.for_each_by(items, |_, item| work(item));
    }

    /// As [`Threads::for_each`], with the number of who does it: 0 is the caller.
    pub(crate) fn for_each_by<I>(
        &self,
        items: impl Iterator<Item = I> + Send,
        work: impl Fn(usize, I) + Send + Sync,
    ) {
        let helpers = items.size_hint().1.map_or(self.count(), |items| items.min(self.count())).max(1) - 1;
        if helpers == 0 {
            return items.for_each(|item| work(0, item));
        }
        let items = Mutex::new(items);
        // After a panic there is nothing left to do.
        let next = || items.lock().ok()?.next();
        let take = |who: usize| {
            while let Some(item) = next() {
                work(who, item);
            }
        };
        match self {
            Self::Pool(pool) => pool.in_place_scope(|scope| share(scope, helpers, &take)),
            Self::Serial | Self::Current => rayon::in_place_scope(|scope| share(scope, helpers, &take)),
        }
    }
}

/// Does `work` here and on as many other threads.
fn share<'scope>(scope: &Scope<'scope>, helpers: usize, work: &'scope (impl Fn(usize) + Sync)) {
    for helper in 1..=helpers {
        scope.spawn(move |_| work(helper));
    }
    work(0);
}

/// Things of those who work, each one's own: what a core wrote stays in its caches, where the next run finds it. Handed
/// from core to core, a megabyte of scratch can cost as much as the work itself where these share no cache.
#[derive(Debug)]
pub(crate) struct Own<T>(Mutex<Vec<Option<T>>>);

impl<T> Default for Own<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<T: Default> Own<T> {
    /// Lends number `who` its thing for the length of `work`.
    pub(crate) fn with<R>(&self, who: usize, work: impl FnOnce(&mut T) -> R) -> R {
        let mut thing = self.places(who)[who].take().unwrap_or_default();
        let result = work(&mut thing);
        self.places(who)[who] = Some(thing);
        result
    }

    /// Everyone's places, `who`'s at least.
    fn places(&self, who: usize) -> MutexGuard<'_, Vec<Option<T>>> {
        // A panic elsewhere can't leave the list half-changed.
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() <= who {
            places.resize_with(who + 1, || None);
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
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
    fn everyone_gets_their_own_thing_again() {
        let own = Own::<Vec<u8>>::default();
        own.with(2, |v| v.push(1));
        own.with(0, |v| v.push(2));
        own.with(2, |v| assert_eq!(v, &[1]));
        own.with(0, |v| assert_eq!(v, &[2]));
    }

    #[test]
    fn who_works_at_the_same_time_has_different_numbers() {
        let threads = Threads::new(4).unwrap();
        // An item each, which nobody leaves before all have one.
        let (all_here, seen) = (Barrier::new(4), Mutex::new(Vec::new()));
        threads.for_each_by(0..4, |who, _| {
            all_here.wait();
            seen.lock().unwrap().push(who);
        });
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3]);
    }
}
