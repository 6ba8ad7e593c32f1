//! Ends HTTP/2 streams whose client takes no more of the response.
//!
//! Flow control lets a client stop one stream for ever while the connection lives. hyper then waits for the window and
//! asks the body for nothing, so no clock within the body would tick. Each stream's task therefore runs under a guard:
//! if the body handed over a frame and was not asked again for `body_timeout`, the stream is dropped, which resets it.
//!
//! h2 queues what is larger than the window, and hyper's task is over once it has handed over the end. A response that
//! fits the queue would then lie there under no clock at all. Therefore the body keeps its last byte back for one more
//! poll: hyper takes that one only when all before it has its place in the window, and it too. The cost is one more DATA
//! frame, of ten bytes, in the same write; a response that just fits the window still ends within it.
//! Not covered: what had its place and is then stopped by a smaller SETTINGS_INITIAL_WINDOW_SIZE before it is written.
//! That needs a client that stops reading TCP first, and lasts until that connection is idle or drained.
//!
//! How the guard knows: a body notes each poll in a thread-local, and its stream's task reads it right after. hyper
//! polls a response body only within the task of its stream, and a poll does not leave the thread.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::task::{Poll, ready};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::Instant;

use crate::upstream::alarm::Alarm;

/// What a response body did last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Polled {
    /// Gave a frame: what follows is the client's turn.
    Gave,
    /// Waits for the upstream, under its own clock.
    Waits,
}

thread_local! {
    static LAST: Cell<Option<Polled>> = const { Cell::new(None) };
    static CUTTING: Cell<bool> = const { Cell::new(false) };
}

/// Called by the body at each poll.
pub(super) fn note(polled: Polled) {
    LAST.set(Some(polled));
}

/// Asked by a body that is dropped: whether its stream is being cut off, whatever hyper took from it.
pub(super) fn is_cutting() -> bool {
    CUTTING.get()
}

/// hyper's executor for streams.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams {
    timeout: Duration,
}

impl Streams {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let timeout = self.timeout;
        // Boxed: spawning and ending a task moves its future, and this one is some KiB.
        let mut stream = Some(Box::pin(stream));
        tokio::spawn(async move {
            let mut alarm = Alarm::default();
            let mut blocked_since = None;
            poll_fn(|context| {
                LAST.set(None);
                if stream.as_mut().is_none_or(|stream| stream.as_mut().poll(context).is_ready()) {
                    return Poll::Ready(());
                }
                match LAST.take() {
                    Some(Polled::Gave) => blocked_since = Some(Instant::now()),
                    Some(Polled::Waits) => blocked_since = None,
                    None => {}
                }
                let Some(since) = blocked_since else { return Poll::Pending };
                ready!(alarm.poll(context, since + timeout));
                CUTTING.set(true);
                stream = None;
                CUTTING.set(false);
                Poll::Ready(())
            })
            .await;
        });
    }
}
