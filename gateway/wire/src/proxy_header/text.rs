//! Version 1 of the PROXY header: one line of text of at most 107 bytes.
//!
//! There is one way to write each line: single spaces, decimal ports without leading zeros, addresses as
//! `inet_pton` takes them, CR LF. Anything else is refused.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use super::{ProxyHeader, ProxyHeaderError};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// "The maximum line lengths the receiver must support including the CRLF."
const MAX_LINE: usize = 107;

/// `buffer` begins with the signature.
pub(super) fn read(buffer: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
    let window = buffer.get(..MAX_LINE).unwrap_or(buffer);
    let Some(end) = window.iter().position(|byte| !matches!(byte, b' '..=b'~')) else {
        return if window.len() == MAX_LINE { Err(ProxyHeaderError::LineTooLong) } else { Ok(None) };
    };
    let (line, rest) = window.split_at_checked(end).unwrap_or_default();
    match rest {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if window.len() == MAX_LINE => return Err(ProxyHeaderError::LineTooLong),
        [b'\r'] => return Ok(None),
        _ => return Err(ProxyHeaderError::MalformedLine),
    }
    let header = parse(line).ok_or(ProxyHeaderError::MalformedLine)?;
    Ok(Some((header, end.saturating_add(2))))
}

fn parse(line: &[u8]) -> Option<ProxyHeader> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    let (source, destination) = match family {
        "TCP4" => addresses::<Ipv4Addr>(words)?,
        "TCP6" => addresses::<Ipv6Addr>(words)?,
        // "The receiver must ignore anything presented before the CRLF."
        "UNKNOWN" => return Some(ProxyHeader::default()),
        _ => return None,
    };
    Some(ProxyHeader { source: Some(source), destination: Some(destination), tlvs: Vec::new() })
}

fn addresses<'a, Ip: FromStr + Into<IpAddr>>(
    mut words: impl Iterator<Item = &'a str>,
) -> Option<(SocketAddr, SocketAddr)> {
    let source: Ip = words.next()?.parse().ok()?;
    let destination: Ip = words.next()?.parse().ok()?;
    let source_port = port(words.next()?)?;
    let destination_port = port(words.next()?)?;
    if words.next().is_some() {
        return None;
    }
    Some((SocketAddr::new(source.into(), source_port), SocketAddr::new(destination.into(), destination_port)))
}

fn port(word: &str) -> Option<u16> {
    let canonical = word == "0" || !word.starts_with(['0', '+']);
    word.parse().ok().filter(|_| canonical)
}
