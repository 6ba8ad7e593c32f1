//! A ClientHello of a case, as the bytes that a client would send.
//!
//! What a case says is encoded (RFC 8446 section 4.1.2) and read again by the parser that every handshake meets, so that
//! fingerprints, order and raw bytes belong together as they do in the gateway. Only a fingerprint that a case names itself
//! is taken as it stands: a policy on a list of fingerprints is tested by the list.

use handfast_plugin_host::ClientHello;
use handfast_wire::{ClientHelloError, ServerNameError};

use crate::tls::client_hello::Hello;

/// What a client offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) server_name: Option<String>,
    pub(super) alpn: Vec<String>,
    pub(super) protocol_versions: Vec<u16>,
    pub(super) cipher_suites: Vec<u16>,
    pub(super) signature_schemes: Vec<u16>,
    pub(super) named_groups: Vec<u16>,
    pub(super) offers_resumption: bool,
    pub(super) ja3: Option<String>,
    pub(super) ja4: Option<String>,
}

const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;

/// Bytes of a DNS name (RFC 1035 section 2.3.4, as text) and a final dot. The parser has the exact rule.
const NAME: usize = 254;

impl Default for Offer {
    /// OpenSSL 3's, without a server name.
    fn default() -> Self {
        Self {
            server_name: None,
            alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
            protocol_versions: vec![TLS13, TLS12],
            cipher_suites: vec![
                0x1302, 0x1303, 0x1301, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc02b, 0xc02f, 0x00ff,
            ],
            signature_schemes: vec![
                0x0403, 0x0503, 0x0603, 0x0807, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601,
            ],
            named_groups: vec![0x11ec, 0x001d, 0x0017, 0x0018],
            offers_resumption: false,
            ja3: None,
            ja4: None,
        }
    }
}

impl Offer {
    /// As policies see it. An error means that no client can send this.
    pub(super) fn sent(self) -> Result<Sent, ClientHelloError> {
        if let Some(name) = self.server_name.as_deref().filter(|name| name.len() > NAME) {
            // What no record has room for would be told as a mistake in the record.
            return Err(ClientHelloError::ServerName(ServerNameError::TooLong(name.len())));
        }
        let bytes = self.record();
        match handfast_wire::ClientHello::read(&bytes)? {
            Some(hello) => Ok(Sent { hello: hello.into(), ja3: self.ja3, ja4: self.ja4 }),
            // A record of the length that its header says is complete.
            None => Err(ClientHelloError::Malformed { field: "message" }),
        }
    }

    /// A handshake record with the ClientHello in it (RFC 8446 section 5.1).
    fn record(&self) -> Vec<u8> {
        let oldest_extension_free = !self.protocol_versions.contains(&TLS13);
        let legacy = if oldest_extension_free {
            self.protocol_versions.first().copied().unwrap_or(TLS12)
        } else {
            TLS12
        };
        let mut body = legacy.min(TLS12).to_be_bytes().to_vec();
        body.extend([0x5a; 32]);
        body.extend(short(&[]));
        body.extend(long(&numbers(&self.cipher_suites)));
        body.extend(short(&[0]));
        body.extend(long(&self.extensions(oldest_extension_free)));

        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
        let message = [&[1], length.get(1..).unwrap_or_default(), &body].concat();
        [&[22, 3, 1][..], &long(&message)].concat()
    }

    /// `pre_shared_key` comes last (RFC 8446 section 4.2.11).
    fn extensions(&self, without_versions: bool) -> Vec<u8> {
        let mut extensions = Vec::new();
        let mut add = |kind: u16, content: Vec<u8>| {
            extensions.extend(kind.to_be_bytes());
            extensions.extend(long(&content));
        };
        if let Some(name) = &self.server_name {
            add(0, long(&[&[0][..], &long(name.as_bytes())].concat()));
        }
        if !self.named_groups.is_empty() {
            add(10, long(&numbers(&self.named_groups)));
        }
        if !self.signature_schemes.is_empty() {
            add(13, long(&numbers(&self.signature_schemes)));
        }
        if !self.alpn.is_empty() {
            let ids: Vec<u8> = self.alpn.iter().flat_map(|id| short(id.as_bytes())).collect();
            add(16, long(&ids));
        }
        if without_versions {
            if self.offers_resumption {
                add(35, vec![0x5a; 32]);
            }
            return extensions;
        }
        add(43, short(&numbers(&self.protocol_versions)));
        if self.offers_resumption {
            add(45, short(&[1]));
            let identity = [&long(&[0x5a; 32])[..], &[0; 4]].concat();
            add(41, [long(&identity), long(&short(&[0x5a; 32]))].concat());
        }
        extensions
    }
}

/// A ClientHello, and the fingerprints that the case gave it.
#[derive(Debug)]
pub(super) struct Sent {
    hello: Hello,
    ja3: Option<String>,
    ja4: Option<String>,
}

impl ClientHello for Sent {
    fn server_name(&self) -> Option<&str> {
        self.hello.server_name()
    }

    fn alpn(&self) -> Vec<Vec<u8>> {
        self.hello.alpn()
    }

    fn protocol_versions(&self) -> Vec<u16> {
        self.hello.protocol_versions()
    }

    fn cipher_suites(&self) -> Vec<u16> {
        self.hello.cipher_suites()
    }

    fn signature_schemes(&self) -> Vec<u16> {
        self.hello.signature_schemes()
    }

    fn named_groups(&self) -> Vec<u16> {
        self.hello.named_groups()
    }

    fn extensions(&self) -> Vec<u16> {
        self.hello.extensions()
    }

    fn ja3(&self) -> String {
        self.ja3.clone().unwrap_or_else(|| self.hello.ja3())
    }

    fn ja4(&self) -> String {
        self.ja4.clone().unwrap_or_else(|| ClientHello::ja4(&self.hello))
    }

    fn raw(&self) -> Vec<u8> {
        self.hello.raw()
    }

    fn offers_resumption(&self) -> bool {
        self.hello.offers_resumption()
    }
}

fn numbers(list: &[u16]) -> Vec<u8> {
    list.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// With its length in two bytes. What is too long gets a length that does not fit, and is refused when it is read.
fn long(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], content].concat()
}

/// With its length in one byte.
fn short(content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
    [&[length][..], content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_case_says_is_what_policies_see() {
        let offer =
            Offer { server_name: Some("shop.example".into()), offers_resumption: true, ..Offer::default() };
        for versions in [vec![TLS13, TLS12], vec![TLS12], vec![TLS13]] {
            let offer = Offer { protocol_versions: versions.clone(), ..offer.clone() };
            let sent = offer.clone().sent().unwrap();
            assert_eq!(ClientHello::server_name(&sent), Some("shop.example"));
            assert_eq!(ClientHello::protocol_versions(&sent), versions);
            assert_eq!(ClientHello::cipher_suites(&sent), offer.cipher_suites);
            assert_eq!(ClientHello::signature_schemes(&sent), offer.signature_schemes);
            assert_eq!(ClientHello::named_groups(&sent), offer.named_groups);
            assert_eq!(ClientHello::alpn(&sent), [b"h2".to_vec(), b"http/1.1".to_vec()]);
            assert!(ClientHello::offers_resumption(&sent), "{versions:x?}");
        }
        let bare = Offer { offers_resumption: false, server_name: None, alpn: Vec::new(), ..offer };
        let sent = Offer { ja4: Some("t13".into()), ..bare }.sent().unwrap();
        assert_eq!(ClientHello::server_name(&sent), None);
        assert!(!ClientHello::offers_resumption(&sent));
        assert_eq!(ClientHello::ja4(&sent), "t13");
        assert_eq!(ClientHello::ja3(&sent).len(), 32);
    }

    #[test]
    fn what_no_client_can_send_is_an_error() {
        assert!(Offer { server_name: Some("a b".into()), ..Offer::default() }.sent().is_err());
        for length in [254, 255, 20_000, 70_000] {
            let error =
                Offer { server_name: Some("a".repeat(length)), ..Offer::default() }.sent().unwrap_err();
            assert_eq!(error, ClientHelloError::ServerName(ServerNameError::TooLong(length)));
        }
        assert!(Offer { alpn: vec!["x".repeat(300)], ..Offer::default() }.sent().is_err());
        assert!(Offer { cipher_suites: Vec::new(), ..Offer::default() }.sent().is_err());
    }
}
