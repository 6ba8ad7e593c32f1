//! The counters that a policy may keep: few names, short ones, and a number each.
//!
//! A name becomes the label of a series that every scrape carries, so it must not be the client's to choose. The first
//! [`NAMES`] names of a policy have a counter for as long as the policy is configured; what is added under any other is
//! dropped, counted, and said once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::text::printable;

/// Counters of one policy; `wit/v1`, interface `counter`.
const NAMES: usize = 64;
/// Bytes of a name; `wit/v1`, interface `counter`.
const NAME_BYTES: usize = 64;

/// The counters of one policy.
#[derive(Default)]
pub(crate) struct Counters {
    named: RwLock<BTreeMap<Box<str>, AtomicU64>>,
    dropped: AtomicU64,
    complained: AtomicBool,
}

impl Counters {
    pub(crate) fn add(&self, policy: &str, name: &str, delta: u64) {
        if !is_name(name) {
            return self.drop_addition(policy, name, "a name has 1 to 64 of the characters `a-z0-9_`");
        }
        {
            let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(counter) = named.get(name) {
                return add(counter, delta);
            }
        }
        let mut named = self.named.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = named.get(name) {
            return add(counter, delta);
        }
        if named.len() < NAMES {
            named.insert(name.into(), AtomicU64::new(delta));
            return;
        }
        drop(named);
        self.drop_addition(policy, name, "a policy has at most 64 counters");
    }

    /// Names and values, ordered by name.
    pub(crate) fn values(&self) -> Vec<(String, u64)> {
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        named.iter().map(|(name, value)| (name.to_string(), value.load(Ordering::Relaxed))).collect()
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn drop_addition(&self, policy: &str, name: &str, rule: &str) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        if !self.complained.swap(true, Ordering::Relaxed) {
            let name = printable(name, NAME_BYTES);
            tracing::warn!(policy, name, rule, "policy counter not kept");
        }
    }
}

/// Stays at the largest number: a counter that begins anew would look like a restart.
fn add(counter: &AtomicU64, delta: u64) {
    let _ =
        counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |value| Some(value.saturating_add(delta)));
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !name.is_empty() && name.len() <= NAME_BYTES && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_are_summed_by_name_and_never_wrap() {
        let counters = Counters::default();
        for (name, delta) in [("b", 1), ("a", u64::MAX), ("b", 2), ("a", 1)] {
            counters.add("p", name, delta);
        }
        assert_eq!(counters.values(), [("a".to_owned(), u64::MAX), ("b".to_owned(), 3)]);
        assert_eq!(counters.dropped(), 0);
    }

    #[test]
    fn names_are_bounded_in_form_and_number() {
        let counters = Counters::default();
        for name in ["", "A", "a-b", "a b", "ä", &"a".repeat(65)] {
            counters.add("p", name, 1);
        }
        assert_eq!((counters.values().len(), counters.dropped()), (0, 6));
        for number in 0..100 {
            counters.add("p", &format!("name_{number}"), 1);
        }
        counters.add("p", "name_0", 1);
        assert_eq!((counters.values().len(), counters.dropped()), (64, 6 + 36));
        assert!(counters.values().contains(&("name_0".to_owned(), 2)));
    }
}
