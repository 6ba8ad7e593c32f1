//! Who is asked about next, of those whose time has come: each source of certificates has its turn, and of a source each
//! responder.
//!
//! [`super::stapler`] has a few places for exchanges that are under way. If the longest wait decided who gets one that is free,
//! 10,000 certificates in one folder, or of an authority whose responder takes nine seconds for an answer, would have all
//! of them for hours. With turns others wait until one exchange ends, however many there are before them.
//!
//! Rejected: a bound of places for each. It leaves places empty where there is only one, and is none where certificates
//! name a responder each.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

/// Lines of those who wait. None of them is empty.
#[derive(Debug)]
pub(super) struct Turns<T> {
    sources: BTreeMap<Box<str>, Source<T>>,
    /// Who had the last turn.
    last: Option<Box<str>>,
}

/// By responder.
#[derive(Debug)]
struct Source<T> {
    lines: BTreeMap<Box<str>, VecDeque<T>>,
    last: Option<Box<str>>,
}

impl<T> Turns<T> {
    /// Puts one at the end of its line.
    pub(super) fn push(&mut self, source: &str, responder: &str, item: T) {
        if !self.sources.contains_key(source) {
            self.sources.insert(source.into(), Source { lines: BTreeMap::new(), last: None });
        }
        let Some(Source { lines, .. }) = self.sources.get_mut(source) else { return };
        match lines.get_mut(responder) {
            Some(line) => line.push_back(item),
            None => drop(lines.insert(responder.into(), VecDeque::from([item]))),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Takes out the first of the line whose turn it is.
    pub(super) fn take(&mut self) -> Option<T> {
        let name = after(&self.sources, self.last.take())?;
        let source = self.sources.get_mut(&name)?;
        let responder = after(&source.lines, source.last.take())?;
        let line = source.lines.get_mut(&responder)?;
        let item = line.pop_front();
        if line.is_empty() {
            source.lines.remove(&responder);
        }
        source.last = Some(responder);
        if source.lines.is_empty() {
            self.sources.remove(&name);
        }
        self.last = Some(name);
        item
    }
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { sources: BTreeMap::new(), last: None }
    }
}

/// The key that follows this one, whether or not it is still there; after the last, the first.
fn after<V>(map: &BTreeMap<Box<str>, V>, last: Option<Box<str>>) -> Option<Box<str>> {
    let following = |last| map.range::<Box<str>, _>((Bound::Excluded(&last), Bound::Unbounded)).next();
    let key = last.and_then(following).or_else(|| map.first_key_value());
    key.map(|(key, _)| key.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(waiting: &[(&str, &str, u32)]) -> Vec<u32> {
        let mut turns = Turns::default();
        for (source, responder, item) in waiting {
            turns.push(source, responder, *item);
        }
        std::iter::from_fn(|| turns.take()).collect()
    }

    #[test]
    fn sources_take_turns_and_of_a_source_its_responders() {
        let waiting = [
            ("many", "slow", 1),
            ("many", "slow", 2),
            ("many", "slow", 3),
            ("many", "other", 4),
            ("few", "slow", 5),
            ("few", "slow", 6),
        ];
        assert_eq!(order(&waiting), [5, 4, 6, 1, 2, 3]);
        assert_eq!(order(&[("one", "one", 1), ("one", "one", 2), ("one", "one", 3)]), [1, 2, 3]);
        assert_eq!(order(&[]), [0; 0]);
    }

    #[test]
    fn one_that_comes_late_waits_for_one_turn_of_each_source() {
        let mut turns = Turns::default();
        for number in 0..10_000 {
            // A responder each, which is nobody's advantage.
            turns.push("many", &format!("{number}.example"), number);
        }
        assert!(turns.take().is_some());
        turns.push("late", "a.example", 10_000);
        assert_eq!([turns.take(), turns.take()].iter().filter(|turn| **turn == Some(10_000)).count(), 1);
        let rest = std::iter::from_fn(|| turns.take()).count();
        assert_eq!((rest, turns.is_empty()), (9_998, true));
    }
}
