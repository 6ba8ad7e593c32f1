//! The PEM files of a pair: which certificates and which key they hold, or what they hold instead.
//!
//! [`super::certificate`] reads each file with this. It knows labels and headers, and nothing of what is in a certificate.
//! A file of the wrong kind is told by its first bytes, so that the remedy is the one for that kind.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::freshness::Contents;

pub(super) fn chain(file: &Contents) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let path = || file.path.clone();
    // The parser skips them, and what is left would pass for a shorter chain.
    if contains(&file.bytes, b"-----BEGIN TRUSTED CERTIFICATE-----") {
        return Err(PemError::Trusted { path: path() });
    }
    // The parser trips over its headers.
    if contains(&file.bytes, ENCRYPTED_LEGACY) {
        return Err(PemError::EncryptedKey { path: path() });
    }
    let (mut chain, mut has_key) = (Vec::new(), false);
    for (kind, der) in sections(file)? {
        match kind {
            SectionKind::Certificate => chain.push(CertificateDer::from(der)),
            _ => has_key |= PrivateKeyDer::from_pem(kind, der).is_some(),
        }
    }
    match chain.is_empty() {
        false => Ok(chain),
        true if has_key => Err(PemError::KeyAlone { path: path() }),
        true if file.bytes.first() == Some(&DER_SEQUENCE) => Err(PemError::Der { path: path() }),
        true => Err(PemError::NoCertificate { path: path() }),
    }
}

pub(super) fn key(file: &Contents) -> Result<PrivateKeyDer<'static>, PemError> {
    let path = || file.path.clone();
    // Before the PEM parser, which skips two of the forms without a word and trips over the other's headers.
    if contains(&file.bytes, b"-----BEGIN OPENSSH PRIVATE KEY-----") {
        return Err(PemError::OpenSshKey { path: path() });
    }
    let encrypted = [&b"-----BEGIN ENCRYPTED PRIVATE KEY-----"[..], ENCRYPTED_LEGACY];
    if encrypted.iter().any(|mark| contains(&file.bytes, mark)) {
        return Err(PemError::EncryptedKey { path: path() });
    }
    let mut keys = Vec::new();
    for (kind, der) in sections(file)? {
        keys.extend(PrivateKeyDer::from_pem(kind, der));
    }
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => Ok(key),
        (Some(_), false) => Err(PemError::SeveralKeys { path: path() }),
        (None, _) => Err(PemError::NoKey { path: path() }),
    }
}

/// Why a file is not what its name says.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    #[error("{} is not valid PEM; was it cut off, or is it still being written?", path.display())]
    Pem { path: PathBuf, source: pem::Error },
    #[error("{} holds no certificate (-----BEGIN CERTIFICATE-----); is it the right file?", path.display())]
    NoCertificate { path: PathBuf },
    #[error(
        "{} is DER rather than PEM; convert it with `openssl x509 -inform der -in {} -out FILE`",
        path.display(),
        path.display()
    )]
    Der { path: PathBuf },
    #[error("{} holds a private key and no certificate; put the chain into it, or beside it", path.display())]
    KeyAlone { path: PathBuf },
    #[error(
        "{} holds a TRUSTED CERTIFICATE, which only OpenSSL reads; convert each with `openssl x509 -in {} -out FILE`",
        path.display(),
        path.display()
    )]
    Trusted { path: PathBuf },
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
        "the private key in {} has OpenSSH's own format; copy it to FILE, convert that with \
         `ssh-keygen -p -N '' -m PKCS8 -f FILE` and put FILE in its place (if it is Ed25519, which ssh-keygen may leave \
         as it was: issue the certificate with a key of `openssl genpkey -algorithm ed25519`)",
        path.display()
    )]
    OpenSshKey { path: PathBuf },
}

/// A header of keys that OpenSSL encrypted in its own way (RFC 1421 section 4.6.1.1).
const ENCRYPTED_LEGACY: &[u8] = b"Proc-Type: 4,ENCRYPTED";

/// What every certificate in DER begins with.
const DER_SEQUENCE: u8 = 0x30;

type Section = (SectionKind, Vec<u8>);

fn sections(file: &Contents) -> Result<Vec<Section>, PemError> {
    // Editors on Windows put a byte order mark before the first line, which the parser then takes for a comment.
    let text = file.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&file.bytes);
    Section::pem_slice_iter(&with_current_labels(text))
        .map(|section| section.map_err(|source| in_file(&file.path, source)))
        .collect()
}

fn in_file(path: &Path, source: pem::Error) -> PemError {
    PemError::Pem { path: path.to_owned(), source }
}

/// `X509 CERTIFICATE` is an old name for the same thing (RFC 7468 section 5.1).
fn with_current_labels(text: &[u8]) -> Cow<'_, [u8]> {
    const OLD: &[u8] = b" X509 CERTIFICATE-----";
    const NEW: &[u8] = b" CERTIFICATE-----";
    if !contains(text, OLD) {
        return Cow::Borrowed(text);
    }
    let mut relabelled = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        match rest.strip_prefix(OLD) {
            Some(after) => {
                relabelled.extend_from_slice(NEW);
                rest = after;
            }
            None => {
                relabelled.push(*first);
                rest = after;
            }
        }
    }
    Cow::Owned(relabelled)
}

fn contains(bytes: &[u8], mark: &[u8]) -> bool {
    bytes.windows(mark.len()).any(|window| window == mark)
}
