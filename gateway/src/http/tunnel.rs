//! A WebSocket after its 101: bytes in both directions until both sides have closed, or nothing moved for too long.
//!
//! The gateway does not look into the frames. A side that closes is told to the other, which may still send.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::End;
use super::outcome::{ErrorKind, Record};
use crate::upstream::connection::http1::Switched;

/// Per direction. WebSocket messages are small; larger ones take more turns.
const BUFFER: usize = 8 << 10;

/// The two ends, before the client's has been let go by hyper.
pub(super) struct Tunnel {
    client: OnUpgrade,
    upstream: Switched,
    record: Box<Record>,
    _connection: Option<OwnedSemaphorePermit>,
}

impl Tunnel {
    pub(super) fn new(
        client: OnUpgrade,
        upstream: Switched,
        connection: Option<OwnedSemaphorePermit>,
        record: Box<Record>,
    ) -> Self {
        Self { client, upstream, record, _connection: connection }
    }

    /// `idle_timeout`: nothing in either direction for so long ends it.
    pub(super) async fn run(mut self, idle_timeout: Duration) -> End {
        let Ok(client) = self.client.await else { return End::ConnectionLost };
        let activity = Activity { start: Instant::now(), last: Arc::default() };
        let mut client = Counted::new(TokioIo::new(client), activity.clone());
        let mut upstream = Counted::new(self.upstream.socket, activity.clone());
        let copied = {
            let copy = async {
                client.write_all(&self.upstream.early).await?;
                client.flush().await?;
                tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER).await
            };
            let mut copy = pin!(copy);
            loop {
                let quiet_until = activity.last() + idle_timeout;
                match tokio::time::timeout_at(quiet_until, copy.as_mut()).await {
                    Ok(copied) => break Some(copied),
                    Err(_) if activity.last() + idle_timeout <= Instant::now() => break None,
                    Err(_) => {}
                }
            }
        };
        self.record.outcome.bytes_in = client.bytes;
        self.record.outcome.bytes_out = upstream.bytes + self.upstream.early.len() as u64;
        self.record.complete = true;
        match copied {
            Some(Ok(_)) => End::TunnelClosed,
            Some(Err(error)) => {
                self.record.failed_with(ErrorKind::ResponseCut, &error);
                End::TunnelClosed
            }
            None => End::Idle,
        }
    }
}

/// When something last moved, in either direction.
#[derive(Clone)]
struct Activity {
    start: Instant,
    last: Arc<AtomicU64>,
}

impl Activity {
    fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    fn note(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }
}

/// A stream whose reads are counted.
struct Counted<S> {
    stream: S,
    activity: Activity,
    bytes: u64,
}

impl<S> Counted<S> {
    fn new(stream: S, activity: Activity) -> Self {
        Self { stream, activity, bytes: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        if read > 0 {
            self.bytes += read as u64;
            self.activity.note();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
