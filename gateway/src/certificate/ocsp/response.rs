//! Judging an OCSP response: is it a staple for this certificate, now?
//!
//! The bytes are a stranger's: a file, or what came over plain HTTP. Their structure is read by `x509-ocsp`; what was signed
//! is taken from the bytes themselves and never from an encoding of what was read. The order of the checks is that of
//! the sentences an operator can use: a response for another certificate is reported as that, not as badly signed.

use aws_lc_rs::digest;
use der::asn1::{AnyRef, BitStringRef};
use der::oid::ObjectIdentifier;
use der::{Decode, Encode, Sequence, Tag, Tagged};
use rustls::pki_types::CertificateDer;
use x509_ocsp::{
    CertId, CertStatus, OcspGeneralizedTime, OcspResponse, OcspResponseStatus, ResponderId, ResponseData,
    SingleResponse,
};
use x509_parser::certificate::X509Certificate;

use super::{MAX_RESPONSE, OcspError, request};
use crate::certificate::{distinguished_name, x509};

/// How far the responder's clock may be ahead of ours, in seconds. nginx and HAProxy allow the same.
const SKEW: i64 = 300;

/// The most certificates of a response that are looked at: the signer is one, and each costs a signature's check.
const MAX_SIGNERS: usize = 4;

const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

/// A response that says *good*, was checked, and holds for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staple {
    der: Box<[u8]>,
    this_update: i64,
    next_update: i64,
}

impl Staple {
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Since when it holds, in seconds since 1970.
    pub fn this_update(&self) -> i64 {
        self.this_update
    }

    /// Until when it holds, in seconds since 1970.
    pub fn next_update(&self) -> i64 {
        self.next_update
    }

    #[cfg(test)]
    pub(super) fn lasting(this_update: i64, next_update: i64) -> Self {
        Self { der: Box::default(), this_update, next_update }
    }

    /// Whether clients accept it at this time.
    pub fn is_current(&self, now: i64) -> bool {
        self.this_update.saturating_sub(SKEW) <= now && now < self.next_update
    }
}

/// Checks a response for `leaf`, which `issuer` issued. `now` in seconds since 1970.
pub fn check(
    response: &[u8],
    leaf: &CertificateDer<'_>,
    issuer: &CertificateDer<'_>,
    now: i64,
) -> Result<Staple, OcspError> {
    check_at(response, leaf, issuer, |_from| now)
}

/// The revocation that a response tells of which was checked when it was new. That it has run out since then, or its signer's
/// certificate, makes the certificate no better.
pub(super) fn past_revocation(
    response: &[u8],
    leaf: &CertificateDer<'_>,
    issuer: &CertificateDer<'_>,
    now: i64,
) -> Option<OcspError> {
    let checked = check_at(response, leaf, issuer, |from| from.min(now));
    checked.err().filter(|error| matches!(error, OcspError::Revoked { .. }))
}

/// Checks a response as of a time that may depend on the one from which on it holds.
fn check_at(
    response: &[u8],
    leaf: &CertificateDer<'_>,
    issuer: &CertificateDer<'_>,
    time: impl FnOnce(i64) -> i64,
) -> Result<Staple, OcspError> {
    if response.len() > MAX_RESPONSE {
        return Err(OcspError::Long);
    }
    let malformed = |source| OcspError::Malformed { source };
    let outer = OcspResponse::from_der(response).map_err(malformed)?;
    check_success(outer.response_status)?;
    let inner = outer.response_bytes.ok_or(OcspError::Malformed { source: der::ErrorKind::Failed.into() })?;
    if inner.response_type != BASIC {
        return Err(OcspError::Type { oid: inner.response_type.to_string() });
    }
    let basic = Basic::read(inner.response.as_bytes()).map_err(malformed)?;
    let signed = basic.signed.to_der().map_err(malformed)?;
    let data = ResponseData::from_der(&signed).map_err(malformed)?;

    let (leaf, issuer) = (x509::parse(leaf), x509::parse(issuer));
    let (Some(leaf), Some(issuer)) = (leaf, issuer) else { return Err(OcspError::NoIssuer) };
    let status = find(&data, &leaf, &issuer)?;
    let this_update = seconds(&status.this_update);
    let now = time(this_update);
    check_signature(&basic, &signed, &data.responder_id, &issuer, now)?;
    let next_update = check_time(status, now)?;
    match status.cert_status {
        CertStatus::Good(_) => {
            let next_update = next_update.ok_or(OcspError::NoNextUpdate)?;
            Ok(Staple { der: response.into(), this_update, next_update })
        }
        CertStatus::Revoked(info) => {
            let since = Some(info.revocation_time.0.to_date_time().to_string());
            Err(OcspError::Revoked { since, as_of: this_update })
        }
        CertStatus::Unknown(_) => Err(OcspError::Unknown),
    }
}

/// BasicOCSPResponse (RFC 6960 section 4.2.1), with what is signed and who may have signed it as the bytes that came.
/// `der` accepts one encoding of a header only, so writing one again gives the same bytes.
#[derive(Sequence)]
struct Basic<'a> {
    signed: AnyRef<'a>,
    algorithm: AnyRef<'a>,
    signature: BitStringRef<'a>,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    certificates: Option<Vec<AnyRef<'a>>>,
}

impl<'a> Basic<'a> {
    /// What is not signed has to be sound too, since clients read all of it: who can change the bytes on their way to us
    /// must not make us hand out what they refuse.
    fn read(der: &'a [u8]) -> der::Result<Self> {
        let basic = Self::from_der(der)?;
        basic.algorithm.tag().assert_eq(Tag::Sequence)?;
        for certificate in basic.certificates.iter().flatten() {
            let der = CertificateDer::from(certificate.to_der()?);
            x509::parse(&der).ok_or_else(|| Tag::Sequence.value_error())?;
        }
        Ok(basic)
    }
}

fn check_success(status: OcspResponseStatus) -> Result<(), OcspError> {
    let (status, hint) = match status {
        OcspResponseStatus::Successful => return Ok(()),
        OcspResponseStatus::MalformedRequest => ("malformedRequest", "report it to the authority"),
        OcspResponseStatus::InternalError => ("internalError", "the responder has to recover"),
        OcspResponseStatus::TryLater => ("tryLater", "the responder has to recover"),
        OcspResponseStatus::SigRequired => {
            ("sigRequired", "the responder is not for the public: use .ocsp files")
        }
        OcspResponseStatus::Unauthorized => {
            ("unauthorized", "the responder is not the issuer's, or does not know the certificate any more")
        }
    };
    Err(OcspError::Unsuccessful { status, hint })
}

/// The newest status in the response for this certificate.
fn find<'a>(
    data: &'a ResponseData,
    leaf: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
) -> Result<&'a SingleResponse, OcspError> {
    let ours = data.responses.iter().filter(|single| is_for(&single.cert_id, leaf, issuer));
    ours.max_by_key(|single| seconds(&single.this_update))
        .ok_or_else(|| OcspError::OtherCertificate { serial: x509::serial(leaf) })
}

/// RFC 6960 section 4.1.1.
fn is_for(id: &CertId, leaf: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let algorithm = match id.hash_algorithm.oid {
        SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        SHA256 => &digest::SHA256,
        SHA384 => &digest::SHA384,
        SHA512 => &digest::SHA512,
        _ => return false,
    };
    let hash = |bytes: &[u8]| digest::digest(algorithm, bytes);
    request::serial_number(leaf).is_ok_and(|serial| id.serial_number == serial)
        && id.issuer_name_hash.as_bytes() == hash(leaf.issuer().as_raw()).as_ref()
        && id.issuer_key_hash.as_bytes() == hash(&issuer.public_key().subject_public_key.data).as_ref()
}

/// RFC 6960 section 4.2.2.2: signed by the issuer, or by a responder that the issuer itself authorised for this.
fn check_signature(
    basic: &Basic<'_>,
    signed: &[u8],
    responder: &ResponderId,
    issuer: &X509Certificate<'_>,
    now: i64,
) -> Result<(), OcspError> {
    let mut refusal = OcspError::UnknownSigner;
    if is_named(responder, issuer) {
        match verify(basic, signed, issuer) {
            Ok(()) => return Ok(()),
            Err(error) => refusal = error,
        }
    }
    for certificate in basic.certificates.iter().flatten().take(MAX_SIGNERS) {
        let Ok(der) = certificate.to_der() else { continue };
        let der = CertificateDer::from(der);
        let Some(signer) = x509::parse(&der) else { continue };
        // Many responders send the issuer's certificate along.
        if !is_named(responder, &signer) || signer.as_raw() == issuer.as_raw() {
            continue;
        }
        match check_authority(&signer, issuer, now).and_then(|()| verify(basic, signed, &signer)) {
            Ok(()) => return Ok(()),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

fn is_named(responder: &ResponderId, certificate: &X509Certificate<'_>) -> bool {
    match responder {
        ResponderId::ByName(name) => name.to_der().is_ok_and(|name| name == certificate.subject().as_raw()),
        ResponderId::ByKey(hash) => {
            let key = &certificate.public_key().subject_public_key.data;
            hash.as_bytes() == digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, key).as_ref()
        }
    }
}

fn check_authority(
    signer: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
    now: i64,
) -> Result<(), OcspError> {
    let usage = signer.extended_key_usage();
    let may_sign = usage.is_ok_and(|usage| usage.is_some_and(|usage| usage.value.ocsp_signing));
    let validity = signer.validity();
    let reason = if signer.issuer().as_raw() != issuer.subject().as_raw()
        || x509::is_signed_by(signer, issuer) != Some(true)
    {
        "its certificate is not from the issuer"
    } else if !may_sign {
        "its certificate is not for signing OCSP responses (id-kp-OCSPSigning)"
    } else if !(validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now) {
        "its certificate has expired or is not valid yet"
    } else {
        return Ok(());
    };
    Err(OcspError::NotAuthorised { signer: distinguished_name::to_string(signer.subject()), reason })
}

fn verify(basic: &Basic<'_>, signed: &[u8], signer: &X509Certificate<'_>) -> Result<(), OcspError> {
    let signature = basic.signature.as_bytes().ok_or(OcspError::Signature)?;
    match x509::verify(signer, basic.algorithm.value(), signed, signature) {
        Some(true) => Ok(()),
        Some(false) => Err(OcspError::Signature),
        None => Err(OcspError::Algorithm),
    }
}

/// Until when the response holds, if it says so. One that tells of a revocation need not: no client ever sees it.
fn check_time(status: &SingleResponse, now: i64) -> Result<Option<i64>, OcspError> {
    if now < seconds(&status.this_update).saturating_sub(SKEW) {
        return Err(OcspError::NotYet { from: status.this_update.0.to_date_time().to_string() });
    }
    match &status.next_update {
        Some(until) if seconds(until) <= now => {
            Err(OcspError::Expired { until: until.0.to_date_time().to_string() })
        }
        until => Ok(until.as_ref().map(seconds)),
    }
}

fn seconds(time: &OcspGeneralizedTime) -> i64 {
    i64::try_from(time.0.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
