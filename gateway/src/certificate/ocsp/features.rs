//! What a certificate says about OCSP itself: whom to ask, and whether clients insist.

use der::Decode;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry as oid;

use crate::certificate::x509;

/// id-pe-tlsfeature (RFC 7633 section 4.1).
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";

/// `status_request` in the registry of TLS extensions.
const STATUS_REQUEST: u16 = 5;

/// The two in DER, without which a certificate need not be parsed: reading 100,000 of them takes a second.
const MARKS: [&[u8]; 2] =
    [&[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01], &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x18]];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Features {
    /// The URL of the responder, as the certificate has it.
    pub(super) responder: Option<Box<str>>,
    /// Clients that know the extension accept the certificate only with a staple.
    pub(super) must_staple: bool,
}

impl Features {
    pub(super) fn of(leaf: &CertificateDer<'_>) -> Self {
        let has = |mark: &&[u8]| leaf.windows(mark.len()).any(|window| window == *mark);
        if !MARKS.iter().any(has) {
            return Self::default();
        }
        x509::parse(leaf).map_or_else(Self::default, |leaf| Self::of_parsed(&leaf))
    }

    fn of_parsed(leaf: &X509Certificate<'_>) -> Self {
        let mut features = Self::default();
        for extension in leaf.extensions() {
            if let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() {
                features.responder = responder(access);
            } else if extension.oid.to_id_string() == TLS_FEATURE {
                let listed = Vec::<u16>::from_der(extension.value);
                features.must_staple = listed.is_ok_and(|listed| listed.contains(&STATUS_REQUEST));
            }
        }
        features
    }
}

/// The first that can be asked, else the first.
fn responder(access: &x509_parser::extensions::AuthorityInfoAccess<'_>) -> Option<Box<str>> {
    let urls = access.accessdescs.iter().filter_map(|description| match &description.access_location {
        GeneralName::URI(url) if description.access_method == oid::OID_PKIX_ACCESS_DESCRIPTOR_OCSP => {
            Some(*url)
        }
        _ => None,
    });
    let urls: Vec<&str> = urls.collect();
    let is_http = |url: &&&str| url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
    urls.iter().find(is_http).or(urls.first()).map(|url| Box::from(*url))
}
