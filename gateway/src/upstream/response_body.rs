//! The body of a response on its way from an upstream to the client.
//!
//! For HTTP/1.1 it owns the connection and drives it (see [`super::connection::http1`]), and puts it back into the pool
//! with its last frame. A body that ends before it should is an error here, so that it can never look complete to the
//! client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::alarm::Alarm;
use super::connection::http1::Http1;
use super::connection::http2::Place;
use super::endpoint::Lease;
use super::request_body::{Progress, clean};

/// Why a response could not be delivered whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the upstream broke off within its response")]
    Broken(#[source] hyper::Error),
    /// A stream reset with NO_ERROR, which hyper takes for an end.
    #[error("the upstream reset the stream before the response was complete")]
    Reset,
    #[error("the upstream paused within its response for more than {0:?}")]
    Stalled(Duration),
}

/// A response body.
pub struct ResponseBody {
    incoming: Incoming,
    carrier: Carrier,
    timeout: Duration,
    /// When the last frame came. Set by the first wait.
    waiting_since: Option<Instant>,
    /// The request's body, which may still be on its way: as long as it moves, nothing is stalled.
    request: Option<Arc<Progress>>,
}

enum Carrier {
    Http1 {
        connection: Http1,
        lease: Lease,
        max_idle: usize,
    },
    Http2 {
        alarm: Alarm,
        _place: Place,
        _lease: Lease,
    },
    /// Over; the connection is at rest or closed.
    None,
}

impl ResponseBody {
    pub(super) fn http1(
        incoming: Incoming,
        connection: Http1,
        lease: Lease,
        max_idle: usize,
        timeout: Duration,
        request: Option<Arc<Progress>>,
    ) -> Self {
        let carrier = Carrier::Http1 { connection, lease, max_idle };
        Self { incoming, carrier, timeout, waiting_since: None, request }
    }

    pub(super) fn http2(
        incoming: Incoming,
        place: Place,
        lease: Lease,
        timeout: Duration,
        request: Option<Arc<Progress>>,
    ) -> Self {
        let carrier = Carrier::Http2 { alarm: Alarm::default(), _place: place, _lease: lease };
        Self { incoming, carrier, timeout, waiting_since: None, request }
    }

    /// Gives the connection back if the body is over.
    pub(super) fn settle(&mut self) {
        if self.incoming.is_end_stream() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if let Carrier::Http1 { connection, lease, max_idle } =
            std::mem::replace(&mut self.carrier, Carrier::None)
        {
            connection.rest(&lease, max_idle);
        }
    }

    fn poll_incoming(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Carrier::Http1 { connection, .. } = &mut self.carrier else {
            return Pin::new(&mut self.incoming).poll_frame(context);
        };
        // Frames come from `drive` alone, so nobody need be woken for one: this would be the task that runs already.
        let mut unwaited = Context::from_waker(Waker::noop());
        let first = Pin::new(&mut self.incoming).poll_frame(&mut unwaited);
        if first.is_ready() {
            return first;
        }
        connection.drive(context);
        Pin::new(&mut self.incoming).poll_frame(&mut unwaited)
    }

    fn poll_stall(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let since = self.request.as_ref().map_or(since, |request| since.max(request.moved_at()));
        match &mut self.carrier {
            Carrier::Http1 { connection, .. } => connection.alarm.poll(context, since + self.timeout),
            Carrier::Http2 { alarm, .. } => alarm.poll(context, since + self.timeout),
            Carrier::None => Poll::Pending,
        }
    }

    /// Whether an end that hyper reports is one. Over HTTP/1.1 it would have reported an error otherwise.
    fn is_whole(&self) -> bool {
        !matches!(self.carrier, Carrier::Http2 { .. }) || self.incoming.is_end_stream()
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match this.poll_incoming(context) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                if this.poll_stall(context).is_ready() {
                    this.carrier = Carrier::None;
                    return Poll::Ready(Some(Err(BodyError::Stalled(this.timeout))));
                }
                return Poll::Pending;
            }
        };
        this.waiting_since = None;
        let frame = match frame {
            None if this.is_whole() => {
                this.finish();
                None
            }
            None => {
                this.carrier = Carrier::None;
                Some(Err(BodyError::Reset))
            }
            Some(Err(error)) => {
                this.carrier = Carrier::None;
                Some(Err(BodyError::Broken(error)))
            }
            Some(Ok(frame)) => match frame.into_trailers() {
                Ok(trailers) => {
                    this.finish();
                    Some(Ok(Frame::trailers(clean(trailers))))
                }
                Err(frame) => {
                    // With a known length the reader stops at the last byte and does not poll for the end.
                    this.settle();
                    Some(Ok(frame))
                }
            },
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
