//! Work that goes on in the background while a test changes something under it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::wait::Watched;

/// Threads that do one thing again and again until they are stopped, and keep what each round gave.
pub struct Load<T> {
    stop: Arc<AtomicBool>,
    rounds: Watched<Vec<T>>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Send + 'static> Load<T> {
    pub fn start(threads: usize, round: impl Fn() -> T + Send + Sync + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Watched::new(Vec::new());
        let round = Arc::new(round);
        let threads = (0..threads)
            .map(|_| {
                let (stop, rounds, round) = (stop.clone(), rounds.clone(), round.clone());
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let result = round();
                        rounds.change(|rounds| rounds.push(result));
                    }
                })
            })
            .collect();
        Self { stop, rounds, threads }
    }

    /// Waits until `count` more rounds have ended.
    #[track_caller]
    pub fn wait_for_rounds(&self, count: usize) {
        let goal = self.rounds.lock().len() + count;
        let reached = self.rounds.wait(|rounds| (rounds.len() >= goal).then_some(()));
        assert!(reached.is_some(), "the load stopped making progress");
    }

    /// Ends the load and returns the results of all rounds.
    #[track_caller]
    pub fn stop(mut self) -> Vec<T> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok(), "a thread of the load panicked");
        }
        self.rounds.change(std::mem::take)
    }
}

impl<T> Drop for Load<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
