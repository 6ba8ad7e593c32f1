//! The `admit` hooks of the current policies, as the certificate store asks them.
//!
//! The store outlives a reload of the configuration and the policies do not, so the store holds this gate and a reload
//! changes what stands behind it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;
use handfast_plugin_host as plugin_host;

use crate::certificate::store::CertificateStore;
use crate::certificate::{Certificate, Gate};
use crate::policy::Policies;

pub struct AdmitGate {
    policies: ArcSwap<Policies>,
    /// What a judging policy can look up. Empty while the store is being opened.
    store: OnceLock<Weak<CertificateStore>>,
}

impl AdmitGate {
    pub fn new(policies: &Arc<Policies>) -> Self {
        Self { policies: ArcSwap::new(Arc::clone(policies)), store: OnceLock::new() }
    }

    /// The policies that judge from now on.
    pub fn judge_with(&self, policies: &Arc<Policies>) {
        self.policies.store(Arc::clone(policies));
    }

    /// Lets policies see the store that this gate was made for.
    pub fn see(&self, store: &Arc<CertificateStore>) {
        // Only the first call counts: a gate has one store.
        let _ = self.store.set(Arc::downgrade(store));
    }
}

impl Gate for AdmitGate {
    fn admit(
        &self,
        certificate: Arc<Certificate>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        let policies = self.policies.load_full();
        let store = Seen(self.store.get().cloned().unwrap_or_default());
        Box::pin(async move { policies.admit(certificate, Arc::new(store)).await })
    }
}

/// The store as `admit` sees it: without a listener, so without a fallback, and never looking at files again, since it
/// is asked in the midst of doing so.
struct Seen(Weak<CertificateStore>);

impl plugin_host::Certificates for Seen {
    fn find(&self, name: &str) -> Vec<Arc<dyn plugin_host::Certificate>> {
        self.all(|store| store.find(name))
    }

    fn refresh<'a>(&'a self, _: &'a str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(std::future::ready(false))
    }

    fn by_id(&self, id: &str) -> Option<Arc<dyn plugin_host::Certificate>> {
        self.0.upgrade()?.by_id(id).map(|certificate| certificate as Arc<dyn plugin_host::Certificate>)
    }

    fn tagged(&self, key: &str, value: &str) -> Vec<Arc<dyn plugin_host::Certificate>> {
        self.all(|store| store.tagged(key, value))
    }

    fn fallback(&self) -> Option<Arc<dyn plugin_host::Certificate>> {
        None
    }
}

impl Seen {
    fn all(
        &self,
        ask: impl FnOnce(&CertificateStore) -> Vec<Arc<Certificate>>,
    ) -> Vec<Arc<dyn plugin_host::Certificate>> {
        let found = self.0.upgrade().map(|store| ask(&store)).unwrap_or_default();
        found.into_iter().map(|certificate| certificate as Arc<dyn plugin_host::Certificate>).collect()
    }
}
