//! One TCP connection: its two ends, its socket, and the bytes that were read from it but not yet consumed.
//!
//! `listener` makes it, the stages before TLS read ahead in it (a PROXY header, a ClientHello), and TLS then reads the
//! same bytes again: [`Transport`] gives the unread ones first and the socket's own afterwards.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use handfast_plugin_host as plugin_host;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Room for the hello of a current browser, post-quantum key share included, in one read.
const READ_AHEAD: usize = 4 << 10;

/// Who is connected to whom, as policies and logs see it.
#[derive(Debug, Clone)]
pub struct Ends {
    pub listener: String,
    /// From the PROXY header where there was one, else the socket's peer.
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub proxied: bool,
    /// Type-length-value fields of a PROXY version 2 header.
    pub proxy_fields: Vec<(u8, Vec<u8>)>,
}

impl plugin_host::Connection for Ends {
    fn listener(&self) -> &str {
        &self.listener
    }

    fn client_address(&self) -> SocketAddr {
        self.client
    }

    fn server_address(&self) -> SocketAddr {
        self.server
    }

    fn proxied(&self) -> bool {
        self.proxied
    }

    fn proxy_tlvs(&self) -> Vec<(u8, Vec<u8>)> {
        self.proxy_fields.clone()
    }
}

/// A connection whose bytes can be looked at before they are consumed.
#[derive(Debug)]
pub struct Transport {
    stream: TcpStream,
    unread: Vec<u8>,
    consumed: usize,
    ends: Arc<Ends>,
    /// Whether the sending side was closed. The layers above may each do it.
    shut: bool,
}

impl Transport {
    pub fn new(stream: TcpStream, ends: Ends) -> Self {
        Self { stream, unread: Vec::new(), consumed: 0, ends: Arc::new(ends), shut: false }
    }

    pub fn ends(&self) -> &Arc<Ends> {
        &self.ends
    }

    /// The bytes that were read and not consumed.
    pub fn unread(&self) -> &[u8] {
        self.unread.get(self.consumed..).unwrap_or(&[])
    }

    /// Reads more from the socket behind the unread bytes. 0 at the end of the stream. Cancel safe.
    pub async fn read_ahead(&mut self) -> io::Result<usize> {
        self.unread.reserve(READ_AHEAD);
        self.stream.read_buf(&mut self.unread).await
    }

    /// Passes over `length` of the unread bytes.
    pub fn consume(&mut self, length: usize) {
        self.consumed = self.consumed.saturating_add(length).min(self.unread.len());
        if self.consumed == self.unread.len() {
            // An idle connection keeps no buffer.
            self.unread = Vec::new();
            self.consumed = 0;
        }
    }

    /// Replaces what is known of the two ends, once a PROXY header told.
    pub fn set_ends(&mut self, ends: Ends) {
        self.ends = Arc::new(ends);
    }

    /// The socket, for options and for closing.
    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let unread = this.unread();
        if unread.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let length = unread.len().min(buffer.remaining());
        buffer.put_slice(unread.get(..length).unwrap_or(&[]));
        this.consume(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.shut {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut this.stream).poll_shutdown(context);
        this.shut = matches!(polled, Poll::Ready(Ok(())));
        polled
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn bytes_read_ahead_are_read_again_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let ends = Ends {
            listener: "test".into(),
            client: peer,
            server: address,
            proxied: false,
            proxy_fields: Vec::new(),
        };
        let mut transport = Transport::new(stream, ends);
        client.write_all(b"header").await.unwrap();
        while transport.unread().len() < 6 {
            transport.read_ahead().await.unwrap();
        }
        transport.consume(4);
        client.write_all(b" and the rest").await.unwrap();
        client.shutdown().await.unwrap();
        let mut rest = String::new();
        transport.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "er and the rest");
    }
}
