//! A TLS client whose ClientHello the test decides, and which says exactly how it was received.
//!
//! It accepts any certificate and hands over the leaf, because which one came is what tests ask; that chains verify is
//! checked with real clients ([`curl`], [`openssl`]). Handshake signatures are verified as always.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, SupportedKxGroup, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, ProtocolVersion, SignatureScheme,
    StreamOwned, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::DEADLINE;
use crate::client::alert::alert_name;
use crate::client::http1::Response;
use crate::pki::{Pair, fingerprint};

pub mod alert;
pub mod curl;
pub mod http1;
pub mod http2;
pub mod openssl;

static TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
static TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// Settings of a client. Sessions are kept per value: connecting twice with the same client resumes.
#[derive(Debug, Clone)]
pub struct Client {
    versions: &'static [&'static SupportedProtocolVersion],
    groups: Vec<&'static dyn SupportedKxGroup>,
    schemes: Vec<SignatureScheme>,
    alpn: Vec<Vec<u8>>,
    identity: Option<Pair>,
    server_name: bool,
    resumption: bool,
    preface: Vec<u8>,
    config: OnceLock<Arc<ClientConfig>>,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// TLS 1.2 and 1.3 with all that rustls offers, HTTP/1.1 by ALPN, no resumption.
    pub fn new() -> Self {
        let provider = aws_lc_rs::default_provider();
        Self {
            versions: rustls::ALL_VERSIONS,
            groups: provider.kx_groups,
            schemes: provider.signature_verification_algorithms.supported_schemes(),
            alpn: vec![b"http/1.1".to_vec()],
            identity: None,
            server_name: true,
            resumption: false,
            preface: Vec::new(),
            config: OnceLock::new(),
        }
    }

    pub fn tls12(self) -> Self {
        Self { versions: TLS12, ..self }
    }

    pub fn tls13(self) -> Self {
        Self { versions: TLS13, ..self }
    }

    /// The named groups offered, in order of preference.
    pub fn groups(self, groups: &[&'static dyn SupportedKxGroup]) -> Self {
        Self { groups: groups.to_vec(), ..self }
    }

    /// The signature schemes offered.
    pub fn schemes(self, schemes: &[SignatureScheme]) -> Self {
        Self { schemes: schemes.to_vec(), ..self }
    }

    /// The protocols offered by ALPN; none leaves the extension out.
    pub fn alpn(self, protocols: &[&str]) -> Self {
        Self { alpn: protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect(), ..self }
    }

    /// Presents this certificate when asked for one.
    pub fn identity(self, pair: &Pair) -> Self {
        Self { identity: Some(pair.clone()), ..self }
    }

    pub fn without_server_name(self) -> Self {
        Self { server_name: false, ..self }
    }

    /// Keeps sessions and offers to resume them.
    pub fn resuming(self) -> Self {
        Self { resumption: true, ..self }
    }

    /// Bytes that go before the ClientHello: a PROXY header.
    pub fn preface(self, bytes: &[u8]) -> Self {
        Self { preface: bytes.to_vec(), ..self }
    }

    /// Connects and shakes hands.
    pub fn connect(&self, address: SocketAddr, server_name: &str) -> Result<Session, Refusal> {
        let mut socket = TcpStream::connect(address).map_err(|error| Refusal::of(&error))?;
        socket.set_read_timeout(Some(DEADLINE)).expect("a deadline is set");
        socket.set_write_timeout(Some(DEADLINE)).expect("a deadline is set");
        socket.set_nodelay(true).expect("an option is set");
        // Refused already, perhaps: what the gateway says about it is in the bytes to read.
        let _ = socket.write_all(&self.preface);
        let mut connection = self.connection(server_name);
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).map_err(|error| Refusal::of(&error))?;
        }
        let chain = connection.peer_certificates().expect("a server has a certificate");
        let chain: Vec<_> = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Ok(Session {
            leaf: chain.first().expect("a server has a certificate").clone(),
            chain,
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            version: connection.protocol_version().expect("a version was agreed on"),
            alpn: connection.alpn_protocol().map(|id| String::from_utf8_lossy(id).into_owned()),
            group: connection.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())),
            host: server_name.to_owned(),
            stream: StreamOwned::new(connection, socket),
        })
    }

    /// Connects and asks for `path`. In TLS 1.3 a client's handshake ends before the server has judged the client's
    /// certificate: only an answer proves that it was let in.
    pub fn get(&self, address: SocketAddr, host: &str, path: &str) -> Result<Response, Refusal> {
        self.connect(address, host)?.get(path)
    }

    /// The first flight as it would go out, to be sent in parts.
    pub fn hello(&self, server_name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.connection(server_name).write_tls(&mut bytes).expect("a Vec takes all");
        bytes
    }

    fn connection(&self, server_name: &str) -> ClientConnection {
        let config = self.config.get_or_init(|| Arc::new(self.build()));
        let name = ServerName::try_from(server_name.to_owned()).expect("a server name");
        ClientConnection::new(config.clone(), name).expect("a client is made")
    }

    fn build(&self) -> ClientConfig {
        let provider = CryptoProvider { kx_groups: self.groups.clone(), ..aws_lc_rs::default_provider() };
        let verifier = AnyCertificate { schemes: self.schemes.clone() };
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(self.versions)
            .expect("versions that the provider has")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.identity {
            Some(pair) => {
                builder.with_client_auth_cert(pair.chain(), pair.key()).expect("a pair that matches")
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config.enable_sni = self.server_name;
        config.resumption =
            if self.resumption { Resumption::in_memory_sessions(64) } else { Resumption::disabled() };
        config
    }
}

/// A connection whose handshake succeeded, as the client saw it.
#[derive(Debug)]
pub struct Session {
    pub leaf: CertificateDer<'static>,
    /// As it was sent, from the leaf on.
    pub chain: Vec<CertificateDer<'static>>,
    pub resumed: bool,
    pub version: ProtocolVersion,
    pub alpn: Option<String>,
    pub group: Option<String>,
    host: String,
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Session {
    /// The SHA-256 fingerprint of the leaf, to be compared with [`Pair::fingerprint`].
    pub fn certificate(&self) -> String {
        fingerprint(&self.leaf)
    }

    /// GET over HTTP/1.1, to the host that the session was opened for.
    pub fn get(&mut self, path: &str) -> Result<Response, Refusal> {
        let host = &self.host;
        self.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes())?;
        self.response()
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let sent = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
        sent.map_err(|error| self.refusal(&error))
    }

    /// Reads one HTTP/1.1 response; one that only announces another (1xx) counts as well.
    pub fn response(&mut self) -> Result<Response, Refusal> {
        http1::read_response(&mut self.stream).map_err(|error| Refusal::of(&error))
    }

    /// Sends `close_notify` and FIN: nothing more will come, but an answer is still wanted.
    pub fn close_sending(&mut self) {
        self.stream.conn.send_close_notify();
        let _ = self.stream.flush();
        let _ = self.stream.sock.shutdown(Shutdown::Write);
    }

    /// Waits, without a word, for a session ticket of TLS 1.3.
    pub fn ticket(&mut self) -> Result<(), Refusal> {
        while self.stream.conn.tls13_tickets_received() == 0 {
            let (read, _) =
                self.stream.conn.complete_io(&mut self.stream.sock).map_err(|error| Refusal::of(&error))?;
            if read == 0 {
                return Err(Refusal::Closed);
            }
        }
        Ok(())
    }

    pub fn read_exact(&mut self, count: usize) -> Result<Vec<u8>, Refusal> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).map_err(|error| Refusal::of(&error))?;
        Ok(bytes)
    }

    /// Reads until the gateway closes; an alert or a missing `close_notify` is a refusal.
    pub fn read_to_end(&mut self) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).map_err(|error| Refusal::of(&error))?;
        Ok(bytes)
    }

    /// A failed write says only that the other side is gone; why is in what it sent before.
    fn refusal(&mut self, error: &io::Error) -> Refusal {
        match self.stream.read(&mut [0]) {
            Err(reason) => Refusal::of(&reason),
            Ok(0 | 1..) => Refusal::of(error),
        }
    }
}

/// How a connection was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The TLS alert received, by its name in RFC 8446 section 6.
    Alert(&'static str),
    /// The connection ended without an alert.
    Closed,
    /// Anything else, this client's own objections among them.
    Other(String),
}

impl Refusal {
    fn of(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match (inner, error.kind()) {
            (Some(rustls::Error::AlertReceived(alert)), _) => Self::Alert(alert_name(*alert)),
            (Some(other), _) => Self::Other(other.to_string()),
            (
                None,
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe,
            ) => Self::Closed,
            (None, _) => Self::Other(error.to_string()),
        }
    }
}

/// Accepts every chain; verifies that the peer holds the key of the leaf.
#[derive(Debug)]
struct AnyCertificate {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
