//! The PROXY protocol header, versions 1 and 2 (HAProxy's `doc/proxy-protocol.txt`), which a load balancer in front
//! puts before the ClientHello to say whose connection it is.
//!
//! The listener calls [`ProxyHeader::read`] after each read from a socket whose peer it trusts to send one; whom to
//! trust is decided there. A listener expects a header or does not: nothing here guesses, since a client that could
//! choose would choose its own address.
//!
//! Parsing is strict, as the protocol's authors ask, and bounded: a header has at most 16 KiB, 64 fields and 4 KiB
//! per field. The lengths that the wire allows (64 KiB) have no use that is known.

mod checksum;
mod text;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::reader::Reader;

/// What a PROXY header said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Who connected to the proxy in front. `None` when the connection is the proxy's own (a health check: the
    /// `LOCAL` command) or of a kind without IP addresses (`UNKNOWN`, `UNSPEC`, datagrams, UNIX sockets); the
    /// addresses of the socket hold then.
    pub source: Option<SocketAddr>,
    /// What they connected to. Present exactly when `source` is.
    pub destination: Option<SocketAddr>,
    /// The type-length-value fields of version 2 in wire order, without padding (`PP2_TYPE_NOOP`); empty with
    /// `LOCAL`, whose content has to be discarded.
    pub tlvs: Vec<(u8, Vec<u8>)>,
}

impl ProxyHeader {
    /// The longest header that is read; given this many bytes, [`read`](Self::read) never asks for more.
    pub const MAX_LENGTH: usize = 16 * 1024;
    /// The most fields.
    pub const MAX_TLVS: usize = 64;
    /// The longest value of a field.
    pub const MAX_TLV_LENGTH: usize = 4_096;

    /// Reads a header from the start of what a peer has sent so far, and says how many bytes it takes up.
    ///
    /// `Ok(None)` asks for more bytes. Once the answer is not `Ok(None)`, further bytes do not change it.
    pub fn read(buffer: &[u8]) -> Result<Option<(Self, usize)>, ProxyHeaderError> {
        if buffer.starts_with(SIGNATURE) {
            read_binary(buffer)
        } else if buffer.starts_with(text::SIGNATURE) {
            text::read(buffer)
        } else if SIGNATURE.starts_with(buffer) || text::SIGNATURE.starts_with(buffer) {
            Ok(None)
        } else {
            Err(ProxyHeaderError::Missing)
        }
    }
}

/// Why bytes are no acceptable PROXY header. There is no answer to it: the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// The bytes begin with neither signature.
    #[error("no PROXY header: either the peer is no proxy, or its sending of the header is not turned on")]
    Missing,
    /// Version 1: more than 107 bytes without an end of line.
    #[error("the PROXY line does not end within 107 bytes")]
    LineTooLong,
    /// Version 1: not the one form that the protocol allows.
    #[error("the PROXY line is malformed")]
    MalformedLine,
    /// Version 2: an unknown version or command. The value is the byte that holds both.
    #[error("the PROXY header has version and command {0:#04x}; known are 0x20 and 0x21")]
    VersionOrCommand(u8),
    /// Version 2: an unknown address family or transport. The value is the byte that holds both.
    #[error("the PROXY header has the unknown address family and transport {0:#04x}")]
    Family(u8),
    /// Version 2: longer than [`ProxyHeader::MAX_LENGTH`]. The value is the length after the first 16 bytes.
    #[error("the PROXY header announces {0} bytes after its first 16; in all it may have {max}", max = ProxyHeader::MAX_LENGTH)]
    TooLong(u16),
    /// Version 2: the length has no room for the addresses that the family wants.
    #[error("the PROXY header is too short for its addresses")]
    AddressesCut,
    /// Version 2: a field reaches beyond the header.
    #[error("a field of the PROXY header reaches beyond its end")]
    TlvCut,
    /// Version 2: more fields than [`ProxyHeader::MAX_TLVS`].
    #[error("the PROXY header has more than {max} fields", max = ProxyHeader::MAX_TLVS)]
    TooManyTlvs,
    /// Version 2: a field longer than [`ProxyHeader::MAX_TLV_LENGTH`].
    #[error("field {kind:#04x} of the PROXY header has {length} bytes, of at most {max}", max = ProxyHeader::MAX_TLV_LENGTH)]
    TlvTooLong {
        /// The type of the field.
        kind: u8,
        /// How long it is.
        length: u16,
    },
    /// Version 2: the header came damaged, or its checksum is malformed or there twice.
    #[error("the PROXY header does not have the checksum that it states")]
    Checksum,
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length of the rest.
const FIXED: usize = 16;
const MAX_REST: u16 = (ProxyHeader::MAX_LENGTH - FIXED) as u16;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const UDP4: u8 = 0x12;
const TCP6: u8 = 0x21;
const UDP6: u8 = 0x22;
const UNIX_STREAM: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;

const TLV_CRC32C: u8 = 0x03;
const TLV_NOOP: u8 = 0x04;

/// Version 2. Each byte of the fixed part is judged as soon as it is there.
fn read_binary(buffer: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
    let mut fixed = Reader::new(buffer);
    fixed.take(SIGNATURE.len());
    let Some(command) = fixed.u8() else { return Ok(None) };
    if !matches!(command, LOCAL | PROXY) {
        return Err(ProxyHeaderError::VersionOrCommand(command));
    }
    let Some(family) = fixed.u8() else { return Ok(None) };
    let known = [UNSPECIFIED, TCP4, UDP4, TCP6, UDP6, UNIX_STREAM, UNIX_DATAGRAM];
    // With LOCAL "the receiver must discard the protocol block including the family which is ignored".
    if command == PROXY && !known.contains(&family) {
        return Err(ProxyHeaderError::Family(family));
    }
    let Some(length) = fixed.u16() else { return Ok(None) };
    if length > MAX_REST {
        return Err(ProxyHeaderError::TooLong(length));
    }
    let total = FIXED.saturating_add(length.into());
    let Some(header) = buffer.get(..total) else { return Ok(None) };
    let parsed = if command == LOCAL { ProxyHeader::default() } else { parse_proxied(header, family)? };
    Ok(Some((parsed, total)))
}

/// A whole version 2 header with the command PROXY.
fn parse_proxied(header: &[u8], family: u8) -> Result<ProxyHeader, ProxyHeaderError> {
    let mut reader = Reader::new(header);
    reader.take(FIXED);
    let addresses = addresses(&mut reader, family).ok_or(ProxyHeaderError::AddressesCut)?;
    let (source, destination) = addresses.unzip();
    Ok(ProxyHeader { source, destination, tlvs: tlvs(header, reader)? })
}

/// The outer `None` when they are cut short, the inner one for a kind whose addresses are skipped.
fn addresses(reader: &mut Reader<'_>, family: u8) -> Option<Option<(SocketAddr, SocketAddr)>> {
    /// `struct sockaddr_un` twice, without the families.
    const UNIX_ADDRESSES: usize = 2 * 108;
    const UDP4_ADDRESSES: usize = 2 * (4 + 2);
    const UDP6_ADDRESSES: usize = 2 * (16 + 2);

    let skipped = match family {
        TCP4 => {
            let source = Ipv4Addr::from(*reader.array()?);
            let destination = Ipv4Addr::from(*reader.array()?);
            return Some(Some(((source, reader.u16()?).into(), (destination, reader.u16()?).into())));
        }
        TCP6 => {
            let source = Ipv6Addr::from(*reader.array::<16>()?);
            let destination = Ipv6Addr::from(*reader.array::<16>()?);
            return Some(Some(((source, reader.u16()?).into(), (destination, reader.u16()?).into())));
        }
        UDP4 => UDP4_ADDRESSES,
        UDP6 => UDP6_ADDRESSES,
        UNIX_STREAM | UNIX_DATAGRAM => UNIX_ADDRESSES,
        _ => 0,
    };
    reader.take(skipped)?;
    Some(None)
}

fn tlvs(header: &[u8], mut reader: Reader<'_>) -> Result<Vec<(u8, Vec<u8>)>, ProxyHeaderError> {
    let mut tlvs = Vec::new();
    let mut checksum = None;
    while !reader.is_empty() {
        let kind = reader.u8().ok_or(ProxyHeaderError::TlvCut)?;
        let length = reader.u16().ok_or(ProxyHeaderError::TlvCut)?;
        let value = reader.nested(length.into()).ok_or(ProxyHeaderError::TlvCut)?;
        if kind == TLV_NOOP {
            continue;
        }
        if tlvs.len() == ProxyHeader::MAX_TLVS {
            return Err(ProxyHeaderError::TooManyTlvs);
        }
        if usize::from(length) > ProxyHeader::MAX_TLV_LENGTH {
            return Err(ProxyHeaderError::TlvTooLong { kind, length });
        }
        tlvs.push((kind, value.rest().to_vec()));
        if kind == TLV_CRC32C && checksum.replace(value).is_some() {
            return Err(ProxyHeaderError::Checksum);
        }
    }
    match checksum {
        Some(value) if !checksum::matches(header, &value) => Err(ProxyHeaderError::Checksum),
        _ => Ok(tlvs),
    }
}
