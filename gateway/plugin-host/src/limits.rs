//! What one call may use, and the account of what it has used.
//!
//! # Why a guest yields each millisecond but is ended only after a hundred
//!
//! The goal: a looping guest must not hold up the other connections of its worker, and an innocent one must not be
//! ended because the machine was busy. An epoch *trap* after 5 ms killed up to 325 of 80,000 innocent calls on a busy
//! 2-core machine, after 100 ms none. So the two are separate: at a tick of the host's clock a guest that has run for a
//! millisecond ends its turn (`YieldCustom`; wasmtime's plain `Yield` wakes itself before the reactor is polled and made a
//! 1 ms timer 22 ms late), which takes it off its worker ([`overtime`](crate::overtime))
//! and makes the clock tick each millisecond ([`clock`](crate::clock)). It is ended when either
//!
//! - it has run for the timeout. Time is charged at ticks, which only a running guest sees: a millisecond for one on a
//!   worker, though those of the first turn may be 10 ms apart, and off the workers what the processor gave it. So time spent
//!   waiting for other work does not count; or
//! - the wall clock has passed [`PATIENCE`] times the timeout *and* the guest is waiting: that deadline is looked at
//!   only when a poll of the call did not finish it. With the timeout itself as the deadline, calls that had yielded
//!   once behind twenty handshakes were ended on a busy machine (40 of 25,000, an unoptimised build).
//!
//! A guest that waits before each tick would never see one, and so never leave its worker nor be charged for anything. So
//! turns count what a call has run on its worker in all, a wait after a long one ends it, and off the workers a guest is
//! charged when it waits, too.
//!
//! To wait for a response of outgoing HTTP counts as running does: how long that takes is for others to decide, and they
//! must not hold a handshake for longer than a guest of its own accord. The look at the response comes before the look at
//! the clock, so that one that is there is never late; and the wait is over when the response is there, not when a busy
//! thread comes to see it (`imports/wasi/wake.rs`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};

use crate::clock;
use crate::error::{CallError, LoadError, Stop};
use crate::imports::State;
use crate::kept::Ledger;
use crate::memory::{Charge, FREE};
use crate::overtime::{self, end_of_turn};

/// The largest linear memory a pool slot can hold, hence the largest [`Limits::memory`].
pub(crate) const MAX_MEMORY: usize = 64 << 20;
/// Table elements of one instance, all tables together. Function pointers of the guest; CPython needs 5,672.
pub(crate) const TABLE_ELEMENTS: usize = 20_000;
/// Live handles to certificates and the like, and hence the views kept alive by a guest.
pub(crate) const HANDLES: usize = 4_096;
/// Bytes a guest may pass in one host call. The interface's own bounds are smaller, but its results count too.
pub(crate) const HOST_CALL_BYTES: usize = 1 << 20;
/// Messages of one call that reach the log; `wit/v1`, interface `log`.
pub(crate) const LOG_LINES: u32 = 16;
/// Bytes of one message; `wit/v1`, interface `log`.
pub(crate) const LOG_LINE_BYTES: usize = 1_024;

/// From here on a turn that ended by itself makes the clock hurry as one does that had to be ended.
const LONG_TURN: Duration = Duration::from_millis(2);

/// How much longer than its timeout a call may take by the wall clock, waits included.
pub(crate) const PATIENCE: u32 = 10;

/// What a policy may use: one call, and all together where it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long the guest may run in one call; `configure`, where it runs within one, may as long before it. Waits do not
    /// count, but both together never take more than ten times this by the wall clock.
    pub timeout: Duration,
    /// Bytes of linear memory, all memories of an instance together; at most 64 MiB.
    pub memory: usize,
    /// Calls of imported functions. A policy that reads everything about 64 certificates makes about 800.
    pub host_calls: u32,
    /// Calls under way at once, on all threads; a further one waits for its turn. The pool's instances are shared by
    /// all policies: without this one that dawdles would have them all, and every other policy none.
    pub concurrency: u32,
    /// Lines in a second that reach the log, of all calls together; ten seconds' worth at once after a quiet time. The
    /// bound of one call does not help where calls are many: a gateway has thousands in a second.
    pub log_rate: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(100),
            memory: 16 << 20,
            host_calls: 4_096,
            concurrency: 100,
            log_rate: 100,
        }
    }
}

impl Limits {
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        if self.memory > MAX_MEMORY {
            return Err(LoadError::MemoryLimit { asked: self.memory, most: MAX_MEMORY });
        }
        if self.timeout.is_zero() {
            return Err(LoadError::NoTime);
        }
        Ok(())
    }
}

/// The account of one instance: what lasts as long as it (memory), and what starts anew with each call.
pub(crate) struct Account {
    limits: Limits,
    memory: usize,
    last_growth: usize,
    ledger: Arc<Ledger>,
    /// For what is beyond [`FREE`].
    charge: Option<Charge>,
    refused: Option<Refused>,
    table_elements: usize,
    /// When the guest began to run, or went on after a wait. `None` while it waits.
    going_since: Option<Instant>,
    /// How long it ran before that, as the wall clock has it.
    went: Duration,
    /// What it is charged for.
    ran: Duration,
    /// For responses of others.
    waited: Duration,
    host_calls: u32,
    log_lines: u32,
}

/// Why the guest did not get memory.
#[derive(Debug, Clone, Copy)]
enum Refused {
    /// It has all that one instance may have.
    Limit,
    /// All policies together, or the instances of this one, have what they may.
    Room,
}

impl Account {
    pub(crate) fn new(limits: Limits, ledger: Arc<Ledger>) -> Self {
        Self {
            limits,
            memory: 0,
            last_growth: 0,
            ledger,
            charge: None,
            refused: None,
            table_elements: 0,
            going_since: None,
            went: Duration::ZERO,
            ran: Duration::ZERO,
            waited: Duration::ZERO,
            host_calls: 0,
            log_lines: 0,
        }
    }

    /// Starts the account of the next call into the guest.
    pub(crate) fn begin(&mut self) {
        self.refused = None;
        self.going_since = Some(Instant::now());
        self.went = Duration::ZERO;
        self.ran = Duration::ZERO;
        self.waited = Duration::ZERO;
        self.host_calls = 0;
        self.log_lines = 0;
    }

    pub(crate) fn host_call(&mut self) -> Result<(), Stop> {
        self.host_calls(1)
    }

    /// One that takes as long as so many.
    pub(crate) fn host_calls(&mut self, number: u32) -> Result<(), Stop> {
        let made = self.host_calls.saturating_add(number);
        if made > self.limits.host_calls {
            return Err(Stop::HostCalls);
        }
        self.host_calls = made;
        Ok(())
    }

    /// Whether one more message may be logged.
    pub(crate) fn log_line(&mut self) -> bool {
        self.log_lines = self.log_lines.saturating_add(1);
        self.log_lines <= LOG_LINES
    }

    /// What the guest was refused, if that is the likely reason for the trap that followed: allocators answer a
    /// failed `memory.grow` with an abort.
    pub(crate) fn refused_memory(&self) -> Option<CallError> {
        Some(match self.refused? {
            Refused::Limit => CallError::Memory { limit: self.limits.memory },
            Refused::Room => CallError::NoRoom { most: self.ledger.memory.all().most() },
        })
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Bytes of linear memory, all memories together.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// What the policy has that outlives this instance.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The room that was waited for, before anything is made of it.
    pub(crate) fn begin_with(&mut self, charge: Option<Charge>) {
        self.charge = charge;
    }

    /// What the instance is charged for, to be kept until its memory is gone.
    pub(crate) fn take_charge(&mut self) -> Option<Charge> {
        self.charge.take()
    }

    pub(crate) fn is_charged(&self) -> bool {
        self.charge.is_some()
    }

    /// Whether there is room for an instance of so many bytes.
    fn has_room_for(&mut self, bytes: usize) -> bool {
        let beyond = bytes.saturating_sub(FREE);
        beyond == 0 || self.charge.get_or_insert_with(|| Charge::none(&self.ledger.memory)).grow_to(beyond)
    }

    /// How long the guest may still run, or wait for a response.
    pub(crate) fn left_to_wait(&self) -> Duration {
        self.limits.timeout.saturating_sub(self.ran).saturating_sub(self.waited)
    }

    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited = self.waited.saturating_add(time);
    }

    /// The guest may have to wait. One that has had a long turn until then goes on elsewhere.
    pub(crate) async fn pause(&mut self) {
        self.went = self.has_gone_for();
        self.going_since = None;
        match overtime::ran() {
            Some(ran) => self.ran = self.ran.saturating_add(ran),
            None if self.held_its_thread() => end_of_turn().await,
            None => {}
        }
    }

    /// It goes on after that. While it waited the clock went on.
    pub(crate) fn go_on(&mut self) {
        self.going_since = Some(Instant::now());
    }

    /// Whether the guest has run for longer than a turn should take.
    pub(crate) fn held_its_thread(&self) -> bool {
        self.has_gone_for() >= LONG_TURN
    }

    fn has_gone_for(&self) -> Duration {
        let going = self.going_since.map_or(Duration::ZERO, |since| since.elapsed());
        self.went.saturating_add(going)
    }

    fn tick(&mut self) -> Result<UpdateDeadline, Stop> {
        let off_the_workers = overtime::ran();
        self.ran = self.ran.saturating_add(off_the_workers.unwrap_or(clock::RUN));
        if self.ran.saturating_add(self.waited) > self.limits.timeout {
            return Err(Stop::Time);
        }
        if off_the_workers.is_none() && self.has_gone_for() < clock::RUN {
            // It only happened to run just then.
            return Ok(UpdateDeadline::Continue(1));
        }
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(end_of_turn())))
    }
}

/// The epoch callback: a tick of the host's clock passed while the guest ran.
pub(crate) fn on_tick(mut store: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
    Ok(store.data_mut().account.tick()?)
}

impl ResourceLimiter for Account {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        let total = self.memory.saturating_add(growth);
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The guest's own declaration forbids it, not we.
            return Ok(false);
        }
        if total > self.limits.memory {
            self.refused = Some(Refused::Limit);
            return Ok(false);
        }
        if !self.has_room_for(total) {
            self.refused = Some(Refused::Room);
            return Ok(false);
        }
        self.memory = total;
        self.last_growth = growth;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory = self.memory.saturating_sub(self.last_growth);
        self.last_growth = 0;
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > TABLE_ELEMENTS || maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    // Core instances, memories and tables of one component: CPython brings 38 core instances, QuickJS 3 memories.
    // The same bounds are checked when a component is loaded (`host`); these hold if that is ever forgotten.
    fn instances(&self) -> usize {
        128
    }

    fn memories(&self) -> usize {
        16
    }

    fn tables(&self) -> usize {
        128
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::kept::Registry;

    fn account() -> Account {
        Account::new(Limits::default(), Registry::new(usize::MAX).ledger("under-test"))
    }

    fn run_for(time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    /// Whether that ended its turn.
    fn waits(account: &mut Account) -> bool {
        let ended = pin!(account.pause()).poll(&mut Context::from_waker(Waker::noop())) == Poll::Pending;
        account.go_on();
        ended
    }

    /// Once, each wait began a new turn, and one that did not even wait, too.
    #[test]
    fn a_turn_on_a_worker_is_over_however_often_the_guest_waits_in_it() {
        let mut account = account();
        account.begin();
        for _ in 0..5 {
            run_for(clock::RUN / 4);
            waits(&mut account);
        }
        assert!(matches!(account.tick(), Ok(UpdateDeadline::YieldCustom(1, _))));
    }

    #[test]
    fn a_guest_that_waits_before_each_tick_leaves_its_worker_too() {
        let mut account = account();
        account.begin();
        run_for(LONG_TURN);
        assert!(waits(&mut account));
    }
}
