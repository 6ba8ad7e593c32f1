//! The store of one policy: what stateless instances remember by.
//!
//! Shared by all instances of the policy on all workers, kept in memory, never more than its [`KeyValueBounds`]. Its
//! functions take a lock for a moment and copy; none is held while a guest runs.
//!
//! # What gives way when the store is full
//!
//! The goal is a rate limiter that holds while an attacker fills the store with keys of his own (a client address each).
//! To refuse new keys would let him in: once the store is full of his, no further client is counted until his entries
//! expire. To forget whatever expires soonest would forget exactly those who are being limited, since their window
//! began first. So the expired go first, and then, by a clock hand, entries that were not read or changed since it last
//! passed: keys that are used again stay, those that were seen once go. What that costs: a policy may find an entry gone
//! before its time, and must take that for "not seen". Evictions are counted and shown at `/metrics`.
//!
//! # Memory
//!
//! `max_bytes` counts keys, values and [`OVERHEAD`] for each entry: what the maps and allocations of an entry take at
//! their worst, just after a map has grown. `tests/behaviour/capabilities.rs` holds a gateway to it with a million keys.

mod shard;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use self::shard::Shard;
use crate::bindings::handfast::policy::key_value::Error;

/// Bytes of a key; `wit/v1`, interface `key-value`.
pub(crate) const KEY_BYTES: usize = 256;
/// Bytes of a value; `wit/v1`, interface `key-value`.
pub(crate) const VALUE_BYTES: usize = 64 << 10;
/// Charged for each entry beside its key and value.
const OVERHEAD: usize = 192;
/// The longest that an entry is kept; `wit/v1`, interface `key-value`.
const MAX_TIME_TO_LIVE: u64 = 30 * 24 * 3_600 * 1_000;

/// Locks, at most: more than there are workers on most machines,
const SHARDS: usize = 16;
/// and as many more as it takes for shards of no more entries than this. Now and then a shard moves all that it has, while
/// a worker waits: 10,000 entries took up to 1.4 ms, and 625,000 took 250.
const LARGE_SHARD: usize = 10_000;
/// A shard has room for the largest entry several times over, and for so many small ones that hashing evens them out.
const SHARD_BYTES: usize = 1 << 20;
const SHARD_ENTRIES: usize = 256;

/// How much a policy may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyValueBounds {
    pub max_entries: usize,
    /// Keys, values and 192 bytes for each entry.
    pub max_bytes: usize,
}

impl Default for KeyValueBounds {
    /// As many entries as fit where each is an address and a number.
    fn default() -> Self {
        Self { max_entries: 100_000, max_bytes: 32 << 20 }
    }
}

/// How much a policy keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyValueUse {
    pub entries: usize,
    /// As [`KeyValueBounds::max_bytes`] counts them.
    pub bytes: usize,
    /// Entries that were forgotten before their time.
    pub evicted: u64,
}

/// The store of one policy.
pub(crate) struct KeyValue {
    shards: Box<[Mutex<Shard>]>,
    /// Of its own, so that what leads to a shard says nothing of the place in the shard's map.
    hasher: RandomState,
    bounds: KeyValueBounds,
    start: Instant,
}

impl KeyValue {
    pub(crate) fn new(bounds: KeyValueBounds) -> Self {
        let by_entries = bounds.max_entries / SHARD_ENTRIES;
        let by_bytes = bounds.max_bytes / SHARD_BYTES;
        let most = SHARDS.max(bounds.max_entries.div_ceil(LARGE_SHARD));
        let shards = by_entries.min(by_bytes).clamp(1, most);
        let (entries, bytes) = (bounds.max_entries / shards, bounds.max_bytes / shards);
        let shards = (0..shards).map(|_| Mutex::new(Shard::new(entries, bytes)));
        Self { shards: shards.collect(), hasher: RandomState::new(), bounds, start: Instant::now() }
    }

    pub(crate) fn bounds(&self) -> KeyValueBounds {
        self.bounds
    }

    pub(crate) fn usage(&self) -> KeyValueUse {
        self.shards.iter().map(lock).fold(KeyValueUse::default(), |sum, shard| {
            let used = shard.usage();
            KeyValueUse {
                entries: sum.entries + used.entries,
                bytes: sum.bytes + used.bytes,
                evicted: sum.evicted + used.evicted,
            }
        })
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let now = self.now();
        // The value is copied when the lock is released: it may have 64 KiB.
        let value = self.shard(key)?.get(key, now)?;
        Some(value.to_vec())
    }

    pub(crate) fn set(&self, key: &[u8], value: &[u8], time_to_live: u64) -> Result<(), Error> {
        check(key, value)?;
        let now = self.now();
        self.shard(key).ok_or(Error::TooLarge)?.set(key, value, expiry(now, time_to_live), now)
    }

    pub(crate) fn delete(&self, key: &[u8]) {
        if let Some(mut shard) = self.shard(key) {
            shard.delete(key);
        }
    }

    pub(crate) fn increment(&self, key: &[u8], delta: i64, time_to_live: u64) -> Result<i64, Error> {
        check(key, &[])?;
        let now = self.now();
        self.shard(key).ok_or(Error::TooLarge)?.increment(key, delta, expiry(now, time_to_live), now)
    }

    pub(crate) fn compare_and_set(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
        time_to_live: u64,
    ) -> Result<bool, Error> {
        check(key, value)?;
        let now = self.now();
        let mut shard = self.shard(key).ok_or(Error::TooLarge)?;
        if shard.get(key, now).as_deref() != expected {
            return Ok(false);
        }
        shard.set(key, value, expiry(now, time_to_live), now)?;
        Ok(true)
    }

    /// The shard of a key. There is always one.
    fn shard(&self, key: &[u8]) -> Option<MutexGuard<'_, Shard>> {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or_default();
        self.shards.get(hash % self.shards.len().max(1)).map(lock)
    }

    /// Milliseconds since the store was made.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn check(key: &[u8], value: &[u8]) -> Result<(), Error> {
    if key.len() > KEY_BYTES || value.len() > VALUE_BYTES { Err(Error::TooLarge) } else { Ok(()) }
}

fn expiry(now: u64, time_to_live: u64) -> u64 {
    now.saturating_add(time_to_live.min(MAX_TIME_TO_LIVE))
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const LONG: u64 = 60_000;

    fn store(max_entries: usize, max_bytes: usize) -> KeyValue {
        KeyValue::new(KeyValueBounds { max_entries, max_bytes })
    }

    #[test]
    fn values_are_set_read_replaced_and_forgotten() {
        let store = store(100, 1 << 20);
        assert_eq!(store.get(b"a"), None);
        store.set(b"a", b"1", LONG).unwrap();
        store.set(b"a", b"two", LONG).unwrap();
        assert_eq!(store.get(b"a").as_deref(), Some(&b"two"[..]));
        store.delete(b"a");
        assert_eq!(store.get(b"a"), None);
        assert_eq!(store.usage(), KeyValueUse::default());
    }

    #[test]
    fn a_value_is_swapped_only_if_it_is_the_one_expected() {
        let store = store(100, 1 << 20);
        assert_eq!(store.compare_and_set(b"a", Some(b"1"), b"2", LONG), Ok(false));
        assert_eq!(store.compare_and_set(b"a", None, b"1", LONG), Ok(true));
        assert_eq!(store.compare_and_set(b"a", None, b"2", LONG), Ok(false));
        assert_eq!(store.compare_and_set(b"a", Some(b"1"), b"2", LONG), Ok(true));
        assert_eq!(store.get(b"a").as_deref(), Some(&b"2"[..]));
    }

    #[test]
    fn keys_and_values_beyond_their_bounds_are_too_large() {
        let store = store(100, 1 << 20);
        let (key, value) = (vec![0; KEY_BYTES + 1], vec![0; VALUE_BYTES + 1]);
        assert_eq!(store.set(&key, b"", LONG), Err(Error::TooLarge));
        assert_eq!(store.set(b"", &value, LONG), Err(Error::TooLarge));
        assert_eq!(store.increment(&key, 1, LONG), Err(Error::TooLarge));
        assert_eq!(store.compare_and_set(b"", None, &value, LONG), Err(Error::TooLarge));
        assert_eq!(store.get(&key), None);
        store.set(&key[..KEY_BYTES], &value[..VALUE_BYTES], LONG).unwrap();
    }

    #[test]
    fn increments_of_many_threads_are_all_counted() {
        let store = Arc::new(store(10_000, 16 << 20));
        let threads = (0..4_u64).map(|thread| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                for number in 0..10_000_u64 {
                    store.increment(b"shared", 1, LONG).unwrap();
                    store.set(&(thread * 10_000 + number).to_le_bytes(), b"noise", LONG).unwrap();
                }
            })
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.join().unwrap();
        }
        assert_eq!(store.increment(b"shared", 0, LONG), Ok(40_000));
        assert!(store.usage().entries <= 10_000 && store.usage().evicted > 0);
    }

    /// With sixteen at most, those of a store of 10,000,000 entries moved 625,000 at once.
    #[test]
    fn no_shard_is_so_large_that_a_worker_waits_long_for_it() {
        for max_entries in [100_000, 160_001, 1_000_000, 10_000_000] {
            for max_bytes in [1 << 20, 32 << 20, 4 << 30] {
                let store = store(max_entries, max_bytes);
                let shard = (max_entries / store.shards.len()).min(max_bytes / store.shards.len() / OVERHEAD);
                assert!(shard <= LARGE_SHARD, "{shard} of {max_entries} in {max_bytes} bytes");
            }
        }
        assert_eq!(store(100_000, 32 << 20).shards.len(), SHARDS);
    }

    #[test]
    fn the_bounds_hold_with_a_million_keys() {
        for (max_entries, max_bytes) in [(1_000, 16 << 20), (1_000_000, 2 << 20), (1, 64 << 10), (3, 3)] {
            let store = store(max_entries, max_bytes);
            for number in 0..if max_entries == 1_000 { 1_000_000_u64 } else { 50_000 } {
                let _ = store.set(&number.to_le_bytes(), b"value", LONG);
            }
            let used = store.usage();
            assert!(used.entries <= max_entries && used.bytes <= max_bytes, "{used:?}");
            assert_eq!(used.entries == 0, max_bytes == 3, "{used:?}");
        }
    }
}
