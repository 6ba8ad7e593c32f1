//! One pair of the store, live or refused, and how it is loaded.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use tracing::{info, warn};
use zeroize::Zeroize;

use super::{CertificateStore, Source};
use crate::certificate::load::{self, ChainError, Identity, MAX_FILE_SIZE};
use crate::certificate::source::directory::Candidate;
use crate::certificate::{Certificate, CertificateError, unix_now};
use crate::config::{CertificateSource, Ocsp, OnDelete};
use crate::freshness::{Change, Contents, Fresh, Load, LoadFuture, NotLoaded, Reason};
use crate::telemetry::{error_chain, one_line};

/// A pair that went live.
pub(in crate::certificate) struct Entry {
    pub(super) id: Arc<str>,
    pub(super) source: Arc<CertificateSource>,
    pub(super) fresh: Arc<Fresh<Certificate>>,
    /// Whether it is the one that is found by its id.
    pub(super) is_live: AtomicBool,
}

impl Entry {
    pub(super) fn new(
        id: Arc<str>,
        source: Arc<CertificateSource>,
        fresh: Arc<Fresh<Certificate>>,
    ) -> Arc<Self> {
        Arc::new(Self { id, source, fresh, is_live: AtomicBool::new(false) })
    }
}

/// A pair that never did.
#[derive(Clone)]
pub(super) struct Refused {
    pub(super) candidate: Candidate,
    /// Which of the store's sources, by position.
    pub(super) source: usize,
    pub(super) reason: Reason,
    /// `None` if its files were not looked at.
    pub(super) not_loaded: Option<NotLoaded>,
}

impl Refused {
    /// By what the store remembers it.
    pub(super) fn key(&self) -> (usize, PathBuf) {
        (self.source, self.candidate.files.first().cloned().unwrap_or_default())
    }
}

impl CertificateStore {
    /// Blocks, and waits for the gate as well: the loading of many pairs has threads of its own.
    pub(super) fn load(&self, position: usize, candidate: Candidate) -> Result<Arc<Entry>, Box<Refused>> {
        let refused = |candidate, reason, not_loaded| {
            Box::new(Refused { candidate, source: position, reason, not_loaded })
        };
        let Some(source) = self.sources.get(position) else {
            return Err(refused(candidate, Arc::new(CertificateError::NoFiles), None));
        };
        let first = candidate.files.first().cloned().unwrap_or_default();
        if let Some(other) = self.holder_of(&candidate) {
            let reason = CertificateError::IdTaken { id: candidate.id.clone(), path: first, other };
            return Err(refused(candidate, Arc::new(reason), None));
        }
        let loader = Arc::new(Loader::new(source, &candidate.id, self));
        let files = candidate.kept_files(source.config.ocsp != Ocsp::Off, &self.folders);
        match Fresh::load_blocking(files, MAX_FILE_SIZE, loader, self.background.clone()) {
            Ok(fresh) => Ok(Entry::new(candidate.id, source.config.clone(), fresh)),
            Err(not_loaded) => Err(refused(candidate, not_loaded.reason.clone(), Some(not_loaded))),
        }
    }

    /// Keeps a pair fresh that went live before this store was there, and whose files were refused by it.
    pub(super) fn resume(
        &self,
        source: &Source,
        id: &Arc<str>,
        certificate: Arc<Certificate>,
        not_loaded: NotLoaded,
    ) -> Arc<Fresh<Certificate>> {
        let loader = Arc::new(Loader::new(source, id, self));
        Fresh::resume(certificate, not_loaded, MAX_FILE_SIZE, loader, self.background.clone())
    }

    /// The first file of another pair that has the candidate's id and is sound. One that is not, or that begins with
    /// the same file, was moved to another layout, and makes way for the candidate if that turns out to be good.
    fn holder_of(&self, candidate: &Candidate) -> Option<PathBuf> {
        let holder = self.by_id.find(&candidate.id)?;
        let first = holder.fresh.files().first()?;
        let is_sound =
            holder.fresh.last_error().is_none() && holder.fresh.files().iter().all(|file| file.exists());
        (is_sound && Some(first) != candidate.files.first()).then(|| first.clone())
    }
}

struct Loader {
    identity: Identity,
    source: Arc<CertificateSource>,
    store: Weak<CertificateStore>,
}

impl Loader {
    fn new(source: &Source, id: &Arc<str>, store: &CertificateStore) -> Self {
        let CertificateSource { allow_readable_keys, serve_expired, .. } = *source.config;
        let identity =
            Identity { id: id.clone(), tags: source.tags.clone(), allow_readable_keys, serve_expired };
        Self { identity, source: source.config.clone(), store: store.me.clone() }
    }
}

/// Files that may hold a private key, overwritten before their memory is given back.
struct Wiped(Vec<Contents>);

impl std::ops::Deref for Wiped {
    type Target = [Contents];

    fn deref(&self) -> &[Contents] {
        &self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|file| file.bytes.zeroize());
    }
}

impl Loader {
    /// A pair that takes nobody's place. If all that is wrong with it is that it has expired it is held like one that expires
    /// while it is live: so its clients learn what is wrong, and whoever monitors certificates does.
    fn first(&self, files: &[Contents]) -> Result<Certificate, CertificateError> {
        match load::certificate(&self.identity, files, unix_now()) {
            Err(CertificateError::Chain(ChainError::Expired { .. })) => {
                let expired = Identity { serve_expired: true, ..self.identity.clone() };
                let certificate = load::certificate(&expired, files, unix_now())?;
                Ok(Certificate { serve_expired: false, ..certificate })
            }
            loaded => loaded,
        }
    }
}

impl Load<Certificate> for Loader {
    fn load(&self, files: Vec<Contents>) -> LoadFuture<'_, Certificate> {
        Box::pin(async move {
            let files = Wiped(files);
            let store = self.store.upgrade();
            let live = store.as_ref().and_then(|store| store.by_id(&self.identity.id));
            let certificate = Arc::new(match &live {
                None => self.first(&files).map_err(CertificateError::into_refusal)?,
                Some(_) => load::certificate(&self.identity, &files, unix_now())
                    .map_err(CertificateError::into_refusal)?,
            });
            if let Some(old) = &live {
                load::check_complete(&certificate, old, &files).map_err(CertificateError::into_refusal)?;
            }
            drop(files);
            if let Some(store) = &store {
                certificate.key.keep_in(&store.keys);
            }
            // The store is not held while policies think.
            if let Some(gate) = store.map(|store| store.gate.clone()) {
                let id = self.identity.id.clone();
                let admitted = gate.admit(certificate.clone()).await;
                admitted.map_err(|reason| CertificateError::NotAdmitted { id, reason }.into_refusal())?;
            }
            // Last: nobody is asked about a certificate, at an address of its issuer's choice, that policies refuse.
            if let Some(store) = self.store.upgrade().filter(|_| !certificate.has_expired_at(unix_now())) {
                store.stapler.adopt(&certificate, &self.source);
            }
            Ok(certificate)
        })
    }

    fn changed(&self, change: Change<'_, Certificate>) {
        let Some(store) = self.store.upgrade() else { return };
        let id = &self.identity.id;
        match change {
            Change::Replaced { old, new } => {
                store.reindex(id, old, new);
                store.tally.replaced.fetch_add(1, Ordering::Relaxed);
                info!(certificate = %id, fingerprint = new.fingerprint(), replaces = old.fingerprint(), "certificate replaced");
            }
            Change::Refused { kept, reason, gone: true } if self.source.on_delete == OnDelete::Withdraw => {
                store.withdraw(id, kept);
                let (reason, withdrawn) = (error_chain(&**reason), kept.fingerprint());
                warn!(certificate = %id, reason, withdrawn, "certificate withdrawn");
            }
            Change::Refused { kept, reason, gone } => {
                store.tally.refused.fetch_add(1, Ordering::Relaxed);
                let (error, serving) = (one_line(&error_chain(&**reason)), kept.fingerprint());
                warn!(certificate = %id, error, gone, serving, "certificate not replaced");
            }
            Change::Restored { value } => {
                info!(certificate = %id, fingerprint = value.fingerprint(), "certificate files are good again, and the same");
            }
        }
    }
}
