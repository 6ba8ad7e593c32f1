//! A small store shared by all instances of one policy: how a policy remembers, when each call is a fresh instance. Must be
//! granted: `grants = ["key-value"]`.
//!
//! ```
//! use std::{net::SocketAddr, time::Duration};
//!
//! use handfast_policy::{Alert, ClientHello, Connection, Decision, Select, key_value};
//!
//! /// At most 100 handshakes of an address in a minute.
//! #[derive(Default)]
//! struct Limit;
//!
//! impl Select for Limit {
//!     fn select(&self, connection: &Connection, _: &ClientHello) -> Decision {
//!         let client = SocketAddr::from(connection.client_address()).ip().to_string();
//!         match key_value::increment(client.as_bytes(), 1, Duration::from_secs(60)) {
//!             Ok(count) if count > 100 => Decision::reject(Alert::AccessDenied).because("too many"),
//!             // What cannot be counted is let in: the bounds of the store are the operator's business.
//!             Ok(_) | Err(_) => Decision::pass(),
//!         }
//!     }
//! }
//! ```
//!
//! - Keys have at most 256 bytes and values at most 64 KiB; what is kept for longer than 30 days is kept for 30 days. The operator
//!   bounds the entries and the bytes of all together (`[policy.key-value]`).
//! - An entry may be gone before its time: a full store forgets expired entries first, then those that were not used lately.
//!   Take "absent" for "not known", never for a proof.
//! - It outlives the component: a replacement goes on with what is there. A restart of the gateway begins anew.
//! - Each function is atomic. A [`get`] followed by a [`set`] is not, since other instances run at the same time on other
//!   threads: use [`increment`] or [`compare_and_set`].
//!
//! In tests (`testing::Gateway`) it is a plain map without bounds, whose time is that of the test's clock.

use alloc::vec::Vec;
use core::time::Duration;

/// Why nothing was kept: `TooLarge`, the key or the value exceeds its bound, or the two alone exceed the operator's;
/// `NotANumber`, [`increment`] met a value that is not an integer of 8 bytes.
pub use crate::bindings::imports::handfast::policy::key_value::Error;
use crate::gateway;

/// The value, unless it was never set, its time is over, or it had to give way. Counts as use: what is read stays longer.
pub fn get(key: &[u8]) -> Option<Vec<u8>> {
    gateway::key_value::get(key)
}

/// Sets or replaces the value, and its time. With a time of zero the entry is gone at once; whole milliseconds count.
pub fn set(key: &[u8], value: &[u8], time_to_live: Duration) -> Result<(), Error> {
    gateway::key_value::set(key, value, milliseconds(time_to_live))
}

/// Forgets the value.
pub fn delete(key: &[u8]) {
    gateway::key_value::delete(key);
}

/// Adds to an integer that starts at 0, and returns the sum, which stays within what an `i64` holds.
///
/// Its time counts from the first increment, and later ones do not change it: a window of fixed length. To [`get`] and
/// [`compare_and_set`] the value is 8 bytes, little-endian.
pub fn increment(key: &[u8], delta: i64, time_to_live: Duration) -> Result<i64, Error> {
    gateway::key_value::increment(key, delta, milliseconds(time_to_live))
}

/// Replaces the value, and its time, if it is still `expected` (`None`: absent); returns whether it did. Where it did not,
/// somebody else was faster: [`get`] what is there now and try again, a few times at most.
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
