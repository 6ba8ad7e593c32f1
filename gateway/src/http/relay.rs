//! Bytes between two streams, both ways, until both have closed or nothing moved for too long.
//!
//! For what is not looked into: WebSockets ([`super::tunnel`]) and TLS that is passed through (`connection`). A side that
//! closes is told to the other, which may still send. The counts are right at any moment, however the relay ends.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

/// Per direction. WebSocket messages and TLS handshakes are small; larger transfers take more turns.
const BUFFER: usize = 8 << 10;

/// The two ends and what has passed between them.
pub struct Relay<C, U> {
    client: Counted<C>,
    upstream: Counted<U>,
    activity: Activity,
}

/// How a relay ended.
#[derive(Debug)]
pub enum Ended {
    /// By both ends, one after the other.
    Closed,
    /// Nothing moved for the idle timeout.
    Idle,
    Failed(Side, io::Error),
}

/// Whose stream failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Upstream,
}

impl<C, U> Relay<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    pub fn new(client: C, upstream: U) -> Self {
        let activity = Activity { start: Instant::now(), last: Arc::default() };
        let (client, upstream) =
            (Counted::new(client, activity.clone()), Counted::new(upstream, activity.clone()));
        Self { client, upstream, activity }
    }

    /// Once. `early`: what was read from the upstream before. The future may be dropped; the counts stay.
    pub async fn run(&mut self, early: &[u8], idle_timeout: Duration) -> Ended {
        let Self { client, upstream, activity } = self;
        upstream.bytes += early.len() as u64;
        let error = {
            let mut copy = pin!(async {
                client.write_all(early).await?;
                client.flush().await?;
                tokio::io::copy_bidirectional_with_sizes(client, upstream, BUFFER, BUFFER).await
            });
            loop {
                let quiet_until = activity.last() + idle_timeout;
                match tokio::time::timeout_at(quiet_until, copy.as_mut()).await {
                    Ok(Ok(_)) => return Ended::Closed,
                    Ok(Err(error)) => break error,
                    Err(_) if activity.last() + idle_timeout <= Instant::now() => return Ended::Idle,
                    Err(_) => {}
                }
            }
        };
        Ended::Failed(if self.client.failed { Side::Client } else { Side::Upstream }, error)
    }

    /// From the client.
    pub fn bytes_in(&self) -> u64 {
        self.client.bytes
    }

    /// From the upstream.
    pub fn bytes_out(&self) -> u64 {
        self.upstream.bytes
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

/// A stream whose reads are counted, and of which is known whether it failed.
struct Counted<S> {
    stream: S,
    activity: Activity,
    bytes: u64,
    failed: bool,
}

impl<S> Counted<S> {
    fn new(stream: S, activity: Activity) -> Self {
        Self { stream, activity, bytes: 0, failed: false }
    }

    fn noted<T>(&mut self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.failed |= matches!(polled, Poll::Ready(Err(_)));
        polled
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
        self.noted(polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.noted(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.noted(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.noted(polled)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    /// A relay and the far ends of its streams.
    fn relay() -> (Relay<DuplexStream, DuplexStream>, DuplexStream, DuplexStream) {
        let ((client, near_client), (server, near_server)) = (duplex(64), duplex(64));
        (Relay::new(near_client, near_server), client, server)
    }

    #[tokio::test]
    async fn a_side_that_closes_still_hears_the_other() {
        let (mut relay, mut client, mut server) = relay();
        let peers = async {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut question = String::new();
            server.read_to_string(&mut question).await.unwrap();
            server.write_all(b"answer").await.unwrap();
            server.shutdown().await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            (question, answer)
        };
        let (ended, (question, answer)) = tokio::join!(relay.run(b"early ", LONG), peers);
        assert!(matches!(ended, Ended::Closed), "{ended:?}");
        assert_eq!((question.as_str(), answer.as_str()), ("question", "early answer"));
        assert_eq!((relay.bytes_in(), relay.bytes_out()), (8, 12));
    }

    #[tokio::test]
    async fn a_quiet_relay_ends_and_has_counted() {
        let (mut relay, mut client, server) = relay();
        client.write_all(b"hello").await.unwrap();
        let ended = relay.run(b"", Duration::from_millis(50)).await;
        assert!(matches!(ended, Ended::Idle), "{ended:?}");
        assert_eq!((relay.bytes_in(), relay.bytes_out()), (5, 0));
        drop((client, server));
    }

    #[tokio::test]
    async fn a_relay_that_is_given_up_has_counted() {
        let (mut relay, mut client, mut server) = relay();
        client.write_all(b"hello").await.unwrap();
        let mut hello = [0; 5];
        tokio::select! {
            ended = relay.run(b"", LONG) => panic!("{ended:?}"),
            read = server.read_exact(&mut hello) => { read.unwrap(); }
        }
        assert_eq!(relay.bytes_in(), 5);
    }

    #[tokio::test]
    async fn a_relay_that_fails_has_counted() {
        let (mut relay, mut client, server) = relay();
        drop(server);
        client.write_all(b"hello").await.unwrap();
        let ended = relay.run(b"", LONG).await;
        assert!(matches!(ended, Ended::Failed(Side::Upstream, _)), "{ended:?}");
        assert_eq!(relay.bytes_in(), 5);
    }

    #[tokio::test]
    async fn who_broke_off_is_known() {
        let (mut relay, client, mut server) = relay();
        drop(client);
        server.write_all(b"hello").await.unwrap();
        let ended = relay.run(b"", LONG).await;
        assert!(matches!(ended, Ended::Failed(Side::Client, _)), "{ended:?}");
    }
}
