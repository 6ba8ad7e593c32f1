//! A certificate that a client presented, as policies see it.
//!
//! `tls` makes a [`Peer`] of each certificate in a client's chain once rustls has verified the chain. The DER is the
//! client's: hostile until proven otherwise, so reading it never panics and what cannot be read is an error, not an
//! empty field that a policy might take for an answer.

use handfast_plugin_host::PeerCertificate;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry as oid;

use super::{distinguished_name, x509};

/// The parts of a client's certificate.
#[derive(Debug, Clone)]
pub struct Peer {
    der: CertificateDer<'static>,
    subject: String,
    issuer: String,
    serial: String,
    fingerprint: String,
    not_before: i64,
    not_after: i64,
    dns_names: Vec<String>,
    uris: Vec<String>,
    email_addresses: Vec<String>,
    organizational_units: Vec<String>,
    common_name: Option<String>,
}

impl Peer {
    pub fn new(der: CertificateDer<'static>) -> Result<Self, PeerError> {
        let certificate = x509::parse(&der).ok_or(PeerError::Malformed)?;
        let alternatives =
            certificate.subject_alternative_name().map_err(|_several| PeerError::AlternativeNames)?;
        let (mut dns_names, mut uris, mut email_addresses) = (Vec::new(), Vec::new(), Vec::new());
        for name in alternatives.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::DNSName(name) => dns_names.push((*name).to_owned()),
                GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                GeneralName::RFC822Name(address) => email_addresses.push((*address).to_owned()),
                // Left out, one URI of two would look like the only one, which is what makes it a SPIFFE id.
                GeneralName::Invalid(..) => return Err(PeerError::AlternativeNames),
                _ => {}
            }
        }
        let subject = certificate.subject();
        let texts = |oid: &oid::Oid<'static>| -> Vec<String> {
            let of_type = subject.iter_attributes().filter(|attribute| attribute.attr_type() == oid);
            of_type.map(|attribute| lossy_text(attribute.attr_value())).collect()
        };
        Ok(Self {
            subject: distinguished_name::to_string(subject),
            issuer: distinguished_name::to_string(certificate.issuer()),
            serial: x509::serial(&certificate),
            fingerprint: x509::fingerprint(&der),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            dns_names,
            uris,
            email_addresses,
            organizational_units: texts(&oid::OID_X509_ORGANIZATIONAL_UNIT),
            common_name: texts(&oid::OID_X509_COMMON_NAME).pop(),
            der,
        })
    }
}

/// The one place where bytes may be lost: a value that is not valid in the encoding it claims has its bad bytes
/// replaced by U+FFFD, which no honest name contains.
fn lossy_text(value: &x509_parser::asn1_rs::Any<'_>) -> String {
    distinguished_name::text(value).unwrap_or_else(|| String::from_utf8_lossy(value.data).into_owned())
}

impl PeerCertificate for Peer {
    fn subject(&self) -> String {
        self.subject.clone()
    }

    fn issuer(&self) -> String {
        self.issuer.clone()
    }

    fn serial(&self) -> String {
        self.serial.clone()
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn not_before(&self) -> i64 {
        self.not_before
    }

    fn not_after(&self) -> i64 {
        self.not_after
    }

    fn dns_names(&self) -> Vec<String> {
        self.dns_names.clone()
    }

    fn uris(&self) -> Vec<String> {
        self.uris.clone()
    }

    fn email_addresses(&self) -> Vec<String> {
        self.email_addresses.clone()
    }

    fn organizational_units(&self) -> Vec<String> {
        self.organizational_units.clone()
    }

    fn common_name(&self) -> Option<String> {
        self.common_name.clone()
    }

    fn der(&self) -> Vec<u8> {
        self.der.to_vec()
    }
}

/// Why a client's certificate cannot be shown to policies. The client gets `bad_certificate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("the client's certificate is not X.509 in DER; it has to be issued anew")]
    Malformed,
    #[error(
        "the client's certificate has its alternative names twice or malformed; it has to be issued anew"
    )]
    AlternativeNames,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::certificate::test_pki::Authority;

    #[test]
    fn the_parts_of_a_client_certificate_are_read() {
        let authority = Authority::new("Test, Inc");
        let mut parameters = rcgen::CertificateParams::new(vec!["client.example".to_owned()]).unwrap();
        parameters.subject_alt_names.push(rcgen::SanType::URI("spiffe://example/a".try_into().unwrap()));
        parameters.subject_alt_names.push(rcgen::SanType::Rfc822Name("a@example".try_into().unwrap()));
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::OrganizationalUnitName, "ops");
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "x, CN=admin");
        parameters.serial_number = Some(vec![0x01, 0xab].into());
        let peer = Peer::new(authority.issue(parameters, &rcgen::PKCS_ECDSA_P256_SHA256).leaf()).unwrap();
        assert_eq!(peer.subject(), "CN=x\\, CN=admin,OU=ops");
        assert_eq!(peer.issuer(), "CN=Test\\, Inc");
        assert_eq!(peer.serial(), "1ab");
        assert_eq!(peer.common_name().as_deref(), Some("x, CN=admin"));
        assert_eq!(peer.organizational_units(), ["ops"]);
        assert_eq!(peer.dns_names(), ["client.example"]);
        assert_eq!(peer.uris(), ["spiffe://example/a"]);
        assert_eq!(peer.email_addresses(), ["a@example"]);
        assert_eq!(peer.fingerprint().len(), 64);
    }

    /// A second URI that is no text was left out, and the first looked like the only one.
    #[test]
    fn a_malformed_name_among_others_is_an_error_and_not_left_out() {
        let uri = |bytes: &[u8]| [&[0x86, bytes.len() as u8][..], bytes].concat();
        let peer = |names: Vec<u8>| {
            let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
            let names = [&[0x30, names.len() as u8][..], &names].concat();
            let names = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], names);
            parameters.custom_extensions.push(names);
            Peer::new(Authority::new("Test").issue(parameters, &rcgen::PKCS_ECDSA_P256_SHA256).leaf())
        };
        let good = uri(b"spiffe://example/a");
        assert_eq!(peer(good.clone()).unwrap().uris(), ["spiffe://example/a"]);
        for bad in [&b"spiffe://example/\xff"[..], b"\xc3"] {
            let error = peer([good.clone(), uri(bad)].concat()).unwrap_err();
            assert_eq!(error, PeerError::AlternativeNames);
        }
    }

    proptest! {
        #[test]
        fn damaged_certificates_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut in any::<prop::sample::Index>()) {
            static SOUND: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
                Authority::new("Test").pair(&["a.example"]).leaf().to_vec()
            });
            let mut der = SOUND.clone();
            for (position, byte) in changes {
                let position = position.index(der.len());
                der[position] = byte;
            }
            let _ = Peer::new(CertificateDer::from(der.clone()));
            der.truncate(cut.index(der.len()));
            let _ = Peer::new(CertificateDer::from(der));
        }
    }
}
