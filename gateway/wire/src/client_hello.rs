//! The TLS ClientHello (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2), read before rustls sees a byte of it.
//!
//! The TLS stage reads from the socket into a buffer that grows to at most [`ClientHello::MAX_BUFFER`] and calls
//! [`ClientHello::read`] after each read. What comes out is what policies judge, so it is the client's own words:
//! nothing is dropped, reordered or normalised except the server name. The buffer afterwards goes to rustls as it
//! is, which parses and negotiates for itself; this module never chooses a parameter.
//!
//! Parsing is strict where two parsers that differ would let a client show a policy one hello and rustls another:
//! lengths add up exactly, nothing trails, no extension comes twice, `pre_shared_key` is last. The contents of
//! extensions that no getter shows are not looked at.
//!
//! The message is copied once, into the `ClientHello`; the fields are ranges of that copy and the lists are decoded
//! as they are iterated. Fingerprints are computed when asked for. Measured: OpenSSL's hello of 339 bytes takes
//! 0.13 µs to read, its JA4 1.0 µs, its JA3 1.2 µs.

mod body;
mod fingerprint;
mod record;
mod server_name;

use std::{fmt, ops::Range};

use crate::{alert::AlertDescription, reader::Reader};

pub use self::{fingerprint::is_grease, server_name::ServerNameError};

/// A complete, well-formed ClientHello.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientHello {
    message: Vec<u8>,
    fields: body::Fields,
}

impl ClientHello {
    /// The longest handshake message that is read, its header included.
    ///
    /// Hellos are 200 to 600 bytes, 1,700 to 2,000 with post-quantum key shares; rustls stops at 65,535 bytes.
    pub const MAX_MESSAGE: usize = 65_536;

    /// The most records that a message may be spread over.
    ///
    /// One or two are usual. Clients that hide from middleboxes cut a hello into pieces of a few bytes.
    pub const MAX_RECORDS: usize = 1_024;

    /// The most bytes that [`read`](Self::read) needs to see: given this many, it never asks for more.
    pub const MAX_BUFFER: usize = Self::MAX_MESSAGE + Self::MAX_RECORDS * record::HEADER;

    /// Reads a ClientHello from the start of what a client has sent so far.
    ///
    /// `Ok(None)` asks for more bytes. Record and handshake headers are refused at the byte that is wrong, so that a
    /// peer that does not speak TLS is not waited for; the inside of the message is judged when all of it is there.
    /// Bytes after the message are ignored. Once the answer is not `Ok(None)`, further bytes do not change it.
    pub fn read(buffer: &[u8]) -> Result<Option<Self>, ClientHelloError> {
        let Some(message) = record::assemble(buffer)? else {
            return Ok(None);
        };
        let fields = body::parse(&message)?;
        Ok(Some(Self { message, fields }))
    }

    /// The DNS name of the `server_name` extension (RFC 6066 section 3), lower-cased and without a trailing dot.
    pub fn server_name(&self) -> Option<&str> {
        self.fields.server_name.as_deref()
    }

    /// The protocol ids of the ALPN extension (RFC 7301) in the client's order of preference.
    pub fn alpn(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let mut list = Reader::new(self.slice(&self.fields.alpn));
        std::iter::from_fn(move || list.vector8().map(|protocol| protocol.rest()))
    }

    /// `supported_versions` (RFC 8446 section 4.2.1); without that extension the one legacy version.
    pub fn protocol_versions(&self) -> impl ExactSizeIterator<Item = u16> + Clone + '_ {
        self.integers(&self.fields.protocol_versions)
    }

    /// The cipher suites in the client's order of preference, GREASE and signalling values included.
    pub fn cipher_suites(&self) -> impl ExactSizeIterator<Item = u16> + Clone + '_ {
        self.integers(&self.fields.cipher_suites)
    }

    /// `signature_algorithms` (RFC 8446 section 4.2.3), empty without that extension.
    pub fn signature_schemes(&self) -> impl ExactSizeIterator<Item = u16> + Clone + '_ {
        self.integers(&self.fields.signature_schemes)
    }

    /// `supported_groups` (RFC 8446 section 4.2.7), empty without that extension.
    pub fn named_groups(&self) -> impl ExactSizeIterator<Item = u16> + Clone + '_ {
        self.integers(&self.fields.named_groups)
    }

    /// The type of every extension, in wire order.
    pub fn extensions(&self) -> impl Iterator<Item = u16> + Clone + '_ {
        let mut list = Reader::new(self.slice(&self.fields.extensions));
        std::iter::from_fn(move || {
            let kind = list.u16()?;
            list.vector16()?;
            Some(kind)
        })
    }

    /// The handshake message as the client sent it: its four-byte header included, record headers removed.
    pub fn raw(&self) -> &[u8] {
        &self.message
    }

    /// Whether the client offers to resume a session: a non-empty `pre_shared_key` (RFC 8446 section 4.2.11),
    /// a non-empty `session_ticket` (RFC 5077) or, when it does not offer TLS 1.3, a session id. (With TLS 1.3 a
    /// session id is but a disguise for middleboxes, RFC 8446 appendix D.4.)
    pub fn offers_resumption(&self) -> bool {
        self.fields.offers_resumption
    }

    /// The JA3 fingerprint: 32 lower-case hexadecimal digits. Computed at each call.
    pub fn ja3(&self) -> String {
        fingerprint::ja3(self)
    }

    /// The JA4 fingerprint, such as `t13d1516h2_8daaf6152771_e5627efa2ab1`: 36 characters. Computed at each call.
    pub fn ja4(&self) -> String {
        fingerprint::ja4(self)
    }

    /// `client_version` or `legacy_version`; what a TLS 1.3 client means stands in `supported_versions`.
    fn legacy_version(&self) -> u16 {
        self.fields.legacy_version
    }

    /// The body of `ec_point_formats` (RFC 8422 section 5.1.2), for JA3.
    fn point_formats(&self) -> &[u8] {
        self.slice(&self.fields.point_formats)
    }

    fn integers(&self, range: &Range<usize>) -> impl ExactSizeIterator<Item = u16> + Clone + '_ {
        self.slice(range).as_chunks().0.iter().copied().map(u16::from_be_bytes)
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.message.get(range.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for ClientHello {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientHello")
            .field("server_name", &self.server_name())
            .field("ja4", &self.ja4())
            .field("length", &self.message.len())
            .finish_non_exhaustive()
    }
}

/// Why the bytes that opened a connection are no acceptable ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientHelloError {
    /// Neither TLS nor anything else that is recognised.
    #[error("the client does not speak TLS")]
    NotTls,
    /// An HTTP request line, or the preface of HTTP/2.
    #[error("a plain-text HTTP request reached a TLS port; the client should use https")]
    PlainHttp,
    /// The ClientHello format of SSL 2.0, which RFC 6176 retired; also sent by old clients that can do TLS 1.0.
    #[error("the client sent an SSL 2.0 hello; it needs TLS 1.2 or later")]
    Ssl2,
    /// A record other than a handshake record where the ClientHello should be. The value is its content type.
    #[error("a record of type {0} stands in the place of the ClientHello")]
    UnexpectedRecord(u8),
    /// A second or later record of no known version. The value is the high byte.
    #[error("a record continues the ClientHello under version {0:#04x}xx")]
    RecordVersion(u8),
    /// A record longer than 2^14 bytes (RFC 8446 section 5.1).
    #[error("a record announces {0} bytes, of at most 16384")]
    RecordOverflow(u16),
    /// An empty handshake record, forbidden by RFC 8446 section 5.1.
    #[error("a handshake record is empty")]
    EmptyRecord,
    /// The message is cut into more than [`ClientHello::MAX_RECORDS`] records.
    #[error("the ClientHello is spread over more than {max} records", max = ClientHello::MAX_RECORDS)]
    TooManyRecords,
    /// A handshake message other than a ClientHello. The value is its type.
    #[error("a handshake message of type {0} stands in the place of the ClientHello")]
    UnexpectedMessage(u8),
    /// The message is longer than [`ClientHello::MAX_MESSAGE`]. The value is what its header announces.
    #[error("the ClientHello announces {0} bytes; with its header it may have {max}", max = ClientHello::MAX_MESSAGE)]
    MessageTooLong(u32),
    /// Nothing newer than SSL 3.0 is offered, or a version that no TLS ever had.
    #[error("the client offers at most protocol version {0:#06x}; it needs TLS 1.2 or later")]
    ProtocolVersion(u16),
    /// A field's length does not fit what surrounds it, its own elements or the protocol's bounds.
    #[error("`{field}` has a length that cannot be right")]
    Malformed {
        /// The field, as the RFCs call it.
        field: &'static str,
    },
    /// The same extension twice (RFC 8446 section 4.2). The value is its type.
    #[error("extension {0} is there twice")]
    DuplicateExtension(u16),
    /// `legacy_compression_methods` lacks the null method, or has others beside it in a TLS 1.3 hello.
    #[error("`legacy_compression_methods` is not the one null method")]
    CompressionMethods,
    /// `pre_shared_key` must be the last extension (RFC 8446 section 4.2.11).
    #[error("`pre_shared_key` is not the last extension")]
    PreSharedKeyNotLast,
    /// The `server_name` extension holds what is no DNS name.
    #[error("the server name cannot be used")]
    ServerName(#[source] ServerNameError),
}

impl ClientHelloError {
    /// The alert that tells the client, or `None` where the peer would not understand one and a close is all.
    pub const fn alert(&self) -> Option<AlertDescription> {
        Some(match self {
            Self::NotTls | Self::PlainHttp => return None,
            Self::Ssl2 | Self::RecordVersion(_) | Self::ProtocolVersion(_) => {
                AlertDescription::PROTOCOL_VERSION
            }
            Self::UnexpectedRecord(_) | Self::EmptyRecord | Self::UnexpectedMessage(_) => {
                AlertDescription::UNEXPECTED_MESSAGE
            }
            Self::RecordOverflow(_) => AlertDescription::RECORD_OVERFLOW,
            Self::TooManyRecords | Self::MessageTooLong(_) | Self::Malformed { .. } => {
                AlertDescription::DECODE_ERROR
            }
            Self::DuplicateExtension(_) | Self::CompressionMethods | Self::PreSharedKeyNotLast => {
                AlertDescription::ILLEGAL_PARAMETER
            }
            Self::ServerName(error) => error.alert(),
        })
    }
}
