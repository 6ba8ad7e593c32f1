//! What a policy has that outlives its instances and its plugins: what it counted, and the values it keeps.
//!
//! Both are found by the policy's name, so that a plugin that replaces another goes on where that one was, and so does a
//! policy whose settings a reload changed. A name that no policy has any more forgets them: the registry holds them
//! weakly, the policies strongly.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::counter::Counters;
use crate::key_value::{KeyValue, KeyValueBounds, KeyValueUse};

/// What a policy has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// The policy's own counters, by name.
    pub counters: Vec<(String, u64)>,
    /// Additions to a counter whose name the interface forbids, or beyond the 64th name.
    pub dropped_additions: u64,
    /// Messages beyond those that a call may log.
    pub dropped_messages: u64,
    /// `None` without the grant.
    pub key_value: Option<KeyValueUse>,
}

/// What is counted under one policy's name.
pub(crate) struct Ledger {
    pub(crate) policy: String,
    pub(crate) counters: Counters,
    dropped_messages: AtomicU64,
}

impl Ledger {
    fn new(policy: &str) -> Self {
        Self { policy: policy.to_owned(), counters: Counters::default(), dropped_messages: AtomicU64::new(0) }
    }

    pub(crate) fn drop_message(&self) {
        self.dropped_messages.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped_messages(&self) -> u64 {
        self.dropped_messages.load(Ordering::Relaxed)
    }
}

/// Ledgers and stores by the names of their policies.
#[derive(Default)]
pub(crate) struct Registry {
    ledgers: Mutex<HashMap<String, Weak<Ledger>>>,
    stores: Mutex<HashMap<String, Weak<KeyValue>>>,
}

impl Registry {
    pub(crate) fn ledger(&self, policy: &str) -> Arc<Ledger> {
        let mut ledgers = self.ledgers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ledger) = ledgers.get(policy).and_then(Weak::upgrade) {
            return ledger;
        }
        ledgers.retain(|_, ledger| ledger.strong_count() > 0);
        let ledger = Arc::new(Ledger::new(policy));
        ledgers.insert(policy.to_owned(), Arc::downgrade(&ledger));
        ledger
    }

    /// Other bounds make another store: a build that fails in the end must not have shrunk the one in use.
    pub(crate) fn key_value(&self, policy: &str, bounds: KeyValueBounds) -> Arc<KeyValue> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(policy).and_then(Weak::upgrade)
            && store.bounds() == bounds
        {
            return store;
        }
        stores.retain(|_, store| store.strong_count() > 0);
        let store = Arc::new(KeyValue::new(bounds));
        stores.insert(policy.to_owned(), Arc::downgrade(&store));
        store
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_policy_has_is_found_by_its_name_as_long_as_someone_holds_it() {
        let registry = Registry::default();
        let bounds = KeyValueBounds::default();
        let (ledger, store) = (registry.ledger("a"), registry.key_value("a", bounds));
        assert!(Arc::ptr_eq(&ledger, &registry.ledger("a")));
        assert!(!Arc::ptr_eq(&ledger, &registry.ledger("b")));
        assert!(Arc::ptr_eq(&store, &registry.key_value("a", bounds)));
        let smaller = KeyValueBounds { max_entries: 1, ..bounds };
        assert!(!Arc::ptr_eq(&store, &registry.key_value("a", smaller)));
        drop(ledger);
        registry.ledger("c");
        assert_eq!(registry.ledgers.lock().unwrap().len(), 1);
    }
}
