//! A certificate of the gateway: chain, private key, names, and where it came from.
//!
//! `source` finds the files, [`load`] makes a [`Certificate`] of them if they pass every check, [`store`] keeps all of
//! them fresh and findable. Policies see a certificate through [`handfast_plugin_host::Certificate`], which has no way to the
//! key; rustls gets the key from [`Certificate::certified_key`]. Nothing here changes after it was made but the OCSP staple,
//! which has a life of its own ([`ocsp`]): a replaced pair is a new value with the same id.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use handfast_plugin_host::{ClientHello, KeyAlgorithm};
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SigningKey};

pub mod expiry;
pub mod load;
pub mod names;
pub mod ocsp;
pub mod peer;
pub mod source;
pub mod store;

mod distinguished_name;
mod index;
mod issuers;
mod key;
mod x509;

pub use load::CertificateError;
pub use peer::{Peer, PeerError};
pub use store::{CertificateStore, Ensured, Finding, StoreError};

use issuers::Issuers;
use key::PrivateKey;

use crate::freshness::ReadError;

/// A pair that passed every check. Its `Debug` shows the id and the fingerprint, never key material.
pub struct Certificate {
    id: Arc<str>,
    leaf: CertificateDer<'static>,
    issuers: Issuers,
    key: Arc<PrivateKey>,
    facts: x509::Facts,
    /// Ordered by key.
    tags: Arc<[(String, String)]>,
    is_required: bool,
    serve_expired: bool,
    ocsp_file: Option<Result<Box<[u8]>, Arc<ReadError>>>,
    /// Empty unless it has to do with OCSP.
    staples: OnceLock<Arc<ocsp::Slot>>,
    /// The store's entry that it is of: so that it need not be looked up for a certificate that is at hand.
    entry: OnceLock<Weak<store::Entry>>,
}

impl Certificate {
    /// What verdicts, the configuration and the CLI name it by. Stays the same when the pair is replaced.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The leaf's DNS names and IP addresses, lower-cased, DNS names as A-labels.
    pub fn names(&self) -> &[String] {
        &self.facts.names
    }

    /// Whether clients accept it for this name: exactly, or by a wildcard of one label.
    pub fn covers(&self, name: &str) -> bool {
        let name = names::normalise(name);
        let wildcard = names::wildcard_of(&name);
        self.facts.names.iter().any(|own| *own == *name || wildcard.as_deref() == Some(own))
    }

    /// Chain and signer, for rustls. Copies the chain.
    pub fn certified_key(&self) -> CertifiedKey {
        CertifiedKey::new(self.chain().cloned().collect(), Arc::clone(&self.key) as Arc<dyn SigningKey>)
    }

    /// From the leaf on.
    pub fn chain(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        std::iter::once(&self.leaf).chain(self.issuers.iter())
    }

    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.leaf
    }

    /// The certificates behind the leaf, the leaf's issuer first. Empty where the file holds the leaf alone.
    pub fn issuers(&self) -> &[CertificateDer<'static>] {
        &self.issuers
    }

    /// SHA-256 of the leaf's DER in lower-case hexadecimal.
    pub fn fingerprint(&self) -> &str {
        &self.facts.fingerprint
    }

    /// Seconds since 1970.
    pub fn not_before(&self) -> i64 {
        self.facts.not_before
    }

    /// Seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.facts.not_after
    }

    /// When clients begin to refuse it, in seconds since 1970: at the first end of a certificate of its chain, which is nearly
    /// always the leaf.
    pub fn chain_not_after(&self) -> i64 {
        self.facts.chain_not_after
    }

    pub fn key_algorithm(&self) -> KeyAlgorithm {
        self.facts.key_algorithm
    }

    pub fn key_bits(&self) -> u32 {
        self.facts.key_bits
    }

    /// Those of the file beside the pair, and over them the source's. Ordered by key.
    pub fn tags(&self) -> &[(String, String)] {
        &self.tags
    }

    /// Whether the file beside the pair says that the gateway is not ready without it. The source may say so too.
    pub fn is_required(&self) -> bool {
        self.is_required
    }

    /// The bytes of the `.ocsp` file beside the pair, as they were when the pair was read. Nobody judged them.
    pub fn ocsp_file(&self) -> Option<&[u8]> {
        self.ocsp_file.as_ref()?.as_deref().ok()
    }

    /// Why the `.ocsp` file beside the pair could not be read, if so.
    pub fn ocsp_file_trouble(&self) -> Option<&Arc<ReadError>> {
        self.ocsp_file.as_ref()?.as_ref().err()
    }

    /// The OCSP response to send with it now: one that was checked and holds. No lock and no allocation.
    pub fn staple(&self) -> Option<Arc<ocsp::Staple>> {
        self.staples.get()?.staple()
    }

    pub fn ocsp_status(&self) -> ocsp::Status {
        self.staples.get().map_or(ocsp::Status::None, |slot| slot.status())
    }

    /// Where its staples are kept, if it has to do with OCSP.
    pub fn staples(&self) -> Option<&Arc<ocsp::Slot>> {
        self.staples.get()
    }

    /// The same pair for a source with other settings. What that says in its tags counts, as it does of a pair that is read.
    fn under(&self, id: Arc<str>, tags: &[(String, String)], serve_expired: bool) -> Self {
        let all: BTreeMap<String, String> = self.tags.iter().chain(tags).cloned().collect();
        Self {
            id,
            leaf: self.leaf.clone(),
            issuers: self.issuers.clone(),
            key: Arc::clone(&self.key),
            facts: self.facts.clone(),
            tags: all.into_iter().collect(),
            is_required: self.is_required,
            serve_expired,
            ocsp_file: self.ocsp_file.clone(),
            staples: OnceLock::new(),
            entry: OnceLock::new(),
        }
    }

    /// Once, before it goes live; later calls change nothing.
    fn keep_staples_in(&self, slot: Arc<ocsp::Slot>) {
        let _ = self.staples.set(slot);
    }

    /// Whether a choice that fell on `other` would fall on this one too: the same names, tags and kind of key.
    pub fn stands_for(&self, other: &Self) -> bool {
        self.names() == other.names()
            && self.tags() == other.tags()
            && self.key_algorithm() == other.key_algorithm()
    }

    pub fn has_tag(&self, key: &str, value: &str) -> bool {
        self.tags.iter().any(|(own_key, own_value)| own_key == key && own_value == value)
    }

    /// Whether the present lies in its validity (RFC 5280 section 4.1.2.5: both ends belong to it).
    pub fn is_valid_at(&self, time: i64) -> bool {
        (self.facts.not_before..=self.facts.chain_not_after).contains(&time)
    }

    /// Whether its validity, or that of its chain, has ended, and it is served no more or only where there is no other.
    pub fn is_past_its_end_at(&self, time: i64) -> bool {
        time > self.facts.chain_not_after
    }

    /// Whether it is past its end and its source does not serve such certificates.
    pub fn has_expired_at(&self, time: i64) -> bool {
        self.is_past_its_end_at(time) && !self.serve_expired
    }

    /// Whether a client with these offers can verify a handshake signed by this key: see [`can_verify`].
    pub fn usable_with(
        &self,
        signature_schemes: &[u16],
        cipher_suites: &[u16],
        protocol_versions: &[u16],
        named_groups: &[u16],
    ) -> bool {
        let algorithm = self.facts.key_algorithm;
        can_verify(algorithm, signature_schemes, cipher_suites, protocol_versions, named_groups)
    }

    fn is_for(&self, hello: &dyn ClientHello) -> bool {
        let versions = hello.protocol_versions();
        // Not made a list of where they do not count.
        let groups = if versions.contains(&TLS13) { Vec::new() } else { hello.named_groups() };
        self.usable_with(&hello.signature_schemes(), &hello.cipher_suites(), &versions, &groups)
    }
}

/// In `supported_versions` (RFC 8446 section 4.2.1).
const TLS13: u16 = 0x0304;

/// Whether a client with these offers can verify a handshake signed by such a key. Lists as in the ClientHello.
///
/// A client that offers TLS 1.3 gets TLS 1.3, so what it could do in 1.2 does not count then.
pub fn can_verify(
    algorithm: KeyAlgorithm,
    signature_schemes: &[u16],
    cipher_suites: &[u16],
    protocol_versions: &[u16],
    named_groups: &[u16],
) -> bool {
    let tls13 = protocol_versions.contains(&TLS13);
    // RFC 8446 section 4.2.3: PKCS#1 v1.5 (the schemes 0x--01) does not sign TLS 1.3 handshakes.
    let is_for_version = |scheme: u16| !(tls13 && scheme & 0x00ff == 0x01);
    let own = schemes(algorithm);
    let signs = own.iter().any(|scheme| is_for_version(*scheme) && signature_schemes.contains(scheme));
    let has_suite = || cipher_suites.iter().any(|suite| authenticates(algorithm, *suite));
    // RFC 8422 section 5.1: the curve of an ECDSA key is one of the client's groups, if it lists any. In TLS 1.3 the scheme
    // says which curve it is.
    let knows_curve =
        || curve(algorithm).is_none_or(|curve| named_groups.is_empty() || named_groups.contains(&curve));
    signs && (tls13 || (has_suite() && knows_curve()))
}

/// As a named group (RFC 8446 section 4.2.7).
fn curve(algorithm: KeyAlgorithm) -> Option<u16> {
    match algorithm {
        KeyAlgorithm::EcdsaP256 => Some(0x0017),
        KeyAlgorithm::EcdsaP384 => Some(0x0018),
        KeyAlgorithm::EcdsaP521 => Some(0x0019),
        KeyAlgorithm::Rsa | KeyAlgorithm::Ed25519 | KeyAlgorithm::Other => None,
    }
}

/// The place of a kind of key among those that a client can use: what costs a handshake least comes first.
///
/// ECDSA P-256 signs in a hundredth of the time that RSA-2048 takes and in less than any other, and its chains are small. The
/// order in which a client lists its schemes is not looked at: it says what a client can do, as HAProxy has it too, which
/// prefers ECDSA to RSA for whoever can use it.
pub fn preference(algorithm: KeyAlgorithm) -> u8 {
    match algorithm {
        KeyAlgorithm::EcdsaP256 => 0,
        KeyAlgorithm::Ed25519 => 1,
        KeyAlgorithm::EcdsaP384 => 2,
        KeyAlgorithm::EcdsaP521 => 3,
        KeyAlgorithm::Rsa => 4,
        KeyAlgorithm::Other => 5,
    }
}

/// Whether a TLS 1.2 suite of those that rustls has is for this kind of key (RFC 5289, RFC 7905, RFC 8422).
fn authenticates(algorithm: KeyAlgorithm, suite: u16) -> bool {
    match algorithm {
        KeyAlgorithm::Rsa => matches!(suite, 0xc02f | 0xc030 | 0xcca8),
        KeyAlgorithm::Other => false,
        _ => matches!(suite, 0xc02b | 0xc02c | 0xcca9),
    }
}

/// The schemes that rustls signs with (RFC 8446 section 4.2.3). Said here, so that choosing a certificate does not make its
/// key ready.
fn schemes(algorithm: KeyAlgorithm) -> &'static [u16] {
    match algorithm {
        KeyAlgorithm::Rsa => &[0x0806, 0x0805, 0x0804, 0x0601, 0x0501, 0x0401],
        KeyAlgorithm::EcdsaP256 => &[0x0403],
        KeyAlgorithm::EcdsaP384 => &[0x0503],
        KeyAlgorithm::EcdsaP521 => &[0x0603],
        KeyAlgorithm::Ed25519 => &[0x0807],
        KeyAlgorithm::Other => &[],
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Certificate")
            .field("id", &self.id)
            .field("fingerprint", &self.facts.fingerprint)
            .finish_non_exhaustive()
    }
}

impl handfast_plugin_host::Certificate for Certificate {
    fn id(&self) -> &str {
        &self.id
    }

    fn names(&self) -> Vec<String> {
        self.facts.names.to_vec()
    }

    fn key_algorithm(&self) -> KeyAlgorithm {
        self.facts.key_algorithm
    }

    fn key_bits(&self) -> u32 {
        self.facts.key_bits
    }

    fn not_before(&self) -> i64 {
        self.facts.not_before
    }

    fn not_after(&self) -> i64 {
        self.facts.not_after
    }

    fn issuer(&self) -> String {
        self.facts.issuer.clone()
    }

    fn serial(&self) -> String {
        self.facts.serial.clone()
    }

    fn fingerprint(&self) -> String {
        self.facts.fingerprint.clone()
    }

    fn der(&self) -> Vec<u8> {
        self.leaf.to_vec()
    }

    fn tags(&self) -> Vec<(String, String)> {
        self.tags.to_vec()
    }

    fn usable_by(&self, hello: &dyn ClientHello) -> bool {
        let now = unix_now();
        now >= self.facts.not_before && !self.has_expired_at(now) && self.is_for(hello)
    }

    fn has_expired_for(&self, hello: &dyn ClientHello) -> bool {
        self.has_expired_at(unix_now()) && self.is_for(hello)
    }
}

/// Asked before a certificate goes live: the `admit` policies, in the gateway.
pub trait Gate: Send + Sync + 'static {
    /// The error is the reason, for the operator.
    fn admit(
        &self,
        certificate: Arc<Certificate>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
}

/// A gate that is always open.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn admit(
        &self,
        _certificate: Arc<Certificate>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Seconds since 1970; negative before.
pub fn unix_now() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    }
}

#[cfg(test)]
pub(crate) mod test_pki;
