//! The file of cases as its author wrote it: one struct per table, unknown keys refused, every default in one place.
//!
//! [`File::parse`] turns it into checked [`Cases`]. The defaults describe what is usual, so that a case says only what it
//! is about: a client of today on the listener `public`, a certificate with a P-256 key that is valid for ninety days.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use handfast_plugin_host::{Certificate, Hooks, KeyAlgorithm, PeerCertificate};
use handfast_wire::ClientHelloError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Deserializer, de};
use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::hello::Offer;
use super::moment::Moment;
use super::shelf::{Own, Presented, Shelf, Socket};
use super::{Case, Cases, Hook, Subject};
use crate::certificate::Peer;
use crate::cli::policy::answer::{Expected, Wanted};
use crate::config::error::suggest;
use crate::config::file::File as Configuration;
use crate::config::{self, ConfigError};
use crate::telemetry::error_chain;

/// A whole file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct File {
    /// Taken out before, since its keys are the configuration's. Here it is one of the keys that a mistyped one may mean.
    #[serde(default, rename = "policy")]
    _policy: de::IgnoredAny,
    #[serde(default, rename = "certificate")]
    certificates: Vec<CertificateTable>,
    #[serde(default, rename = "case")]
    cases: Vec<CaseTable>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CertificateTable {
    id: Spanned<String>,
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

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CaseTable {
    name: Spanned<String>,
    config: Option<toml::Table>,
    #[serde(default)]
    connection: ConnectionTable,
    hello: Option<Spanned<HelloTable>>,
    chain: Option<Spanned<Vec<PeerTable>>>,
    admit: Option<Spanned<String>>,
    #[serde(default = "once")]
    times: Spanned<u32>,
    expect: Spanned<ExpectTable>,
}

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct ConnectionTable {
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

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct HelloTable {
    server_name: Option<Spanned<String>>,
    alpn: Option<Vec<String>>,
    protocol_versions: Option<Vec<VersionWord>>,
    cipher_suites: Option<Vec<u16>>,
    signature_schemes: Option<Vec<u16>>,
    named_groups: Option<Vec<u16>>,
    offers_resumption: bool,
    ja3: Option<String>,
    ja4: Option<String>,
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

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct PeerTable {
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

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ExpectTable {
    verdict: Spanned<VerdictWord>,
    alert: Option<Spanned<Alert>>,
    certificate: Option<Spanned<String>>,
    upstream: Option<Spanned<String>>,
    attributes: Option<Spanned<BTreeMap<String, String>>>,
    error: Option<Spanned<String>>,
    reason: Option<String>,
    log: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum VerdictWord {
    Pass,
    Certificate,
    Reject,
    Drop,
    Passthrough,
    Accept,
    Refuse,
    NoVerdict,
    RefuseConfig,
}

/// An alert by its name in `wit/v1`, or by its number.
#[derive(Debug, Clone, Copy)]
struct Alert(u8);

const ALERTS: &[&str] = &[
    "unexpected-message",
    "handshake-failure",
    "bad-certificate",
    "unsupported-certificate",
    "certificate-revoked",
    "certificate-expired",
    "certificate-unknown",
    "illegal-parameter",
    "unknown-ca",
    "access-denied",
    "decode-error",
    "decrypt-error",
    "protocol-version",
    "insufficient-security",
    "internal-error",
    "inappropriate-fallback",
    "user-canceled",
    "missing-extension",
    "unsupported-extension",
    "unrecognized-name",
    "bad-certificate-status-response",
    "unknown-psk-identity",
    "certificate-required",
    "no-application-protocol",
];

impl<'de> Deserialize<'de> for Alert {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let of_name = |name: &str| handfast_wire::AlertDescription::from_name(&name.replace('-', "_"));
        match toml::Value::deserialize(deserializer)? {
            toml::Value::Integer(code) if (1..=255).contains(&code) => {
                Ok(Self(u8::try_from(code).unwrap_or_default()))
            }
            toml::Value::String(name) if ALERTS.contains(&name.as_str()) => {
                Ok(Self(of_name(&name).map(u8::from).unwrap_or_default()))
            }
            toml::Value::String(name) => Err(de::Error::unknown_variant(&name, ALERTS)),
            other => Err(de::Error::custom(format!(
                "`{other}` is no alert: write a name, as in \"access-denied\", or a number from 1 to 255"
            ))),
        }
    }
}

impl File {
    /// Reads the text of a file. `path` is used in messages and as the base of relative paths.
    pub(super) fn parse(path: &Path, text: &str, name: &str, plugin: &Path) -> Result<Cases, ConfigError> {
        let mut whole = DeTable::parse(text).map_err(|error| {
            ConfigError::at(path, text, error.span().unwrap_or(0..0), error.message(), None)
        })?;
        let place = Place { path, text };
        let policy = match whole.get_mut().remove("policy") {
            None => Spanned::new(0..0, DeTable::new()),
            Some(value) => {
                let span = value.span();
                let DeValue::Table(table) = value.into_inner() else {
                    return Err(place.at(span, "`policy` is not a table", "write `[policy]` above its keys"));
                };
                Spanned::new(span, table)
            }
        };
        let policy = Configuration::policy_alone(path, text, policy, name, plugin)?;
        Configuration::table::<Self>(path, text, whole)?.resolve(&place, policy)
    }

    fn resolve(self, place: &Place<'_>, policy: Arc<config::Policy>) -> Result<Cases, ConfigError> {
        let mut shelf = Shelf::default();
        for table in self.certificates {
            if shelf.get(table.id.get_ref()).is_some() {
                let message = format!("there is another certificate `{}`", table.id.get_ref());
                return Err(place.at(table.id.span(), message, "an id names one certificate"));
            }
            shelf.0.push(Arc::new(table.resolve(place)?));
        }
        let shelf = Arc::new(shelf);
        let mut cases: Vec<Case> = Vec::new();
        for table in self.cases {
            if cases.iter().any(|case| case.name == *table.name.get_ref()) {
                let hint = "the report tells cases apart by their names";
                return Err(place.at(table.name.span(), "there is another case of this name", hint));
            }
            cases.push(table.resolve(place, &policy, &shelf)?);
        }
        if cases.is_empty() {
            return Err(ConfigError::Whole {
                path: place.path.to_owned(),
                message: "no [[case]] is there".to_owned(),
                hint: "add one, for example:\n\n        [[case]]\n        name = \"everybody gets in\"\n        expect = { verdict = \"pass\" }".to_owned(),
            });
        }
        Ok(Cases { policy, cases })
    }
}

/// What is usual, for the first hook of these.
pub(super) fn usual(hooks: Hooks) -> Result<Subject, ClientHelloError> {
    let hook = match hooks {
        Hooks { select: true, .. } => Hook::Select,
        Hooks { validate: true, .. } => {
            let client = PeerTable { common_name: Some("client".to_owned()), ..PeerTable::default() };
            Hook::Validate(vec![Arc::new(client.described(None))])
        }
        _ => Hook::Admit(Arc::new(CertificateTable::named("a.example").described(None))),
    };
    let offer = Offer { server_name: Some("a.example".to_owned()), ..Offer::default() };
    Ok(Subject {
        connection: Arc::new(ConnectionTable::default().resolve()),
        hello: Arc::new(offer.sent()?),
        certificates: Arc::new(Shelf::default()),
        hook,
    })
}

/// Where a mistake is.
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    fn at(&self, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) -> ConfigError {
        ConfigError::at(self.path, self.text, span, message, Some(hint.into()))
    }

    /// The first certificate of a PEM file, whose path counts from the file of cases.
    fn certificate(&self, file: Option<&Spanned<PathBuf>>) -> Result<Option<Peer>, ConfigError> {
        let Some(file) = file else { return Ok(None) };
        let path = self.path.parent().unwrap_or(Path::new("")).join(file.get_ref());
        let hint = "it is a PEM file, whose path counts from the file of cases";
        let failed = |error: &dyn std::error::Error| {
            self.at(file.span(), format!("no certificate can be read: {}", error_chain(error)), hint)
        };
        let der = CertificateDer::from_pem_file(&path).map_err(|error| failed(&error))?;
        Peer::new(der).map(Some).map_err(|error| failed(&error))
    }
}

impl CertificateTable {
    fn named(name: &str) -> Self {
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

    fn resolve(self, place: &Place<'_>) -> Result<Own, ConfigError> {
        let file = place.certificate(self.file.as_ref())?;
        Ok(self.described(file.as_ref()))
    }

    /// What is written, else what the file has, else what is usual.
    fn described(self, file: Option<&Peer>) -> Own {
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

impl CaseTable {
    fn resolve(
        self,
        place: &Place<'_>,
        policy: &config::Policy,
        shelf: &Arc<Shelf>,
    ) -> Result<Case, ConfigError> {
        let hook = match (self.chain, self.admit) {
            (Some(_), Some(admit)) => {
                let hint = "`chain` is for `validate`, `admit` for `admit`: make two cases of it";
                return Err(place.at(admit.span(), "this case is for two hooks", hint));
            }
            (Some(chain), None) => Hook::Validate(chain_of(place, chain)?),
            (None, Some(id)) => match shelf.get(id.get_ref()) {
                Some(own) => Hook::Admit(Arc::clone(own) as Arc<dyn Certificate>),
                None => {
                    let known = shelf.0.iter().map(|own| own.id.as_str());
                    let hint = suggest(id.get_ref(), "certificates", known);
                    return Err(place.at(
                        id.span(),
                        format!("there is no certificate `{}`", id.get_ref()),
                        hint,
                    ));
                }
            },
            (None, None) => Hook::Select,
        };
        if !(1..=1_000_000).contains(self.times.get_ref()) {
            let message = "`times` must be between 1 and 1000000";
            return Err(place.at(self.times.span(), message, "the last answer is the one that counts"));
        }
        let (span, hello) = match self.hello {
            Some(hello) => (hello.span(), hello.into_inner()),
            None => (0..0, HelloTable::default()),
        };
        let name = hello.server_name.as_ref().map(Spanned::span);
        let sent = hello.resolve().sent().map_err(|error| {
            let message = format!("no client can send this hello: {}", error_chain(&error));
            let (span, hint) = match &error {
                ClientHelloError::ServerName(_) => (
                    name.unwrap_or(span),
                    "a server name is a DNS name: A-labels of at most 63 bytes, 253 in all",
                ),
                _ => {
                    (span, "a hello has at most 16384 bytes, and lists that must not be empty have an entry")
                }
            };
            place.at(span, message, hint)
        })?;
        let expected = self.expect.into_inner().resolve(place, &hook)?;
        Ok(Case {
            name: self.name.into_inner(),
            policy: self.config.map(|config| Arc::new(policy.with_config(config))),
            subject: Subject {
                connection: Arc::new(self.connection.resolve()),
                hello: Arc::new(sent),
                certificates: Arc::clone(shelf),
                hook,
            },
            times: self.times.into_inner(),
            expected,
        })
    }
}

/// Leaf first.
fn chain_of(
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

impl PeerTable {
    /// What is written, else what the file has, else what is usual.
    fn described(self, file: Option<&Peer>) -> Presented {
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

impl ConnectionTable {
    fn resolve(self) -> Socket {
        Socket {
            listener: self.listener,
            client_address: self.client_address,
            server_address: self.server_address,
            proxied: self.proxied,
            proxy_tlvs: self.proxy_tlvs.into_iter().map(|tlv| (tlv.kind, tlv.value.into_bytes())).collect(),
        }
    }
}

impl HelloTable {
    fn resolve(self) -> Offer {
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

impl ExpectTable {
    fn resolve(self, place: &Place<'_>, hook: &Hook) -> Result<Expected, ConfigError> {
        let verdict = *self.verdict.get_ref();
        let (name, possible): (_, &[VerdictWord]) = match hook {
            Hook::Select => (
                "select",
                &[
                    VerdictWord::Pass,
                    VerdictWord::Certificate,
                    VerdictWord::Reject,
                    VerdictWord::Drop,
                    VerdictWord::Passthrough,
                ],
            ),
            Hook::Validate(_) => ("validate", &[VerdictWord::Accept, VerdictWord::Reject]),
            Hook::Admit(_) => ("admit", &[VerdictWord::Accept, VerdictWord::Refuse]),
        };
        if !possible.contains(&verdict)
            && ![VerdictWord::NoVerdict, VerdictWord::RefuseConfig].contains(&verdict)
        {
            let message = format!("`{name}` does not answer this");
            let hint = "a case with `chain` is for `validate`, one with `admit` for `admit`, all others for `select`";
            return Err(place.at(self.verdict.span(), message, hint));
        }
        for (key, span, of) in [
            ("alert", self.alert.as_ref().map(Spanned::span), VerdictWord::Reject),
            ("certificate", self.certificate.as_ref().map(Spanned::span), VerdictWord::Certificate),
            ("upstream", self.upstream.as_ref().map(Spanned::span), VerdictWord::Passthrough),
            ("attributes", self.attributes.as_ref().map(Spanned::span), VerdictWord::Accept),
            ("error", self.error.as_ref().map(Spanned::span), VerdictWord::NoVerdict),
        ] {
            if let Some(span) = span.filter(|_| of != verdict) {
                let message = format!("`{key}` does not go with this verdict");
                return Err(place.at(span, message, "leave it out, or write another verdict"));
            }
        }
        let verdict = match verdict {
            VerdictWord::Pass => Wanted::Pass,
            VerdictWord::Certificate => Wanted::Certificate(self.certificate.map(Spanned::into_inner)),
            VerdictWord::Reject => Wanted::Reject(self.alert.map(|alert| alert.into_inner().0)),
            VerdictWord::Drop => Wanted::Drop,
            VerdictWord::Passthrough => Wanted::Passthrough(self.upstream.map(Spanned::into_inner)),
            VerdictWord::Accept => Wanted::Accept(self.attributes.map(Spanned::into_inner)),
            VerdictWord::Refuse => Wanted::Refuse,
            VerdictWord::NoVerdict => Wanted::NoVerdict(self.error.map(Spanned::into_inner)),
            VerdictWord::RefuseConfig => Wanted::RefuseConfig,
        };
        Ok(Expected { verdict, reason: self.reason, log: self.log })
    }
}

fn once() -> Spanned<u32> {
    Spanned::new(0..0, 1)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        match File::parse(Path::new("cases.toml"), text, "policy", Path::new("policy.wasm")) {
            Ok(_) => panic!("accepted: {text}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_case_says_only_what_it_is_about() {
        let text = "[[case]]\nname = \"one\"\nexpect = { verdict = \"pass\" }\n";
        let cases = File::parse(Path::new("cases.toml"), text, "policy", Path::new("policy.wasm")).unwrap();
        assert_eq!(cases.policy.config, "{}");
        let case = &cases.cases[0];
        assert_eq!((case.name.as_str(), case.subject.hook(), case.times), ("one", "select", 1));
        assert_eq!(case.subject.connection.listener(), "public");
        assert_eq!(case.subject.hello.protocol_versions(), [0x0304, 0x0303]);
        for hooks in [
            Hooks { select: true, ..Hooks::default() },
            Hooks { validate: true, ..Hooks::default() },
            Hooks { admit: true, ..Hooks::default() },
        ] {
            assert!(usual(hooks).unwrap().is_for(hooks));
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_place_and_its_remedy() {
        let case = |keys: &str| format!("[[case]]\nname = \"one\"\n{keys}\n");
        for (text, message, hint) in [
            (case("expect = { verdict = \"pas\" }"), "unknown value `pas`", "did you mean `pass`?"),
            (
                case("expect = { verdict = \"accept\" }"),
                "`select` does not answer this",
                "a case with `chain`",
            ),
            (case("expect = { verdict = \"pass\", alert = 70 }"), "`alert` does not go with", "leave it out"),
            (
                case("expect = { verdict = \"reject\", alert = \"acess-denied\" }"),
                "unknown value `acess-denied`",
                "did you mean `access-denied`?",
            ),
            (
                case("admit = \"x\"\nexpect = { verdict = \"accept\" }"),
                "no certificate `x`",
                "there are no certificates yet",
            ),
            (
                case("hello = { server-name = \"a b\" }\nexpect = { verdict = \"pass\" }"),
                "no client can send this",
                "A-labels",
            ),
            (
                case(&format!(
                    "hello = {{ server-name = \"{}\" }}\nexpect = {{ verdict = \"pass\" }}",
                    "a".repeat(70_000)
                )),
                "the name has 70000 bytes, of at most 253",
                "253 in all",
            ),
            (
                case("hello = { cipher-suites = [4865, 70000] }\nexpect = { verdict = \"pass\" }"),
                "expected a whole number from 0 to 65535, found the number `70000`",
                "as in 0x1301",
            ),
            (
                case(
                    "connection = { proxy-tlvs = [{ type = 256, value = \"\" }] }\nexpect = { verdict = \"pass\" }",
                ),
                "expected a whole number from 0 to 255, found the number `256`",
                "write digits",
            ),
            ("[polcy]\n".to_owned(), "unknown key `polcy`", "did you mean `policy`?"),
            (
                "[settings]\n".to_owned(),
                "unknown key `settings`",
                "known keys: `policy`, `certificate`, `case`",
            ),
            (
                case("chain = []\nexpect = { verdict = \"accept\" }"),
                "the chain is empty",
                "without a certificate",
            ),
            (case("times = 0\nexpect = { verdict = \"pass\" }"), "`times` must be", "the last answer"),
            ("[policy]\ntimout = \"1s\"\n".to_owned(), "unknown key `timout`", "did you mean `timeout`?"),
            ("[policy]\ntimeout = \"1ms\"\n".to_owned(), "must be between 10ms and 10s", "busy machine"),
        ] {
            let told = refusal(&text);
            assert!(
                told.contains(message) && told.contains(hint) && told.contains("--> cases.toml:"),
                "{told}"
            );
            assert!(told.len() < 1_000, "{told}");
        }
        assert!(refusal("").contains("no [[case]] is there"));
    }
}
