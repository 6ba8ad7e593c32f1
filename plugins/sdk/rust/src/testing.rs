//! Doubles of the gateway's resources, to test policies on the machine they are written on.
//!
//! Outside WebAssembly [`Connection`], [`ClientHello`], [`Certificate`], [`PeerChain`] and [`PeerCertificate`] are the plain
//! structs below, with the methods that the gateway's resources have. What a policy imports is answered by a [`Gateway`]:
//!
//! ```
//! use handfast_policy::{
//!     ClientHello, Connection, Decision, Select, Verdict, certificates,
//!     testing::{Certificate, Gateway},
//! };
//!
//! struct First;
//!
//! impl Select for First {
//!     fn select(&self, _: &Connection, hello: &ClientHello) -> Decision {
//!         let name = hello.server_name().unwrap_or_default();
//!         certificates::find(&name).first().map_or_else(Decision::pass, Decision::certificate)
//!     }
//! }
//!
//! let mut gateway = Gateway { certificates: vec![Certificate::named("shop.example")], ..Gateway::default() };
//! let hello = ClientHello { server_name: Some("shop.example".into()), ..ClientHello::default() };
//! let decision = gateway.run(|| First.select(&Connection::default(), &hello));
//! assert_eq!(decision.verdict, Verdict::Certificate("shop.example".into()));
//! ```

pub use self::gateway::Gateway;
use crate::{IpAddress, KeyAlgorithm, SocketAddress};

pub(crate) mod gateway;

/// A connection from `192.0.2.1:50000` to `192.0.2.2:443` on the listener `public`, unless a test says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Connection {
    pub listener: String,
    pub client_address: SocketAddress,
    pub server_address: SocketAddress,
    pub proxied: bool,
    pub proxy_tlvs: Vec<(u8, Vec<u8>)>,
}

/// What a current browser offers, without a server name, unless a test says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ClientHello {
    pub server_name: Option<String>,
    pub alpn: Vec<Vec<u8>>,
    pub protocol_versions: Vec<u16>,
    pub cipher_suites: Vec<u16>,
    pub signature_schemes: Vec<u16>,
    pub named_groups: Vec<u16>,
    pub extensions: Vec<u16>,
    pub ja3: String,
    pub ja4: String,
    pub raw: Vec<u8>,
    pub offers_resumption: bool,
}

/// An ECDSA P-256 certificate that is valid for ever, unless a test says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Certificate {
    pub id: String,
    pub names: Vec<String>,
    pub key_algorithm: KeyAlgorithm,
    pub key_bits: u32,
    pub not_before: i64,
    pub not_after: i64,
    pub issuer: String,
    pub serial: String,
    pub fingerprint: String,
    pub der: Vec<u8>,
    pub tags: Vec<(String, String)>,
}

/// A client's certificate, empty unless a test says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PeerCertificate {
    pub subject: String,
    pub issuer: String,
    pub serial: String,
    pub fingerprint: String,
    pub not_before: i64,
    pub not_after: i64,
    pub dns_names: Vec<String>,
    pub uris: Vec<String>,
    pub email_addresses: Vec<String>,
    pub organizational_units: Vec<String>,
    pub common_name: Option<String>,
    pub der: Vec<u8>,
}

/// A client's chain, leaf first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PeerChain {
    pub certificates: Vec<PeerCertificate>,
}

impl Certificate {
    /// One whose id is the name it is for.
    pub fn named(name: &str) -> Self {
        Self { id: name.to_owned(), names: vec![name.to_owned()], ..Self::default() }
    }

    /// Whether the client's signature schemes fit the key. Cipher suites and validity are not looked at.
    pub fn usable_by(&self, hello: &ClientHello) -> bool {
        // RFC 8446 section 4.2.3
        let schemes: &[u16] = match self.key_algorithm {
            KeyAlgorithm::Rsa => &[0x0401, 0x0501, 0x0601, 0x0804, 0x0805, 0x0806],
            KeyAlgorithm::EcdsaP256 => &[0x0403],
            KeyAlgorithm::EcdsaP384 => &[0x0503],
            KeyAlgorithm::EcdsaP521 => &[0x0603],
            KeyAlgorithm::Ed25519 => &[0x0807],
            KeyAlgorithm::Other => &[],
        };
        hello.signature_schemes.iter().any(|scheme| schemes.contains(scheme))
    }

    /// One tag.
    pub fn tag(&self, key: &str) -> Option<String> {
        self.tags.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
    }
}

impl PeerChain {
    /// How many certificates.
    pub fn length(&self) -> u32 {
        self.certificates.len().try_into().unwrap_or(u32::MAX)
    }

    /// The certificate at a position; 0 is the leaf.
    pub fn certificate(&self, index: u32) -> Option<PeerCertificate> {
        self.certificates.get(index as usize).cloned()
    }
}

macro_rules! getters {
    ($double:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        #[allow(missing_docs)]
        impl $double {
            $(
                pub fn $field(&self) -> $type {
                    self.$field.clone()
                }
            )+
        }
    };
}

getters!(Connection {
    listener: String,
    client_address: SocketAddress,
    server_address: SocketAddress,
    proxied: bool,
    proxy_tlvs: Vec<(u8, Vec<u8>)>,
});

getters!(ClientHello {
    server_name: Option<String>,
    alpn: Vec<Vec<u8>>,
    protocol_versions: Vec<u16>,
    cipher_suites: Vec<u16>,
    signature_schemes: Vec<u16>,
    named_groups: Vec<u16>,
    extensions: Vec<u16>,
    ja3: String,
    ja4: String,
    raw: Vec<u8>,
    offers_resumption: bool,
});

getters!(Certificate {
    id: String,
    names: Vec<String>,
    key_algorithm: KeyAlgorithm,
    key_bits: u32,
    not_before: i64,
    not_after: i64,
    issuer: String,
    serial: String,
    fingerprint: String,
    der: Vec<u8>,
    tags: Vec<(String, String)>,
});

getters!(PeerCertificate {
    subject: String,
    issuer: String,
    serial: String,
    fingerprint: String,
    not_before: i64,
    not_after: i64,
    dns_names: Vec<String>,
    uris: Vec<String>,
    email_addresses: Vec<String>,
    organizational_units: Vec<String>,
    common_name: Option<String>,
    der: Vec<u8>,
});

impl Default for Connection {
    fn default() -> Self {
        Self {
            listener: "public".to_owned(),
            client_address: SocketAddress { ip: IpAddress::Ipv4((192, 0, 2, 1)), port: 50_000 },
            server_address: SocketAddress { ip: IpAddress::Ipv4((192, 0, 2, 2)), port: 443 },
            proxied: false,
            proxy_tlvs: Vec::new(),
        }
    }
}

impl Default for ClientHello {
    fn default() -> Self {
        Self {
            server_name: None,
            alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            protocol_versions: vec![0x0304, 0x0303],
            cipher_suites: vec![0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8],
            signature_schemes: vec![0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601],
            named_groups: vec![0x11ec, 0x001d, 0x0017, 0x0018],
            extensions: vec![0, 23, 65281, 10, 11, 35, 16, 5, 13, 18, 51, 45, 43, 27],
            ja3: "cd08e31494f9531f560d64c695473da9".to_owned(),
            ja4: "t13d0914h2_000000000000_000000000000".to_owned(),
            raw: Vec::new(),
            offers_resumption: false,
        }
    }
}

impl Default for Certificate {
    fn default() -> Self {
        Self {
            id: String::new(),
            names: Vec::new(),
            key_algorithm: KeyAlgorithm::EcdsaP256,
            key_bits: 256,
            not_before: 0,
            not_after: i64::MAX,
            issuer: String::new(),
            serial: String::new(),
            fingerprint: String::new(),
            der: Vec::new(),
            tags: Vec::new(),
        }
    }
}
