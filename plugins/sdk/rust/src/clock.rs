//! Time. Always available. The standard library's `SystemTime::now` and `Instant::now` panic on this target.

use core::time::Duration;

use crate::gateway;

/// Seconds since 1970-01-01T00:00:00Z, comparable with a certificate's `not_after`. May go backwards.
pub fn now() -> i64 {
    gateway::clock::now().0
}

/// The time since some moment in the life of the gateway. Never goes backwards.
pub fn monotonic() -> Duration {
    Duration::from_nanos(gateway::clock::monotonic())
}
