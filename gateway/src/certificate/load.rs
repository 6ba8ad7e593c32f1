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
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use rustls::sign::SigningKey;

use super::key::PrivateKey;
use super::{Certificate, issuers, x509};
use crate::config::ConfigError;
use crate::freshness::{Contents, ReadError, Refusal};

mod chain;
mod pem;
mod settings;

#[cfg(test)]
mod tests;

pub use chain::{ChainError, Place};
pub use pem::PemError;

use chain::Chain;
use settings::Settings;

/// The most that is read of one file of a pair. A chain of four certificates with RSA keys has about 8 KiB.
pub const MAX_FILE_SIZE: usize = 1 << 20;

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
    let chain = pem::chain(chain_file)?;
    let key = pem::key(key_file)?;
    if !identity.allow_readable_keys {
        check_mode(key_file)?;
    }
    let no_certificate = || PemError::NoCertificate { path: chain_file.path.clone() };
    let known = chain.get(1..).and_then(issuers::known);
    let parsed = Chain::parse(&chain_file.path, &chain)?;
    let facts = parsed.facts().ok_or_else(no_certificate)?;
    parsed.check_strength()?;
    let has_explicit_curve = x509::spells_curve_out(key.secret_der());
    let unsupported = |source| match has_explicit_curve {
        true => CertificateError::ExplicitCurve { path: key_file.path.clone(), source },
        false => CertificateError::UnsupportedKey { path: key_file.path.clone(), source },
    };
    let (key, ready) = PrivateKey::new(key, facts.key_algorithm).map_err(unsupported)?;
    check_match(ready.as_ref(), &chain, &chain_file.path, &key_file.path)?;
    parsed.check_order(known.is_some())?;
    parsed.check_validity(now, identity.serve_expired)?;
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

fn check_mode(key_file: &Contents) -> Result<(), CertificateError> {
    match key_file.mode & 0o066 {
        0 => Ok(()),
        _ => Err(CertificateError::ReadableKey { path: key_file.path.clone(), mode: key_file.mode }),
    }
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

/// Why a pair does not go live.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("there are no files to make a certificate of; name at least one")]
    NoFiles,
    #[error("the settings of the certificate cannot be read; correct the file or remove it")]
    UnreadableSettings { source: Arc<ReadError> },
    #[error("the settings of the certificate are not right")]
    Settings { source: ConfigError },
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(
        "the private key in {} can be read by others (mode {mode:04o}); run `chmod 600 {}` (of a Kubernetes secret: set \
         `defaultMode: 0400` of its volume), or set `allow-readable-keys = true`",
        path.display(),
        path.display()
    )]
    ReadableKey { path: PathBuf, mode: u32 },
    #[error("the private key in {} is not RSA (2048 bits or more), ECDSA (P-256, P-384, P-521) or Ed25519", path.display())]
    UnsupportedKey { path: PathBuf, source: TlsError },
    #[error(
        "the EC key in {} spells its curve out; convert it with \
         `openssl ec -in {} -param_enc named_curve -out FILE` and put FILE in its place",
        path.display(),
        path.display()
    )]
    ExplicitCurve { path: PathBuf, source: TlsError },
    #[error("the first certificate in {} cannot be served; it has to be issued anew", path.display())]
    Unusable { path: PathBuf, source: TlsError },
    #[error("the private key in {} does not belong to the certificate in {}; {hint}", key.display(), chain.display())]
    KeyMismatch { chain: PathBuf, key: PathBuf, hint: &'static str },
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
            CertificateError::Chain(error) => error
                .seconds()
                .map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(1).clamp(1, 3600))),
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
