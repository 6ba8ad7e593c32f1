//! The number of the newest published change, of any kind: configuration, certificate, policy.
//!
//! Whoever publishes takes the next number; outcome lines carry the number that was current when the connection began,
//! so a line can be matched with the change before it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Never 0 once something is published. Who reads a number finds what was published under it, and under all before it.
#[derive(Debug, Default)]
pub struct Generation(AtomicU64);

impl Generation {
    pub fn current(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// The number of a change that is being published.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::AcqRel) + 1
    }
}
