//! One client connection while it speaks HTTP: what its requests share, and the loop that drives it to its end.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::clock::{Waiting, deadline};
use super::frame_watch::FrameWatch;
use super::tunnel::Tunnel;
use super::{ABANDONED, CLOSE, Client, End, refusal};
use crate::config;
use crate::drain::DrainWatch;
use crate::upstream::alarm::Alarm;

/// How long a draining gateway keeps an idle HTTP/1.1 connection: a request may be on its way, and closing under it
/// would lose it. The answer to it says `connection: close`. (HTTP/2 needs no such thing: GOAWAY names the last stream.)
const LINGER: Duration = Duration::from_millis(500);

/// After this long without a request an HTTP/1.1 connection is put to rest. Long enough for the next request of a page,
/// and for what putting to rest costs (two allocations) not to matter.
pub(super) const QUIET: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 1_000 });

/// Shared by the connection's stream, its requests and its driver. All on one thread; atomics because hyper asks for
/// `Send`, relaxed because there is nothing to order.
pub(super) struct Session {
    pub client: Arc<Client>,
    pub context: super::Context,
    /// As configured when the connection began.
    pub bounds: config::Http,
    /// `x-forwarded-for` of all its requests.
    pub forwarded_for: HeaderValue,
    protocol: config::Protocol,
    start: Instant,
    requests: AtomicU64,
    /// Requests that hyper handed over. Over HTTP/2 each becomes a task, which counts it in `requests` later.
    delivered: AtomicU64,
    /// Requests that hyper did not hand over.
    refused: AtomicU64,
    /// Of an HTTP/2 connection.
    frames: Mutex<FrameWatch>,
    in_flight: AtomicUsize,
    abandoned: AtomicU64,
    last_end: Moment,
    head_begun: Moment,
    write_blocked: Moment,
    /// The number of the request whose framing contradicts itself.
    conflict: AtomicU64,
    lost: AtomicBool,
    draining: AtomicBool,
    upstream_connections: Arc<Semaphore>,
    tunnel: Mutex<Option<Tunnel>>,
    switched: AtomicBool,
}

/// Microseconds after the session's start, plus one; zero is never.
#[derive(Default)]
struct Moment(AtomicU64);

impl Session {
    pub(super) fn new(
        protocol: config::Protocol,
        client: Arc<Client>,
        context: super::Context,
        bounds: config::Http,
    ) -> Self {
        let address = client.address.ip().to_canonical().to_string();
        Self {
            // The text of an address is always a valid value; the fallback only satisfies the types.
            forwarded_for: HeaderValue::try_from(address).unwrap_or(HeaderValue::from_static("unknown")),
            upstream_connections: Arc::new(Semaphore::new(
                bounds.max_upstream_connections.clamp(1, Semaphore::MAX_PERMITS),
            )),
            client,
            context,
            bounds,
            protocol,
            start: Instant::now(),
            requests: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            frames: Mutex::new(FrameWatch::new()),
            in_flight: AtomicUsize::new(0),
            abandoned: AtomicU64::new(0),
            last_end: Moment::default(),
            head_begun: Moment::default(),
            write_blocked: Moment::default(),
            conflict: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            tunnel: Mutex::new(None),
            switched: AtomicBool::new(false),
        }
    }

    pub(super) fn protocol(&self) -> config::Protocol {
        self.protocol
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// All there were, refused ones too.
    pub(super) fn all_requests(&self) -> u64 {
        self.requests().saturating_add(self.refused.load(Ordering::Relaxed))
    }

    pub(super) fn count_delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn frames(&self) -> MutexGuard<'_, FrameWatch> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the request that was begun last is the one with both Content-Length and Transfer-Encoding.
    pub(super) fn framing_conflicts(&self) -> bool {
        let conflict = self.conflict.load(Ordering::Relaxed);
        conflict != 0 && conflict == self.requests()
    }

    pub(super) fn found_conflict(&self, head: u64) {
        self.conflict.store(head, Ordering::Relaxed);
    }

    pub(super) fn begin_request(&self) -> Instant {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Instant::now()
    }

    /// `abandoned`: the client gave it up before there was a response.
    pub(super) fn end_request(&self, started: Instant, abandoned: bool) -> Duration {
        let now = Instant::now();
        self.last_end.set(self.start, now);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        if abandoned {
            self.abandoned.fetch_add(1, Ordering::Relaxed);
        }
        now.saturating_duration_since(started)
    }

    pub(super) fn is_within_head(&self) -> bool {
        self.head_begun.at(self.start).is_some()
    }

    /// Called when that changes.
    pub(super) fn set_within_head(&self, within: bool) {
        if within { self.head_begun.set(self.start, Instant::now()) } else { self.head_begun.clear() }
    }

    /// Called when that changes.
    pub(super) fn set_write_blocked(&self, blocked: bool) {
        if blocked { self.write_blocked.set(self.start, Instant::now()) } else { self.write_blocked.clear() }
    }

    /// The stream reported an error.
    pub(super) fn lost(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    /// Responses over HTTP/1.1 should say `connection: close`.
    pub(super) fn closes_after_response(&self) -> bool {
        self.protocol == config::Protocol::Http1 && self.draining.load(Ordering::Relaxed)
    }

    /// One of the client's upstream connections; waits for one, `None` if that takes too long.
    pub(super) async fn upstream_connection(&self, patience: Duration) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.upstream_connections.clone().try_acquire_owned() {
            return Some(permit);
        }
        tokio::time::timeout(patience, self.upstream_connections.clone().acquire_owned()).await.ok()?.ok()
    }

    /// The connection becomes this once hyper lets go of it.
    pub(super) fn put_tunnel(&self, tunnel: Tunnel) {
        self.switched.store(true, Ordering::Relaxed);
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
    }

    pub(super) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether a response is due, or under way.
    pub(super) fn is_answering(&self) -> bool {
        !self.is_idle() && !self.switched.load(Ordering::Relaxed)
    }

    fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
    }

    fn is_abused(&self) -> bool {
        let abandoned = self.abandoned.load(Ordering::Relaxed);
        abandoned >= ABANDONED && abandoned.saturating_mul(2) > self.requests()
    }

    fn waiting(&self) -> Waiting {
        if let Some(since) = self.write_blocked.at(self.start) {
            Waiting::Write(since)
        } else if !self.is_idle() {
            Waiting::Elsewhere
        } else if let Some(since) = self.head_begun.at(self.start) {
            // A pipelined head may have begun long before its turn came.
            Waiting::Head(self.last_end.at(self.start).map_or(since, |end| since.max(end)))
        } else if let Some(since) = self.last_end.at(self.start) {
            Waiting::Next(since)
        } else {
            Waiting::First(self.start)
        }
    }

    /// Tells of the requests that h2 has refused by itself. Asked when hyper has done all it could: unless the client
    /// does not read, what was read is then delivered or refused.
    fn settle(&self) {
        if self.protocol != config::Protocol::Http2 || self.write_blocked.at(self.start).is_some() {
            return;
        }
        let refused = self.frames().refused(self.delivered.load(Ordering::Relaxed));
        for refused in refused {
            refusal::of_stream(self, refused);
        }
    }

    fn end_of(&self, error: &hyper::Error) -> End {
        if error.is_user() || error.is_body_write_aborted() {
            End::ResponseCut
        } else if self.lost.load(Ordering::Relaxed)
            || error.is_incomplete_message()
            || error.is_shutdown()
            || error.source().is_some_and(|cause| cause.is::<io::Error>())
        {
            End::ConnectionLost
        } else {
            End::ProtocolError
        }
    }
}

/// How hyper's connection ended.
pub(super) struct Ended {
    pub end: End,
    /// hyper's own, where it ended the connection.
    pub error: Option<hyper::Error>,
}

/// Why hyper's connection is not driven any more.
pub(super) enum Driven {
    Ended(Ended),
    /// Nothing has happened, and nothing is under way, for [`QUIET`].
    Quiet,
}

/// Drives hyper's connection until it is over, drained, too slow, abused or, if it `may_rest`, quiet. `shut_down` is
/// hyper's graceful shutdown.
pub(super) async fn drive<C>(
    mut connection: Pin<&mut C>,
    shut_down: impl Fn(Pin<&mut C>),
    session: &Session,
    drain: &mut DrainWatch,
    may_rest: bool,
) -> Driven
where
    C: Future<Output = hyper::Result<()>>,
{
    let cut = |end| Poll::Ready(Driven::Ended(Ended { end, error: None }));
    let mut alarm = Alarm::default();
    let mut drain_started = pin!(drain.started());
    let mut draining_since = None;
    // Set once hyper was told to shut down: why, and when it is cut off if it has not by then.
    let mut closing: Option<(End, Option<Instant>)> = None;
    poll_fn(|context| {
        loop {
            let polled = connection.as_mut().poll(context);
            session.settle();
            if let Poll::Ready(result) = polled {
                let end = match (&result, closing) {
                    (Err(error), _) => session.end_of(error),
                    (Ok(()), Some((end, _))) => end,
                    (Ok(()), None) if draining_since.is_some() => End::Drained,
                    (Ok(()), None) => End::Closed,
                };
                return Poll::Ready(Driven::Ended(Ended { end, error: result.err() }));
            }
            if session.is_abused() {
                return cut(End::Abuse);
            }
            if draining_since.is_none() && drain_started.as_mut().poll(context).is_ready() {
                draining_since = Some(Instant::now());
                session.draining.store(true, Ordering::Relaxed);
                if session.protocol == config::Protocol::Http2 {
                    closing = Some((End::Drained, None));
                    shut_down(connection.as_mut());
                    continue;
                }
            }
            let quiet_at = match session.waiting() {
                Waiting::Next(since) | Waiting::First(since)
                    if may_rest && closing.is_none() && draining_since.is_none() =>
                {
                    Some(since + QUIET)
                }
                _ => None,
            };
            let next = match (closing, session.waiting(), draining_since) {
                (Some((end, Some(cut_off))), _, _) => Some((cut_off, end)),
                (None, Waiting::Next(since), Some(drained)) => {
                    Some((since.max(drained) + LINGER, End::Drained))
                }
                (None, Waiting::First(_), Some(drained)) => Some((drained + LINGER, End::Drained)),
                (_, waiting, _) => deadline(waiting, &session.bounds),
            };
            let Some((at, end)) = next else { return Poll::Pending };
            if let Some(quiet_at) = quiet_at.filter(|quiet_at| *quiet_at < at) {
                ready!(alarm.poll(context, quiet_at));
                // After a rest its time may be over, which is no reason for another.
                if Instant::now() < at {
                    return Poll::Ready(Driven::Quiet);
                }
            }
            if alarm.poll(context, at).is_pending() {
                return Poll::Pending;
            }
            let polite = matches!(end, End::Drained | End::Idle);
            if !polite || matches!(closing, Some((_, Some(_)))) {
                return cut(end);
            }
            closing = Some((end, Some(Instant::now() + CLOSE)));
            shut_down(connection.as_mut());
        }
    })
    .await
}

/// Waits until the client does something, its time is over or the gateway drains: for a connection that hyper does not
/// hold.
pub(super) async fn rest(
    session: &Session,
    drain: &mut DrainWatch,
    mut poll_stir: impl FnMut(&mut Context<'_>) -> Poll<()>,
) {
    let over = async {
        match deadline(session.waiting(), &session.bounds) {
            Some((at, _)) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = drain.started() => {}
        () = poll_fn(|context| poll_stir(context)) => {}
        () = over => {}
    }
}

impl Moment {
    fn set(&self, start: Instant, now: Instant) {
        let micros = now.saturating_duration_since(start).as_micros();
        self.0.store(u64::try_from(micros).unwrap_or(u64::MAX - 1).saturating_add(1), Ordering::Relaxed);
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn at(&self, start: Instant) -> Option<Instant> {
        let micros = self.0.load(Ordering::Relaxed).checked_sub(1)?;
        Some(start + Duration::from_micros(micros))
    }
}
