//! Handshakes at a fixed rate, whatever the server does: for latency.
//!
//! Each has a time at which it is due, and its latency counts from there. A generator that waits for answers before it
//! asks again would ask a stalled server seldom, and hide the stall (coordinated omission); here those that become due
//! meanwhile are all under way, and all of them are late.
//!
//! The thread never sleeps: a timer would add its own granularity, a millisecond, to latencies of tenths.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::runtime::Builder;
use tokio::task::{JoinError, JoinSet, LocalSet};

use crate::handshake::{Done, Handshakes};
use crate::report::{Report, Tally};

/// Turns of tasks between two looks for events. tokio's own 61 would let an answer wait for as many turns of the one task
/// that watches the clock.
const TURNS: u32 = 4;

pub(crate) fn run(handshakes: Handshakes, rate: f64, seconds: f64) -> Result<Report> {
    ensure!(rate > 0.0 && rate <= 1e6, "--rate is no rate");
    let length = Duration::try_from_secs_f64(seconds).context("--seconds is no length of time")?;
    let interval = Duration::from_secs_f64(1.0 / rate);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(TURNS)
        .build()
        .context("the system refuses a runtime")?;
    let begun = Instant::now();
    let tally = LocalSet::new().block_on(&runtime, async {
        let handshakes = Rc::new(handshakes);
        let (mut under_way, mut tally) = (JoinSet::new(), Tally::default());
        let mut due = begun;
        while due < begun + length {
            while Instant::now() < due {
                while let Some(one) = under_way.try_join_next() {
                    count(&mut tally, one)?;
                }
                tokio::task::yield_now().await;
            }
            let handshakes = Rc::clone(&handshakes);
            under_way.spawn_local(async move {
                let late = due.elapsed();
                handshakes.one().await.map(|done| Done { latency: late + done.latency, ..done })
            });
            due += interval;
        }
        while let Some(one) = under_way.join_next().await {
            count(&mut tally, one)?;
        }
        Ok::<_, JoinError>(tally)
    });
    Ok(Report::new(vec![tally.context("a connection's task ended early")?], begun.elapsed()))
}

fn count(tally: &mut Tally, one: Result<io::Result<Done>, JoinError>) -> Result<(), JoinError> {
    match one? {
        Ok(done) => tally.done(&done),
        Err(error) => tally.failed(&error),
    }
    Ok(())
}
