//! What a case describes, in the place of the gateway's own things: a connection, certificates, a client's certificates.

use std::cmp::Reverse;
use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use handfast_plugin_host::{
    Certificate, Certificates, ClientHello, Connection, KeyAlgorithm, PeerCertificate,
};

use crate::certificate::{can_verify, preference, unix_now};

/// A connection.
#[derive(Debug, Clone)]
pub(super) struct Socket {
    pub(super) listener: String,
    pub(super) client_address: SocketAddr,
    pub(super) server_address: SocketAddr,
    pub(super) proxied: bool,
    pub(super) proxy_tlvs: Vec<(u8, Vec<u8>)>,
}

impl Connection for Socket {
    fn listener(&self) -> &str {
        &self.listener
    }

    fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    fn server_address(&self) -> SocketAddr {
        self.server_address
    }

    fn proxied(&self) -> bool {
        self.proxied
    }

    fn proxy_tlvs(&self) -> Vec<(u8, Vec<u8>)> {
        self.proxy_tlvs.clone()
    }
}

/// One of the gateway's certificates.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) id: String,
    /// In lower case.
    pub(super) names: Vec<String>,
    pub(super) key_algorithm: KeyAlgorithm,
    pub(super) key_bits: u32,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    pub(super) issuer: String,
    pub(super) serial: String,
    pub(super) fingerprint: String,
    pub(super) der: Vec<u8>,
    /// Ordered by key.
    pub(super) tags: Vec<(String, String)>,
    pub(super) fallback: bool,
}

impl Certificate for Own {
    fn id(&self) -> &str {
        &self.id
    }

    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn key_algorithm(&self) -> KeyAlgorithm {
        self.key_algorithm
    }

    fn key_bits(&self) -> u32 {
        self.key_bits
    }

    fn not_before(&self) -> i64 {
        self.not_before
    }

    fn not_after(&self) -> i64 {
        self.not_after
    }

    fn issuer(&self) -> String {
        self.issuer.clone()
    }

    fn serial(&self) -> String {
        self.serial.clone()
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn der(&self) -> Vec<u8> {
        self.der.clone()
    }

    fn tags(&self) -> Vec<(String, String)> {
        self.tags.clone()
    }

    fn usable_by(&self, hello: &dyn ClientHello) -> bool {
        (self.not_before..=self.not_after).contains(&unix_now())
            && can_verify(
                self.key_algorithm,
                &hello.signature_schemes(),
                &hello.cipher_suites(),
                &hello.protocol_versions(),
                &hello.named_groups(),
            )
    }
}

/// The gateway's certificates, found in the order that `wit/v1` promises.
#[derive(Debug, Default)]
pub(super) struct Shelf(pub(super) Vec<Arc<Own>>);

impl Shelf {
    pub(super) fn get(&self, id: &str) -> Option<&Arc<Own>> {
        self.0.iter().find(|own| own.id == id)
    }

    fn named(&self, name: &str) -> Vec<Arc<dyn Certificate>> {
        let mut found: Vec<_> =
            self.0.iter().filter(|own| own.names.iter().any(|one| one == name)).cloned().collect();
        found.sort_by_key(|own| (preference(own.key_algorithm), Reverse(own.not_before)));
        as_certificates(found)
    }
}

impl Certificates for Shelf {
    fn find(&self, name: &str) -> Vec<Arc<dyn Certificate>> {
        let name = name.to_ascii_lowercase();
        let mut found = self.named(&name);
        if let Some((_, parent)) = name.split_once('.') {
            found.extend(self.named(&format!("*.{parent}")));
        }
        found
    }

    fn refresh<'a>(&'a self, _: &'a str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(ready(false))
    }

    fn by_id(&self, id: &str) -> Option<Arc<dyn Certificate>> {
        self.get(id).map(|own| Arc::clone(own) as Arc<dyn Certificate>)
    }

    fn tagged(&self, key: &str, value: &str) -> Vec<Arc<dyn Certificate>> {
        let has = |own: &&Arc<Own>| {
            own.tags.iter().any(|(own_key, own_value)| own_key == key && own_value == value)
        };
        let mut found: Vec<_> = self.0.iter().filter(has).cloned().collect();
        found.sort_by(|one, other| one.id.cmp(&other.id));
        as_certificates(found)
    }

    fn fallback(&self) -> Option<Arc<dyn Certificate>> {
        let own = self.0.iter().find(|own| own.fallback)?;
        Some(Arc::clone(own) as Arc<dyn Certificate>)
    }
}

fn as_certificates(found: Vec<Arc<Own>>) -> Vec<Arc<dyn Certificate>> {
    found.into_iter().map(|own| own as Arc<dyn Certificate>).collect()
}

/// A certificate that a client presented.
#[derive(Debug, Clone)]
pub(super) struct Presented {
    pub(super) subject: String,
    pub(super) issuer: String,
    pub(super) serial: String,
    pub(super) fingerprint: String,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    pub(super) dns_names: Vec<String>,
    pub(super) uris: Vec<String>,
    pub(super) email_addresses: Vec<String>,
    pub(super) organizational_units: Vec<String>,
    pub(super) common_name: Option<String>,
    pub(super) der: Vec<u8>,
}

impl PeerCertificate for Presented {
    fn subject(&self) -> String {
        self.subject.clone()
    }

    fn issuer(&self) -> String {
        self.issuer.clone()
    }

    fn serial(&self) -> String {
        self.serial.clone()
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn not_before(&self) -> i64 {
        self.not_before
    }

    fn not_after(&self) -> i64 {
        self.not_after
    }

    fn dns_names(&self) -> Vec<String> {
        self.dns_names.clone()
    }

    fn uris(&self) -> Vec<String> {
        self.uris.clone()
    }

    fn email_addresses(&self) -> Vec<String> {
        self.email_addresses.clone()
    }

    fn organizational_units(&self) -> Vec<String> {
        self.organizational_units.clone()
    }

    fn common_name(&self) -> Option<String> {
        self.common_name.clone()
    }

    fn der(&self) -> Vec<u8> {
        self.der.clone()
    }
}
