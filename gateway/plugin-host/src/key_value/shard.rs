//! One part of a store, behind one lock: entries by key, by the time they expire, and in a circle for the clock hand.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{KeyValueUse, OVERHEAD};
use crate::bindings::handfast::policy::key_value::Error;

/// A slot without an entry: itself, its place in the list of those, and what the index has room for beside.
const EMPTY_SLOT: usize = 80;
/// Empty slots that are not worth moving entries for.
const FEW: usize = 64;

/// All moments are milliseconds since the store was made.
pub(super) struct Shard {
    slots: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_key: HashMap<Arc<[u8]>, u32>,
    by_expiry: BTreeSet<(u64, u32)>,
    /// Where the search for the next entry to give way goes on.
    hand: usize,
    bytes: usize,
    evicted: u64,
    max_entries: usize,
    max_bytes: usize,
}

struct Entry {
    key: Arc<[u8]>,
    value: Arc<[u8]>,
    expires: u64,
    /// Since the hand last passed.
    used: bool,
}

impl Entry {
    fn bytes(&self) -> usize {
        cost(&self.key, &self.value)
    }
}

impl Shard {
    pub(super) fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            by_expiry: BTreeSet::new(),
            hand: 0,
            bytes: 0,
            evicted: 0,
            max_entries,
            max_bytes,
        }
    }

    pub(super) fn usage(&self) -> KeyValueUse {
        KeyValueUse { entries: self.by_key.len(), bytes: self.bytes, evicted: self.evicted }
    }

    pub(super) fn get(&mut self, key: &[u8], now: u64) -> Option<Arc<[u8]>> {
        let slot = self.living(key, now)?;
        let entry = self.entry(slot)?;
        entry.used = true;
        Some(Arc::clone(&entry.value))
    }

    pub(super) fn set(&mut self, key: &[u8], value: &[u8], expires: u64, now: u64) -> Result<(), Error> {
        if cost(key, value) > self.max_bytes || self.max_entries == 0 {
            return Err(Error::TooLarge);
        }
        let used = self.living(key, now).and_then(|slot| self.remove(slot)).is_some();
        if expires > now {
            self.make_room(cost(key, value), now);
            self.insert(Entry { key: key.into(), value: value.into(), expires, used });
        }
        Ok(())
    }

    pub(super) fn delete(&mut self, key: &[u8]) {
        if let Some(slot) = self.by_key.get(key).copied() {
            self.remove(slot);
        }
    }

    /// The time to live is that of the first increment.
    pub(super) fn increment(&mut self, key: &[u8], delta: i64, expires: u64, now: u64) -> Result<i64, Error> {
        let Some(slot) = self.living(key, now) else {
            self.set(key, &delta.to_le_bytes(), expires, now)?;
            return Ok(delta);
        };
        let entry = self.entry(slot).ok_or(Error::TooLarge)?;
        let number = <[u8; 8]>::try_from(&*entry.value).map_err(|_| Error::NotANumber)?;
        let sum = i64::from_le_bytes(number).saturating_add(delta);
        entry.used = true;
        match Arc::get_mut(&mut entry.value) {
            Some(value) => value.copy_from_slice(&sum.to_le_bytes()),
            // A reader holds it to copy it.
            None => entry.value = sum.to_le_bytes().as_slice().into(),
        }
        Ok(sum)
    }

    /// The slot of a key's entry, unless its time is over: then it is removed.
    fn living(&mut self, key: &[u8], now: u64) -> Option<u32> {
        let slot = *self.by_key.get(key)?;
        if self.entry(slot)?.expires > now {
            return Some(slot);
        }
        self.remove(slot);
        None
    }

    fn make_room(&mut self, bytes: usize, now: u64) {
        while self.by_key.len() >= self.max_entries || self.taken().saturating_add(bytes) > self.max_bytes {
            if !self.evict(now) {
                return;
            }
        }
    }

    /// What the entries take, and the slots that stand empty beside the one that the next entry gets: few large values
    /// after many small ones would otherwise take half as much again as is allowed.
    fn taken(&self) -> usize {
        self.bytes.saturating_add(self.free.len().saturating_sub(1).saturating_mul(EMPTY_SLOT))
    }

    /// Moves the entries together where more slots are empty than not. Takes as long as half of the removals before it did
    /// together, some 0.2 µs for each entry; a store that is full has no empty slots, and comes here only when values grow.
    fn close_gaps(&mut self) {
        if self.free.len() <= self.by_key.len().saturating_add(FEW) {
            return;
        }
        self.slots = std::mem::take(&mut self.slots).into_iter().filter(Option::is_some).collect();
        self.slots.shrink_to_fit();
        self.free = Vec::new();
        self.hand = 0;
        self.by_key.shrink_to_fit();
        self.by_expiry.clear();
        for (slot, entry) in (0..).zip(self.slots.iter().flatten()) {
            if let Some(known) = self.by_key.get_mut(&entry.key) {
                *known = slot;
            }
            self.by_expiry.insert((entry.expires, slot));
        }
    }

    /// Removes one entry: an expired one, else the first that was not used since the hand last passed. The hand passes
    /// each entry twice at most, and each pass is paid for by the uses before it.
    fn evict(&mut self, now: u64) -> bool {
        if let Some((expires, slot)) = self.by_expiry.first().copied()
            && expires <= now
        {
            return self.remove(slot).is_some();
        }
        for _ in 0..self.slots.len().saturating_mul(2) {
            let slot = self.hand;
            self.hand = if slot + 1 < self.slots.len() { slot + 1 } else { 0 };
            let Some(Some(entry)) = self.slots.get_mut(slot) else { continue };
            if entry.used {
                entry.used = false;
            } else if let Ok(slot) = u32::try_from(slot) {
                self.evicted += 1;
                return self.remove(slot).is_some();
            }
        }
        false
    }

    fn insert(&mut self, entry: Entry) {
        let bytes = entry.bytes();
        let (key, expires) = (Arc::clone(&entry.key), entry.expires);
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let Ok(slot) = u32::try_from(self.slots.len()) else { return };
                if self.slots.len() == self.slots.capacity() {
                    // By a quarter instead of by half: what is reserved beyond need counts as the entries' overhead.
                    self.slots.reserve_exact((self.slots.len() / 4).max(16));
                }
                self.slots.push(None);
                slot
            }
        };
        let Some(place) = self.slots.get_mut(slot as usize) else { return };
        *place = Some(entry);
        self.by_key.insert(key, slot);
        self.by_expiry.insert((expires, slot));
        self.bytes += bytes;
    }

    fn remove(&mut self, slot: u32) -> Option<Entry> {
        let entry = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        self.by_key.remove(&entry.key);
        self.by_expiry.remove(&(entry.expires, slot));
        self.bytes = self.bytes.saturating_sub(entry.bytes());
        self.close_gaps();
        Some(entry)
    }

    fn entry(&mut self, slot: u32) -> Option<&mut Entry> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }
}

fn cost(key: &[u8], value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(shard: &mut Shard, key: &str, expires: u64, now: u64) {
        shard.set(key.as_bytes(), b"value", expires, now).unwrap();
    }

    fn has(shard: &mut Shard, key: &str, now: u64) -> bool {
        shard.living(key.as_bytes(), now).is_some()
    }

    #[test]
    fn an_entry_is_gone_when_its_time_is_over() {
        let mut shard = Shard::new(10, 1 << 20);
        set(&mut shard, "a", 100, 0);
        assert!(has(&mut shard, "a", 99));
        assert!(!has(&mut shard, "a", 100));
        assert_eq!(shard.usage(), KeyValueUse::default());
        set(&mut shard, "gone at once", 5, 5);
        assert_eq!(shard.usage().entries, 0);
    }

    #[test]
    fn a_window_begins_with_its_first_increment() {
        let mut shard = Shard::new(10, 1 << 20);
        assert_eq!(shard.increment(b"a", 1, 100, 0), Ok(1));
        assert_eq!(shard.increment(b"a", 1, 199, 99), Ok(2));
        assert_eq!(shard.increment(b"a", 1, 200, 100), Ok(1));
        assert_eq!(shard.increment(b"a", i64::MAX, 200, 101), Ok(i64::MAX));
        set(&mut shard, "text", 100, 0);
        assert_eq!(shard.increment(b"text", 1, 100, 0), Err(Error::NotANumber));
    }

    #[test]
    fn the_expired_give_way_first_and_count_as_no_eviction() {
        let mut shard = Shard::new(3, 1 << 20);
        for (key, expires) in [("long", 1_000), ("short", 10), ("middle", 500)] {
            set(&mut shard, key, expires, 0);
        }
        set(&mut shard, "new", 1_000, 20);
        assert!(has(&mut shard, "long", 20) && has(&mut shard, "middle", 20) && has(&mut shard, "new", 20));
        assert_eq!(shard.usage().evicted, 0);
    }

    #[test]
    fn a_key_that_is_used_outlasts_a_flood_of_keys_that_are_not() {
        let mut shard = Shard::new(100, 1 << 20);
        for number in 0..100_000 {
            set(&mut shard, &format!("flood {number}"), 1_000, 0);
            if number % 10 == 0 {
                shard.increment(b"limited", 1, 1_000, 0).unwrap();
            }
        }
        assert_eq!(shard.increment(b"limited", 0, 1_000, 0), Ok(10_000));
        assert_eq!(shard.usage().entries, 100);
        assert_eq!(shard.slots.len(), 100);
    }

    #[test]
    fn room_is_made_by_bytes_too_and_what_never_fits_is_too_large() {
        let mut shard = Shard::new(100, 10 * cost(b"key-0", b"value"));
        for number in 0..50 {
            set(&mut shard, &format!("key-{}", number % 10), 1_000, 0);
        }
        assert_eq!((shard.usage().entries, shard.usage().evicted), (10, 0));
        shard.set(b"large", &vec![0; 3 * OVERHEAD], 1_000, 0).unwrap();
        assert!(shard.usage().bytes <= shard.max_bytes && shard.usage().entries < 10);
        let before = shard.usage();
        assert_eq!(shard.set(b"large", &vec![0; 20 * OVERHEAD], 1_000, 0), Err(Error::TooLarge));
        assert_eq!(shard.usage(), before);
    }

    /// They were not counted: 55 % over the bound.
    #[test]
    fn empty_slots_count_and_do_not_stay_empty_for_long() {
        let mut shard = Shard::new(10_000, 1_000 * cost(b"0000", b"value"));
        for number in 0..1_000 {
            set(&mut shard, &format!("{number:04}"), 1_000, 0);
        }
        assert_eq!(shard.slots.len(), 1_000);
        for number in 0..40 {
            shard.set(format!("large {number}").as_bytes(), &[0; 5_000], 1_000, 0).unwrap();
            assert!(shard.taken() <= shard.max_bytes, "{} of {}", shard.taken(), shard.max_bytes);
            assert!(shard.free.len() <= shard.by_key.len() + FEW);
        }
        assert!(shard.slots.len() <= 2 * shard.by_key.len() + FEW && shard.slots.len() < 400);
        // What was moved is found where it is now, by its key and by its time.
        let living = shard.usage().entries;
        assert!(living >= 30, "{living}");
        assert!(shard.get(b"large 39", 0).is_some());
        for _ in 0..living {
            assert!(shard.evict(2_000));
        }
        assert_eq!((shard.usage().entries, shard.usage().bytes), (0, 0));
    }

    #[test]
    fn entries_are_accounted_for_to_the_byte() {
        let mut shard = Shard::new(1_000, 1 << 20);
        for number in 0..1_000_u32 {
            set(&mut shard, &format!("{}", number % 300), 10 + u64::from(number % 7), 0);
            if number % 3 == 0 {
                shard.delete(format!("{}", number % 100).as_bytes());
            }
        }
        let sum: usize = shard.slots.iter().flatten().map(Entry::bytes).sum();
        let living = shard.slots.iter().flatten().count();
        assert_eq!((shard.bytes, shard.by_key.len(), shard.by_expiry.len()), (sum, living, living));
    }
}
