//! One TCP connection: its two ends, its socket, and the bytes that were read from it but not yet consumed.
//!
//! `listener` makes it, the stages before TLS read ahead in it (a PROXY header, a ClientHello), and TLS then reads the
//! same bytes again: [`Transport`] gives the unread ones first and the socket's own afterwards.
//!
//! # Memo: bytes that wait for the next ones
//! Three things are written that nobody waits for: session tickets behind the handshake, and an alert or a close_notify
//! before the end of the stream. Each was a packet of its own, and a packet costs some 5 µs of the 105 that a handshake
//! took. They are handed to the kernel with `MSG_MORE` now: it sends them with what is written next (the settings of
//! HTTP/2, the first response, the FIN), or by itself after 200 ms (tcp(7), `TCP_CORK`), so a client that only waits for
//! its tickets gets them too. BoringSSL keeps tickets back as well, until the first write, and without a limit of time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use handfast_plugin_host as plugin_host;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Room for the hello of a current browser, post-quantum key share included, in one read.
const READ_AHEAD: usize = 4 << 10;

/// RFC 8446 section 5.1: what protected records say of themselves.
const APPLICATION_DATA: u8 = 23;

/// Who is connected to whom, as policies and logs see it.
#[derive(Debug, Clone)]
pub struct Ends {
    pub listener: String,
    /// From the PROXY header where there was one, else the socket's peer.
    pub client: SocketAddr,
    pub server: SocketAddr,
    /// Whether these are the PROXY header's.
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

/// An IPv4 client of an IPv6 socket is an IPv4 client (RFC 4291 section 2.5.5.2), and so is one that a PROXY header writes so.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A connection whose bytes can be looked at before they are consumed.
#[derive(Debug)]
pub struct Transport {
    stream: TcpStream,
    unread: Vec<u8>,
    consumed: usize,
    ends: Arc<Ends>,
    sending: Sending,
}

/// How urgent what is written is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// At once.
    Plainly,
    /// Each flight at once, but for the tickets behind the last. `cut`: the socket took only a part of the last write, so
    /// the next one does not begin where a flight begins.
    Handshake { cut: bool },
    /// With the end of the stream, which follows.
    LastWords,
    /// The sending side was closed. The layers above may each do it.
    Shut,
}

impl Transport {
    pub fn new(stream: TcpStream, ends: Ends) -> Self {
        Self { stream, unread: Vec::new(), consumed: 0, ends: Arc::new(ends), sending: Sending::Plainly }
    }

    /// What is written until [`Transport::handshake_over`] is a handshake's.
    pub fn handshake_begins(&mut self) {
        self.sending = Sending::Handshake { cut: false };
    }

    pub fn handshake_over(&mut self) {
        self.sending = Sending::Plainly;
    }

    /// What is written from here on may wait for the end of the stream, which the caller sends next.
    pub fn last_words(&mut self) {
        if self.sending != Sending::Shut {
            self.sending = Sending::LastWords;
        }
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

impl Sending {
    /// Whether bytes that begin with `first` may wait for those behind them.
    ///
    /// In a handshake only a server's tickets begin with a protected record: its flights begin with ServerHello, or in
    /// TLS 1.2 with NewSessionTicket or ChangeCipherSpec, all in the clear.
    fn waits(self, first: Option<u8>) -> bool {
        match self {
            Self::Plainly | Self::Shut => false,
            Self::Handshake { cut } => !cut && first == Some(APPLICATION_DATA),
            Self::LastWords => true,
        }
    }

    fn wrote(&mut self, taken: usize, of: usize) {
        if let Self::Handshake { cut } = self {
            *cut = taken < of;
        }
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
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let first = slices.iter().find_map(|slice| slice.first().copied());
        let taken = match slices {
            _ if this.sending.waits(first) => ready!(send_with_more(&this.stream, context, slices))?,
            // send(2) takes a shorter way through the kernel than writev(2): 0.2 µs of some 6.
            [only] => ready!(Pin::new(&mut this.stream).poll_write(context, only))?,
            slices => ready!(Pin::new(&mut this.stream).poll_write_vectored(context, slices))?,
        };
        this.sending.wrote(taken, slices.iter().map(|slice| slice.len()).sum());
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.sending != Sending::Shut {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            this.sending = Sending::Shut;
        }
        Poll::Ready(Ok(()))
    }
}

/// Hands bytes to the kernel to be sent with the next ones.
fn send_with_more(
    stream: &TcpStream,
    context: &mut Context<'_>,
    slices: &[io::IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(context))?;
        let send = || SockRef::from(stream).send_vectored_with_flags(slices, libc::MSG_MORE);
        match stream.try_io(Interest::WRITABLE, send) {
            // Readiness was of a moment ago, and is cleared now.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
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

    #[test]
    fn of_a_handshake_only_the_tickets_wait() {
        let (hello, change_cipher_spec, protected) = (Some(22), Some(20), Some(APPLICATION_DATA));
        let mut sending = Sending::Handshake { cut: false };
        assert_eq!(
            [hello, change_cipher_spec, protected].map(|first| sending.waits(first)),
            [false, false, true]
        );
        // What is left of a flight may begin anywhere.
        sending.wrote(10, 20);
        assert!(!sending.waits(protected));
        sending.wrote(10, 10);
        assert!(sending.waits(protected));
        assert!(!Sending::Plainly.waits(protected));
        assert!(Sending::LastWords.waits(hello));
    }
}
