//! A small store shared by all instances of one policy: how a policy remembers, when each call is a fresh instance. Must be
//! granted: `grants = ["key-value"]`. Keys of at most 256 bytes, values of at most 64 KiB, kept for at most 30 days.

use alloc::vec::Vec;
use core::time::Duration;

pub use crate::bindings::imports::handfast::policy::key_value::Error;
use crate::gateway;

/// The value, unless it was never set or its time is over.
pub fn get(key: &[u8]) -> Option<Vec<u8>> {
    gateway::key_value::get(key)
}

/// Sets or replaces the value.
pub fn set(key: &[u8], value: &[u8], time_to_live: Duration) -> Result<(), Error> {
    gateway::key_value::set(key, value, milliseconds(time_to_live))
}

/// Forgets the value.
pub fn delete(key: &[u8]) {
    gateway::key_value::delete(key);
}

/// Adds to an integer that starts at 0, and returns the sum. Its time counts from the first increment.
pub fn increment(key: &[u8], delta: i64, time_to_live: Duration) -> Result<i64, Error> {
    gateway::key_value::increment(key, delta, milliseconds(time_to_live))
}

/// Replaces the value if it is still `expected` (`None`: absent), and returns whether it did.
pub fn compare_and_set(
    key: &[u8],
    expected: Option<&[u8]>,
    value: &[u8],
    time_to_live: Duration,
) -> Result<bool, Error> {
    gateway::key_value::compare_and_set(key, expected, value, milliseconds(time_to_live))
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}
