//! What a device reports on its own. It has one callback for its loss, and those of all backends on it must hear.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use dyconv_core::{Error, Result};

use crate::memory::device_error;

/// What a device's callbacks reported to a backend.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Why the device is gone.
    lost: Mutex<Option<String>>,
    /// An error that no scope caught: all of them in a browser, where scopes can't be awaited here.
    uncaptured: Mutex<Option<Error>>,
}

impl Faults {
    /// Those of a new backend on the device, which is told of its loss as those before it still are.
    pub(crate) fn of(device: &wgpu::Device) -> Arc<Self> {
        let faults = Arc::new(Self::default());
        let listeners = Arc::new(Listeners(Mutex::new(vec![Arc::downgrade(&faults)])));
        let told = Arc::clone(&listeners);
        Listeners::replaced();
        device.set_device_lost_callback(move |reason, message| {
            told.tell(&format!("{reason:?}: {message}"));
        });
        listeners.lock().extend(Listeners::replaced());
        faults
    }

    /// Takes over the device's handler for errors that no scope caught.
    pub(crate) fn take_uncaptured_errors(self: &Arc<Self>, device: &wgpu::Device) {
        let faults = Arc::clone(self);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            keep_first(&faults.uncaptured, device_error("queued work", &error));
        }));
    }

    /// That the device is lost, for ever; anything else, once.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(reason) = &*self.lost.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(Error::DeviceLost { reason: reason.clone() });
        }
        match self.uncaptured.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Whom a callback tells. wgpu drops a callback as it is replaced, and says of no device for sure whether it is another
/// one's equal: so a list that is dropped leaves itself behind, for the callback that replaces it.
struct Listeners(Mutex<Vec<Weak<Faults>>>);

thread_local! {
    static REPLACED: RefCell<Vec<Weak<Faults>>> = const { RefCell::new(Vec::new()) };
}

impl Listeners {
    /// What lists dropped on this thread since the last call have left, of backends that are still there.
    fn replaced() -> Vec<Weak<Faults>> {
        let mut left = REPLACED.take();
        left.retain(|faults| faults.strong_count() > 0);
        left
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Faults>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, reason: &str) {
        for faults in self.lock().iter().filter_map(Weak::upgrade) {
            keep_first(&faults.lost, reason.to_owned());
        }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        let left = std::mem::take(&mut *self.lock());
        // A thread that ends has nobody to leave it to.
        let _ = REPLACED.try_with(|replaced| replaced.borrow_mut().extend(left));
    }
}

fn keep_first<T>(slot: &Mutex<Option<T>>, value: T) {
    slot.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(value);
}
