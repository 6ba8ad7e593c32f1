//! The checks of a chain: what clients would refuse, and which certificate of it they would refuse it for.
//!
//! [`super::certificate`] calls [`check`] for each pair. It sees certificates only: neither keys nor files.
//!
//! Every certificate is judged as clients do: current, strong, for TLS servers, and a CA's if another comes before it. Of a
//! self-signed certificate behind a leaf only the place and the key count. It is a trust anchor if it is anything, and those
//! a client has or has not: it looks neither at the signature that such a certificate gives itself (RFC 8446 section
//! 4.4.2.2) nor at what else the copy says that it was sent; many have version 1 and no extensions, and some clients keep
//! trusting them when they have expired.
//!
//! Whether each signed the one before depends on nothing but their bytes, and takes longer than everything else. So it is not
//! asked again of issuers that were found to be in order with another pair; the rest is, since it depends on the time.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;

use crate::certificate::distinguished_name;
use crate::certificate::expiry::rfc3339;
use crate::certificate::x509::{self, Facts};

/// The most certificates of a chain. webpki, and so every rustls client, follows at most 6 intermediates.
const MAX_CHAIN: usize = 10;

/// CA/Browser Forum baseline requirements section 6.1.5; rustls does not sign with less either.
const MIN_RSA_BITS: u32 = 2048;

/// A chain that was parsed, the leaf first.
pub(super) struct Chain<'a> {
    path: &'a Path,
    certificates: Vec<X509Certificate<'a>>,
}

impl<'a> Chain<'a> {
    pub(super) fn parse(path: &'a Path, chain: &'a [CertificateDer<'static>]) -> Result<Self, ChainError> {
        if chain.len() > MAX_CHAIN {
            return Err(ChainError::Long { path: path.to_owned(), count: chain.len() });
        }
        let parse = |(index, der)| {
            x509::parse(der)
                .ok_or_else(|| ChainError::Malformed { path: path.to_owned(), position: index + 1 })
        };
        let certificates = chain.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { path, certificates })
    }

    /// The facts of the leaf, and until when all of the chain holds.
    pub(super) fn facts(&self) -> Option<Facts> {
        let mut facts = Facts::of(self.certificates.first()?);
        let ends = self.judged().map(|(_, certificate)| certificate.validity().not_after.timestamp());
        facts.chain_not_after = ends.min().unwrap_or(facts.not_after);
        Some(facts)
    }

    /// What needs no key to be told: whether clients take these certificates at all.
    pub(super) fn check_strength(&self) -> Result<(), ChainError> {
        for (index, certificate) in self.certificates.iter().enumerate() {
            let place = || self.place(index, certificate);
            if let Some(bits) = x509::rsa_bits(certificate).filter(|bits| *bits < MIN_RSA_BITS) {
                return Err(match index {
                    0 => ChainError::WeakKey { path: self.path.to_owned(), bits },
                    _ => ChainError::WeakIssuer { place: place(), bits },
                });
            }
            if x509::has_explicit_curve(certificate) {
                return Err(ChainError::ExplicitCurve { place: place() });
            }
        }
        for (index, certificate) in self.judged() {
            if let Some(algorithm) = x509::weak_signature(certificate) {
                return Err(match index {
                    0 => ChainError::WeakSignature { path: self.path.to_owned(), algorithm },
                    _ => ChainError::WeaklySignedIssuer { place: self.place(index, certificate), algorithm },
                });
            }
        }
        Ok(())
    }

    /// RFC 8446 section 4.4.2: each certificate certifies the one before it. Clients differ in what they forgive.
    /// `known`: that those behind the leaf do was found before.
    pub(super) fn check_order(&self, known: bool) -> Result<(), ChainError> {
        for (index, pair) in self.certificates.windows(2).enumerate() {
            let [subject, issuer] = pair else { continue };
            let position = index + 2;
            if subject.issuer().as_raw() != issuer.subject().as_raw() {
                let (wanted, found) = (subject.issuer(), issuer.subject());
                return Err(ChainError::Order {
                    path: self.path.to_owned(),
                    position,
                    wanted: distinguished_name::to_string(wanted),
                    found: distinguished_name::to_string(found),
                });
            }
            let is_judged = index == 0 || !known;
            if is_judged && x509::is_signed_by(subject, issuer) == Some(false) {
                return Err(ChainError::Signature { path: self.path.to_owned(), position });
            }
        }
        for (index, certificate) in self.judged() {
            let place = || self.place(index, certificate);
            if let Some(why) = x509::why_no_issuer(certificate).filter(|_| index > 0) {
                return Err(ChainError::NoIssuer { place: place(), why });
            }
            if !x509::is_for_servers(certificate) {
                return Err(ChainError::Purpose { place: place() });
            }
        }
        Ok(())
    }

    /// `now` in seconds since 1970.
    pub(super) fn check_validity(&self, now: i64, serve_expired: bool) -> Result<(), ChainError> {
        for (index, certificate) in self.judged() {
            let place = || self.place(index, certificate);
            let path = || self.path.to_owned();
            let validity = certificate.validity();
            if now > validity.not_after.timestamp() && !serve_expired {
                let when = rfc3339(validity.not_after.timestamp());
                return Err(match index {
                    0 => ChainError::Expired { path: path(), when },
                    _ => ChainError::ExpiredIssuer { place: place(), when },
                });
            }
            let seconds = validity.not_before.timestamp().saturating_sub(now);
            if seconds > 0 {
                let when = rfc3339(validity.not_before.timestamp());
                return Err(match index {
                    0 => ChainError::NotYetValid { path: path(), when, seconds },
                    _ => ChainError::NotYetValidIssuer { place: place(), when, seconds },
                });
            }
        }
        Ok(())
    }

    /// All but what a client has or has not.
    fn judged(&self) -> impl Iterator<Item = (usize, &X509Certificate<'a>)> {
        let is_anchor = |certificate: &X509Certificate<'_>| {
            certificate.subject().as_raw() == certificate.issuer().as_raw()
        };
        self.certificates
            .iter()
            .enumerate()
            .filter(move |(index, certificate)| *index == 0 || !is_anchor(certificate))
    }

    fn place(&self, index: usize, certificate: &X509Certificate<'_>) -> Place {
        Place {
            path: self.path.to_owned(),
            position: index + 1,
            subject: distinguished_name::to_string(certificate.subject()),
        }
    }
}

/// Which certificate it is about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("certificate {position} in {} (\"{subject}\")", path.display())]
pub struct Place {
    path: PathBuf,
    /// The leaf is 1.
    position: usize,
    subject: String,
}

/// Why clients would refuse a chain.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    #[error("{} holds {count} certificates, more than the {MAX_CHAIN} of the longest chain; is it a CA bundle?", path.display())]
    Long { path: PathBuf, count: usize },
    #[error("certificate {position} in {} is not X.509; it has to be issued anew", path.display())]
    Malformed { path: PathBuf, position: usize },
    #[error("the RSA key of {} has {bits} bits; clients refuse less than 2048: issue it with a new key", path.display())]
    WeakKey { path: PathBuf, bits: u32 },
    #[error(
        "the RSA key of {place} has {bits} bits; clients refuse less than 2048: take the issuer's current chain"
    )]
    WeakIssuer { place: Place, bits: u32 },
    #[error(
        "the EC key of {place} spells its curve out, which TLS does not allow; convert the key with \
         `openssl ec -in KEY -param_enc named_curve -out FILE` and issue the certificate anew with FILE"
    )]
    ExplicitCurve { place: Place },
    #[error("{} is signed with {algorithm}, which clients refuse; it has to be issued anew", path.display())]
    WeakSignature { path: PathBuf, algorithm: &'static str },
    #[error("{place} is signed with {algorithm}, which clients refuse; take the issuer's current chain")]
    WeaklySignedIssuer { place: Place, algorithm: &'static str },
    #[error(
        "the chain in {} is out of order: certificate {position} should be \"{wanted}\" but is \"{found}\"; \
         each must be followed by its issuer",
        path.display()
    )]
    Order { path: PathBuf, position: usize, wanted: String, found: String },
    #[error(
        "certificate {position} in {} has its predecessor's issuer as its name but did not sign it; \
         take the chain that was issued with the leaf",
        path.display()
    )]
    Signature { path: PathBuf, position: usize },
    #[error("{place} is no CA's: {why}; take the chain that was issued with the leaf")]
    NoIssuer { place: Place, why: &'static str },
    #[error(
        "{place} is not for TLS servers: its extended key usage has no serverAuth; have it issued with that"
    )]
    Purpose { place: Place },
    #[error("{} expired on {when}; renew it", path.display())]
    Expired { path: PathBuf, when: String },
    #[error("{place} expired on {when}; take the issuer's current chain")]
    ExpiredIssuer { place: Place, when: String },
    #[error("{} is not valid before {when}; it goes live then", path.display())]
    NotYetValid { path: PathBuf, when: String, seconds: i64 },
    #[error("{place} is not valid before {when}; the chain goes live then")]
    NotYetValidIssuer { place: Place, when: String, seconds: i64 },
}

impl ChainError {
    /// `not_after` in seconds since 1970.
    pub(in crate::certificate) fn expired(path: &Path, not_after: i64) -> Self {
        Self::Expired { path: path.to_owned(), when: rfc3339(not_after) }
    }

    /// How long until time alone has put it right.
    pub(super) fn seconds(&self) -> Option<i64> {
        match self {
            Self::NotYetValid { seconds, .. } | Self::NotYetValidIssuer { seconds, .. } => Some(*seconds),
            _ => None,
        }
    }
}
