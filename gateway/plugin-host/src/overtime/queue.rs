//! Whose long call runs next: one of the policy that had the least of the processor.
//!
//! [`super::Overtime`] asks for a place before each turn of a call, and gives it back after it. There is one for each of
//! its threads. Nothing here knows what runs.
//!
//! # Memo: by policy, and by time
//! If calls took turns, a policy with 100 endless loops under way would have 100 turns for each one of another policy,
//! whose time by the wall clock would be over long before its few milliseconds are done: beside them, with both processors
//! of two busy, 20 ms of a call took 10 s; with what is here 0.2 s, as without them. So policies share, and the calls
//! of one policy share what it has. What counts is the processor's time and not turns: one may be some microseconds, or,
//! in a search through all certificates, 10 ms.
//!
//! A policy that comes, or comes back, starts from what the one whose turn began last has had ([`Inside::now`]; this is
//! start-time fair queueing): nobody saves up time while he has no calls, and nobody gets rid of what he had by having none
//! for a moment.
//!
//! Rejected: a bound of long calls for each policy, which leaves processors idle where there is one policy, and gives others
//! nothing where the threads are fewer than the bounds. Threads for each policy, among which the kernel would be fair: 20
//! policies on 64 processors would have 1,280. Turns of policies in order: right but for the long ones.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;

pub(super) struct Queue {
    places: usize,
    inside: Mutex<Inside>,
}

struct Inside {
    free: usize,
    /// By policy, since the last moment without any call.
    lines: HashMap<Arc<str>, Line>,
    /// What the policy whose turn began last had had by then.
    now: Duration,
}

#[derive(Default)]
struct Line {
    had: Duration,
    /// Places that its calls have.
    held: usize,
    waiting: VecDeque<oneshot::Sender<()>>,
}

/// Ready with a place. One that is dropped leaves the queue.
pub(super) struct Waiting {
    queue: Arc<Queue>,
    policy: Arc<str>,
    /// `None` once it is over.
    place: Option<oneshot::Receiver<()>>,
}

/// Given back when dropped.
pub(super) struct Place {
    queue: Arc<Queue>,
    policy: Arc<str>,
    used: Duration,
}

impl Queue {
    pub(super) fn new(places: usize) -> Self {
        let inside = Inside { free: places, lines: HashMap::new(), now: Duration::ZERO };
        Self { places, inside: Mutex::new(inside) }
    }

    /// A place for a turn of one of the policy's calls. A call that goes on asks for the next one before it gives the last
    /// one back.
    pub(super) fn place(self: &Arc<Self>, policy: &Arc<str>) -> Waiting {
        let (sender, place) = oneshot::channel();
        let mut inside = self.lock();
        let now = inside.now;
        let line = inside.lines.entry(Arc::clone(policy)).or_default();
        if line.waiting.is_empty() && line.held == 0 {
            line.had = line.had.max(now);
        }
        line.waiting.push_back(sender);
        inside.hand_out();
        drop(inside);
        Waiting { queue: Arc::clone(self), policy: Arc::clone(policy), place: Some(place) }
    }

    fn give_back(&self, policy: &str, used: Duration) {
        let mut inside = self.lock();
        if let Some(line) = inside.lines.get_mut(policy) {
            line.had = line.had.saturating_add(used);
            line.held = line.held.saturating_sub(1);
        }
        inside.free += 1;
        inside.hand_out();
        if inside.free == self.places {
            // Nobody is there whom it could be fair to. So the lines are never more than the policies of a busy time.
            inside.lines.clear();
            inside.now = Duration::ZERO;
        }
    }

    /// Plain numbers and lists, whoever panicked with them.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// Under the lock, so that no place is free while somebody waits. What is woken only gets into a runtime's queue.
    fn hand_out(&mut self) {
        while self.free > 0 {
            let waiting = self.lines.values_mut().filter(|line| !line.waiting.is_empty());
            let Some(line) = waiting.min_by_key(|line| line.had) else { return };
            let Some(first) = line.waiting.pop_front() else { return };
            // It may have gone at this moment.
            if first.send(()).is_ok() {
                self.now = self.now.max(line.had);
                self.free -= 1;
                line.held += 1;
            }
        }
    }
}

impl Future for Waiting {
    type Output = Place;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Place> {
        if let Some(place) = &mut self.place {
            // The queue lets go of a sender only with a place.
            let _ = ready!(Pin::new(place).poll(context));
        }
        self.place = None;
        let (queue, policy) = (Arc::clone(&self.queue), Arc::clone(&self.policy));
        Poll::Ready(Place { queue, policy, used: Duration::ZERO })
    }
}

impl Place {
    /// How long the turn took of the processor.
    pub(super) fn used(&mut self, time: Duration) {
        self.used = time;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(mut place) = self.place.take() else { return };
        place.close();
        match place.try_recv() {
            Ok(()) => self.queue.give_back(&self.policy, Duration::ZERO),
            Err(_none) => {
                if let Some(line) = self.queue.lock().lines.get_mut(&self.policy) {
                    line.waiting.retain(|waiting| !waiting.is_closed());
                }
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.give_back(&self.policy, self.used);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const TURN: Duration = Duration::from_millis(1);

    fn placed(waiting: &mut Waiting) -> Option<Place> {
        match Pin::new(waiting).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => Some(place),
            Poll::Pending => None,
        }
    }

    /// How many turns each policy has of so many, with one place: each has its number of calls, and turns of its length.
    fn shares(policies: &[(&str, usize, Duration)], turns: usize) -> Vec<usize> {
        let queue = Arc::new(Queue::new(1));
        let held = placed(&mut queue.place(&Arc::from("before"))).unwrap();
        let policies = policies.iter().map(|(name, calls, turn)| (Arc::from(*name), *calls, *turn));
        let mut policies: Vec<(Arc<str>, _, Duration)> = policies
            .map(|(name, calls, turn)| {
                let waiting: VecDeque<_> = (0..calls).map(|_| queue.place(&name)).collect();
                (name, waiting, turn)
            })
            .collect();
        drop(held);
        let mut had = vec![0; policies.len()];
        for _ in 0..turns {
            let next = policies.iter_mut().enumerate().find_map(|(number, (name, calls, turn))| {
                let (at, mut place) =
                    calls.iter_mut().enumerate().find_map(|(at, call)| Some((at, placed(call)?)))?;
                place.used(*turn);
                calls.remove(at);
                calls.push_back(queue.place(name));
                Some(number)
            });
            had[next.unwrap()] += 1;
        }
        had
    }

    #[test]
    fn a_policy_with_many_calls_has_no_more_than_one_with_one() {
        let shares = shares(&[("many", 100, TURN), ("one", 1, TURN), ("few", 3, TURN)], 300);
        assert!(shares.iter().all(|turns| (90..=110).contains(turns)), "{shares:?}");
    }

    #[test]
    fn one_whose_turns_are_long_has_fewer() {
        let shares = shares(&[("long", 10, TURN * 10), ("short", 1, TURN)], 1_100);
        assert!((90..=110).contains(&shares[0]), "{shares:?}");
    }

    #[test]
    fn who_comes_late_or_comes_back_has_nothing_saved_up() {
        let queue = Arc::new(Queue::new(1));
        let policies = ["early", "late"].map(Arc::from);
        let mut calls = [queue.place(&policies[0]), queue.place(&policies[0])];
        let turns = |calls: &mut [Waiting; 2], of: [usize; 2], number| {
            let mut had = [0, 0];
            for _ in 0..number {
                let (at, mut place) =
                    calls.iter_mut().enumerate().find_map(|(at, call)| Some((at, placed(call)?))).unwrap();
                place.used(TURN);
                had[of[at]] += 1;
                calls[at] = queue.place(&policies[of[at]]);
            }
            had
        };
        for _ in 0..2 {
            turns(&mut calls, [0, 0], 1_000);
            calls[1] = queue.place(&policies[1]);
            let had = turns(&mut calls, [0, 1], 100);
            assert!((45..=55).contains(&had[1]), "{had:?}");
            calls[1] = queue.place(&policies[0]);
        }
    }

    #[test]
    fn a_place_of_one_that_is_gone_is_another_s() {
        let (queue, policy) = (Arc::new(Queue::new(2)), Arc::from("policy"));
        let (one, mut two, three, mut four) =
            (queue.place(&policy), queue.place(&policy), queue.place(&policy), queue.place(&policy));
        let second = placed(&mut two).unwrap();
        assert!(placed(&mut four).is_none());
        drop(three);
        // It was given its place, and never looked.
        drop(one);
        drop(placed(&mut four).unwrap());
        drop(second);
        let inside = queue.lock();
        assert_eq!((inside.free, inside.lines.len()), (2, 0));
    }
}
