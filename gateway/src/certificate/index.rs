//! A map that many threads read without a lock while one changes it.
//!
//! The store keeps its certificates by id and by name in two of these. The keys are spread over shards, each an
//! immutable map behind an [`ArcSwap`]; a change copies one shard. At 100,000 keys that is about 400 entries, some
//! 20 µs, where one map would copy all of them; readers pay a hash and two loads either way. Callers make sure that
//! there is one writer at a time; with two, a change would be lost.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwap;

const SHARDS: usize = 256;

type Shard<V> = HashMap<Arc<str>, V>;

pub(super) struct Index<V> {
    shards: Box<[ArcSwap<Shard<V>>]>,
    hasher: RandomState,
}

impl<V: Clone> Index<V> {
    pub(super) fn new() -> Self {
        let empty = Arc::new(HashMap::new());
        Self {
            shards: (0..SHARDS).map(|_| ArcSwap::new(empty.clone())).collect(),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn find(&self, key: &str) -> Option<V> {
        self.shard(key)?.load().get(key).cloned()
    }

    /// Puts what `change` makes of the present value in its place; `None` removes it.
    pub(super) fn change(&self, key: &str, change: impl FnOnce(Option<&V>) -> Option<V>) {
        let Some(shard) = self.shard(key) else { return };
        let mut new = Shard::clone(&shard.load());
        match (change(new.get(key)), new.get_mut(key)) {
            (Some(value), Some(place)) => *place = value,
            (Some(value), None) => {
                new.insert(key.into(), value);
            }
            (None, _) => {
                new.remove(key);
            }
        }
        shard.store(Arc::new(new));
    }

    /// Many keys at once, each shard copied once. `add` is given the present value.
    pub(super) fn add_all<I>(
        &self,
        items: impl Iterator<Item = (Arc<str>, I)>,
        add: impl Fn(Option<&V>, I) -> V,
    ) {
        let mut by_shard: Vec<Vec<(Arc<str>, I)>> = (0..self.shards.len()).map(|_| Vec::new()).collect();
        for (key, item) in items {
            if let Some(list) = by_shard.get_mut(self.position(&key)) {
                list.push((key, item));
            }
        }
        for (shard, list) in self.shards.iter().zip(by_shard).filter(|(_, list)| !list.is_empty()) {
            let mut new = Shard::clone(&shard.load());
            for (key, item) in list {
                let value = add(new.get(&key), item);
                new.insert(key, value);
            }
            shard.store(Arc::new(new));
        }
    }

    /// All values, in no order. Each shard as it is when it is reached.
    pub(super) fn values(&self) -> impl Iterator<Item = V> {
        self.shards.iter().flat_map(|shard| shard.load().values().cloned().collect::<Vec<_>>())
    }

    /// All keys with their values, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Arc<str>, V)> {
        self.shards.iter().flat_map(|shard| {
            shard.load().iter().map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>()
        })
    }

    /// All values, a shard at a time: for whoever does something else in between.
    pub(super) fn by_shard(&self) -> impl Iterator<Item = Vec<V>> {
        self.shards.iter().map(|shard| shard.load().values().cloned().collect())
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.load().len()).sum()
    }

    fn shard(&self, key: &str) -> Option<&ArcSwap<Shard<V>>> {
        self.shards.get(self.position(key))
    }

    fn position(&self, key: &str) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_seen_and_do_not_touch_other_keys() {
        let index = Index::new();
        index.add_all((0..1000).map(|number| (Arc::from(number.to_string()), number)), |_, number| number);
        assert_eq!(index.len(), 1000);
        index.change("7", |old| old.map(|number| number + 1));
        index.change("8", |_| None);
        index.change("new", |old| old.is_none().then_some(-1));
        assert_eq!(index.find("7"), Some(8));
        assert_eq!(index.find("8"), None);
        assert_eq!(index.find("new"), Some(-1));
        assert_eq!(index.find("999"), Some(999));
        assert_eq!(index.values().count(), 1000);
        index.add_all([(Arc::from("7"), 2)].into_iter(), |old, number| old.copied().unwrap_or(0) + number);
        assert_eq!(index.find("7"), Some(10));
        assert_eq!(index.entries().filter(|(key, _)| &**key == "7").count(), 1);
    }
}
