//! The client's stream as hyper sees it: the stream itself, watched.
//!
//! It notes when a request head is under way and when the client does not read, for the connection's clock, and shows
//! the raw bytes to [`HeadWatch`]. It changes nothing, and hands the stream back when hyper drops it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head_watch::HeadWatch;
use super::session::Session;
use crate::config;

/// Where the stream goes when hyper is done with it.
pub(super) type Returned<I> = Arc<Mutex<Option<I>>>;

pub(super) struct ClientIo<I> {
    /// `Some` until dropped.
    io: Option<I>,
    returned: Returned<I>,
    session: Arc<Session>,
    watch: HeadWatch,
    within_head: bool,
    write_blocked: bool,
}

impl<I> ClientIo<I> {
    pub(super) fn new(
        io: I,
        protocol: config::Protocol,
        session: Arc<Session>,
        returned: Returned<I>,
    ) -> Self {
        let watch = match protocol {
            config::Protocol::Http1 => HeadWatch::new(),
            config::Protocol::Http2 => HeadWatch::off(),
        };
        Self { io: Some(io), returned, session, watch, within_head: false, write_blocked: false }
    }

    fn saw(&mut self, bytes: &[u8]) {
        self.watch.read(bytes);
        if let Some(head) = self.watch.conflict() {
            self.session.found_conflict(head);
        }
        let within_head = self.watch.is_within_head();
        if within_head != self.within_head {
            self.within_head = within_head;
            self.session.set_within_head(within_head);
        }
    }

    fn wrote<T>(&mut self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_pending() != self.write_blocked {
            self.write_blocked = polled.is_pending();
            self.session.set_write_blocked(self.write_blocked);
        }
        if let Poll::Ready(Err(_)) = &polled {
            self.session.lost();
        }
        polled
    }
}

impl<I: Unpin> ClientIo<I> {
    fn io(&mut self) -> io::Result<Pin<&mut I>> {
        // Only `drop` takes it.
        self.io.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for ClientIo<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.io()?.poll_read(context, buffer);
        match &polled {
            Poll::Ready(Ok(())) => self.saw(buffer.filled().get(before..).unwrap_or_default()),
            Poll::Ready(Err(_)) => self.session.lost(),
            Poll::Pending => {}
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for ClientIo<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = self.io()?.poll_write(context, bytes);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.io()?.poll_write_vectored(context, slices);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.io()?.poll_flush(context);
        self.wrote(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.io()?.poll_shutdown(context);
        self.wrote(polled)
    }
}

impl<I> Drop for ClientIo<I> {
    fn drop(&mut self) {
        *self.returned.lock().unwrap_or_else(PoisonError::into_inner) = self.io.take();
    }
}
