//! The client's stream as hyper sees it: the stream itself, watched.
//!
//! It notes when a request head is under way and when the client does not read, for the connection's clock, and shows
//! the raw bytes to [`HeadWatch`] or to the session's [`FrameWatch`](super::frame_watch::FrameWatch). It changes nothing,
//! and hands the stream back when hyper drops it.
//!
//! # Memo: clients that leave
//! An HTTP/1.1 client may close its sending side and still wait for the answer, so hyper is told to tolerate that, and
//! then reads nothing while it answers: a client that is gone would keep its upstream connection until the response is
//! due. hyper's other setting takes a half close for the end. So the reading is done here, whenever hyper flushes, which
//! it does each time it is woken. An orderly end (over TLS: close_notify) is kept until hyper asks for it; a reset, or a
//! TLS stream cut off without close_notify, ends the connection. What a client sends ahead is kept too, up to [`AHEAD`];
//! a reset that comes behind more than that, or behind an orderly end, is noticed with the first write only.
//! HTTP/2 connections are always read from.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head_watch::HeadWatch;
use super::session::Session;
use crate::config;

/// Read before hyper asks for it, in pieces of [`PIECE`], so that there may be one less a byte more.
const AHEAD: usize = 4 << 10;
const PIECE: usize = 1 << 10;

/// More than an answer that hyper gives by itself, which is a head of four lines.
const TAIL: usize = 192;

/// Where the stream goes when hyper is done with it.
pub(super) type Returned<I> = Arc<Mutex<Option<Parted<I>>>>;

/// The stream, and what was seen on it.
pub(super) struct Parted<I> {
    pub io: I,
    /// The requests of an HTTP/1.1 connection.
    pub heads: HeadWatch,
    /// What was written last over HTTP/1.1 while there was no request to answer: the end of the response before, or
    /// hyper's own answer to what it could not read.
    pub tail: Vec<u8>,
}

pub(super) struct ClientIo<I> {
    /// `Some` until dropped.
    io: Option<I>,
    returned: Returned<I>,
    session: Arc<Session>,
    watch: HeadWatch,
    tail: Vec<u8>,
    within_head: bool,
    write_blocked: bool,
    /// Then the client's end is looked for while hyper does not.
    is_http1: bool,
    ahead: BytesMut,
    /// The client's orderly end was read ahead.
    ended: bool,
    /// How the stream broke while nobody but us read it.
    broken: Option<io::Error>,
}

impl<I> ClientIo<I> {
    pub(super) fn new(
        io: I,
        protocol: config::Protocol,
        session: Arc<Session>,
        returned: Returned<I>,
    ) -> Self {
        let is_http1 = protocol == config::Protocol::Http1;
        let watch = if is_http1 { HeadWatch::new() } else { HeadWatch::off() };
        Self {
            io: Some(io),
            returned,
            session,
            watch,
            tail: Vec::new(),
            within_head: false,
            write_blocked: false,
            is_http1,
            ahead: BytesMut::new(),
            ended: false,
            broken: None,
        }
    }

    /// Gives back the bytes that hyper has read and not understood yet, to be read again.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.ahead = [bytes, &self.ahead].concat().as_slice().into();
    }

    fn saw(&mut self, bytes: &[u8]) {
        if !self.is_http1 {
            return self.session.frames().received(bytes);
        }
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

    /// `length` bytes of these were written.
    fn sent<'a>(&mut self, slices: impl IntoIterator<Item = &'a [u8]>, length: usize) {
        if self.is_http1 && self.session.is_answering() {
            return;
        }
        let mut left = length;
        for slice in slices {
            let bytes = slice.get(..left).unwrap_or(slice);
            left -= bytes.len();
            if self.is_http1 {
                self.tail
                    .extend_from_slice(bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or_default());
                self.tail.drain(..self.tail.len().saturating_sub(TAIL));
            } else {
                self.session.frames().sent(bytes);
            }
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

impl<I: AsyncRead + Unpin> ClientIo<I> {
    /// Reads ahead while a response is awaited or under way, and fails when the client is gone. Not within a request's
    /// body, which hyper reads itself.
    fn listen(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if !self.is_http1 || !self.session.is_answering() || self.watch.is_within_body() {
            return Ok(());
        }
        while !self.ended && self.ahead.len() < AHEAD {
            match self.read_piece(context) {
                Poll::Pending => break,
                Poll::Ready(result) => result?,
            }
            // hyper may have asked for it in vain a moment ago.
            context.waker().wake_by_ref();
        }
        Ok(())
    }

    /// For a connection at rest: ready when there is something for hyper to read, be it an end or an error.
    pub(super) fn poll_stir(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.ahead.is_empty() {
            // An empty buffer may still have its room.
            self.ahead = BytesMut::new();
        }
        // Of a request that is over, and answered by its upstream.
        self.tail = Vec::new();
        self.watch.forget();
        if self.ended || self.broken.is_some() || !self.ahead.is_empty() {
            return Poll::Ready(());
        }
        self.read_piece(context).map(|result| self.broken = result.err())
    }

    fn read_piece(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut piece = [MaybeUninit::uninit(); PIECE];
        let mut piece = ReadBuf::uninit(&mut piece);
        ready!(self.io()?.poll_read(context, &mut piece))?;
        self.ended = piece.filled().is_empty();
        self.ahead.extend_from_slice(piece.filled());
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for ClientIo<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(self.ahead.get(..length).unwrap_or_default());
            self.ahead.advance(length);
            Poll::Ready(Ok(()))
        } else if self.ended {
            Poll::Ready(Ok(()))
        } else if let Some(error) = self.broken.take() {
            Poll::Ready(Err(error))
        } else {
            self.io()?.poll_read(context, buffer)
        };
        match &polled {
            Poll::Ready(Ok(())) => self.saw(buffer.filled().get(before..).unwrap_or_default()),
            Poll::Ready(Err(_)) => self.session.lost(),
            Poll::Pending => {}
        }
        polled
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientIo<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = self.io()?.poll_write(context, bytes);
        if let Poll::Ready(Ok(length)) = polled {
            self.sent([bytes], length);
        }
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.io()?.poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(length)) = polled {
            self.sent(slices.iter().map(|slice| &**slice), length);
        }
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = match self.listen(context) {
            Ok(()) => self.io()?.poll_flush(context),
            Err(error) => Poll::Ready(Err(error)),
        };
        self.wrote(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.io()?.poll_shutdown(context);
        self.wrote(polled)
    }
}

impl<I> Drop for ClientIo<I> {
    fn drop(&mut self) {
        let (heads, tail) = (std::mem::take(&mut self.watch), std::mem::take(&mut self.tail));
        let parted = self.io.take().map(|io| Parted { io, heads, tail });
        *self.returned.lock().unwrap_or_else(PoisonError::into_inner) = parted;
    }
}
