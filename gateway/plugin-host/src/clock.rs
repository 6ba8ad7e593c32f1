//! The clock that ends endless guests: a thread that advances the engine's epoch.
//!
//! `host` owns it; `policy` tells it while guest code may run, and when a call turned out to be long.
//!
//! # Memo: three paces
//! Each tick interrupts whatever the core does: the thread is woken, another one put aside and brought back. At a tick
//! each millisecond that was 6 µs of each full handshake on a core that makes 8,000 a second, half of what the sandbox
//! cost. But nearly no call ever lives to see a tick. So while calls are short the clock ticks each 10 ms ([`STROLL`]),
//! which bounds how long the first endless guest holds its worker, and each millisecond ([`RUN`]) as long as there is a
//! long call and for a second after the last one: who has one has more.
//!
//! Without any call it rests: after [`REST_AFTER`] ticks without one under way it stops, and the next call starts it
//! again. A call counts from before its first instruction to after its last, waits within the host included, so none ever
//! runs without ticks.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::Engine;

use crate::priority::wake_promptly;

/// Between ticks as long as no call is long: how long the first one that is may hold its worker.
const STROLL: Duration = Duration::from_millis(10);
/// Between ticks when calls are long: how long a guest runs before it lets others go on.
pub(crate) const RUN: Duration = Duration::from_millis(1);
/// Ticks at the pace of [`RUN`] after the last long call.
const CALM_AFTER: u32 = 1_000;
/// Starting the clock costs some microseconds, which a call should not have to pay often.
const REST_AFTER: u32 = 100;

/// Joined when dropped.
pub(crate) struct Clock {
    face: Arc<Face>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Face {
    stop: AtomicBool,
    resting: AtomicBool,
    /// Calls under way.
    running: AtomicUsize,
    /// Of these, those that did not end in their first turn.
    long: AtomicUsize,
    /// Whether there was a long one since the last tick.
    hurry: AtomicBool,
}

/// While it lives, the clock ticks.
pub(crate) struct Ticking<'a>(&'a Face);

/// While it lives, the clock ticks each millisecond.
pub(crate) struct Running(Arc<Face>);

impl Clock {
    pub(crate) fn start(engine: Engine) -> io::Result<Self> {
        let face = Arc::new(Face::default());
        let thread = thread::Builder::new().name("policy-clock".into()).spawn({
            let face = Arc::clone(&face);
            move || face.run(&engine)
        })?;
        Ok(Self { face, thread: Some(thread) })
    }

    /// Called before guest code runs.
    pub(crate) fn tick(&self) -> Ticking<'_> {
        // This addition and the look at `resting`, and there the other way round: in the one order that all threads see,
        // either the clock sees the call or the call sees that the clock rests.
        self.face.running.fetch_add(1, Ordering::SeqCst);
        if self.face.resting.load(Ordering::SeqCst) {
            self.wake();
        }
        Ticking(&self.face)
    }

    /// Called when a guest's first turn is over.
    pub(crate) fn run(&self) -> Running {
        self.hurry();
        if self.face.long.fetch_add(1, Ordering::SeqCst) == 0 {
            // It may have 10 ms to sleep.
            self.wake();
        }
        Running(Arc::clone(&self.face))
    }

    /// Called when a guest's turn was long, and over of its own accord.
    pub(crate) fn hurry(&self) {
        self.face.hurry.store(true, Ordering::Relaxed);
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Face {
    fn run(&self, engine: &Engine) {
        // A tick that waits for the guest that it is to interrupt comes too late.
        wake_promptly();
        let (mut quiet, mut calm) = (0, CALM_AFTER);
        while !self.stop.load(Ordering::Relaxed) {
            let long = self.hurry.swap(false, Ordering::Relaxed) || self.long.load(Ordering::SeqCst) > 0;
            calm = if long { 0 } else { CALM_AFTER.min(calm + 1) };
            thread::park_timeout(if calm < CALM_AFTER { RUN } else { STROLL });
            engine.increment_epoch();
            quiet = if self.is_quiet() { quiet + 1 } else { 0 };
            if quiet >= REST_AFTER {
                self.rest();
                quiet = 0;
            }
        }
    }

    fn rest(&self) {
        self.resting.store(true, Ordering::SeqCst);
        while self.is_quiet() && !self.stop.load(Ordering::Relaxed) {
            thread::park();
        }
        self.resting.store(false, Ordering::SeqCst);
    }

    fn is_quiet(&self) -> bool {
        self.running.load(Ordering::SeqCst) == 0
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.long.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.face.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It does not panic, and if it did there is nothing left to tell.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_until(what: impl Fn() -> bool) {
        let begin = std::time::Instant::now();
        while !what() {
            assert!(begin.elapsed() < Duration::from_secs(60), "it never came to that");
            thread::yield_now();
        }
    }

    #[test]
    fn the_clock_rests_without_calls_and_ticks_again_with_the_next_one() {
        let clock = Clock::start(Engine::default()).unwrap();
        let resting = || clock.face.resting.load(Ordering::SeqCst);
        for _ in 0..2 {
            wait_until(resting);
            let (first, second) = (clock.tick(), clock.tick());
            wait_until(|| !resting());
            drop(first);
            assert!(!clock.face.is_quiet());
            drop(second);
        }
    }
}
