//! Where a call goes on that did not finish in its first turn: on threads of its own, behind everything else.
//!
//! `policy` runs each call through [`Overtime::run`]; `limits` says when a turn is over.
//!
//! # Memo: why a long call leaves its worker
//! A guest yields each millisecond, but a worker that gives it a turn whenever nothing else is ready is in the middle of
//! one whenever a packet comes: with one guest in an endless loop, handshakes on its worker took 4.4 ms instead of 0.33 ms
//! in the median. A scheduler that may interrupt does better than one that must wait. So the worker runs a call until its
//! first yield, which is all there is of nearly every call and costs no change of threads; what is longer goes on here, at
//! a lower priority than the workers have. For the caller nothing differs: the future it waits for is the same, and ends
//! the call if it is dropped.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;
use tracing::instrument::WithSubscriber;

/// Of the threads; workers have 0. One that a worker wakes beside waits for it, and still gets a tenth of a busy core.
const NICE: libc::c_int = 10;

/// Ends its threads when dropped, at their next yield.
pub(crate) struct Overtime {
    /// `None` only in `drop`.
    runtime: Option<Runtime>,
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
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("policy-overtime")
            .on_thread_start(step_back)
            .enable_time()
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Polls `call` where it is as long as it ends or waits for others, and on threads of its own once a turn of its guest
    /// was over. `is_long` is called then, and its value dropped when the call has ended.
    pub(crate) async fn run<T, G>(
        &self,
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
        let rest = async move {
            let answer = poll_fn(|context| {
                CHARGED.set(time_of_this_thread());
                let polled = call.as_mut().poll(context);
                CHARGED.set(None);
                polled
            });
            let answer = answer.await;
            drop(long);
            answer
        };
        // What it logs goes where it would have gone from here.
        let rest = runtime.spawn(rest.with_current_subscriber());
        match AbortOnDropHandle::new(rest).await {
            Ok(answer) => Ok(answer),
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_cancelled) => Err(Ended),
            },
        }
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

/// A guest's turn ends: whoever polls it sees to others.
pub(crate) async fn end_of_turn() {
    TURN_IS_OVER.set(true);
    tokio::task::yield_now().await;
}

/// How long the guest has run since it was asked last, at a tick. Threads of their own may be put aside for most of the time
/// between two ticks, so there the processor's time counts; `None` on a worker, where a tick says enough.
pub(crate) fn ran() -> Option<Duration> {
    let now = time_of_this_thread()?;
    CHARGED.replace(CHARGED.get().map(|_| now)).map(|before| now.saturating_sub(before))
}

fn time_of_this_thread() -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live, writable `timespec`.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0;
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
    (!failed).then(|| Duration::new(seconds, nanoseconds))
}

fn step_back() {
    // SAFETY: a plain system call without pointers; 0 is the calling thread. Where it fails, long calls are as important
    // as others, which changes nothing that is relied on.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
    }
}
