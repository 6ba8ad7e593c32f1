//! Instances that wait for their next call.

use std::cmp::Reverse;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Lease;
use crate::memory::Share;

/// A bounded stack: the instance used last has the warmest memory.
pub(crate) struct Idle {
    memory: Arc<Share>,
    waiting: Mutex<Vec<Lease>>,
    most: usize,
    calls: u32,
}

impl Idle {
    pub(super) fn new(memory: Arc<Share>, most: u32, calls: u32) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self { memory, waiting: Mutex::new(Vec::new()), most, calls }
    }

    pub(super) fn take(&self) -> Option<Lease> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn waiting(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Ends one of these, of those that have waited for longest. False if none of them waits.
    fn end_one(&self, is_meant: impl Fn(&Lease) -> bool) -> bool {
        let ended = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let oldest = waiting.iter().position(is_meant);
            oldest.map(|at| waiting.remove(at))
        };
        // Dropped here, after the lock: that clears the instance's memory.
        ended.is_some()
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

/// Where instances of all policies wait: to be ended where what they hold is wanted.
#[derive(Default)]
pub(crate) struct Waiting {
    all: Mutex<Vec<Weak<Idle>>>,
}

impl Waiting {
    pub(super) fn with(&self, idle: Idle) -> Arc<Idle> {
        let idle = Arc::new(idle);
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|idle| idle.strong_count() > 0);
        all.push(Arc::downgrade(&idle));
        idle
    }

    /// Ends one instance, of the policy that has most that wait. False if none waits.
    pub(crate) fn end_one(&self) -> bool {
        let all = self.all();
        all.iter().max_by_key(|idle| idle.waiting()).is_some_and(|idle| idle.end_one(|_| true))
    }

    /// Ends one that holds memory, for a policy that would then hold `own` bytes: its own, or one of a policy that holds more
    /// than that; if it holds none yet, of any. False if there is no such.
    pub(crate) fn end_for(&self, memory: &Share, own: usize) -> bool {
        let mut all = self.all();
        all.retain(|idle| ptr::eq(&*idle.memory, memory) || idle.memory.held() > own || memory.held() == 0);
        all.sort_by_key(|idle| (!ptr::eq(&*idle.memory, memory), Reverse(idle.memory.held())));
        all.iter().any(|idle| idle.end_one(Lease::is_charged))
    }

    fn all(&self) -> Vec<Arc<Idle>> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).collect()
    }
}
