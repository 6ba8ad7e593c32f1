//! Instances that wait for their next call.

use std::sync::{Mutex, PoisonError};

use super::Lease;

/// A bounded stack: the instance used last has the warmest memory.
pub(crate) struct Idle {
    waiting: Mutex<Vec<Lease>>,
    most: usize,
    calls: u32,
}

impl Idle {
    pub(super) fn new(most: u32, calls: u32) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self { waiting: Mutex::new(Vec::new()), most, calls }
    }

    pub(super) fn take(&self) -> Option<Lease> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// False if none waits.
    pub(crate) fn end_one(&self) -> bool {
        self.take().is_some()
    }

    pub(super) fn forget(&self) {
        // Dropped after the lock is: that clears their memory.
        let forgotten = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        drop(forgotten);
    }

    pub(super) fn give(&self, lease: Lease) {
        if lease.calls >= self.calls {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < self.most {
            waiting.push(lease);
        }
        // Else the lease is dropped after the lock is (arguments outlive locals): that clears the instance's memory.
    }
}
