//! The body of a response as the client gets it: the upstream's, or a line of our own. It carries the request's record,
//! counts, and so knows how the request ended.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Version;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::outcome::{ErrorKind, Record};
use super::stream_guard::{Polled, is_cutting, note};
use crate::upstream::{BodyError, ResponseBody};

pub(super) struct Body {
    source: Source,
    /// `None` where something else tells how the request ended.
    record: Option<Box<Record>>,
    /// For HTTP/2, whose streams must not be over before the client has made room (see [`super::stream_guard`]).
    keeps_last: bool,
    /// The last byte, kept back.
    last: Option<Bytes>,
    /// How the upstream broke off, kept back for one turn: at an error hyper's HTTP/1.1 drops what it has not written,
    /// the head perhaps, and a client that got nothing may take the request for one that it can safely send again.
    broken: Option<BodyError>,
}

enum Source {
    Text(Bytes),
    Upstream { body: ResponseBody, connection: Option<OwnedSemaphorePermit> },
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
        Self::new(Source::Upstream { body, connection }, record)
    }

    /// Of a 101.
    pub(super) fn none() -> Self {
        Self { source: Source::Text(Bytes::new()), record: None, keeps_last: false, last: None, broken: None }
    }

    fn new(source: Source, mut record: Box<Record>) -> Self {
        let keeps_last = record.outcome.version == Version::HTTP_2;
        let mut body = Self { source, record: None, keeps_last, last: None, broken: None };
        // hyper drops a body that is at its end without polling it.
        record.complete = body.is_end_stream();
        body.record = Some(record);
        body
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(last) = self.last.take() {
            return Poll::Ready(Some(Ok(Frame::data(last))));
        }
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = match self.source.poll(context) {
            Poll::Ready(Some(Err(error))) if !self.keeps_last => {
                self.broken = Some(error);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            polled => polled,
        };
        if !self.source.is_at_end() {
            return polled;
        }
        if let Source::Upstream { connection, .. } = &mut self.source {
            // The client may take its time; another request may have the place.
            *connection = None;
        }
        polled.map_ok(|frame| if self.keeps_last { self.keep_last(frame) } else { frame })
    }

    fn keep_last(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(mut data) if data.len() > 1 => {
                self.last = Some(data.split_off(data.len() - 1));
                Frame::data(data)
            }
            Ok(data) => Frame::data(data),
            Err(frame) => frame,
        }
    }
}

impl Source {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Text(text) if text.is_empty() => Poll::Ready(None),
            Self::Text(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Self::Upstream { body, .. } => Pin::new(body).poll_frame(context),
        }
    }

    fn is_at_end(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Upstream { body, .. } => body.is_end_stream(),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if is_cutting()
            && let Some(record) = &mut self.record
        {
            record.complete = false;
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
        self.last.is_none() && self.broken.is_none() && self.source.is_at_end()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            _ if self.last.is_some() => SizeHint::with_exact(1),
            Source::Text(text) => SizeHint::with_exact(text.len() as u64),
            Source::Upstream { body, .. } => body.size_hint(),
        }
    }
}
