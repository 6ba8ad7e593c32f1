//! When a wait was over: not when its thread came to poll it again, but when it was woken.
//!
//! `wasi.rs` charges guests for the time that others take to answer. On a busy machine the call's thread may be late by more
//! than the answer took, which is nothing that the guest or those others could help.

use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

/// Polls until there is an answer, and says since when there was.
pub(super) async fn until_ready<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> (T, Instant) {
    let mut last: Option<Arc<Noting>> = None;
    poll_fn(|context| {
        let woken = last.as_ref().and_then(|noting| noting.at.get().copied());
        // A new one for each poll: who wakes without an answer does not end the wait.
        let noting = Arc::new(Noting { waker: context.waker().clone(), at: OnceLock::new() });
        let waker = Waker::from(Arc::clone(&noting));
        last = Some(noting);
        let ready = poll(&mut Context::from_waker(&waker));
        ready.map(|answer| (answer, woken.unwrap_or_else(Instant::now)))
    })
    .await
}

/// A waker that notes the first time.
struct Noting {
    waker: Waker,
    at: OnceLock<Instant>,
}

impl Wake for Noting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.at.get_or_init(Instant::now);
        self.waker.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    fn pass(time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_wait_is_over_when_it_was_woken_with_an_answer() {
        let (answer, mut waiting) = oneshot::channel();
        let polls = std::cell::Cell::new(0);
        let mut wait = pin!(until_ready(|context| {
            polls.set(polls.get() + 1);
            if polls.get() == 1 {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            pin!(&mut waiting).poll(context)
        }));
        let mut context = Context::from_waker(Waker::noop());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        pass(Duration::from_millis(5));
        let before = Instant::now();
        answer.send(()).unwrap();
        let after = Instant::now();
        pass(Duration::from_millis(5));
        let Poll::Ready((Ok(()), over)) = wait.poll(&mut context) else { panic!("it is still waiting") };
        assert!((before..=after).contains(&over));
    }
}
