//! The certificate store as policies see it on one listener, for one connection.
//!
//! It remembers which certificates it has shown. A verdict rests on what they are, so one that turned somebody away is
//! only final if none of them has been replaced meanwhile; see [`Directory::is_outdated`].

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use handfast_plugin_host as plugin_host;

use crate::certificate::store::CertificateStore;
use crate::certificate::{Certificate, Ensured, unix_now};

/// Certificates that are remembered, hence looked at again. A policy that goes through more has seen enough to decide.
const REMEMBERED: usize = 64;

/// The store, and the listener's default certificate.
pub(super) struct Directory {
    store: Arc<CertificateStore>,
    fallback: Option<String>,
    /// What the verdict that is under way rests on.
    shown: Mutex<Vec<Arc<Certificate>>>,
}

impl Directory {
    pub(super) fn new(store: Arc<CertificateStore>, fallback: Option<String>) -> Self {
        Self { store, fallback, shown: Mutex::default() }
    }

    /// Whether the verdict would rest on other facts now: the files of a certificate that was shown hold another one, or
    /// none any more.
    ///
    /// `only_expired` leaves out the others: a verdict that named a certificate is made sure of by that certificate's own
    /// check, but one that was passed over for its end may have been renewed.
    pub(super) async fn is_outdated(&self, only_expired: bool) -> bool {
        let now = unix_now();
        let rests = |certificate: &&Arc<Certificate>| !only_expired || certificate.has_expired_at(now);
        let mut shown: Vec<_> = self.shown().iter().filter(rests).cloned().collect();
        shown.sort_unstable_by_key(Arc::as_ptr);
        shown.dedup_by_key(|certificate| Arc::as_ptr(certificate));
        for certificate in &shown {
            if matches!(self.store.ensure_fresh(certificate).await, Ensured::Replaced(_) | Ensured::Withdrawn)
            {
                return true;
            }
        }
        false
    }

    /// The certificate of this id: as it was shown, for whoever makes sure of it himself, or as the store has it.
    pub(super) fn chosen(&self, id: &str) -> Option<Arc<Certificate>> {
        let shown = self.shown().iter().find(|certificate| certificate.id() == id).cloned();
        shown.or_else(|| self.store.by_id(id))
    }

    /// Before the next verdict.
    pub(super) fn forget(&self) {
        self.shown().clear();
    }

    fn show(&self, certificate: Arc<Certificate>) -> Arc<dyn plugin_host::Certificate> {
        let mut shown = self.shown();
        if shown.len() < REMEMBERED {
            shown.push(Arc::clone(&certificate));
        }
        certificate
    }

    fn show_all(&self, found: Vec<Arc<Certificate>>) -> Vec<Arc<dyn plugin_host::Certificate>> {
        found.into_iter().map(|certificate| self.show(certificate)).collect()
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Certificate>>> {
        // Whoever panicked with it left a list of certificates.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl plugin_host::Certificates for Directory {
    fn find(&self, name: &str) -> Vec<Arc<dyn plugin_host::Certificate>> {
        self.show_all(self.store.find(name))
    }

    fn refresh<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(self.store.look_again(name))
    }

    fn by_id(&self, id: &str) -> Option<Arc<dyn plugin_host::Certificate>> {
        let shown = self.shown().iter().find(|certificate| certificate.id() == id).cloned();
        match shown {
            Some(certificate) => Some(certificate),
            None => self.store.by_id(id).map(|certificate| self.show(certificate)),
        }
    }

    fn tagged(&self, key: &str, value: &str) -> Vec<Arc<dyn plugin_host::Certificate>> {
        self.show_all(self.store.tagged(key, value))
    }

    fn fallback(&self) -> Option<Arc<dyn plugin_host::Certificate>> {
        self.by_id(self.fallback.as_deref()?)
    }
}
