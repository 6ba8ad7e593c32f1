//! The linear memory of all policies' instances together.
//!
//! `limits` bounds what one instance has, and asks here for what is beyond [`FREE`]; `policy` waits here for the room of an
//! instance that is known to start with more.
//!
//! # Memo: who is refused when memory is short
//!
//! The goal: guests that take what they can must not end the gateway for want of memory, nor cost other policies a verdict.
//! By its default bounds alone, one policy could have 100 calls under way with 16 MiB each.
//!
//! - The first [`FREE`] of each instance is not charged. Nearly all guests but interpreters stay below it, so they are never
//!   refused for what others take, and their calls touch nothing that all workers share. What that comes to is bounded by
//!   how many instances there are.
//! - One policy may have as much as it leaves free: half where it is alone, a third each where two want all they can get,
//!   a quarter each of three. So however many are hostile, there is something left for one more. Rejected: half for each,
//!   by which two take all of it.
//! - To start is to wait, as for a turn: an interpreter starts with megabytes, and nothing is wrong with twenty calls of it at
//!   once. To grow is to be refused: an instance that waits with what it has could wait for one that waits for it.
//! - Starts leave an eighth of a policy's part to growth, or instances that all start as large as the bound lets them would
//!   all fail at the first page that they add. The first that a policy holds may be as large as half of everything, if that
//!   is free.
//! - Instances that wait for a call (`Instances::Reuse`) are charged, and ended where their memory is wanted: those of the
//!   policy itself, then those of one that has more than it would have, and for one that has nothing those of any.
//!
//! Rejected: to charge what a guest has touched, which is less than what it may touch, but only the kernel knows it.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::policy::Waiting;

/// Bytes of each instance that are not charged.
pub(crate) const FREE: usize = 1 << 20;

/// What all policies share.
pub(crate) struct Memory {
    most: usize,
    /// Held while the shares' own sums change with it.
    used: Mutex<usize>,
    /// Starts that wait for room.
    starts: AtomicUsize,
    freed: Notify,
    waiting: Arc<Waiting>,
}

impl Memory {
    pub(crate) fn new(most: usize, waiting: Arc<Waiting>) -> Self {
        let (used, starts, freed) = (Mutex::new(0), AtomicUsize::new(0), Notify::new());
        Self { most, used, starts, freed, waiting }
    }

    /// Bytes.
    pub(crate) fn most(&self) -> usize {
        self.most
    }
}

/// What one policy has of it.
pub(crate) struct Share {
    all: Arc<Memory>,
    /// Changes while `used` is locked.
    held: AtomicUsize,
}

/// What room is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Start,
    Growth,
}

impl Share {
    pub(crate) fn new(all: Arc<Memory>) -> Self {
        Self { all, held: AtomicUsize::new(0) }
    }

    pub(crate) fn all(&self) -> &Memory {
        &self.all
    }

    /// Bytes that the policy's instances are charged for.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Room for an instance that starts with `bytes` beyond [`FREE`], if there is some.
    pub(crate) fn start(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        self.take(bytes, Purpose::Start).then(|| Charge { share: Arc::clone(self), bytes })
    }

    /// Looks at once, and whenever memory was given back or an instance waits for its next call.
    pub(crate) async fn wait_for<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let _waits = Waits::new(&self.all.starts);
        loop {
            // Counted and listening before it looks: whoever gives memory back after the look finds it waiting.
            let freed = pin!(self.all.freed.notified());
            if let Some(found) = look() {
                return found;
            }
            freed.await;
        }
    }

    /// Wakes those who wait, if anybody does.
    pub(crate) fn tell(&self) {
        if self.all.starts.load(Ordering::SeqCst) > 0 {
            self.all.freed.notify_waiters();
        }
    }

    /// Ends instances that wait for a call where there is no other way.
    fn take(&self, bytes: usize, purpose: Purpose) -> bool {
        while !self.take_what_is_free(bytes, purpose) {
            if !self.all.waiting.end_for(self, self.held().saturating_add(bytes)) {
                return false;
            }
        }
        true
    }

    fn take_what_is_free(&self, bytes: usize, purpose: Purpose) -> bool {
        let most = self.all.most;
        // A sum, whoever panicked with it.
        let mut used = self.all.used.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.held();
        let (own, sum) = (held.saturating_add(bytes), used.saturating_add(bytes));
        let Some(free) = most.checked_sub(sum) else { return false };
        let part = match purpose {
            _ if held == 0 => most / 2,
            Purpose::Start => free.saturating_sub(free / 8),
            Purpose::Growth => free,
        };
        if own > part {
            return false;
        }
        *used = sum;
        self.held.store(own, Ordering::Relaxed);
        true
    }

    fn give_back(&self, bytes: usize) {
        let mut used = self.all.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = used.saturating_sub(bytes);
        self.held.store(self.held().saturating_sub(bytes), Ordering::Relaxed);
        drop(used);
        self.tell();
    }
}

/// What one instance is charged for. To be dropped after its memory is gone.
pub(crate) struct Charge {
    share: Arc<Share>,
    bytes: usize,
}

impl Charge {
    pub(crate) fn none(share: &Arc<Share>) -> Self {
        Self { share: Arc::clone(share), bytes: 0 }
    }

    /// False, and nothing changes, if there is no room.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 && !self.share.take(more, Purpose::Growth) {
            return false;
        }
        self.bytes = self.bytes.saturating_add(more);
        true
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.share.give_back(self.bytes);
        }
    }
}

/// One that waits, also when it is not waited for any more.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(number: &'a AtomicUsize) -> Self {
        number.fetch_add(1, Ordering::SeqCst);
        Self(number)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    const MIB: usize = 1 << 20;

    fn shares() -> (Arc<Memory>, [Arc<Share>; 3]) {
        let all = Arc::new(Memory::new(96 * MIB, Arc::default()));
        let of = || Arc::new(Share::new(Arc::clone(&all)));
        let shares = [of(), of(), of()];
        (all, shares)
    }

    /// What a policy comes to that takes all it can get.
    fn greedy(charge: &mut Charge) -> usize {
        while charge.grow_to(charge.bytes + MIB) {}
        charge.bytes / MIB
    }

    #[test]
    fn one_policy_has_half_and_however_many_take_all_they_get_there_is_something_left() {
        let (all, [a, b, c]) = shares();
        let (mut of_a, mut of_b, mut of_c) = (Charge::none(&a), Charge::none(&b), Charge::none(&c));
        assert_eq!((greedy(&mut of_a), greedy(&mut of_b), greedy(&mut of_c)), (48, 24, 12));
        drop(of_a);
        assert_eq!((greedy(&mut of_b), greedy(&mut of_c)), (42, 27));
        drop((of_b, of_c));
        assert_eq!((*all.used.lock().unwrap(), a.held(), b.held(), c.held()), (0, 0, 0, 0));
    }

    #[test]
    fn starts_leave_room_to_grow_and_the_first_may_have_all_the_same() {
        let (_, [a, ..]) = shares();
        let large = a.start(48 * MIB).unwrap();
        assert!(a.start(1).is_none());
        drop(large);
        assert!(a.start(48 * MIB + 1).is_none());
        let mut first = a.start(22 * MIB).unwrap();
        let _second = a.start(22 * MIB).unwrap();
        assert!(a.start(MIB).is_none());
        assert!(first.grow_to(26 * MIB) && !first.grow_to(26 * MIB + 1));
    }

    #[test]
    fn what_fits_nowhere_takes_nothing() {
        let (all, [a, ..]) = shares();
        assert!(a.start(usize::MAX).is_none() && !Charge::none(&a).grow_to(usize::MAX));
        assert_eq!((*all.used.lock().unwrap(), a.held()), (0, 0));
    }

    #[test]
    fn a_start_waits_for_what_another_gives_back() {
        let (all, [a, ..]) = shares();
        let first = a.start(40 * MIB).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut second = Box::pin(a.wait_for(|| a.start(40 * MIB)));
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(first);
        let Poll::Ready(second) = second.as_mut().poll(&mut context) else { panic!("it still waits") };
        assert_eq!((second.bytes, all.starts.load(Ordering::SeqCst)), (40 * MIB, 0));
    }
}
