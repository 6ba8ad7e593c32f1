//! Answers that are given again: bounded in number and bytes, and each in time.
//!
//! What exists and what does not have separate parts, three quarters and one: names that a stranger makes up fill the
//! smaller one with answers that push out each other. In each part room is made by a clock hand, which takes entries
//! that were not used since it last passed: what is asked for again stays. Expired entries go when the hand meets them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Outcome;

/// Charged for each entry beside its key and answer: what map, slot and allocations take of it.
const OVERHEAD: usize = 256;

/// Which part an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Positive,
    /// About what does not exist, or could not be found out.
    Negative,
}

pub(super) struct Cache {
    positive: Part,
    negative: Part,
}

impl Cache {
    pub(super) fn new(entries: usize, bytes: usize) -> Self {
        let (negative_entries, negative_bytes) = (entries / 4, bytes / 4);
        Self {
            positive: Part::new(entries - negative_entries, bytes - negative_bytes),
            negative: Part::new(negative_entries, negative_bytes),
        }
    }

    pub(super) fn get(&mut self, key: &[u8], now: Instant) -> Option<Outcome> {
        self.positive.get(key, now).or_else(|| self.negative.get(key, now))
    }

    /// Keeps an answer, unless it is too large for its part or holds no time at all.
    pub(super) fn put(
        &mut self,
        key: &Arc<[u8]>,
        outcome: Outcome,
        kind: Kind,
        time: Duration,
        now: Instant,
    ) {
        // It is one or the other, whatever it was before.
        self.positive.remove(key);
        self.negative.remove(key);
        if time.is_zero() {
            return;
        }
        let part = match kind {
            Kind::Positive => &mut self.positive,
            Kind::Negative => &mut self.negative,
        };
        let size = OVERHEAD + 2 * key.len() + outcome.as_ref().map_or(0, |response| response_size(response));
        part.put(Arc::clone(key), Entry { outcome, until: now + time, size, used: false }, now);
    }

    /// Entries and bytes.
    pub(super) fn usage(&self) -> (usize, usize) {
        let parts = [&self.positive, &self.negative];
        (parts.iter().map(|part| part.places.len()).sum(), parts.iter().map(|part| part.bytes).sum())
    }
}

fn response_size(response: &handfast_plugin_host::HttpResponse) -> usize {
    let fields = response.fields.iter().map(|(name, value)| name.len() + value.len() + 64);
    fields.sum::<usize>() + response.body.len()
}

struct Entry {
    outcome: Outcome,
    until: Instant,
    size: usize,
    used: bool,
}

struct Part {
    max_entries: usize,
    max_bytes: usize,
    bytes: usize,
    places: HashMap<Arc<[u8]>, usize>,
    slots: Vec<Option<(Arc<[u8]>, Entry)>>,
    free: Vec<usize>,
    hand: usize,
}

impl Part {
    fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            max_entries,
            max_bytes,
            bytes: 0,
            places: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
        }
    }

    fn get(&mut self, key: &[u8], now: Instant) -> Option<Outcome> {
        let place = *self.places.get(key)?;
        let (_, entry) = self.slots.get_mut(place)?.as_mut()?;
        if entry.until <= now {
            self.remove(key);
            return None;
        }
        entry.used = true;
        Some(entry.outcome.clone())
    }

    fn put(&mut self, key: Arc<[u8]>, entry: Entry, now: Instant) {
        if entry.size > self.max_bytes || self.max_entries == 0 {
            return;
        }
        while self.places.len() >= self.max_entries || self.bytes + entry.size > self.max_bytes {
            self.evict(now);
        }
        self.bytes += entry.size;
        let slot = Some((Arc::clone(&key), entry));
        let place = match self.free.pop() {
            Some(place) => {
                if let Some(free) = self.slots.get_mut(place) {
                    *free = slot;
                }
                place
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.places.insert(key, place);
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(place) = self.places.remove(key)
            && let Some((_, entry)) = self.slots.get_mut(place).and_then(Option::take)
        {
            self.bytes -= entry.size;
            self.free.push(place);
        }
    }

    /// Removes one entry. Called only while there are any; a round of the hand clears every mark, so it ends in two.
    fn evict(&mut self, now: Instant) {
        for _ in 0..=2 * self.slots.len() {
            self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
            let Some(Some((key, entry))) = self.slots.get_mut(self.hand) else { continue };
            if entry.used && entry.until > now {
                entry.used = false;
                continue;
            }
            let key = Arc::clone(key);
            return self.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use handfast_plugin_host::{HttpError, HttpResponse};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn key(name: &str) -> Arc<[u8]> {
        name.as_bytes().into()
    }

    fn answer(bytes: usize) -> Outcome {
        Ok(Arc::new(HttpResponse { status: 200, fields: Vec::new(), body: vec![0; bytes] }))
    }

    #[test]
    fn an_answer_is_given_until_its_time_is_over() {
        let (mut cache, now) = (Cache::new(100, 1 << 20), Instant::now());
        cache.put(&key("a"), answer(1), Kind::Positive, MINUTE, now);
        cache.put(&key("b"), Err(HttpError::TimedOut), Kind::Negative, MINUTE, now);
        cache.put(&key("c"), answer(1), Kind::Positive, Duration::ZERO, now);
        let later = now + MINUTE - Duration::from_millis(1);
        assert!(cache.get(b"a", later).is_some_and(|outcome| outcome.is_ok()));
        assert_eq!(cache.get(b"b", later), Some(Err(HttpError::TimedOut)));
        assert_eq!(cache.get(b"c", now), None);
        assert_eq!((cache.get(b"a", now + MINUTE), cache.get(b"b", now + MINUTE)), (None, None));
        assert_eq!(cache.usage(), (0, 0));
    }

    #[test]
    fn names_that_do_not_exist_push_out_each_other_and_nothing_else() {
        let (mut cache, now) = (Cache::new(100, 1 << 20), Instant::now());
        for number in 0..75 {
            cache.put(&key(&format!("real-{number}")), answer(100), Kind::Positive, MINUTE, now);
        }
        for number in 0..100_000 {
            let missing = Ok(Arc::new(HttpResponse { status: 404, ..HttpResponse::default() }));
            cache.put(&key(&format!("random-{number}")), missing, Kind::Negative, MINUTE, now);
            assert!(cache.usage().0 <= 100);
        }
        for number in 0..75 {
            assert!(cache.get(format!("real-{number}").as_bytes(), now).is_some(), "{number}");
        }
        assert_eq!(cache.usage().0, 100);
    }

    #[test]
    fn what_is_asked_for_again_stays_and_what_is_too_large_is_not_kept() {
        let (mut cache, now) = (Cache::new(40, 1 << 20), Instant::now());
        cache.put(&key("kept"), answer(1), Kind::Positive, MINUTE, now);
        for number in 0..1_000 {
            assert!(cache.get(b"kept", now).is_some());
            cache.put(&key(&number.to_string()), answer(1), Kind::Positive, MINUTE, now);
        }
        assert_eq!(cache.usage().0, 30);
        cache.put(&key("large"), answer(1 << 20), Kind::Positive, MINUTE, now);
        assert!(cache.get(b"large", now).is_none() && cache.get(b"kept", now).is_some());
    }

    #[test]
    fn bytes_are_bounded() {
        let (mut cache, now) = (Cache::new(100_000, 1 << 20), Instant::now());
        for number in 0..10_000 {
            cache.put(&key(&number.to_string()), answer(number % 5_000), Kind::Positive, MINUTE, now);
            assert!(cache.usage().1 <= 1 << 20);
        }
        assert!(cache.usage().1 > 1 << 19);
        for number in 0..10_000 {
            cache.put(&key(&number.to_string()), answer(1), Kind::Positive, Duration::ZERO, now);
        }
        assert_eq!(cache.usage(), (0, 0));
    }
}
