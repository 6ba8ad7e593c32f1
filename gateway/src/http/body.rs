//! The body of a response as the client gets it: the upstream's, or a line of our own. It carries the request's record,
//! counts, and so knows how the request ended.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::outcome::{ErrorKind, Record};
use super::stream_guard::{Polled, note};
use crate::upstream::{BodyError, ResponseBody};

pub(super) struct Body {
    source: Source,
    /// `None` where something else tells how the request ended.
    record: Option<Box<Record>>,
}

enum Source {
    Text(Bytes),
    Upstream { body: ResponseBody, _connection: Option<OwnedSemaphorePermit> },
}

impl Body {
    pub(super) fn text(text: Bytes, record: Box<Record>) -> Self {
        Self::new(Source::Text(text), record)
    }

    pub(super) fn upstream(
        body: ResponseBody,
        connection: Option<OwnedSemaphorePermit>,
        record: Box<Record>,
    ) -> Self {
        Self::new(Source::Upstream { body, _connection: connection }, record)
    }

    /// Of a 101.
    pub(super) fn none() -> Self {
        Self { source: Source::Text(Bytes::new()), record: None }
    }

    fn new(source: Source, mut record: Box<Record>) -> Self {
        let mut body = Self { source, record: None };
        // hyper drops a body that is at its end without polling it.
        record.complete = body.is_end_stream();
        body.record = Some(record);
        body
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.source {
            Source::Text(text) if text.is_empty() => Poll::Ready(None),
            Source::Text(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Source::Upstream { body, .. } => Pin::new(body).poll_frame(context),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = self.poll(context);
        note(if polled.is_pending() { Polled::Waits } else { Polled::Gave });
        let at_end = self.is_end_stream();
        let Some(record) = &mut self.record else { return polled };
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => record.complete = true,
            Poll::Ready(Some(Err(error))) => record.failed_with(ErrorKind::ResponseCut, error),
            Poll::Ready(Some(Ok(frame))) => {
                record.outcome.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64);
                record.complete = frame.is_trailers() || at_end;
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Text(text) => text.is_empty(),
            Source::Upstream { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Text(text) => SizeHint::with_exact(text.len() as u64),
            Source::Upstream { body, .. } => body.size_hint(),
        }
    }
}
