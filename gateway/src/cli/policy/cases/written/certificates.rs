//! The certificates of a file of cases: the gateway's own, which policies look up and admit, and the chains of clients.
//!
//! What is not written is taken from the PEM file that a table names, or is what is usual.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use handfast_plugin_host::{KeyAlgorithm, PeerCertificate};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use toml::Spanned;

use super::Place;
use crate::certificate::Peer;
use crate::cli::policy::cases::moment::Moment;
use crate::cli::policy::cases::shelf::{Own, Presented};
use crate::config::ConfigError;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct CertificateTable {
    pub(super) id: Spanned<String>,
    file: Option<Spanned<PathBuf>>,
    names: Option<Vec<String>>,
    #[serde(default)]
    key: KeyWord,
    key_bits: Option<u32>,
    not_before: Option<Moment>,
    not_after: Option<Moment>,
    issuer: Option<String>,
    serial: Option<String>,
    fingerprint: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    fallback: bool,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KeyWord {
    Rsa,
    #[default]
    EcdsaP256,
    EcdsaP384,
    EcdsaP521,
    Ed25519,
    Other,
}

impl CertificateTable {
    pub(super) fn named(name: &str) -> Self {
        Self {
            id: Spanned::new(0..0, name.to_owned()),
            file: None,
            names: None,
            key: KeyWord::default(),
            key_bits: None,
            not_before: None,
            not_after: None,
            issuer: None,
            serial: None,
            fingerprint: None,
            tags: BTreeMap::new(),
            fallback: false,
        }
    }

    pub(super) fn resolve(self, place: &Place<'_>) -> Result<Own, ConfigError> {
        let file = place.certificate(self.file.as_ref())?;
        Ok(self.described(file.as_ref()))
    }

    /// What is written, else what the file has, else what is usual.
    pub(super) fn described(self, file: Option<&Peer>) -> Own {
        let id = self.id.into_inner();
        let (key_algorithm, key_bits) = self.key.resolve();
        let names = self.names.or_else(|| file.map(Peer::dns_names)).unwrap_or_else(|| vec![id.clone()]);
        let fingerprint = self.fingerprint.or_else(|| file.map(Peer::fingerprint));
        Own {
            names: names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            key_algorithm,
            key_bits: self.key_bits.unwrap_or(key_bits),
            not_before: seconds(self.not_before, file.map(Peer::not_before), "-1d"),
            not_after: seconds(self.not_after, file.map(Peer::not_after), "90d"),
            issuer: self
                .issuer
                .or_else(|| file.map(Peer::issuer))
                .unwrap_or_else(|| "CN=Example CA".to_owned()),
            serial: self.serial.or_else(|| file.map(Peer::serial)).unwrap_or_else(|| "1".to_owned()),
            fingerprint: fingerprint.unwrap_or_else(|| digest(&id)),
            der: file.map(Peer::der).unwrap_or_default(),
            tags: self.tags.into_iter().collect(),
            fallback: self.fallback,
            id,
        }
    }
}

impl KeyWord {
    /// The kind, and the bits that are usual.
    fn resolve(self) -> (KeyAlgorithm, u32) {
        match self {
            Self::Rsa => (KeyAlgorithm::Rsa, 2_048),
            Self::EcdsaP256 => (KeyAlgorithm::EcdsaP256, 256),
            Self::EcdsaP384 => (KeyAlgorithm::EcdsaP384, 384),
            Self::EcdsaP521 => (KeyAlgorithm::EcdsaP521, 521),
            Self::Ed25519 => (KeyAlgorithm::Ed25519, 256),
            Self::Other => (KeyAlgorithm::Other, 256),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct PeerTable {
    file: Option<Spanned<PathBuf>>,
    subject: Option<String>,
    issuer: Option<String>,
    serial: Option<String>,
    fingerprint: Option<String>,
    not_before: Option<Moment>,
    not_after: Option<Moment>,
    dns_names: Option<Vec<String>>,
    uris: Option<Vec<String>>,
    email_addresses: Option<Vec<String>>,
    organizational_units: Option<Vec<String>>,
    common_name: Option<String>,
}

impl PeerTable {
    pub(super) fn named(common_name: &str) -> Self {
        Self { common_name: Some(common_name.to_owned()), ..Self::default() }
    }

    /// What is written, else what the file has, else what is usual.
    pub(super) fn described(self, file: Option<&Peer>) -> Presented {
        let list = |written: Option<Vec<String>>, own: fn(&Peer) -> Vec<String>| {
            written.or_else(|| file.map(own)).unwrap_or_default()
        };
        let common_name = self.common_name.or_else(|| file.and_then(Peer::common_name));
        let subject = self.subject.or_else(|| file.map(Peer::subject));
        let subject = subject
            .unwrap_or_else(|| common_name.as_ref().map(|name| format!("CN={name}")).unwrap_or_default());
        let fingerprint = self.fingerprint.or_else(|| file.map(Peer::fingerprint));
        Presented {
            issuer: self
                .issuer
                .or_else(|| file.map(Peer::issuer))
                .unwrap_or_else(|| "CN=Example CA".to_owned()),
            serial: self.serial.or_else(|| file.map(Peer::serial)).unwrap_or_else(|| "1".to_owned()),
            fingerprint: fingerprint.unwrap_or_else(|| digest(&subject)),
            not_before: seconds(self.not_before, file.map(Peer::not_before), "-1d"),
            not_after: seconds(self.not_after, file.map(Peer::not_after), "90d"),
            dns_names: list(self.dns_names, Peer::dns_names),
            uris: list(self.uris, Peer::uris),
            email_addresses: list(self.email_addresses, Peer::email_addresses),
            organizational_units: list(self.organizational_units, Peer::organizational_units),
            common_name,
            der: file.map(Peer::der).unwrap_or_default(),
            subject,
        }
    }
}

/// Leaf first.
pub(super) fn chain_of(
    place: &Place<'_>,
    chain: Spanned<Vec<PeerTable>>,
) -> Result<Vec<Arc<dyn PeerCertificate>>, ConfigError> {
    let span = chain.span();
    let mut certificates: Vec<Arc<dyn PeerCertificate>> = Vec::new();
    for table in chain.into_inner() {
        let file = place.certificate(table.file.as_ref())?;
        certificates.push(Arc::new(table.described(file.as_ref())));
    }
    match certificates.is_empty() {
        true => Err(place.at(span, "the chain is empty", "clients without a certificate are not validated")),
        false => Ok(certificates),
    }
}

/// What is written, else what the file has, else what is usual.
fn seconds(written: Option<Moment>, file: Option<i64>, usual: &str) -> i64 {
    let written = written.map(|moment| moment.0).or(file);
    written.or_else(|| Moment::from_now(usual).map(|moment| moment.0)).unwrap_or_default()
}

/// A fingerprint of what has no bytes: another for each, and the same each time.
fn digest(text: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(text.as_bytes()))
}
