//! Who may vouch for the hosts that policies call.
//!
//! # Why the machine's own store
//!
//! The list of roots could also come with the binary (`webpki-roots`): that needs no file, and ages with the binary. An
//! operator who adds a private authority to the machine, or takes a public one away, means the gateway as well; so it is
//! the machine's store, found as OpenSSL finds it (`SSL_CERT_FILE`, `SSL_CERT_DIR`, the places of the distributions).
//! `trust-anchors` replaces it altogether. Either is read when the policy is loaded.

use std::io;
use std::path::Path;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::HttpClientError;

pub(super) fn load(file: Option<&Path>) -> Result<RootCertStore, HttpClientError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = file else {
        // Files of the store that cannot be read, and certificates that cannot be used, are left out.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if roots.is_empty() { Err(HttpClientError::NoTrustAnchors) } else { Ok(roots) };
    };
    let failed = |source| HttpClientError::TrustAnchors { path: path.to_owned(), source };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(io::Error::other(error)))?;
    if certificates.is_empty() {
        return Err(failed(io::Error::other("there is no certificate in it")));
    }
    for certificate in certificates {
        roots.add(certificate).map_err(|error| failed(io::Error::other(error)))?;
    }
    Ok(roots)
}
