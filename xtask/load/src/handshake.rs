//! One operation: connect, shake hands, send one request and read its answer where one is asked for, close.
//!
//! After its goodbye the client waits for the server to close, so when an operation is over the server has nothing left to
//! do for it. A TLS 1.3 client is done before the server has read its last flight: that there was a ticket before the end
//! shows that the server was done too. It is not waited for before the goodbye, since no client in life does, and servers
//! may send it with whatever comes next.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificate::NameOnly;
use crate::request::Request;
use crate::{Cipher, Group, Version};

/// No server under test may take longer; one that does is counted as an error.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tickets kept for a name: no more connections than this are at work at a time.
const TICKETS: usize = 4_096;

/// What the client offers: one of each, so that every server is made to do the same work.
pub(crate) struct Client {
    pub(crate) version: Version,
    pub(crate) group: Group,
    pub(crate) cipher: Cipher,
    pub(crate) alpn: String,
    pub(crate) resume: bool,
    /// Send a request on each connection, over the protocol of `alpn`.
    pub(crate) request: bool,
}

/// Makes connections to one server.
pub(crate) struct Handshakes {
    address: SocketAddr,
    server_names: Vec<ServerName<'static>>,
    next: AtomicUsize,
    connector: TlsConnector,
    /// TLS 1.2 servers send their tickets before they finish: there the handshake's end is enough.
    ticket_follows: bool,
    /// By the position of the server name; empty where none are sent.
    requests: Vec<Request>,
}

/// An operation that went well.
pub(crate) struct Done {
    /// From the first packet to the end of the client's handshake.
    pub(crate) latency: Duration,
    pub(crate) resumed: bool,
}

impl Handshakes {
    pub(crate) fn new(
        address: SocketAddr,
        server_names: Vec<ServerName<'static>>,
        client: &Client,
    ) -> Result<Self> {
        // The first random number of a process takes 40 ms, since aws-lc tests its source of entropy before. At a fixed
        // rate these would be 40 late handshakes.
        let mut random = [0];
        default_provider().secure_random.fill(&mut random).map_err(|_| anyhow!("no random numbers"))?;
        let request = |name: &ServerName<'_>| Request::over(&client.alpn, &name.to_str());
        let requests = match client.request {
            true => server_names.iter().map(request).collect(),
            false => Vec::new(),
        };
        Ok(Self {
            address,
            server_names,
            requests,
            next: AtomicUsize::new(0),
            connector: TlsConnector::from(Arc::new(config(client)?)),
            ticket_follows: client.version == Version::Tls13,
        })
    }

    pub(crate) async fn one(&self) -> io::Result<Done> {
        tokio::time::timeout(PATIENCE, self.connection())
            .await
            .unwrap_or_else(|_| Err(io::Error::new(ErrorKind::TimedOut, "the server takes too long")))
    }

    /// The certificate that one handshake is answered with, in DER.
    pub(crate) async fn leaf(&self) -> io::Result<Vec<u8>> {
        let leaf = async {
            let (stream, _) = self.shake_hands().await?;
            let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            leaf.map(|leaf| leaf.to_vec()).ok_or_else(|| io::Error::other("the server showed no certificate"))
        };
        tokio::time::timeout(PATIENCE, leaf)
            .await
            .unwrap_or_else(|_| Err(io::Error::new(ErrorKind::TimedOut, "the server takes too long")))
    }

    /// A connection on which all is said, to be kept.
    pub(crate) async fn held(&self) -> io::Result<TlsStream<TcpStream>> {
        let held = async {
            let (mut stream, position) = self.shake_hands().await?;
            self.converse(&mut stream, position).await?;
            Ok(stream)
        };
        tokio::time::timeout(PATIENCE, held)
            .await
            .unwrap_or_else(|_| Err(io::Error::new(ErrorKind::TimedOut, "the server takes too long")))
    }

    /// What the server has to show before the connection is one to be kept.
    async fn converse(&self, stream: &mut TlsStream<TcpStream>, position: usize) -> io::Result<()> {
        match self.requests.get(position) {
            Some(request) => request.exchange(stream).await,
            None if self.ticket_follows => ticket(stream).await,
            None => Ok(()),
        }
    }

    /// With the position of the server name whose turn it was.
    async fn shake_hands(&self) -> io::Result<(TlsStream<TcpStream>, usize)> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let position = turn.checked_rem(self.server_names.len()).unwrap_or_default();
        let name = self.server_names.get(position);
        let name = name.ok_or_else(|| io::Error::other("there is no server name to ask for"))?.clone();
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok((self.connector.connect(name, stream).await?, position))
    }

    async fn connection(&self) -> io::Result<Done> {
        let begun = Instant::now();
        let (mut stream, position) = self.shake_hands().await?;
        let latency = begun.elapsed();
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);

        if let Some(request) = self.requests.get(position) {
            request.exchange(&mut stream).await?;
        }
        match stream.shutdown().await {
            // A server that has closed by now has nothing more to do either; the end that it sent is read below.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
        match last_read(&mut stream).await {
            Ok(0) => {}
            // nginx closes without a goodbye of its own.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
            Ok(_) => {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "the server said something nobody asked for",
                ));
            }
            Err(error) => return Err(error),
        }
        if self.ticket_follows && stream.get_ref().1.tls13_tickets_received() == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed before its ticket"));
        }
        Ok(Done { latency, resumed })
    }
}

/// What comes after the goodbye. With HTTP/2 the server may still acknowledge something, or say its own.
async fn last_read(stream: &mut TlsStream<TcpStream>) -> io::Result<usize> {
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    loop {
        match stream.read(&mut [0; 256]).await {
            Ok(1..) if is_http2 => {}
            end => return end,
        }
    }
}

/// Reads until a ticket has come. A ticket is no data, so a plain `read` would not return for it.
async fn ticket(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    poll_fn(|context| {
        let mut scratch = [0; 64];
        let mut buffer = ReadBuf::new(&mut scratch);
        let read = Pin::new(&mut *stream).poll_read(context, &mut buffer);
        if stream.get_ref().1.tls13_tickets_received() > 0 {
            return Poll::Ready(Ok(()));
        }
        let early =
            || io::Error::new(ErrorKind::UnexpectedEof, "the server closed or spoke before its ticket");
        read.map(|read| read.and_then(|()| Err(early())))
    })
    .await
}

fn config(client: &Client) -> Result<ClientConfig> {
    let mut provider = default_provider();
    provider.kx_groups = vec![match client.group {
        Group::X25519 => kx_group::X25519,
        Group::Secp256r1 => kx_group::SECP256R1,
        Group::X25519mlkem768 => kx_group::X25519MLKEM768,
    }];
    provider.cipher_suites = match (client.version, client.cipher) {
        (Version::Tls13, Cipher::Aes128) => vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        (Version::Tls13, Cipher::Aes256) => vec![cipher_suite::TLS13_AES_256_GCM_SHA384],
        (Version::Tls13, Cipher::Chacha20) => vec![cipher_suite::TLS13_CHACHA20_POLY1305_SHA256],
        // In TLS 1.2 the suite names the kind of key as well.
        (Version::Tls12, Cipher::Aes128) => vec![
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ],
        (Version::Tls12, Cipher::Aes256) => vec![
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ],
        (Version::Tls12, Cipher::Chacha20) => vec![
            cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
    };
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let version = match client.version {
        Version::Tls12 => &TLS12,
        Version::Tls13 => &TLS13,
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .context("this version does not go with this group or cipher")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NameOnly { schemes }))
        .with_no_client_auth();
    config.alpn_protocols = vec![client.alpn.clone().into_bytes()];
    config.resumption =
        if client.resume { Resumption::in_memory_sessions(TICKETS) } else { Resumption::disabled() };
    Ok(config)
}
