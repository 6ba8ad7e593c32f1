//! The certificate store as policies see it on one listener, for one connection.
//!
//! It remembers which certificates it has shown. A verdict rests on what they are, so one that turned somebody away is
//! only final if none of them has been replaced meanwhile; see [`Directory::is_outdated`]. And it rests on which there
//! are; see [`Directory::has_news`].
//!
//! # Memo: what was just added
//!
//! The goal: a pair whose files were complete when the ClientHello came is not refused for being new, whichever policy
//! decides and however it looks certificates up.
//!
//! - A list that comes back empty has the sources looked at within the call, by the sandbox. That does not help a policy which
//!   finds others of the name and takes none of them (they are another tenant's), asks for an id, or names one that it
//!   was configured with. So a refusal for want of a certificate is decided again if the look brings anything.
//! - Which refusals those are: the alerts that say so, of a policy that looked anything up; and the end that a verdict comes
//!   to which names an id that is not there. A policy that refuses without a look at certificates means something else,
//!   and costs no look at the sources.
//! - The sources are looked at once for each ClientHello, within calls or after them, and never more often than
//!   [`CertificateStore::look_again`] lets clients cause, however many names they make up.
//! - Whether the look brought anything is told by the number of the newest change and not by what was asked for: that can
//!   be wrong only by a call too many, where another pair or policy changed in the same moment.
//!
//! Rejected: to look before the first verdict, which would make every handshake wait for a scan; and to look again for the name
//! alone, since an id or a tag may be what the policy goes by.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use handfast_plugin_host as plugin_host;
use handfast_plugin_host::Certificate as _;

use crate::certificate::store::CertificateStore;
use crate::certificate::{Certificate, Ensured, unix_now};
use crate::tls::client_hello::Hello;

/// Certificates that are remembered, hence looked at again. A policy that goes through more has seen enough to decide.
const REMEMBERED: usize = 64;
/// Certificates of one name that a policy is shown: no list of `wit/v1` holds more.
const LISTED: usize = 64;

/// The store, and the listener's default certificate.
pub(super) struct Directory {
    store: Arc<CertificateStore>,
    fallback: Option<String>,
    /// What the verdict that is under way rests on.
    shown: Mutex<Vec<Arc<Certificate>>>,
    /// The number of the newest change when that began.
    begun: AtomicU64,
    /// Whether anything was looked up for it, and whether an id was that no certificate has.
    asked: AtomicBool,
    missed: AtomicBool,
    /// Whether the sources were looked at, for this verdict or one before.
    looked: AtomicBool,
}

/// Why a policy let nobody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It says that there is no certificate for the client.
    NoCertificate,
    /// It had no verdict, perhaps since it named a certificate that is not there.
    NoVerdict,
}

impl Directory {
    pub(super) fn new(store: Arc<CertificateStore>, fallback: Option<String>) -> Self {
        let begun = AtomicU64::new(store.newest_change());
        let no = || AtomicBool::new(false);
        Self { store, fallback, shown: Mutex::default(), begun, asked: no(), missed: no(), looked: no() }
    }

    /// Whether the verdict would rest on other facts now: the files of a certificate that was shown hold another one, or
    /// none any more.
    ///
    /// `only_expired` leaves out the others: a verdict that named a certificate is made sure of by that certificate's own
    /// check, but one that was passed over for its end may have been renewed.
    pub(super) async fn is_outdated(&self, only_expired: bool) -> bool {
        let now = unix_now();
        let rests = |certificate: &&Arc<Certificate>| !only_expired || certificate.is_past_its_end_at(now);
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

    /// The ids of those that were shown and that the client could use, had they not expired.
    pub(super) fn passed_over(&self, hello: &Hello) -> String {
        let shown = self.shown();
        let expired = shown.iter().filter(|certificate| certificate.has_expired_for(hello));
        let mut ids: Vec<&str> = expired.map(|certificate| certificate.id()).collect();
        ids.dedup();
        ids.join(",")
    }

    /// Whether a refusal may come out otherwise now, since there is a certificate that there was not. Looks at the sources,
    /// unless that was done since the ClientHello came.
    pub(super) async fn has_news(&self, refusal: Refusal, name: &str) -> bool {
        let rests_on_it = match refusal {
            Refusal::NoCertificate => &self.asked,
            Refusal::NoVerdict => &self.missed,
        };
        if !rests_on_it.load(Ordering::Relaxed) {
            return false;
        }
        let has_changed = || self.store.newest_change() != self.begun.load(Ordering::Relaxed);
        if has_changed() {
            return true;
        }
        if self.looked.load(Ordering::Relaxed) {
            return false;
        }
        self.look_again(name).await;
        has_changed()
    }

    /// Before the next verdict.
    pub(super) fn forget(&self) {
        self.begun.store(self.store.newest_change(), Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
        self.missed.store(false, Ordering::Relaxed);
        self.shown().clear();
    }

    /// Remembered once it is over: a policy that gives up waiting for it has not seen its end.
    async fn look_again(&self, name: &str) -> bool {
        let found = self.store.look_again(name).await;
        self.looked.store(true, Ordering::Relaxed);
        found
    }

    /// The certificate of an id, shown.
    fn named(&self, id: &str) -> Option<Arc<dyn plugin_host::Certificate>> {
        self.asked.store(true, Ordering::Relaxed);
        let shown = self.shown().iter().find(|certificate| certificate.id() == id).cloned();
        match shown {
            Some(certificate) => Some(certificate),
            None => self.store.by_id(id).map(|certificate| self.show(certificate)),
        }
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
        self.asked.store(true, Ordering::Relaxed);
        self.show_all(self.store.find_in_all_sources(name, LISTED))
    }

    fn refresh<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(async move {
            match self.looked.load(Ordering::Relaxed) {
                // What there was when the ClientHello came is known.
                true => !self.store.find(name).is_empty(),
                false => self.look_again(name).await,
            }
        })
    }

    fn by_id(&self, id: &str) -> Option<Arc<dyn plugin_host::Certificate>> {
        let found = self.named(id);
        if found.is_none() {
            self.missed.store(true, Ordering::Relaxed);
        }
        found
    }

    fn tagged(&self, key: &str, value: &str) -> Vec<Arc<dyn plugin_host::Certificate>> {
        self.asked.store(true, Ordering::Relaxed);
        self.show_all(self.store.tagged(key, value))
    }

    fn fallback(&self) -> Option<Arc<dyn plugin_host::Certificate>> {
        self.named(self.fallback.as_deref()?)
    }
}

#[cfg(test)]
mod tests;
