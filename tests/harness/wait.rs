//! Waiting for states: a value that threads share and that a test can wait for, and polling where nothing tells us.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::DEADLINE;

/// A value shared between threads, with a wait for what it becomes.
#[derive(Debug, Default)]
pub struct Watched<T> {
    inner: Arc<(Mutex<T>, Condvar)>,
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T> Watched<T> {
    pub fn new(value: T) -> Self {
        Self { inner: Arc::new((Mutex::new(value), Condvar::new())) }
    }

    /// The value as it is.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        // A test that panicked elsewhere has already failed; its value is still good for reading.
        self.inner.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Changes the value and wakes whoever waits.
    pub fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.inner.1.notify_all();
        result
    }

    /// Waits until `look` finds something, and returns it; `None` after [`DEADLINE`].
    pub fn wait<R>(&self, mut look: impl FnMut(&T) -> Option<R>) -> Option<R> {
        let end = Instant::now() + DEADLINE;
        let mut value = self.lock();
        loop {
            if let Some(found) = look(&value) {
                return Some(found);
            }
            let left = end.checked_duration_since(Instant::now())?;
            value = self.inner.1.wait_timeout(value, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }
}

/// Asks again until `look` finds something: for states that nothing announces, such as a process that ends.
///
/// # Panics
/// After [`DEADLINE`], naming `what` was waited for.
#[track_caller]
#[allow(clippy::disallowed_methods, reason = "the one sleep of the tests, in a loop that ends with a state")]
pub fn eventually<R>(what: &str, mut look: impl FnMut() -> Option<R>) -> R {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {DEADLINE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
