//! Who may be a client: trust anchors, the verifier over them, and the keys of the tickets that remember its verdict.
//!
//! The three are one value because of a rule (RFC 8446 section 4.6.1, and rustls' own documentation): a session does not
//! know which verifier let its client in. A ticket that was issued under one setting must not resume under another, so
//! each setting has ticket keys of its own and a ticket from elsewhere is merely unknown: a full handshake follows.
//! `snapshot` keeps a [`Trust`] across a reload that changes neither settings nor anchors, so tickets stay valid then.
//!
//! rustls does not ask the verifier on resumption; `tls` calls [`Trust::verify_again`] with the chain of the ticket, so a
//! certificate that expired or whose anchor was removed ends at the next connection, not with the ticket.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, VerifierBuilderError, WebPkiClientVerifier};
use sha2::{Digest, Sha256};

use crate::config::{ClientCertificateMode, ClientCertificates};
use crate::freshness::ReadError;
use crate::freshness::file::read_alone;

/// The bundle of all anchors that browsers trust has 220 KiB.
const MAX_FILE_SIZE: usize = 16 << 20;

/// A setting of client authentication and everything that belongs to it.
pub struct Trust {
    settings: Option<ClientCertificates>,
    /// Over the anchors' file.
    digest: [u8; 32],
    verifier: Arc<dyn ClientCertVerifier>,
    ticketer: Arc<dyn ProducesTickets>,
}

impl Trust {
    /// No client certificate is asked for.
    pub fn none() -> Result<Arc<Self>, TrustError> {
        let (verifier, digest) = (WebPkiClientVerifier::no_client_auth(), [0; 32]);
        Ok(Arc::new(Self { settings: None, digest, verifier, ticketer: ticketer()? }))
    }

    /// Reads the anchors. Blocks on the file system.
    pub fn load(settings: ClientCertificates) -> Result<Arc<Self>, TrustError> {
        let text = read_anchors(&settings)?;
        Self::build(settings, &text)
    }

    /// The value for these settings: `previous` if neither they nor the anchors differ, so that its tickets stay valid.
    pub fn reload(
        previous: &Arc<Self>,
        settings: Option<ClientCertificates>,
    ) -> Result<Arc<Self>, TrustError> {
        let Some(settings) = settings else {
            return if previous.settings.is_none() { Ok(previous.clone()) } else { Self::none() };
        };
        let text = read_anchors(&settings)?;
        match previous.settings.as_ref() == Some(&settings) && previous.digest == digest(&text) {
            true => Ok(previous.clone()),
            false => Self::build(settings, &text),
        }
    }

    /// Whether these settings, with the anchors that are on disk now, are what this value was made from.
    pub fn unchanged(&self, settings: Option<&ClientCertificates>) -> bool {
        self.settings.as_ref() == settings
            && settings
                .is_none_or(|settings| read_anchors(settings).is_ok_and(|text| digest(&text) == self.digest))
    }

    /// Whether clients are asked for a certificate.
    pub fn asks(&self) -> bool {
        self.settings.is_some()
    }

    pub fn settings(&self) -> Option<&ClientCertificates> {
        self.settings.as_ref()
    }

    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        self.verifier.clone()
    }

    /// Keys that rotate every 6 hours; a ticket lives for 12.
    pub fn ticketer(&self) -> Arc<dyn ProducesTickets> {
        self.ticketer.clone()
    }

    /// The verdict of now on a chain that was verified when its ticket was issued; leaf first, empty if there was none.
    pub fn verify_again(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), rustls::Error> {
        match (&self.settings, chain.split_first()) {
            (Some(_), Some((leaf, intermediates))) => {
                self.verifier.verify_client_cert(leaf, intermediates, now).map(|_verified| ())
            }
            (None, None) => Ok(()),
            (Some(settings), None) if settings.mode == ClientCertificateMode::Request => Ok(()),
            (Some(_), None) => Err(rustls::Error::NoCertificatesPresented),
            // Nobody asked for it, so nothing here can vouch for it.
            (None, Some(_)) => Err(rustls::CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn build(settings: ClientCertificates, text: &[u8]) -> Result<Arc<Self>, TrustError> {
        let path = || settings.trust_anchors.clone();
        let mut anchors = RootCertStore::empty();
        for (index, anchor) in CertificateDer::pem_slice_iter(text).enumerate() {
            let anchor = anchor.map_err(|source| TrustError::Pem { path: path(), source })?;
            let position = index + 1;
            anchors.add(anchor).map_err(|source| TrustError::Anchor { path: path(), position, source })?;
        }
        if anchors.is_empty() {
            return Err(TrustError::NoAnchors { path: path() });
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(anchors), provider);
        let builder = match settings.mode {
            ClientCertificateMode::Request => builder.allow_unauthenticated(),
            ClientCertificateMode::Require => builder,
        };
        let verifier = builder.build().map_err(|source| TrustError::Verifier { path: path(), source })?;
        Ok(Arc::new(Self { digest: digest(text), settings: Some(settings), verifier, ticketer: ticketer()? }))
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Trust").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn read_anchors(settings: &ClientCertificates) -> Result<Vec<u8>, TrustError> {
    read_alone(&settings.trust_anchors, MAX_FILE_SIZE).map_err(|source| TrustError::Read { source })
}

fn digest(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

fn ticketer() -> Result<Arc<dyn ProducesTickets>, TrustError> {
    rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|source| TrustError::Ticketer { source })
}

/// Why a setting of client authentication cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the trust anchors cannot be read")]
    Read { source: ReadError },
    #[error("the trust anchors in {} are not valid PEM; was the file cut off?", path.display())]
    Pem { path: PathBuf, source: pem::Error },
    #[error("certificate {position} in {} cannot be a trust anchor; remove it or take a sound copy", path.display())]
    Anchor { path: PathBuf, position: usize, source: rustls::Error },
    #[error("{} holds no certificate (-----BEGIN CERTIFICATE-----), so no client could be let in", path.display())]
    NoAnchors { path: PathBuf },
    #[error("no verifier can be made of the trust anchors in {}; take a sound copy", path.display())]
    Verifier { path: PathBuf, source: VerifierBuilderError },
    #[error("no keys for session tickets can be made; is the system's random generator available?")]
    Ticketer { source: rustls::Error },
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::certificate::test_pki::{Authority, Pair};

    fn settings(folder: &tempfile::TempDir, mode: ClientCertificateMode) -> ClientCertificates {
        ClientCertificates { mode, trust_anchors: folder.path().join("anchors.pem") }
    }

    fn client(authority: &Authority) -> Pair {
        let mut parameters = rcgen::CertificateParams::new(vec!["client.example".to_owned()]).unwrap();
        parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2080, 1, 1);
        authority.issue(parameters, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    #[test]
    fn a_reload_keeps_tickets_only_while_settings_and_anchors_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder, ClientCertificateMode::Require);
        std::fs::write(&settings.trust_anchors, Authority::new("One").pem()).unwrap();
        let first = Trust::load(settings.clone()).unwrap();
        let ticket = first.ticketer().encrypt(b"state").unwrap();
        let same = Trust::reload(&first, Some(settings.clone())).unwrap();
        assert!(Arc::ptr_eq(&first, &same) && first.unchanged(Some(&settings)));

        std::fs::write(&settings.trust_anchors, Authority::new("Two").pem()).unwrap();
        assert!(!first.unchanged(Some(&settings)));
        let other_anchors = Trust::reload(&first, Some(settings.clone())).unwrap();
        let request = ClientCertificates { mode: ClientCertificateMode::Request, ..settings };
        let other_mode = Trust::reload(&other_anchors, Some(request)).unwrap();
        let none = Trust::reload(&other_mode, None).unwrap();
        assert!(Arc::ptr_eq(&none, &Trust::reload(&none, None).unwrap()));
        for other in [other_anchors, other_mode, none] {
            assert_eq!(other.ticketer().decrypt(&ticket), None, "a ticket crossed {other:?}");
        }
        assert_eq!(same.ticketer().decrypt(&ticket).as_deref(), Some(&b"state"[..]));
    }

    #[test]
    fn a_chain_is_verified_again_with_the_anchors_and_the_time_of_now() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder, ClientCertificateMode::Require);
        let (ours, theirs) = (Authority::new("Ours"), Authority::new("Theirs"));
        std::fs::write(&settings.trust_anchors, ours.pem()).unwrap();
        let trust = Trust::load(settings.clone()).unwrap();
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let chain = [client(&ours).leaf()];
        trust.verify_again(&chain, at(1_800_000_000)).unwrap();
        assert!(trust.verify_again(&chain, at(3_600_000_000)).is_err(), "expired");
        assert!(
            trust.verify_again(&[client(&theirs).leaf()], at(1_800_000_000)).is_err(),
            "another authority"
        );
        assert!(trust.verify_again(&[], at(1_800_000_000)).is_err(), "a certificate is required");
        let request = ClientCertificates { mode: ClientCertificateMode::Request, ..settings };
        Trust::load(request).unwrap().verify_again(&[], at(1_800_000_000)).unwrap();
        let none = Trust::none().unwrap();
        none.verify_again(&[], at(1_800_000_000)).unwrap();
        assert!(none.verify_again(&chain, at(1_800_000_000)).is_err());
    }

    #[test]
    fn anchors_that_cannot_be_used_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder, ClientCertificateMode::Require);
        assert!(matches!(Trust::load(settings.clone()), Err(TrustError::Read { .. })));
        std::fs::write(&settings.trust_anchors, "").unwrap();
        assert!(matches!(Trust::load(settings.clone()), Err(TrustError::NoAnchors { .. })));
        std::fs::write(&settings.trust_anchors, "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
        assert!(matches!(Trust::load(settings.clone()), Err(TrustError::Pem { .. })));
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&settings.trust_anchors, nonsense).unwrap();
        assert!(matches!(Trust::load(settings), Err(TrustError::Anchor { position: 1, .. })));
    }
}
