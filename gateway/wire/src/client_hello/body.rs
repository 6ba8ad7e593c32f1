//! The inside of a ClientHello: where its fields lie, and that all lengths add up.
//!
//! Called once per message, when all of it is there. It refuses what RFC 8446 says a server must refuse on sight and
//! what would read differently in another parser; whether the offers are good enough is for policies and rustls.

use std::{collections::BTreeSet, ops::Range};

use super::{ClientHelloError, server_name};
use crate::reader::Reader;

/// Ranges are offsets into the message; the lists they span consist of whole elements.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) legacy_version: u16,
    pub(super) server_name: Option<Box<str>>,
    pub(super) cipher_suites: Range<usize>,
    pub(super) extensions: Range<usize>,
    /// The list of `supported_versions`, or without that extension the two bytes of the legacy version.
    pub(super) protocol_versions: Range<usize>,
    pub(super) alpn: Range<usize>,
    pub(super) signature_schemes: Range<usize>,
    pub(super) named_groups: Range<usize>,
    pub(super) point_formats: Range<usize>,
    pub(super) offers_resumption: bool,
}

const HANDSHAKE_HEADER: usize = 4;
const RANDOM: usize = 32;
const MAX_SESSION_ID: usize = 32;
const NULL_COMPRESSION: u8 = 0;

const SSL_3_0: u16 = 0x0300;
const TLS_1_3: u16 = 0x0304;

const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const EC_POINT_FORMATS: u16 = 11;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SESSION_TICKET: u16 = 35;
const PRE_SHARED_KEY: u16 = 41;
const SUPPORTED_VERSIONS: u16 = 43;

pub(super) fn parse(message: &[u8]) -> Result<Fields, ClientHelloError> {
    let mut reader = Reader::new(message);
    let mut fields = Fields::default();
    reader.take(HANDSHAKE_HEADER).ok_or(malformed("ClientHello"))?;

    let mut version = reader.nested(2).ok_or(malformed("legacy_version"))?;
    fields.protocol_versions = version.range();
    fields.legacy_version = version.u16().ok_or(malformed("legacy_version"))?;
    reader.take(RANDOM).ok_or(malformed("random"))?;
    let session_id = reader.vector8().ok_or(malformed("legacy_session_id"))?.rest();
    if session_id.len() > MAX_SESSION_ID {
        return Err(malformed("legacy_session_id"));
    }
    let cipher_suites = reader.vector16().ok_or(malformed("cipher_suites"))?;
    fields.cipher_suites = non_empty_integers(cipher_suites, "cipher_suites")?;
    let compression = reader.vector8().ok_or(malformed("legacy_compression_methods"))?.rest();

    let mut resumes = false;
    // Extensions are optional below TLS 1.3, and so is the length of their list (RFC 5246 section 7.4.1.2).
    if !reader.is_empty() {
        let extensions = reader.vector16().filter(|_| reader.is_empty()).ok_or(malformed("extensions"))?;
        fields.extensions = extensions.range();
        resumes = parse_extensions(extensions, &mut fields)?;
    }

    let mut versions = message.get(fields.protocol_versions.clone()).unwrap_or_default().as_chunks().0.iter();
    let offers_tls13 = versions.any(|version| u16::from_be_bytes(*version) == TLS_1_3);
    fields.offers_resumption = resumes || (!offers_tls13 && !session_id.is_empty());
    check_compression(compression, offers_tls13)?;
    // `protocol_versions` still points at the legacy version: no `supported_versions` says otherwise.
    if fields.legacy_version == SSL_3_0 && fields.protocol_versions.start == HANDSHAKE_HEADER {
        return Err(ClientHelloError::ProtocolVersion(SSL_3_0));
    }
    Ok(fields)
}

/// Whether one of the extensions offers to resume a session.
fn parse_extensions(mut list: Reader<'_>, fields: &mut Fields) -> Result<bool, ClientHelloError> {
    let mut seen = Seen::default();
    let mut resumes = false;
    while !list.is_empty() {
        let kind = list.u16().ok_or(malformed("extensions"))?;
        let mut body = list.vector16().ok_or(malformed("extensions"))?;
        if !seen.insert(kind) {
            return Err(ClientHelloError::DuplicateExtension(kind));
        }
        match kind {
            SERVER_NAME => fields.server_name = server_name::parse(body)?,
            SUPPORTED_GROUPS => fields.named_groups = integers16(body, "supported_groups")?,
            SIGNATURE_ALGORITHMS => fields.signature_schemes = integers16(body, "signature_algorithms")?,
            SUPPORTED_VERSIONS => {
                let list =
                    body.vector8().filter(|_| body.is_empty()).ok_or(malformed("supported_versions"))?;
                fields.protocol_versions = non_empty_integers(list, "supported_versions")?;
            }
            EC_POINT_FORMATS => {
                let list = body.vector8().filter(|list| body.is_empty() && !list.is_empty());
                fields.point_formats = list.ok_or(malformed("ec_point_formats"))?.range();
            }
            ALPN => {
                fields.alpn =
                    protocol_names(body).ok_or(malformed("application_layer_protocol_negotiation"))?
            }
            SESSION_TICKET => resumes |= !body.is_empty(),
            PRE_SHARED_KEY => {
                resumes |= !body.is_empty();
                if !list.is_empty() {
                    return Err(ClientHelloError::PreSharedKeyNotLast);
                }
            }
            _ => {}
        }
    }
    Ok(resumes)
}

/// RFC 8446 section 4.1.2 lets a TLS 1.3 hello have the null method only; before that it has to be among them.
fn check_compression(methods: &[u8], offers_tls13: bool) -> Result<(), ClientHelloError> {
    match methods {
        [] => Err(malformed("legacy_compression_methods")),
        [NULL_COMPRESSION] => Ok(()),
        _ if !offers_tls13 && methods.contains(&NULL_COMPRESSION) => Ok(()),
        _ => Err(ClientHelloError::CompressionMethods),
    }
}

/// An extension that is nothing but a list of 16-bit code points.
fn integers16(mut body: Reader<'_>, field: &'static str) -> Result<Range<usize>, ClientHelloError> {
    let list = body.vector16().filter(|_| body.is_empty()).ok_or(malformed(field))?;
    non_empty_integers(list, field)
}

fn non_empty_integers(list: Reader<'_>, field: &'static str) -> Result<Range<usize>, ClientHelloError> {
    let range = list.range();
    if range.is_empty() || !range.len().is_multiple_of(2) {
        return Err(malformed(field));
    }
    Ok(range)
}

/// `ProtocolNameList` (RFC 7301 section 3.1): at least one name, and none empty.
fn protocol_names(mut body: Reader<'_>) -> Option<Range<usize>> {
    let mut list = body.vector16().filter(|list| body.is_empty() && !list.is_empty())?;
    let range = list.range();
    while !list.is_empty() {
        list.vector8().filter(|name| !name.is_empty())?;
    }
    Some(range)
}

fn malformed(field: &'static str) -> ClientHelloError {
    ClientHelloError::Malformed { field }
}

/// The extension types met so far.
///
/// A message has room for 16,000 extensions, so comparing each with all others would cost a client nothing and the
/// gateway 60 ms. Nearly all types that are in use are below 128; of the others a hello has about five.
#[derive(Default)]
struct Seen {
    low: u128,
    high: BTreeSet<u16>,
}

impl Seen {
    fn insert(&mut self, kind: u16) -> bool {
        match 1_u128.checked_shl(kind.into()) {
            Some(bit) => {
                let new = self.low & bit == 0;
                self.low |= bit;
                new
            }
            None => self.high.insert(kind),
        }
    }
}
