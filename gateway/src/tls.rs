//! From a ClientHello to an established TLS stream.
//!
//! `connection` drives the stages in their one order; each consumes the value of the one before:
//! [`client_hello::read`] → (policies) → [`handshake`] → (policies) → HTTP. A stream exists only where an
//! [`Admission`] was spent on it, and no code but the policy chain can make one.
//!
//! The ClientHello is read and judged before rustls sees it, so a policy may take its time without blocking a thread;
//! rustls then reads the same bytes again from the [`Transport`]. The two parsers can not be played against each
//! other: the certificate is fixed by then, and a server name that rustls reads differently ends the handshake.

use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, ServerConfig};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificate::Certificate;
use crate::policy::Admission;
use crate::transport::Transport;
use client_hello::{Greeted, Hello};

pub use stream::Stream;

pub mod alert;
pub mod client_hello;
pub mod server_config;
mod stream;

/// A completed handshake.
pub struct Established {
    /// Boxed, since each stage hands it to the next: unboxed, its 1.2 KiB were in the future of each of them, and made
    /// that of a connection 10.5 KiB instead of 4.6.
    stream: Box<TlsStream<Transport>>,
    hello: Arc<Hello>,
    certificate: Arc<Certificate>,
}

/// What the two sides agreed on, for logs.
#[derive(Debug, Clone, Copy)]
pub struct Parameters {
    pub version: &'static str,
    pub cipher: &'static str,
    pub http2: bool,
    pub resumed: bool,
}

/// A handshake that the client or the network ended. rustls has sent its alert, if one was due.
#[derive(Debug)]
pub struct HandshakeFailure {
    pub error: io::Error,
    /// The connection, for an orderly close.
    pub transport: Transport,
}

/// Performs the handshake with the admitted certificate. The caller bounds its time.
pub async fn handshake(
    greeted: Greeted,
    admission: Admission,
    certificate: Arc<Certificate>,
    config: Arc<ServerConfig>,
) -> Result<Established, HandshakeFailure> {
    let Greeted { mut transport, hello } = greeted;
    if admission.certificate() != certificate.id() {
        let error = io::Error::other("the certificate is not the one that was admitted");
        return Err(HandshakeFailure { error, transport });
    }
    drop(admission);
    transport.handshake_begins();
    let accept = TlsAcceptor::from(config).accept(transport).into_fallible();
    let stream = accept.await.map_err(|(error, transport)| HandshakeFailure { error, transport })?;
    let mut stream = Box::new(stream);
    stream.get_mut().0.handshake_over();
    if stream.get_ref().1.server_name() != hello.server_name() {
        let (transport, _) = stream.into_inner();
        let error =
            io::Error::new(io::ErrorKind::InvalidData, "the server name changed within the handshake");
        return Err(HandshakeFailure { error, transport });
    }
    Ok(Established { stream, hello, certificate })
}

impl Established {
    pub fn hello(&self) -> &Arc<Hello> {
        &self.hello
    }

    pub fn certificate(&self) -> &Arc<Certificate> {
        &self.certificate
    }

    /// The chain the client presented, now or in the handshake that its ticket is from; empty without one.
    pub fn peer_chain(&self) -> &[CertificateDer<'static>] {
        self.stream.get_ref().1.peer_certificates().unwrap_or(&[])
    }

    pub fn parameters(&self) -> Parameters {
        let session = self.stream.get_ref().1;
        Parameters {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "1.3",
                Some(ProtocolVersion::TLSv1_2) => "1.2",
                _ => "unknown",
            },
            cipher: session.negotiated_cipher_suite().map_or("unknown", |suite| registered(suite.suite())),
            http2: session.alpn_protocol() == Some(b"h2"),
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// The stream, for HTTP.
    pub fn into_stream(self) -> Stream {
        Stream(self.stream)
    }
}

/// The name in the IANA registry "TLS Cipher Suites" of a suite that this gateway can agree on.
fn registered(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        // rustls' names of TLS 1.2 suites are the registered ones.
        other => other.as_str().unwrap_or("unknown"),
    }
}
