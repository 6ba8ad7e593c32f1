//! The `server_name` extension (RFC 6066 section 3).
//!
//! The name ends up in logs, in lookups, in policies and in comparisons with `Host`, so only what can be a DNS name
//! passes: letters, digits, hyphens and underscores (which are not in host names but in certificates and in use), in
//! labels of 1 to 63 bytes that neither begin nor end with a hyphen, 253 bytes in all. rustls draws the same line.
//!
//! One trailing dot, which RFC 6066 forbids and some clients send, is dropped. An IP address, which it forbids too,
//! is refused with `unrecognized_name`, other nonsense with `illegal_parameter`: both are fatal, and the former tells
//! whoever configured the client what to look at. rustls would treat an address as no name at all; but then a policy
//! that demands a name would see none where the client sent one.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::ClientHelloError;
use crate::{alert::AlertDescription, reader::Reader};

/// What is wrong with a server name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerNameError {
    /// No name, or a dot alone.
    #[error("the name is empty")]
    Empty,
    /// Longer than 253 bytes.
    #[error("the name has {0} bytes, of at most 253")]
    TooLong(usize),
    /// An IPv4 or IPv6 address in text form.
    #[error("the name is an IP address; clients send none for those")]
    IpAddress,
    /// A byte that is in no DNS name: NUL, a space, one beyond ASCII (a client has to send A-labels).
    #[error("the name has the byte {0:#04x}, which is in no DNS name")]
    Byte(u8),
    /// A label that is empty, longer than 63 bytes, or begins or ends with a hyphen.
    #[error("a label of the name is empty, too long, or begins or ends with a hyphen")]
    Label,
    /// More than one name of type `host_name`.
    #[error("there are several names")]
    Several,
}

impl ServerNameError {
    pub(super) const fn alert(&self) -> AlertDescription {
        match self {
            Self::IpAddress => AlertDescription::UNRECOGNIZED_NAME,
            _ => AlertDescription::ILLEGAL_PARAMETER,
        }
    }
}

const HOST_NAME: u8 = 0;
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// The one host name, or `None` in a list that has only names of types that do not exist yet.
pub(super) fn parse(mut body: Reader<'_>) -> Result<Option<Box<str>>, ClientHelloError> {
    const MALFORMED: ClientHelloError = ClientHelloError::Malformed { field: "server_name" };

    let mut list = body.vector16().filter(|list| body.is_empty() && !list.is_empty()).ok_or(MALFORMED)?;
    let mut name = None;
    while !list.is_empty() {
        let kind = list.u8().ok_or(MALFORMED)?;
        // "All future data structures associated with new NameTypes MUST begin with a 16-bit length field."
        let entry = list.vector16().ok_or(MALFORMED)?;
        if kind == HOST_NAME {
            if name.is_some() {
                return Err(ClientHelloError::ServerName(ServerNameError::Several));
            }
            name = Some(host_name(entry.rest()).map_err(ClientHelloError::ServerName)?);
        }
    }
    Ok(name)
}

fn host_name(sent: &[u8]) -> Result<Box<str>, ServerNameError> {
    let name = sent.strip_suffix(b".").unwrap_or(sent);
    match name.len() {
        0 => return Err(ServerNameError::Empty),
        1..=MAX_NAME => {}
        length => return Err(ServerNameError::TooLong(length)),
    }
    let mut lower = String::with_capacity(name.len());
    for byte in name {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'A'..=b'Z' => {
                lower.push(char::from(byte.to_ascii_lowercase()));
            }
            _ if is_ipv6(name) => return Err(ServerNameError::IpAddress),
            _ => return Err(ServerNameError::Byte(*byte)),
        }
    }
    if !lower.split('.').all(is_label) {
        return Err(ServerNameError::Label);
    }
    if lower.parse::<Ipv4Addr>().is_ok() {
        return Err(ServerNameError::IpAddress);
    }
    Ok(lower.into_boxed_str())
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
}

fn is_ipv6(name: &[u8]) -> bool {
    let inner = name.strip_prefix(b"[").and_then(|name| name.strip_suffix(b"]")).unwrap_or(name);
    std::str::from_utf8(inner).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_lower_cased_and_loses_its_trailing_dot() {
        assert_eq!(host_name(b"WWW.Example.COM.").as_deref(), Ok("www.example.com"));
        assert_eq!(host_name(b"_dns.xn--bcher-kva.example").as_deref(), Ok("_dns.xn--bcher-kva.example"));
        assert_eq!(host_name(b"localhost").as_deref(), Ok("localhost"));
        assert_eq!(host_name(b"r3---sn-4g5e6nzz.example").as_deref(), Ok("r3---sn-4g5e6nzz.example"));
        assert_eq!(host_name(b"1.2.3.4.example").as_deref(), Ok("1.2.3.4.example"));
    }

    #[test]
    fn an_address_is_no_name() {
        for address in ["192.0.2.1", "192.0.2.1.", "::1", "[2001:db8::1]", "::ffff:192.0.2.1"] {
            assert_eq!(host_name(address.as_bytes()), Err(ServerNameError::IpAddress), "{address}");
        }
        assert_eq!(ServerNameError::IpAddress.alert(), AlertDescription::UNRECOGNIZED_NAME);
    }

    #[test]
    fn a_name_with_a_foreign_byte_is_refused() {
        for (name, byte) in [
            (&b"a.example\0.evil"[..], 0),
            (b"a b.example", b' '),
            (b"*.example", b'*'),
            (b"a:443", b':'),
            ("b\u{fc}cher.example".as_bytes(), 0xc3),
        ] {
            assert_eq!(host_name(name), Err(ServerNameError::Byte(byte)));
        }
        assert_eq!(ServerNameError::Byte(0).alert(), AlertDescription::ILLEGAL_PARAMETER);
    }

    #[test]
    fn a_name_with_a_bad_label_is_refused() {
        let long = format!("{}.example", "a".repeat(64));
        for name in ["a..example", ".example", "a.example..", "-a.example", "a-.example", long.as_str()] {
            assert_eq!(host_name(name.as_bytes()), Err(ServerNameError::Label), "{name}");
        }
        assert_eq!(host_name(b""), Err(ServerNameError::Empty));
        assert_eq!(host_name(b"."), Err(ServerNameError::Empty));
    }

    #[test]
    fn a_name_has_at_most_253_bytes() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(host_name(longest.as_bytes()).map(|name| name.len()), Ok(253));
        assert_eq!(host_name(format!("{longest}a").as_bytes()), Err(ServerNameError::TooLong(254)));
    }
}
