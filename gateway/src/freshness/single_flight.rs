//! Work that is under way at most once, and that everybody who needs it waits for.
//!
//! [`super::Fresh`] reloads with it and the certificate store scans with it. It never runs work on the caller's thread,
//! and a caller that goes away does not cancel it.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::watch;

/// A slot for one task.
///
/// The task owns the sending half: it reports progress by sending, and that it is over (finished, panicked, or dropped
/// with its runtime) by dropping it. So no path leaves the slot taken, and no waiter behind.
#[derive(Debug, Default)]
pub struct SingleFlight {
    progress: Mutex<Option<watch::Receiver<()>>>,
}

impl SingleFlight {
    /// Joins the task under way, or starts one. The second half of the answer is whether this call started it.
    ///
    /// The receiver counts what was reported before the call as news: mark it unchanged, look at the result, then wait.
    pub fn join<F>(
        &self,
        runtime: &Handle,
        work: impl FnOnce(watch::Sender<()>) -> F,
    ) -> (watch::Receiver<()>, bool)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut slot = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(progress) = slot.as_ref().filter(|progress| is_open(progress)) {
            return (progress.clone(), false);
        }
        let (sender, receiver) = watch::channel(());
        *slot = Some(receiver.clone());
        drop(slot);
        runtime.spawn(work(sender));
        (receiver, true)
    }

    pub fn is_under_way(&self) -> bool {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(is_open)
    }
}

/// An error means that the sender is gone.
fn is_open(progress: &watch::Receiver<()>) -> bool {
    progress.has_changed().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn callers_join_what_is_under_way_and_a_panic_frees_the_slot() {
        let flights = SingleFlight::default();
        let (go, gate) = tokio::sync::oneshot::channel::<()>();
        let runtime = Handle::current();
        let (mut first, started) = flights.join(&runtime, |sender| async move {
            let _ = gate.await;
            drop(sender);
        });
        assert!(started);
        let (_, started) = flights.join(&runtime, |_| async { unreachable!("something is under way") });
        assert!(!started);
        go.send(()).unwrap();
        assert!(first.changed().await.is_err());
        let (mut second, started) = flights.join(&runtime, |_sender| async { panic!("on purpose") });
        assert!(started);
        assert!(second.changed().await.is_err());
        assert!(!flights.is_under_way());
    }
}
