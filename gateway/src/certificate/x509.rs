//! What the gateway needs to know of an X.509 certificate, read once.
//!
//! The only file besides [`super::peer`] and [`super::distinguished_name`] that speaks to `x509-parser`. It reads; whether
//! what it reads is acceptable is for [`super::load`] to say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use handfast_plugin_host::KeyAlgorithm;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::asn1_rs::{Any, FromDer, Tag};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry as oid;
use x509_parser::public_key::PublicKey;

use super::{distinguished_name, names};

/// The facts of a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) names: Box<[String]>,
    pub(super) key_algorithm: KeyAlgorithm,
    pub(super) key_bits: u32,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    /// When the first certificate of the chain expires that clients judge; the leaf's own end where nobody says other.
    pub(super) chain_not_after: i64,
    pub(super) issuer: String,
    pub(super) serial: String,
    pub(super) fingerprint: String,
}

impl Facts {
    pub(super) fn of(leaf: &X509Certificate<'_>) -> Self {
        let (key_algorithm, key_bits) = key_of(leaf);
        Self {
            names: names_of(leaf),
            key_algorithm,
            key_bits,
            not_before: leaf.validity().not_before.timestamp(),
            not_after: leaf.validity().not_after.timestamp(),
            chain_not_after: leaf.validity().not_after.timestamp(),
            issuer: distinguished_name::to_string(leaf.issuer()),
            serial: serial(leaf),
            fingerprint: fingerprint(leaf.as_raw()),
        }
    }
}

/// Parses one whole certificate; trailing bytes are an error.
pub(super) fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Some(certificate),
        _ => None,
    }
}

/// The name of a hash function that signatures can be forged with (SHA-1 since 2017), if the signature has one. Every
/// client refuses them.
pub(super) fn weak_signature(certificate: &X509Certificate<'_>) -> Option<&'static str> {
    let algorithm = &certificate.signature_algorithm.algorithm;
    if *algorithm == oid::OID_PKCS1_SHA1WITHRSA || *algorithm == oid::OID_SHA1_WITH_RSA {
        return Some("SHA-1");
    }
    match algorithm.to_id_string().as_str() {
        // ecdsa-with-SHA1, which the registry has no name for (RFC 3279 section 2.2.3).
        "1.2.840.10045.4.1" => Some("SHA-1"),
        // RFC 3279 section 2.2.1.
        "1.2.840.113549.1.1.4" => Some("MD5"),
        "1.2.840.113549.1.1.2" => Some("MD2"),
        _ => None,
    }
}

/// How many bits an RSA key has. `None` for others.
pub(super) fn rsa_bits(certificate: &X509Certificate<'_>) -> Option<u32> {
    match key_of(certificate) {
        (KeyAlgorithm::Rsa, bits) => Some(bits),
        _ => None,
    }
}

/// Whether its key is of a curve that is described rather than named, which RFC 5480 section 2.1.1 forbids.
pub(super) fn has_explicit_curve(certificate: &X509Certificate<'_>) -> bool {
    let algorithm = &certificate.public_key().algorithm;
    algorithm.algorithm == oid::OID_KEY_TYPE_EC_PUBLIC_KEY
        && algorithm.parameters().is_some_and(|parameters| parameters.tag() != Tag::Oid)
}

/// The same of a private key in DER, of any form: what describes a curve says that its field is a prime field.
pub(super) fn spells_curve_out(key: &[u8]) -> bool {
    /// The OID prime-field (RFC 3279 section 2.3.5) with its header.
    const PRIME_FIELD: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x01, 0x01];
    key.windows(PRIME_FIELD.len()).any(|window| window == PRIME_FIELD)
}

/// Why clients would not take it for an issuer's (RFC 5280 section 6.1.4), if so.
pub(super) fn why_no_issuer(certificate: &X509Certificate<'_>) -> Option<&'static str> {
    match certificate.basic_constraints() {
        Ok(Some(constraints)) if constraints.value.ca => {}
        _ => return Some("its basic constraints do not say so"),
    }
    match certificate.key_usage() {
        Ok(Some(usage)) if !usage.value.key_cert_sign() => Some("its key usage has no keyCertSign"),
        Ok(_) => None,
        Err(_) => Some("its key usage cannot be read"),
    }
}

/// Whether its extended key usage, if it has one, allows TLS servers (RFC 5280 section 4.2.1.12).
pub(super) fn is_for_servers(certificate: &X509Certificate<'_>) -> bool {
    match certificate.extended_key_usage() {
        Ok(Some(usage)) => usage.value.server_auth || usage.value.any,
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Whether `issuer`'s key made `subject`'s signature. `None` if the algorithm is not one rustls verifies: an old root
/// at the end of a chain, say, which no client verifies either.
pub(super) fn is_signed_by(subject: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> Option<bool> {
    let (algorithm, message) = signed_part(subject)?;
    verify(issuer, algorithm, message, &subject.signature_value.data)
}

/// Whether `signer`'s key made this signature. `None` as above. `algorithm` is an AlgorithmIdentifier without its SEQUENCE
/// header.
pub(super) fn verify(
    signer: &X509Certificate<'_>,
    algorithm: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Option<bool> {
    let key_algorithm = algorithm_of(signer.public_key().raw)?;
    let mut known = None;
    for verifier in rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all {
        if *verifier.signature_alg_id() == *algorithm && *verifier.public_key_alg_id() == *key_algorithm {
            let key = &signer.public_key().subject_public_key.data;
            match verifier.verify_signature(key, message, signature) {
                Ok(()) => return Some(true),
                Err(_invalid) => known = Some(false),
            }
        }
    }
    known
}

pub(super) fn serial(certificate: &X509Certificate<'_>) -> String {
    let digits = hexadecimal(certificate.raw_serial());
    match digits.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

pub(super) fn fingerprint(der: &[u8]) -> String {
    hexadecimal(&Sha256::digest(der))
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0x0f])
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}

/// DNS names and IP addresses of the subject alternative names. The common name does not count: clients have ignored
/// it since RFC 6125, browsers since 2017.
fn names_of(leaf: &X509Certificate<'_>) -> Box<[String]> {
    let Ok(Some(alternatives)) = leaf.subject_alternative_name() else { return Box::default() };
    let mut found: Vec<String> = Vec::new();
    for name in &alternatives.value.general_names {
        let name = match name {
            GeneralName::DNSName(name) => names::normalise(name).into_owned(),
            GeneralName::IPAddress(bytes) => match address(bytes) {
                Some(address) => address.to_string(),
                None => continue,
            },
            _ => continue,
        };
        if !name.is_empty() && !found.contains(&name) {
            found.push(name);
        }
    }
    found.into()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)))).ok()
}

fn key_of(leaf: &X509Certificate<'_>) -> (KeyAlgorithm, u32) {
    let key = leaf.public_key();
    if key.algorithm.algorithm == oid::OID_SIG_ED25519 {
        return (KeyAlgorithm::Ed25519, 256);
    }
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => (KeyAlgorithm::Rsa, modulus_bits(rsa.modulus)),
        Ok(PublicKey::EC(_)) => {
            let curve = key.algorithm.parameters().and_then(|parameters| parameters.as_oid().ok());
            match curve {
                Some(curve) if curve == oid::OID_EC_P256 => (KeyAlgorithm::EcdsaP256, 256),
                Some(curve) if curve == oid::OID_NIST_EC_P384 => (KeyAlgorithm::EcdsaP384, 384),
                Some(curve) if curve == oid::OID_NIST_EC_P521 => (KeyAlgorithm::EcdsaP521, 521),
                _ => (KeyAlgorithm::Other, 0),
            }
        }
        _ => (KeyAlgorithm::Other, 0),
    }
}

/// `x509-parser` counts the bytes, which calls 2,047 bits 2,048.
fn modulus_bits(modulus: &[u8]) -> u32 {
    let significant = modulus.iter().skip_while(|byte| **byte == 0);
    let mut bits = 0u32;
    for (position, byte) in significant.enumerate() {
        bits = bits.saturating_add(if position == 0 { 8 - byte.leading_zeros() } else { 8 });
    }
    bits
}

/// The `signatureAlgorithm` (without its SEQUENCE header, as rustls compares it) and the signed bytes.
fn signed_part<'a>(certificate: &X509Certificate<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let (_, whole) = Any::from_der(certificate.as_raw()).ok()?;
    let (after, _) = Any::from_der(whole.data).ok()?;
    let message = whole.data.get(..whole.data.len().checked_sub(after.len())?)?;
    let (_, algorithm) = Any::from_der(after).ok()?;
    Some((algorithm.data, message))
}

/// The AlgorithmIdentifier of a SubjectPublicKeyInfo, without its SEQUENCE header.
fn algorithm_of(key: &[u8]) -> Option<&[u8]> {
    let (_, whole) = Any::from_der(key).ok()?;
    let (_, algorithm) = Any::from_der(whole.data).ok()?;
    Some(algorithm.data)
}
