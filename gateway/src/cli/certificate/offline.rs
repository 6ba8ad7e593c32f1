//! The certificates of a configuration as its files hold them.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use super::super::Failure;
use crate::admin::certificates::{Listing, Query, answer};
use crate::certificate::ocsp::Stapler;
use crate::certificate::{CertificateStore, OpenGate};
use crate::config::Config;

/// A store of its own, which has looked at the files once.
pub(super) struct Offline {
    store: Arc<CertificateStore>,
    /// The store reads on it; it ends after the store.
    _runtime: Runtime,
}

impl Offline {
    pub(super) fn open(config: &Config) -> Result<Self, Failure> {
        let runtime = Builder::new_multi_thread().enable_all().build().map_err(Failure::runtime)?;
        let opened = runtime.block_on(CertificateStore::open(
            &config.certificate_sources,
            Arc::new(OpenGate),
            // Never started: nobody is asked.
            Arc::new(Stapler::new(config.state_directory.as_deref())),
            Arc::default(),
            runtime.handle().clone(),
        ));
        let (store, _findings) = opened.map_err(Failure::runtime)?;
        Ok(Self { store, _runtime: runtime })
    }

    pub(super) fn ask(&self, query: &Query) -> Listing {
        answer(&self.store, query)
    }
}
