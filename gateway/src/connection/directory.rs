//! The certificate store as policies see it on one listener.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use handfast_plugin_host::{Certificate, Certificates};

use crate::certificate::store::CertificateStore;

/// The store, and the listener's default certificate.
pub(super) struct Directory {
    store: Arc<CertificateStore>,
    fallback: Option<String>,
}

impl Directory {
    pub(super) fn new(store: Arc<CertificateStore>, fallback: Option<String>) -> Self {
        Self { store, fallback }
    }
}

impl Certificates for Directory {
    fn find(&self, name: &str) -> Vec<Arc<dyn Certificate>> {
        self.store.find(name).into_iter().map(|certificate| certificate as Arc<dyn Certificate>).collect()
    }

    fn refresh<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(self.store.look_again(name))
    }

    fn by_id(&self, id: &str) -> Option<Arc<dyn Certificate>> {
        self.store.by_id(id).map(|certificate| certificate as Arc<dyn Certificate>)
    }

    fn tagged(&self, key: &str, value: &str) -> Vec<Arc<dyn Certificate>> {
        self.store
            .tagged(key, value)
            .into_iter()
            .map(|certificate| certificate as Arc<dyn Certificate>)
            .collect()
    }

    fn fallback(&self) -> Option<Arc<dyn Certificate>> {
        self.by_id(self.fallback.as_deref()?)
    }
}
