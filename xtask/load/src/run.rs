//! Keeps a number of connections at work until the time or the count is up, then lets those under way finish.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::handshake::{Done, Handshakes};
use crate::plain::{self, Plain};
use crate::report::{Report, Tally};

/// After an error, so that a server that is not there is not asked a million times.
const PAUSE: Duration = Duration::from_millis(10);

/// What is done over and over.
pub(crate) enum Operation {
    Handshake(Handshakes),
    Plain(SocketAddr, Plain),
}

impl Operation {
    async fn one(&self) -> io::Result<Done> {
        match self {
            Self::Handshake(handshakes) => handshakes.one().await,
            Self::Plain(address, plain) => plain::one(*address, *plain).await,
        }
    }
}

/// When to stop: at whichever comes first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) seconds: Option<f64>,
    pub(crate) count: Option<u64>,
}

/// With `awake`, this process never sleeps: a server on the same machine is then not charged for waking its client, which
/// it would not do for one on another machine, and which costs the more the longer the client has to wait.
pub(crate) fn run(operation: Operation, connections: usize, bounds: Bounds, awake: bool) -> Result<Report> {
    ensure!(connections > 0, "no connections, no load: give --connections at least 1");
    let seconds = bounds.seconds.map(Duration::try_from_secs_f64).transpose();
    let seconds = seconds.context("--seconds is no length of time")?;
    let runtime =
        Builder::new_current_thread().enable_all().build().context("the system refuses a runtime")?;
    let begun = Instant::now();
    let end = End {
        at: seconds.and_then(|length| begun.checked_add(length)),
        left: bounds.count.map(|count| Arc::new(AtomicU64::new(count))),
    };
    let tallies = LocalSet::new().block_on(&runtime, async {
        let operation = Rc::new(operation);
        let tasks = (0..connections)
            .map(|_| tokio::task::spawn_local(one_after_another(Rc::clone(&operation), end.clone())));
        let tasks = tasks.collect::<Vec<_>>();
        let awake = awake.then(|| tokio::task::spawn_local(stay_awake()));
        let mut tallies = Vec::new();
        for task in tasks {
            tallies.push(task.await?);
        }
        if let Some(awake) = awake {
            awake.abort();
        }
        Ok::<_, tokio::task::JoinError>(tallies)
    });
    Ok(Report::new(tallies.context("a connection's task ended early")?, begun.elapsed()))
}

/// The runtime looks for events between two turns of a task, and waits for them only when no task is ready.
async fn stay_awake() {
    loop {
        tokio::task::yield_now().await;
    }
}

async fn one_after_another(operation: Rc<Operation>, end: End) -> Tally {
    let mut tally = Tally::default();
    while end.one_more() {
        match operation.one().await {
            Ok(done) => tally.done(&done),
            Err(error) => {
                tally.failed(&error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    tally
}

#[derive(Debug, Clone)]
struct End {
    at: Option<Instant>,
    left: Option<Arc<AtomicU64>>,
}

impl End {
    fn one_more(&self) -> bool {
        let in_time = self.at.is_none_or(|at| Instant::now() < at);
        let take = |left: &AtomicU64| {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        };
        in_time && self.left.as_deref().is_none_or(take)
    }
}
