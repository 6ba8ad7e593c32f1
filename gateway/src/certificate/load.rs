//! From the bytes of a pair to a [`Certificate`], or to the reason why it must not go live.
//!
//! The store calls this for each new state of a pair's files, on the background runtime; `handfast check` calls it for a
//! pair on its own. It opens nothing and remembers nothing. Every refusal names the file and what to do about it, since
//! it is read by whoever just replaced that file.
//!
//! Of the files beside a pair, settings that do not parse refuse the pair like everything else that somebody just wrote
//! wrong. An OCSP file is only carried along: what is in it is judged by whoever staples it, and a staple that is
//! useless must not hold up a renewal.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::Error as TlsError;
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::SigningKey;

use super::key::PrivateKey;
use super::x509::{self, Facts};
use super::{Certificate, issuers};
use crate::config::ConfigError;
use crate::freshness::{Contents, ReadError, Refusal};

mod settings;

use settings::Settings;

/// The most that is read of one file of a pair. A chain of four certificates with RSA keys has about 8 KiB.
pub const MAX_FILE_SIZE: usize = 1 << 20;

/// The most certificates of a chain. webpki, and so every rustls client, follows at most 6 intermediates.
const MAX_CHAIN: usize = 10;

/// CA/Browser Forum baseline requirements section 6.1.5; rustls does not sign with less either.
const MIN_RSA_BITS: u32 = 2048;

/// How long a file has rested that is not being written any more. Less than a reload goes on watching a refused pair.
const AT_REST: Duration = Duration::from_millis(150);

/// What the certificate is, apart from its files.
#[derive(Debug, Clone)]
pub struct Identity {
    pub id: Arc<str>,
    /// Ordered by key.
    pub tags: Arc<[(String, String)]>,
    /// Accept private keys that group or others can read.
    pub allow_readable_keys: bool,
    /// Accept certificates whose validity has ended.
    pub serve_expired: bool,
}

/// Judges a pair: the chain's file and the key's, or one file that holds both; then, in any order, the files beside
/// them that end in `.toml` and `.ocsp`, if there are any. `now` in seconds since 1970.
pub fn certificate(
    identity: &Identity,
    files: &[Contents],
    now: i64,
) -> Result<Certificate, CertificateError> {
    let with_ending = |ending: &str| {
        files.iter().skip(1).find(|file| file.path.extension().is_some_and(|own| own == ending))
    };
    let is_beside = |file: &Contents| file.path.extension().is_some_and(|own| own == "toml" || own == "ocsp");
    let (chain_file, key_file) = match files {
        [chain, key, ..] if !is_beside(key) => (chain, key),
        [both, ..] => (both, both),
        [] => return Err(CertificateError::NoFiles),
    };
    let settings = match with_ending("toml") {
        Some(file) => settings::read(file)?,
        None => Settings::default(),
    };
    let chain = read_chain(chain_file)?;
    let key = read_key(key_file)?;
    if !identity.allow_readable_keys {
        check_mode(key_file)?;
    }
    let no_certificate = || CertificateError::NoCertificate { path: chain_file.path.clone() };
    // Behind a leaf and its issuer, what was judged with another pair is not judged again.
    let known = chain.get(1..).and_then(issuers::known);
    let judged = if known.is_some() { chain.get(..2) } else { None };
    let parsed = parse_chain(&chain_file.path, judged.unwrap_or(&chain))?;
    let leaf = parsed.first().ok_or_else(no_certificate)?;
    let facts = Facts::of(leaf);
    check_strength(&chain_file.path, leaf, &facts)?;
    let unsupported = |source| CertificateError::UnsupportedKey { path: key_file.path.clone(), source };
    let (key, ready) = PrivateKey::new(key, facts.key_algorithm).map_err(unsupported)?;
    check_match(ready.as_ref(), &chain, &chain_file.path, &key_file.path)?;
    check_order(&chain_file.path, &parsed)?;
    check_validity(&chain_file.path, leaf, &facts, now, identity.serve_expired)?;
    let mut chain = chain.into_iter();
    let leaf = chain.next().ok_or_else(no_certificate)?;
    Ok(Certificate {
        id: identity.id.clone(),
        leaf,
        issuers: known.unwrap_or_else(|| issuers::shared(chain.collect())),
        key,
        facts,
        is_required: settings.required,
        tags: settings.under(identity),
        serve_expired: identity.serve_expired,
        ocsp_file: with_ending("ocsp").map(|file| match &file.trouble {
            None => Ok(file.bytes.as_slice().into()),
            Some(trouble) => Err(trouble.clone()),
        }),
        staples: OnceLock::new(),
        entry: OnceLock::new(),
    })
}

/// `cat leaf.pem issuer.pem > fullchain.pem` passes through a state that is sound in itself: the leaf alone. A chain that
/// is shorter than the one it replaces goes live only once its file is at rest.
pub(super) fn check_complete(
    new: &Certificate,
    old: &Certificate,
    files: &[Contents],
) -> Result<(), CertificateError> {
    match files.first() {
        Some(file) if new.issuers.len() < old.issuers.len() && file.age < AT_REST => {
            Err(CertificateError::ShortChain { path: file.path.clone() })
        }
        _ => Ok(()),
    }
}

fn read_chain(file: &Contents) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let mut chain = Vec::new();
    for section in sections(file) {
        if let (SectionKind::Certificate, der) = section? {
            chain.push(CertificateDer::from(der));
        }
    }
    match chain.len() {
        0 => Err(CertificateError::NoCertificate { path: file.path.clone() }),
        count if count > MAX_CHAIN => {
            Err(CertificateError::LongChain { path: file.path.clone(), count, most: MAX_CHAIN })
        }
        _ => Ok(chain),
    }
}

fn read_key(file: &Contents) -> Result<PrivateKeyDer<'static>, CertificateError> {
    // Before the PEM parser, which skips the one form without a word and trips over the other's headers.
    if [&b"-----BEGIN ENCRYPTED PRIVATE KEY-----"[..], b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| file.bytes.windows(mark.len()).any(|window| window == *mark))
    {
        return Err(CertificateError::EncryptedKey { path: file.path.clone() });
    }
    let mut keys = Vec::new();
    for section in sections(file) {
        let (kind, der) = section?;
        keys.extend(PrivateKeyDer::from_pem(kind, der));
    }
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => Ok(key),
        (Some(_), false) => Err(CertificateError::SeveralKeys { path: file.path.clone() }),
        (None, _) => Err(CertificateError::NoKey { path: file.path.clone() }),
    }
}

fn sections(file: &Contents) -> impl Iterator<Item = Result<(SectionKind, Vec<u8>), CertificateError>> {
    // Editors on Windows put a byte order mark before the first line, which the parser then takes for a comment.
    let text = file.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&file.bytes);
    <(SectionKind, Vec<u8>)>::pem_slice_iter(text)
        .map(|section| section.map_err(|source| CertificateError::Pem { path: file.path.clone(), source }))
}

fn check_mode(key_file: &Contents) -> Result<(), CertificateError> {
    match key_file.mode & 0o066 {
        0 => Ok(()),
        _ => Err(CertificateError::ReadableKey { path: key_file.path.clone(), mode: key_file.mode }),
    }
}

fn parse_chain<'a>(
    path: &Path,
    chain: &'a [CertificateDer<'static>],
) -> Result<Vec<x509_parser::certificate::X509Certificate<'a>>, CertificateError> {
    let parse = |(index, der)| {
        x509::parse(der)
            .ok_or_else(|| CertificateError::Malformed { path: path.to_owned(), position: index + 1 })
    };
    chain.iter().enumerate().map(parse).collect()
}

fn check_strength(
    path: &Path,
    leaf: &x509_parser::certificate::X509Certificate<'_>,
    facts: &Facts,
) -> Result<(), CertificateError> {
    if facts.key_algorithm == handfast_plugin_host::KeyAlgorithm::Rsa && facts.key_bits < MIN_RSA_BITS {
        return Err(CertificateError::WeakKey { path: path.to_owned(), bits: facts.key_bits });
    }
    if x509::is_signed_with_sha1(leaf) {
        return Err(CertificateError::Sha1 { path: path.to_owned() });
    }
    Ok(())
}

fn check_match(
    key: &dyn SigningKey,
    chain: &[CertificateDer<'static>],
    chain_path: &Path,
    key_path: &Path,
) -> Result<(), CertificateError> {
    let own = key.public_key();
    let belongs = |certificate| -> Result<bool, TlsError> {
        Ok(Some(ParsedCertificate::try_from(certificate)?.subject_public_key_info()) == own)
    };
    match chain.first().map(belongs) {
        Some(Ok(true)) => Ok(()),
        Some(Err(source)) => Err(CertificateError::Unusable { path: chain_path.to_owned(), source }),
        _ => {
            let later = chain.iter().skip(1).any(|certificate| belongs(certificate).is_ok_and(|does| does));
            // The key of a chain whose order is wrong matches a certificate, but not the first.
            let hint = match later {
                true => "it belongs to a later certificate of the file: put the leaf first",
                false => "replace both, or wait for whatever is replacing them to finish",
            };
            Err(CertificateError::KeyMismatch {
                chain: chain_path.to_owned(),
                key: key_path.to_owned(),
                hint,
            })
        }
    }
}

/// RFC 8446 section 4.4.2: each certificate certifies the one before it. Clients differ in what they forgive.
fn check_order(
    path: &Path,
    chain: &[x509_parser::certificate::X509Certificate<'_>],
) -> Result<(), CertificateError> {
    for (index, pair) in chain.windows(2).enumerate() {
        let [subject, issuer] = pair else { continue };
        let position = index + 2;
        if subject.issuer().as_raw() != issuer.subject().as_raw() {
            let (wanted, found) = (subject.issuer(), issuer.subject());
            return Err(CertificateError::ChainOrder {
                path: path.to_owned(),
                position,
                wanted: super::distinguished_name::to_string(wanted),
                found: super::distinguished_name::to_string(found),
            });
        }
        if x509::is_signed_by(subject, issuer) == Some(false) {
            return Err(CertificateError::ChainSignature { path: path.to_owned(), position });
        }
    }
    Ok(())
}

fn check_validity(
    path: &Path,
    leaf: &x509_parser::certificate::X509Certificate<'_>,
    facts: &Facts,
    now: i64,
    serve_expired: bool,
) -> Result<(), CertificateError> {
    if now > facts.not_after && !serve_expired {
        let when = leaf.validity().not_after.to_string();
        return Err(CertificateError::Expired { path: path.to_owned(), when });
    }
    if now < facts.not_before {
        let when = leaf.validity().not_before.to_string();
        let seconds = facts.not_before.saturating_sub(now);
        return Err(CertificateError::NotYetValid { path: path.to_owned(), when, seconds });
    }
    Ok(())
}

/// Why a pair does not go live.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("there are no files to make a certificate of; name at least one")]
    NoFiles,
    #[error("the settings of the certificate cannot be read; correct the file or remove it")]
    UnreadableSettings { source: Arc<ReadError> },
    #[error("the settings of the certificate are not right")]
    Settings { source: ConfigError },
    #[error("{} is not valid PEM; was it cut off, or is it still being written?", path.display())]
    Pem { path: PathBuf, source: pem::Error },
    #[error(
        "{} holds no certificate (-----BEGIN CERTIFICATE-----); convert DER with `openssl x509 -inform der -in {}`",
        path.display(),
        path.display()
    )]
    NoCertificate { path: PathBuf },
    #[error("{} holds {count} certificates, more than the {most} of the longest chain; is it a CA bundle?", path.display())]
    LongChain { path: PathBuf, count: usize, most: usize },
    #[error("{} holds no private key; put it in the same file or beside it as .key", path.display())]
    NoKey { path: PathBuf },
    #[error("{} holds several private keys; leave the one of the leaf", path.display())]
    SeveralKeys { path: PathBuf },
    #[error(
        "the private key in {} is encrypted; decrypt it with `openssl pkey -in {} -out FILE` and put FILE in its place",
        path.display(),
        path.display()
    )]
    EncryptedKey { path: PathBuf },
    #[error(
        "the private key in {} can be read by others (mode {mode:04o}); run `chmod 600 {}` or set allow-readable-keys",
        path.display(),
        path.display()
    )]
    ReadableKey { path: PathBuf, mode: u32 },
    #[error("the private key in {} is not RSA (2048 bits or more), ECDSA (P-256, P-384, P-521) or Ed25519", path.display())]
    UnsupportedKey { path: PathBuf, source: TlsError },
    #[error("certificate {position} in {} is not X.509; it has to be issued anew", path.display())]
    Malformed { path: PathBuf, position: usize },
    #[error("the first certificate in {} cannot be served; it has to be issued anew", path.display())]
    Unusable { path: PathBuf, source: TlsError },
    #[error("the RSA key of {} has {bits} bits; clients refuse less than 2048: issue it with a new key", path.display())]
    WeakKey { path: PathBuf, bits: u32 },
    #[error("{} is signed with SHA-1, which clients refuse; it has to be issued anew", path.display())]
    Sha1 { path: PathBuf },
    #[error("the private key in {} does not belong to the certificate in {}; {hint}", key.display(), chain.display())]
    KeyMismatch { chain: PathBuf, key: PathBuf, hint: &'static str },
    #[error(
        "the chain in {} is out of order: certificate {position} should be \"{wanted}\" but is \"{found}\"; \
         each must be followed by its issuer",
        path.display()
    )]
    ChainOrder { path: PathBuf, position: usize, wanted: String, found: String },
    #[error(
        "certificate {position} in {} has its predecessor's issuer as its name but did not sign it; \
         take the chain that was issued with the leaf",
        path.display()
    )]
    ChainSignature { path: PathBuf, position: usize },
    #[error("{} expired on {when}; renew it", path.display())]
    Expired { path: PathBuf, when: String },
    #[error("{} is not valid before {when}; it goes live then", path.display())]
    NotYetValid { path: PathBuf, when: String, seconds: i64 },
    #[error(
        "the chain in {} has fewer certificates than before; it goes live when the file has not changed for a moment",
        path.display()
    )]
    ShortChain { path: PathBuf },
    #[error("an admit policy refuses {id}: {reason}")]
    NotAdmitted { id: Arc<str>, reason: String },
    #[error("{} belongs to \"{id}\", which {} already has; rename one", path.display(), other.display())]
    IdTaken { id: Arc<str>, path: PathBuf, other: PathBuf },
}

impl From<&CertificateError> for Option<Duration> {
    /// When the same files may be judged differently.
    fn from(error: &CertificateError) -> Self {
        match error {
            // Looked at again at least hourly, since the clock may be set.
            CertificateError::NotYetValid { seconds, .. } => {
                Some(Duration::from_secs(u64::try_from(*seconds).unwrap_or(1).clamp(1, 3600)))
            }
            // And a tick or two, since files are stamped by a clock that is behind.
            CertificateError::ShortChain { .. } => Some(AT_REST + Duration::from_millis(20)),
            // What a policy says can depend on more than the certificate.
            CertificateError::NotAdmitted { .. } => Some(Duration::from_secs(60)),
            _ => None,
        }
    }
}

impl CertificateError {
    pub(super) fn into_refusal(self) -> Refusal {
        let retry = Option::from(&self);
        Refusal { retry, ..Refusal::from(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::test_pki::{Authority, Pair, read_contents};
    use crate::certificate::unix_now;

    fn judge(chain: &str, key: Option<&str>) -> Result<Certificate, CertificateError> {
        let mut files = vec![contents("a.crt", chain)];
        files.extend(key.map(|key| contents("a.key", key)));
        certificate(&identity(), &files, unix_now())
    }

    fn identity() -> Identity {
        Identity { id: "a".into(), tags: Arc::default(), allow_readable_keys: false, serve_expired: false }
    }

    fn contents(path: &str, text: &str) -> Contents {
        let (bytes, age) = (text.as_bytes().to_vec().into(), Duration::ZERO);
        Contents { path: path.into(), bytes, mode: 0o600, age, trouble: None }
    }

    fn pair() -> Pair {
        Authority::new("Test").pair(&["a.example"])
    }

    #[test]
    fn a_byte_order_mark_hides_no_certificate_and_no_key() {
        let pair = pair();
        let marked = |text: &str| format!("\u{feff}{text}");
        let certificate = judge(&marked(&pair.chain_pem), Some(&marked(&pair.key_pem))).unwrap();
        assert_eq!(certificate.fingerprint(), pair.fingerprint());
    }

    #[test]
    fn every_key_encoding_is_read() {
        let authority = Authority::new("Test");
        for algorithm in
            [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519]
        {
            let pair = authority.issue_for(&["a.example"], algorithm);
            judge(&pair.chain_pem, Some(&pair.key_pem)).unwrap();
            judge(&format!("{}{}", pair.key_pem, pair.chain_pem), None).unwrap();
        }
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
            let pair = authority.issue_for(&["a.example"], algorithm);
            judge(&pair.chain_pem, Some(&pair.traditional_key_pem("EC PRIVATE KEY"))).unwrap();
        }
        for (size, bits) in [(rcgen::RsaKeySize::_3072, 3072), (rcgen::RsaKeySize::_4096, 4096)] {
            let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).unwrap();
            let pair = authority.issue_with(&["a.example"], key);
            for key_pem in [pair.key_pem.clone(), pair.traditional_key_pem("RSA PRIVATE KEY")] {
                assert_eq!(judge(&pair.chain_pem, Some(&key_pem)).unwrap().key_bits(), bits);
            }
        }
        let pair = authority.issue_for(&["a.example"], &rcgen::PKCS_RSA_SHA256);
        let certificate = judge(&pair.chain_pem, Some(&pair.traditional_key_pem("RSA PRIVATE KEY"))).unwrap();
        assert_eq!(certificate.key_bits(), 2048);
        assert!(certificate.usable_with(&[0x0804], &[], &[0x0304]));
        assert!(
            !certificate.usable_with(&[0x0401], &[0xc02f], &[0x0304, 0x0303]),
            "PKCS#1 is not for TLS 1.3"
        );
        assert!(certificate.usable_with(&[0x0401], &[0xc02f], &[0x0303]));
        assert!(!certificate.usable_with(&[0x0401], &[0xc02b], &[0x0303]), "an ECDSA suite");
        assert!(!certificate.usable_with(&[0x0403], &[0xc02f], &[0x0303]), "an ECDSA scheme");
    }

    #[test]
    fn facts_are_those_of_the_leaf() {
        let certificate = judge(&pair().chain_pem, Some("")).unwrap_err();
        assert!(matches!(certificate, CertificateError::NoKey { .. }));
        let pair = Authority::new("Test").pair(&["A.example", "*.a.example", "192.0.2.7"]);
        let certificate = judge(&pair.chain_pem, Some(&pair.key_pem)).unwrap();
        assert_eq!(certificate.names(), ["a.example", "*.a.example", "192.0.2.7"]);
        assert_eq!(certificate.fingerprint(), pair.fingerprint());
        assert!(certificate.covers("www.A.example."));
        assert!(!certificate.covers("a.b.a.example"));
        let shown = format!("{certificate:?}");
        assert!(
            shown.contains("a\"") && shown.contains(certificate.fingerprint()) && shown.len() < 160,
            "{shown}"
        );
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (one, two) = (pair(), pair());
        assert!(matches!(
            judge(&one.chain_pem, Some(&two.key_pem)).unwrap_err(),
            CertificateError::KeyMismatch { hint, .. } if hint.starts_with("replace both")
        ));
    }

    #[test]
    fn a_chain_out_of_order_is_refused_with_what_to_do() {
        let root = Authority::new("Root");
        let issuing = root.subordinate("Issuing");
        let pair = issuing.pair(&["a.example"]);
        let [leaf, intermediate, anchor] = [pair.leaf_pem().to_owned(), issuing.pem(), root.pem()];
        let key = Some(pair.key_pem.as_str());
        judge(&format!("{leaf}{intermediate}{anchor}"), key).unwrap();
        assert!(matches!(
            judge(&format!("{leaf}{anchor}{intermediate}"), key).unwrap_err(),
            CertificateError::ChainOrder { position: 2, .. }
        ));
        assert!(matches!(
            judge(&format!("{intermediate}{leaf}"), key).unwrap_err(),
            CertificateError::KeyMismatch { hint, .. } if hint.contains("leaf first")
        ));
        judge(&format!("{leaf}{intermediate}{anchor}"), key).unwrap();
        // Issuers that are known to be in order are not therefore this leaf's.
        let stranger = root.subordinate("Other").pair(&["a.example"]);
        assert!(matches!(
            judge(&format!("{}{intermediate}{anchor}", stranger.leaf_pem()), Some(&stranger.key_pem))
                .unwrap_err(),
            CertificateError::ChainOrder { position: 2, .. }
        ));
        let namesake = root.subordinate("Issuing");
        assert!(matches!(
            judge(&format!("{leaf}{}", namesake.pem()), key).unwrap_err(),
            CertificateError::ChainSignature { position: 2, .. }
        ));
    }

    #[test]
    fn what_clients_would_refuse_is_refused_here() {
        let authority = Authority::new("Test");
        let pair = authority.valid_between(&["a.example"], (2001, 1, 1), (2002, 1, 1));
        assert!(matches!(judge(&pair.chain_pem, Some(&pair.key_pem)), Err(CertificateError::Expired { .. })));
        let files = [contents("a.crt", &pair.chain_pem), contents("a.key", &pair.key_pem)];
        let lenient = Identity { serve_expired: true, ..identity() };
        let expired = certificate(&lenient, &files, unix_now()).unwrap();
        assert!(!expired.has_expired_at(unix_now()) && !expired.is_valid_at(unix_now()));
        let pair = authority.valid_between(&["a.example"], (2090, 1, 1), (2091, 1, 1));
        let error = judge(&pair.chain_pem, Some(&pair.key_pem)).unwrap_err();
        assert!(matches!(error, CertificateError::NotYetValid { .. }));
        assert_eq!(error.into_refusal().retry, Some(Duration::from_secs(3600)));
        let key = Some(pair.key_pem.as_str());
        let weak = include_str!("load/weak-rsa.pem");
        assert!(matches!(judge(weak, key), Err(CertificateError::WeakKey { bits: 1024, .. })));
        let sha1 = include_str!("load/sha1.pem");
        assert!(matches!(judge(sha1, key), Err(CertificateError::Sha1 { .. })));
    }

    #[test]
    fn an_encrypted_key_is_named_as_such() {
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let error = judge(&pair().chain_pem, Some(encrypted)).unwrap_err();
        assert!(error.to_string().contains("openssl pkey -in a.key"), "{error}");
        let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        let error = judge(&pair().chain_pem, Some(legacy)).unwrap_err();
        assert!(matches!(error, CertificateError::EncryptedKey { .. }));
    }

    #[test]
    fn settings_beside_a_pair_add_to_those_of_its_source_and_outweigh_none_and_a_mistake_is_located() {
        let pair = pair();
        let tags = ["canary", "team"].map(|key| (key.to_owned(), "source".to_owned()));
        let identity = Identity { tags: Arc::new(tags), ..identity() };
        let judge = |settings: &str| {
            let mut files = vec![contents("a.pem", &format!("{}{}", pair.chain_pem, pair.key_pem))];
            files.push(contents("a.toml", settings));
            files.push(contents("a.pem.ocsp", "staple"));
            certificate(&identity, &files, unix_now())
        };
        let certificate = judge("required = true\ntags = { team = \"own\", zone = \"own\" }").unwrap();
        assert!(certificate.is_required());
        assert_eq!(certificate.ocsp_file(), Some(&b"staple"[..]));
        let tags: Vec<_> = certificate.tags().iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(tags, ["canary=source", "team=source", "zone=own"]);
        assert!(!judge("").unwrap().is_required());
        let error = crate::telemetry::error_chain(&judge("requird = true").unwrap_err());
        assert!(error.contains("a.toml:1:1") && error.contains("did you mean `required`?"), "{error}");
    }

    #[test]
    fn a_useless_ocsp_file_does_not_hold_up_its_pair() {
        let pair = pair();
        let trouble = Some(Arc::new(ReadError::NotAFile { path: "a.ocsp".into() }));
        let files = [
            contents("a.crt", &pair.chain_pem),
            contents("a.key", &pair.key_pem),
            Contents { trouble, ..contents("a.ocsp", "") },
        ];
        let certificate = certificate(&identity(), &files, unix_now()).unwrap();
        assert_eq!(certificate.ocsp_file(), None);
        assert!(matches!(**certificate.ocsp_file_trouble().unwrap(), ReadError::NotAFile { .. }));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_unless_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let pair = pair();
        pair.write(&folder.path().join("a.crt"), &folder.path().join("a.key"), 0o640);
        let files = read_contents(&[folder.path().join("a.crt"), folder.path().join("a.key")]);
        let mut identity = identity();
        let error = certificate(&identity, &files, unix_now()).unwrap_err();
        assert!(error.to_string().contains("mode 0640"), "{error}");
        identity.allow_readable_keys = true;
        certificate(&identity, &files, unix_now()).unwrap();
    }

    #[test]
    fn garbage_is_refused_and_never_panics() {
        let pair = pair();
        // Without the last line's end the PEM parser still knows where the certificate ends.
        for length in 0..pair.leaf_pem().trim_end().len() {
            assert!(judge(&pair.leaf_pem()[..length], Some(&pair.key_pem)).is_err(), "{length}");
        }
        assert!(matches!(judge("\0\0", Some("")), Err(CertificateError::NoCertificate { .. })));
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(judge(nonsense, Some(&pair.key_pem)), Err(CertificateError::Malformed { .. })));
    }
}
