//! An HTTP/2 connection to an endpoint, by prior knowledge (RFC 9113 section 3.3), shared by many requests.
//!
//! Its work is done by a task of its own, which ends when the last handle and the last stream are gone.
//!
//! # Memo: windows
//! A response that its client does not read keeps its stream's window full, and with it that part of the connection's.
//! So the connection's window is the sum of all streams': whatever some clients leave unread, the others have room. It
//! is a promise and not memory; what a client can make us hold is still its own streams' windows, until `body_timeout`.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::Instant;

use super::super::alarm::Alarm;
use super::super::endpoint::Lease;
use super::super::{Reply, RequestBody, ResponseBody, SendError, lock};
use super::http1::Failure;
use super::{BUFFER, MAX_HEAD, Timeouts};

/// Requests at once on one connection; the next ones open another. The least a server should allow (RFC 9113
/// section 6.5.2); one that allows fewer makes the rest wait within hyper.
const MAX_STREAMS: usize = 100;
const STREAM_WINDOW: u32 = BUFFER as u32;
/// Envoy's advice for the edge, 1 MiB, is for clients: here sixteen unread responses of one would stop all others.
const CONNECTION_WINDOW: u32 = MAX_STREAMS as u32 * STREAM_WINDOW;
/// See the memo; and no window may be larger than 2^31 - 1 (RFC 9113 section 6.9.1).
const _: () = assert!(
    CONNECTION_WINDOW as usize >= MAX_STREAMS * STREAM_WINDOW as usize
        && CONNECTION_WINDOW <= i32::MAX as u32
);
/// Finds an upstream that vanished without a word while requests wait for it.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// The pool's handle.
pub struct Shared {
    sender: SendRequest<RequestBody>,
    load: Arc<Load>,
}

struct Load {
    streams: AtomicUsize,
    since: Instant,
    /// Milliseconds after `since` when the last request ended.
    idle_since: AtomicU64,
}

/// One request's place on a shared connection.
pub(crate) struct Http2 {
    sender: SendRequest<RequestBody>,
    place: Place,
    reused: bool,
}

/// Counts as a stream until dropped.
pub(crate) struct Place {
    load: Arc<Load>,
}

/// A place on a connection that has room, or on a new one.
pub(crate) async fn take_or_open(lease: &Lease, connect_timeout: Duration) -> Result<Http2, SendError> {
    let endpoint = lease.endpoint();
    if let Some(found) = find(lease) {
        return Ok(found);
    }
    // The semaphore is never closed; if it were, connecting twice would be the worst of it.
    let _turn = endpoint.connecting.acquire().await;
    if let Some(found) = find(lease) {
        return Ok(found);
    }
    let socket = endpoint.connect(connect_timeout).await?;
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(BUFFER)
        .max_header_list_size(MAX_HEAD as u32)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL);
    let failed = |source| SendError::Handshake { endpoint: endpoint.name().clone(), source };
    let (sender, connection) = builder.handshake(TokioIo::new(socket)).await.map_err(failed)?;
    tokio::spawn(async move {
        // Its requests learn of the error themselves.
        let _ = connection.await;
    });
    let load =
        Arc::new(Load { streams: AtomicUsize::new(0), since: Instant::now(), idle_since: AtomicU64::new(0) });
    let place = Place::new(&load);
    lock(&endpoint.shared).push(Shared { sender: sender.clone(), load });
    Ok(Http2 { sender, place, reused: false })
}

fn find(lease: &Lease) -> Option<Http2> {
    let mut shared = lock(&lease.endpoint().shared);
    shared.retain(|connection| !connection.sender.is_closed());
    let free =
        shared.iter().find(|connection| connection.load.streams.load(Ordering::Relaxed) < MAX_STREAMS)?;
    Some(Http2 { sender: free.sender.clone(), place: Place::new(&free.load), reused: true })
}

impl Shared {
    /// For the sweeper: open, and in use or not idle for too long.
    pub(crate) fn is_usable(&self, idle_timeout: Duration) -> bool {
        let idle = self
            .load
            .since
            .elapsed()
            .saturating_sub(Duration::from_millis(self.load.idle_since.load(Ordering::Relaxed)));
        !self.sender.is_closed() && (self.load.streams.load(Ordering::Relaxed) > 0 || idle < idle_timeout)
    }
}

impl Http2 {
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends a request and waits for the head of the response.
    pub(in crate::upstream) async fn exchange(
        mut self,
        request: Request<RequestBody>,
        lease: Lease,
        timeouts: Timeouts,
    ) -> Result<Reply, Failure> {
        let progress = request.body().progress();
        let started = Instant::now();
        let mut alarm = Alarm::default();
        let mut answer = pin!(self.sender.try_send_request(request));
        let endpoint = lease.endpoint().clone();
        let name = || endpoint.name().clone();
        let response = poll_fn(|context| {
            if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                return Poll::Ready(answer.map_err(|mut error| {
                    let unsent = error.take_message().map(Box::new);
                    let error = match &progress {
                        Some(progress) if progress.has_failed() => SendError::ClientBody,
                        _ => SendError::Broken { endpoint: name(), source: error.into_error() },
                    };
                    Failure { error, unsent }
                }));
            }
            let deadline = super::deadline(started, progress.as_deref(), timeouts);
            alarm.poll(context, deadline).map(|()| {
                Err(Failure { error: super::overdue(name(), progress.as_deref(), timeouts), unsent: None })
            })
        });
        let (head, incoming) = response.await?.into_parts();
        let body = ResponseBody::http2(incoming, self.place, lease, timeouts.body, progress.clone());
        Ok(Reply::Response { response: Response::from_parts(head, body), endpoint })
    }
}

impl Place {
    fn new(load: &Arc<Load>) -> Self {
        load.streams.fetch_add(1, Ordering::Relaxed);
        Self { load: load.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let now = u64::try_from(self.load.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.load.idle_since.store(now, Ordering::Relaxed);
        self.load.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
