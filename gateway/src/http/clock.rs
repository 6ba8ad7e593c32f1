//! When a connection has taken too long: the one place where its deadlines are decided.
//!
//! Pure: from what the connection is doing to when that must be over.

use std::time::Duration;

use tokio::time::Instant;

use super::End;
use crate::config;

/// What the connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// For the client to read, since it stopped.
    Write(Instant),
    /// For the rest of a request head, since its first byte.
    Head(Instant),
    /// For a first request, since the start.
    First(Instant),
    /// For the next request, since the last one's end.
    Next(Instant),
    /// For an upstream, which has clocks of its own.
    Elsewhere,
}

/// Until when, and what to call it if it passes.
pub(super) fn deadline(waiting: Waiting, bounds: &config::Http) -> Option<(Instant, End)> {
    let after = |since: Instant, bound: Duration, end| Some((since + bound, end));
    match waiting {
        Waiting::Write(since) => after(since, bounds.body_timeout, End::WriteTimeout),
        Waiting::Head(since) | Waiting::First(since) => {
            after(since, bounds.header_timeout, End::HeaderTimeout)
        }
        Waiting::Next(since) => after(since, bounds.idle_timeout, End::Idle),
        Waiting::Elsewhere => None,
    }
}
