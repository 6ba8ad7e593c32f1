//! One turn of a certificate with its responder: what an earlier run kept is read, the responder is asked, and what it says is
//! judged and kept for the next run.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustls::pki_types::CertificateDer;
use tracing::warn;

use super::{Settings, judge, report};
use crate::certificate::ocsp::cache::Cache;
use crate::certificate::ocsp::fetch::Responder;
use crate::certificate::ocsp::slot::{Origin, Status};
use crate::certificate::ocsp::{OcspError, Slot, Staple, request, response};
use crate::certificate::{Certificate, unix_now};
use crate::config::CertificateSource;

/// What all exchanges have in common.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) cache: Option<Cache>,
    pub(super) fetched: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) stale: AtomicU64,
}

/// One turn of a certificate.
pub(super) struct Attempt {
    pub(super) certificate: Arc<Certificate>,
    pub(super) source: Arc<CertificateSource>,
    pub(super) slot: Arc<Slot>,
    /// The error is what its URL is.
    pub(super) responder: Result<Responder, Box<str>>,
    pub(super) post: bool,
    pub(super) failures: u32,
}

/// What came of it: `None` if the cache had it.
pub(super) struct Done {
    pub(super) attempt: Attempt,
    pub(super) result: Result<Option<Staple>, OcspError>,
}

impl Shared {
    /// Takes over what an earlier run was told, if nothing is known yet. Blocks for one small file.
    pub(super) fn recall(&self, certificate: &Certificate, slot: &Slot) {
        if slot.status() != Status::Missing {
            return;
        }
        let cached = self.cache.as_ref().and_then(|cache| cache.read(certificate.fingerprint()));
        let Some(cached) = cached else { return };
        if let Ok(staple) = judge(&cached, certificate) {
            return slot.offer(staple, Origin::Cache);
        }
        // One that is not good any more is no news: it is fetched anew. But a revocation does not run out.
        let Ok((leaf, issuer)) = leaf_and_issuer(certificate) else { return };
        if let Some(error) = response::past_revocation(&cached, leaf, issuer, unix_now()) {
            // Anew, so that it is not forgotten for its age.
            self.write(certificate.fingerprint(), &cached);
            report(certificate, slot, &error, None, "OCSP staple not fetched");
        }
    }

    /// What a responder says, kept for the next run.
    async fn fetch(self: &Arc<Self>, due: &Attempt) -> Result<Staple, OcspError> {
        let (leaf, issuer) = leaf_and_issuer(&due.certificate)?;
        let request = request::encode(leaf, issuer)?;
        let Settings { connect_timeout, timeout, .. } = self.settings;
        let answer = due.responder.as_ref().map_err(|url| OcspError::Url { url: url.to_string() })?;
        let answer = answer.ask(&request, due.post, connect_timeout, timeout).await?;
        let judged = judge(&answer, &due.certificate);
        // A good one from before a revocation is not kept for the next run either.
        let judged = judged.and_then(|staple| due.slot.check_revocation(&staple).map(|()| staple));
        if judged.as_ref().map_or_else(|error| due.slot.is_news_for_the_cache(error), |_staple| true) {
            let (shared, fingerprint) = (Arc::clone(self), due.certificate.fingerprint().to_owned());
            off_the_runtime(move || shared.write(&fingerprint, &answer)).await;
        }
        judged
    }

    /// Makes the cache say what the issuer said last: that the certificate is good, or that it is revoked.
    pub(super) fn write(&self, fingerprint: &str, response: &[u8]) {
        let Some(cache) = &self.cache else { return };
        if let Err(error) = cache.write(fingerprint, response) {
            warn!(fingerprint, %error, "OCSP staple not kept for the next start");
        }
    }

    pub(super) async fn attempt(self: Arc<Self>, attempt: Attempt) -> Done {
        if attempt.slot.last_staple().is_none() && attempt.failures == 0 {
            let (shared, certificate, slot) =
                (self.clone(), attempt.certificate.clone(), attempt.slot.clone());
            off_the_runtime(move || shared.recall(&certificate, &slot)).await;
            if attempt.slot.staple().is_some() {
                return Done { attempt, result: Ok(None) };
            }
        }
        let result = self.fetch(&attempt).await;
        Done { attempt, result: result.map(Some) }
    }
}

/// What blocks on the disk, which may be a slow one.
async fn off_the_runtime(work: impl FnOnce() + Send + 'static) {
    // It fails only if the work panicked, which was printed, or the runtime is ending.
    let _ = tokio::task::spawn_blocking(work).await;
}

pub(super) fn leaf_and_issuer(
    certificate: &Certificate,
) -> Result<(&CertificateDer<'static>, &CertificateDer<'static>), OcspError> {
    let issuer = certificate.issuers().first().ok_or(OcspError::NoIssuer)?;
    Ok((certificate.leaf(), issuer))
}
