//! What a policy has that outlives its instances and its plugins: what it counted, the values it keeps, its share of the
//! log and of the memory, and its places among the calls under way.
//!
//! All are found by the policy's name, so that a plugin that replaces another goes on where that one was, and so does a
//! policy whose settings a reload changed. A name that no policy has any more forgets them: the registry holds them
//! weakly, the policies strongly.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Semaphore;

use crate::counter::Counters;
use crate::key_value::{KeyValue, KeyValueBounds, KeyValueUse};
use crate::log_rate::{Line, LogRate};
use crate::memory::{Memory, Share};
use crate::policy::Waiting;

/// What a policy has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// The policy's own counters, by name.
    pub counters: Vec<(String, u64)>,
    /// Additions to a counter whose name the interface forbids, or beyond the 64th name.
    pub dropped_additions: u64,
    /// Messages beyond those that a call may log.
    pub dropped_messages: u64,
    /// Messages beyond those that the policy may log in a second.
    pub limited_messages: u64,
    /// `None` without the grant.
    pub key_value: Option<KeyValueUse>,
}

/// What is counted under one policy's name.
pub(crate) struct Ledger {
    pub(crate) policy: String,
    pub(crate) counters: Counters,
    pub(crate) memory: Arc<Share>,
    dropped_messages: AtomicU64,
    log_rate: LogRate,
}

impl Ledger {
    fn new(policy: &str, memory: &Arc<Memory>) -> Self {
        Self {
            policy: policy.to_owned(),
            counters: Counters::default(),
            memory: Arc::new(Share::new(Arc::clone(memory))),
            dropped_messages: AtomicU64::new(0),
            log_rate: LogRate::default(),
        }
    }

    /// Whether one more line may reach the log, of `rate` in a second.
    pub(crate) fn takes_line(&self, rate: u32) -> bool {
        match self.log_rate.line(rate) {
            Line::Written => true,
            Line::Dropped { tell } => {
                if let Some(dropped) = tell {
                    let policy = self.policy.as_str();
                    tracing::warn!(
                        policy,
                        dropped,
                        rate,
                        "policy logs more than its log-rate; lines are dropped"
                    );
                }
                false
            }
        }
    }

    pub(crate) fn limited_messages(&self) -> u64 {
        self.log_rate.dropped()
    }

    pub(crate) fn drop_message(&self) {
        self.dropped_messages.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped_messages(&self) -> u64 {
        self.dropped_messages.load(Ordering::Relaxed)
    }
}

/// Ledgers, stores and turns by the names of their policies.
pub(crate) struct Registry {
    /// Each beside how many it began with.
    turns: Mutex<HashMap<String, (u32, Weak<Semaphore>)>>,
    ledgers: Mutex<HashMap<String, Weak<Ledger>>>,
    stores: Mutex<HashMap<String, Weak<KeyValue>>>,
    memory: Arc<Memory>,
    waiting: Arc<Waiting>,
}

impl Registry {
    /// `memory` is what the instances of all policies may have together, in bytes.
    pub(crate) fn new(memory: usize) -> Self {
        let waiting = Arc::<Waiting>::default();
        Self {
            turns: Mutex::default(),
            ledgers: Mutex::default(),
            stores: Mutex::default(),
            memory: Arc::new(Memory::new(memory, Arc::clone(&waiting))),
            waiting,
        }
    }

    pub(crate) fn ledger(&self, policy: &str) -> Arc<Ledger> {
        let mut ledgers = self.ledgers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ledger) = ledgers.get(policy).and_then(Weak::upgrade) {
            return ledger;
        }
        ledgers.retain(|_, ledger| ledger.strong_count() > 0);
        let ledger = Arc::new(Ledger::new(policy, &self.memory));
        ledgers.insert(policy.to_owned(), Arc::downgrade(&ledger));
        ledger
    }

    /// The places of a policy's calls, which a plugin and the one that it replaces share: a policy that hangs does not
    /// have twice as many instances for having been replaced. Another number makes others.
    pub(crate) fn turns(&self, policy: &str, concurrency: u32) -> Arc<Semaphore> {
        let mut all = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((number, turns)) = all.get(policy)
            && *number == concurrency
            && let Some(turns) = turns.upgrade()
        {
            return turns;
        }
        all.retain(|_, (_, turns)| turns.strong_count() > 0);
        let turns = Arc::new(Semaphore::new(usize::try_from(concurrency.max(1)).unwrap_or(1)));
        all.insert(policy.to_owned(), (concurrency, Arc::downgrade(&turns)));
        turns
    }

    /// Where instances of all policies wait for their next call.
    pub(crate) fn waiting(&self) -> &Waiting {
        &self.waiting
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
        let registry = Registry::new(usize::MAX);
        let bounds = KeyValueBounds::default();
        let (ledger, store) = (registry.ledger("a"), registry.key_value("a", bounds));
        assert!(Arc::ptr_eq(&ledger, &registry.ledger("a")));
        assert!(!Arc::ptr_eq(&ledger, &registry.ledger("b")));
        assert!(Arc::ptr_eq(&store, &registry.key_value("a", bounds)));
        let smaller = KeyValueBounds { max_entries: 1, ..bounds };
        assert!(!Arc::ptr_eq(&store, &registry.key_value("a", smaller)));
        let turns = registry.turns("a", 3);
        assert!(Arc::ptr_eq(&turns, &registry.turns("a", 3)));
        assert_eq!(registry.turns("a", 4).available_permits(), 4);
        drop(ledger);
        registry.ledger("c");
        assert_eq!(registry.ledgers.lock().unwrap().len(), 1);
    }
}
