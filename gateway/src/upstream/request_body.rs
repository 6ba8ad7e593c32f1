//! The body of a request on its way from the client to an upstream.
//!
//! It passes frames on as they come, counts them, and notes when something last moved and who is being waited for, so
//! that one timer beside it can tell a slow client from a slow upstream. It never buffers.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

/// A request body, perhaps an empty one.
#[derive(Debug)]
pub struct RequestBody {
    /// `None`: there is no body.
    incoming: Option<(Incoming, Arc<Progress>)>,
}

/// What has become of a request body.
#[derive(Debug)]
pub struct Progress {
    since: Instant,
    /// Microseconds after `since` of the last frame.
    moved: AtomicU64,
    bytes: AtomicU64,
    state: AtomicU8,
}

/// The upstream has not asked for the next frame.
const HELD: u8 = 0;
/// The upstream asked, the client has sent nothing yet.
const AWAITED: u8 = 1;
const COMPLETE: u8 = 2;
const FAILED: u8 = 3;

impl RequestBody {
    pub fn new(incoming: Incoming) -> Self {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        let progress = Progress {
            since: Instant::now(),
            moved: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            state: AtomicU8::new(HELD),
        };
        Self { incoming: Some((incoming, Arc::new(progress))) }
    }

    pub fn empty() -> Self {
        Self { incoming: None }
    }

    pub fn is_empty(&self) -> bool {
        self.incoming.is_none()
    }

    /// To be watched from outside; `None` without a body.
    pub fn progress(&self) -> Option<Arc<Progress>> {
        self.incoming.as_ref().map(|(_, progress)| progress.clone())
    }
}

impl Progress {
    /// Bytes of content so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn moved_at(&self) -> Instant {
        self.since + Duration::from_micros(self.moved.load(Ordering::Relaxed))
    }

    pub(super) fn is_complete(&self) -> bool {
        self.state.load(Ordering::Relaxed) == COMPLETE
    }

    /// The client broke off or sent what is no valid body.
    pub fn has_failed(&self) -> bool {
        self.state.load(Ordering::Relaxed) == FAILED
    }

    pub(super) fn waits_for_client(&self) -> bool {
        self.state.load(Ordering::Relaxed) == AWAITED
    }

    fn moved(&self, state: u8) {
        let now = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
        self.state.store(state, Ordering::Relaxed);
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some((incoming, progress)) = &mut self.incoming else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *incoming).poll_frame(context);
        match &polled {
            Poll::Pending => progress.state.store(AWAITED, Ordering::Relaxed),
            Poll::Ready(None) => progress.moved(COMPLETE),
            Poll::Ready(Some(Err(_))) => progress.moved(FAILED),
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                progress.bytes.fetch_add(bytes, Ordering::Relaxed);
                // With a known length the reader stops at the last byte and does not poll for the end.
                let last = frame.is_trailers() || incoming.is_end_stream();
                progress.moved(if last { COMPLETE } else { HELD });
            }
        }
        polled.map(|frame| {
            frame.map(|frame| {
                frame.map(|frame| match frame.into_trailers() {
                    Ok(trailers) => Frame::trailers(clean(trailers)),
                    Err(frame) => frame,
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(|(incoming, _)| incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), |(incoming, _)| incoming.size_hint())
    }
}

/// Trailers without the fields that must not come after the content (RFC 9110 section 6.5.1), in either direction, and
/// without those that only the gateway may set: some servers merge trailers into the header.
pub(super) fn clean(mut trailers: HeaderMap) -> HeaderMap {
    let forbidden: Vec<HeaderName> = trailers.keys().filter(|name| is_forbidden(name)).cloned().collect();
    for name in forbidden {
        trailers.remove(name);
    }
    trailers
}

fn is_forbidden(name: &HeaderName) -> bool {
    let text = name.as_str();
    matches!(
        *name,
        header::AUTHORIZATION
            | header::CONNECTION
            | header::CONTENT_ENCODING
            | header::CONTENT_LENGTH
            | header::CONTENT_RANGE
            | header::CONTENT_TYPE
            | header::COOKIE
            | header::FORWARDED
            | header::HOST
            | header::MAX_FORWARDS
            | header::SET_COOKIE
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
    ) || matches!(text, "keep-alive" | "proxy-connection" | "x-real-ip" | "x-request-id")
        || text.starts_with("x-forwarded-")
        || text.starts_with("x-client-")
        || text.contains('_')
}
