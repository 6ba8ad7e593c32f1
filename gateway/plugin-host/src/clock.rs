//! The clock that ends endless guests: a thread that advances the engine's epoch each millisecond.
//!
//! `host` owns it; `policy` tells it while guest code may run.
//!
//! # Memo: rest
//! A thousand wake-ups a second are 1 % of a core that does nothing else, and keep it from sleeping. So after
//! [`REST_AFTER`] ticks without a call under way the clock stops, and the next call starts it again. A call counts from
//! before its first instruction to after its last, waits within the host included, so none ever runs without ticks. What
//! remains is two atomic additions per call.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::Engine;

/// How long a guest runs before it lets the worker see to other connections.
const TICK: Duration = Duration::from_millis(1);
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
}

/// While it lives, the clock ticks.
pub(crate) struct Ticking<'a>(&'a Face);

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
        if self.face.resting.load(Ordering::SeqCst)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
        Ticking(&self.face)
    }
}

impl Face {
    fn run(&self, engine: &Engine) {
        let mut quiet = 0;
        while !self.stop.load(Ordering::Relaxed) {
            thread::park_timeout(TICK);
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
