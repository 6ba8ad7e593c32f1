//! The question to a responder, in the lightweight profile (RFC 5019): one certificate, named by SHA-1, no nonce, so that
//! the answer can be one that was signed in advance and comes from a cache.

use aws_lc_rs::digest;
use der::asn1::OctetString;
use der::{Decode, Encode, Tag};
use rustls::pki_types::CertificateDer;
use x509_ocsp::{CertId, OcspRequest, Request, TbsRequest};
use x509_parser::certificate::X509Certificate;

use super::OcspError;
use crate::certificate::x509;

/// AlgorithmIdentifier of SHA-1, with the NULL that responders compare.
const SHA1: [u8; 11] = [0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00];

/// The request for `leaf`, which `issuer` issued, in DER.
pub fn encode(leaf: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> Result<Vec<u8>, OcspError> {
    let (Some(leaf), Some(issuer)) = (x509::parse(leaf), x509::parse(issuer)) else {
        return Err(OcspError::NoIssuer);
    };
    encode_parsed(&leaf, &issuer).map_err(|source| OcspError::Request { source })
}

fn encode_parsed(leaf: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> der::Result<Vec<u8>> {
    let hash =
        |bytes: &[u8]| OctetString::new(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref());
    let id = CertId {
        hash_algorithm: Decode::from_der(&SHA1)?,
        issuer_name_hash: hash(leaf.issuer().as_raw())?,
        issuer_key_hash: hash(&issuer.public_key().subject_public_key.data)?,
        serial_number: serial_number(leaf)?,
    };
    let request = Request { req_cert: id, single_request_extensions: None };
    let tbs_request = TbsRequest { request_list: vec![request], ..TbsRequest::default() };
    OcspRequest { tbs_request, optional_signature: None }.to_der()
}

/// The serial number as the library has it.
pub(super) fn serial_number<T: for<'a> Decode<'a>>(certificate: &X509Certificate<'_>) -> der::Result<T> {
    T::from_der(&der::asn1::AnyRef::new(Tag::Integer, certificate.raw_serial())?.to_der()?)
}
