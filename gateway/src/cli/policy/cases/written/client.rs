//! The client of a case: where it connects from, and what its ClientHello says.

use std::net::SocketAddr;

use serde::Deserialize;
use toml::Spanned;

use crate::cli::policy::cases::hello::Offer;
use crate::cli::policy::cases::shelf::Socket;

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ConnectionTable {
    listener: String,
    client_address: SocketAddr,
    server_address: SocketAddr,
    proxied: bool,
    proxy_tlvs: Vec<TlvTable>,
}

/// The SDKs' doubles have the same.
impl Default for ConnectionTable {
    fn default() -> Self {
        Self {
            listener: "public".to_owned(),
            client_address: SocketAddr::from(([192, 0, 2, 1], 50_000)),
            server_address: SocketAddr::from(([192, 0, 2, 2], 443)),
            proxied: false,
            proxy_tlvs: Vec::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct TlvTable {
    #[serde(rename = "type")]
    kind: u8,
    value: String,
}

impl ConnectionTable {
    pub(super) fn resolve(self) -> Socket {
        Socket {
            listener: self.listener,
            client_address: self.client_address,
            server_address: self.server_address,
            proxied: self.proxied,
            proxy_tlvs: self.proxy_tlvs.into_iter().map(|tlv| (tlv.kind, tlv.value.into_bytes())).collect(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct HelloTable {
    pub(super) server_name: Option<Spanned<String>>,
    alpn: Option<Vec<String>>,
    protocol_versions: Option<Vec<VersionWord>>,
    cipher_suites: Option<Vec<u16>>,
    signature_schemes: Option<Vec<u16>>,
    named_groups: Option<Vec<u16>>,
    offers_resumption: bool,
    ja3: Option<String>,
    ja4: Option<String>,
}

impl HelloTable {
    pub(super) fn resolve(self) -> Offer {
        let usual = Offer::default();
        let versions = self.protocol_versions.map(|words| words.into_iter().map(VersionWord::code).collect());
        Offer {
            server_name: self.server_name.map(Spanned::into_inner),
            alpn: self.alpn.unwrap_or(usual.alpn),
            protocol_versions: versions.unwrap_or(usual.protocol_versions),
            cipher_suites: self.cipher_suites.unwrap_or(usual.cipher_suites),
            signature_schemes: self.signature_schemes.unwrap_or(usual.signature_schemes),
            named_groups: self.named_groups.unwrap_or(usual.named_groups),
            offers_resumption: self.offers_resumption,
            ja3: self.ja3,
            ja4: self.ja4,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum VersionWord {
    #[serde(rename = "1.0")]
    Tls10,
    #[serde(rename = "1.1")]
    Tls11,
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

impl VersionWord {
    /// RFC 8446 section 4.2.1.
    fn code(self) -> u16 {
        match self {
            Self::Tls10 => 0x0301,
            Self::Tls11 => 0x0302,
            Self::Tls12 => 0x0303,
            Self::Tls13 => 0x0304,
        }
    }
}
