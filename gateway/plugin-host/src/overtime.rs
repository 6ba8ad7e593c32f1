//! Where a call goes on that did not finish in its first turn: on threads of its own, behind everything else.
//!
//! `policy` runs each call through [`Overtime::run`]; `limits` says when a turn is over, [`queue`] whose the next one is.
//!
//! # Memo: why a long call leaves its worker
//! A guest yields each millisecond, but a worker that gives it a turn whenever nothing else is ready is in the middle of
//! one whenever a packet comes: with one guest in an endless loop, handshakes on its worker took 4.4 ms instead of 0.33 ms
//! in the median. A scheduler that may interrupt does better than one that must wait. So the worker runs a call until its
//! first yield, which is all there is of nearly every call and costs no change of threads; what is longer goes on here, at
//! a lower priority than the workers have. For the caller nothing differs: the future it waits for is the same, and ends
//! the call if it is dropped.

mod queue;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Dispatch, dispatcher};

use self::queue::Queue;
use crate::clock::RUN;
use crate::priority::step_back;

/// Ends its threads when dropped, at their next yield.
pub(crate) struct Overtime {
    /// `None` only in `drop`.
    runtime: Option<Runtime>,
    queue: Arc<Queue>,
}

/// The call is gone with the threads: the process is about to end.
pub(crate) struct Ended;

thread_local! {
    /// Whether the guest that this thread polls ended its turn.
    static TURN_IS_OVER: Cell<bool> = const { Cell::new(false) };
    /// The time that this thread had run when the guest's turn began, or when it was last charged for. `None` on workers.
    static CHARGED: Cell<Option<Duration>> = const { Cell::new(None) };
}

impl Overtime {
    pub(crate) fn start() -> io::Result<Self> {
        Self::with_threads(thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }

    fn with_threads(threads: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("policy-overtime")
            .on_thread_start(step_back)
            // A turn takes a millisecond, so after each there may be a timer that is over, or a new call: a timer of 1 ms took
            // 36 ms in the median beside 100 loops on busy processors, with this 8.
            .event_interval(1)
            .global_queue_interval(1)
            .enable_time()
            .build()?;
        Ok(Self { runtime: Some(runtime), queue: Arc::new(Queue::new(threads)) })
    }

    /// Polls a call of `policy` where it is as long as it ends or waits for others, and on threads of its own once a turn of
    /// its guest was over. `is_long` is called then, and its value dropped when the call has ended.
    pub(crate) async fn run<T, G>(
        &self,
        policy: &str,
        mut call: Pin<Box<impl Future<Output = T> + Send + 'static>>,
        is_long: impl FnOnce() -> G,
    ) -> Result<T, Ended>
    where
        T: Send + 'static,
        G: Send + 'static,
    {
        let first = poll_fn(|context| {
            TURN_IS_OVER.set(false);
            match call.as_mut().poll(context) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending if TURN_IS_OVER.get() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        if let Some(answer) = first.await {
            return Ok(answer);
        }
        let runtime = self.runtime.as_ref().ok_or(Ended)?;
        let long = is_long();
        let (queue, policy) = (Arc::clone(&self.queue), Arc::from(policy));
        let mut call = WithItsLog { call: Some(call), log: dispatcher::get_default(Clone::clone) };
        let rest = async move {
            let mut turn = None;
            let answer = poll_fn(|context| {
                let waiting = turn.get_or_insert_with(|| queue.place(&policy));
                let mut place = ready!(Pin::new(waiting).poll(context));
                turn = None;
                let begun = time_of_this_thread();
                CHARGED.set(begun);
                TURN_IS_OVER.set(false);
                let polled = call.poll(context);
                CHARGED.set(None);
                place.used(since(begun));
                if polled.is_pending() && TURN_IS_OVER.get() {
                    // Before the place is another's: a policy with one call is there too when that is decided.
                    turn = Some(queue.place(&policy));
                }
                polled
            });
            let answer = answer.await;
            drop(long);
            answer
        };
        match AbortOnDropHandle::new(runtime.spawn(rest)).await {
            Ok(answer) => Ok(answer),
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_cancelled) => Err(Ended),
            },
        }
    }
}

/// A call that went elsewhere. What it logs, its last words when it is ended included, goes where it would have gone from
/// where it began.
struct WithItsLog<F> {
    /// `None` only in `drop`.
    call: Option<Pin<Box<F>>>,
    log: Dispatch,
}

impl<F: Future> WithItsLog<F> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(call) = &mut self.call else { return Poll::Pending };
        dispatcher::with_default(&self.log, || call.as_mut().poll(context))
    }
}

impl<F> Drop for WithItsLog<F> {
    fn drop(&mut self) {
        dispatcher::with_default(&self.log, || drop(self.call.take()));
    }
}

impl Drop for Overtime {
    fn drop(&mut self) {
        // Not by its own drop, which would wait, and may not where async code runs.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A guest's turn ends: whoever polls it sees to others. Not tokio's `yield_now`, which wakes once its thread has run out of
/// other tasks, or after 61 of them, while a place may be held for this one.
pub(crate) async fn end_of_turn() {
    let mut is_over = false;
    poll_fn(|context| match std::mem::replace(&mut is_over, true) {
        true => Poll::Ready(()),
        false => {
            TURN_IS_OVER.set(true);
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

/// How long the guest has run since this was asked last: at a tick, or when it waits. Threads of their own may be put aside
/// for most of the time between two ticks, so there the processor's time counts; `None` on a worker, where a tick says
/// enough.
pub(crate) fn ran() -> Option<Duration> {
    let before = CHARGED.get()?;
    let now = time_of_this_thread()?;
    CHARGED.set(Some(now));
    Some(now.saturating_sub(before))
}

/// What a turn took that began then. A machine that does not say so is told the time of a usual one.
fn since(begun: Option<Duration>) -> Duration {
    begun.zip(time_of_this_thread()).map_or(RUN, |(begun, now)| now.saturating_sub(begun))
}

fn time_of_this_thread() -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live, writable `timespec`.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0;
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
    (!failed).then(|| Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use tokio::sync::oneshot;
    use tracing_subscriber::Registry;

    use super::*;

    /// A guest that needs so many turns, and counts them.
    async fn guest(turns: u32, counted: Arc<AtomicU32>) {
        for _ in 0..turns {
            let begun = time_of_this_thread();
            while since(begun) < Duration::from_micros(200) {
                std::hint::spin_loop();
            }
            counted.fetch_add(1, Ordering::Relaxed);
            end_of_turn().await;
        }
    }

    /// Tells whether its end is logged where the test logs.
    struct LastWords(mpsc::Sender<bool>);

    impl Drop for LastWords {
        fn drop(&mut self) {
            self.0.send(dispatcher::get_default(|log| log.is::<Registry>())).unwrap();
        }
    }

    #[tokio::test]
    async fn what_a_call_says_when_it_is_ended_is_logged_where_it_began() {
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry());
        let overtime = Overtime::with_threads(1).unwrap();
        let (is_there, there) = oneshot::channel();
        let (words, said) = mpsc::channel();
        let call = Box::pin(async move {
            let _words = LastWords(words);
            end_of_turn().await;
            is_there.send(()).unwrap();
            pending::<()>().await;
        });
        tokio::select! {
            _ = overtime.run("endless", call, || ()) => unreachable!("it never ends"),
            there = there => there.unwrap(),
        }
        assert_eq!(said.recv_timeout(Duration::from_secs(60)), Ok(true));
    }

    /// Once, turns were the calls' and not the policies': 50 of these for each of the other.
    #[tokio::test]
    async fn a_policy_with_many_long_calls_leaves_others_their_share() {
        let overtime = Arc::new(Overtime::with_threads(1).unwrap());
        let (of_many, of_one) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let mut many = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (overtime, counted) = (overtime.clone(), of_many.clone());
            many.spawn(async move {
                overtime.run("many", Box::pin(guest(u32::MAX, counted)), || ()).await.map_err(drop)
            });
        }
        while of_many.load(Ordering::Relaxed) < 200 {
            tokio::task::yield_now().await;
        }
        let before = of_many.load(Ordering::Relaxed);
        let one = overtime.run("one", Box::pin(guest(100, of_one.clone())), || ()).await;
        assert!(one.is_ok());
        let meanwhile = of_many.load(Ordering::Relaxed) - before;
        assert!(meanwhile < 1_000, "{meanwhile} turns for 100");
    }
}
