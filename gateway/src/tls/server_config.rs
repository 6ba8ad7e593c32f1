//! rustls configurations: one for each certificate and listener, built on first use and kept by each worker.
//!
//! A `ServerConfig` holds exactly one certificate: the choice was made before rustls is asked, so its resolver has
//! nothing to decide. Tickets come from the listener's [`Trust`], which pairs them with its client-certificate
//! settings: a ticket issued under one setting can not be opened under another.
//!
//! Kept rather than built per handshake: building one takes 3 allocations and a validation of its groups. Bounded by
//! forgetting everything when full, which costs the next handshake of each certificate one build.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::certificate::Certificate;
use crate::config::{Listener, TlsVersion};
use crate::trust::Trust;

/// Configurations one worker keeps.
const KEPT: usize = 4096;

/// Tickets sent after a TLS 1.3 handshake: browsers open several connections at once and use each ticket once
/// (RFC 8446 appendix C.4). nginx and OpenSSL send two as well.
const TICKETS: usize = 2;

/// A worker's configurations.
pub struct ServerConfigs {
    provider: Arc<CryptoProvider>,
    kept: Mutex<HashMap<Key, Kept>>,
}

/// Addresses of values that the entry keeps alive, so an address can not come to mean another value.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    certificate: *const Certificate,
    trust: *const Trust,
    listener: *const Listener,
}

// SAFETY: the pointers are compared and hashed, never followed.
unsafe impl Send for Key {}

struct Kept {
    config: Arc<ServerConfig>,
    _certificate: Arc<Certificate>,
    _trust: Arc<Trust>,
    _listener: Arc<Listener>,
}

impl ServerConfigs {
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider, kept: Mutex::new(HashMap::new()) }
    }

    /// The configuration that answers with this certificate on this listener.
    pub fn of(
        &self,
        certificate: &Arc<Certificate>,
        listener: &Arc<Listener>,
        trust: &Arc<Trust>,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let key = Key {
            certificate: Arc::as_ptr(certificate),
            trust: Arc::as_ptr(trust),
            listener: Arc::as_ptr(listener),
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = kept.get(&key) {
            return Ok(Arc::clone(&entry.config));
        }
        let config = Arc::new(self.build(certificate, listener, trust)?);
        if kept.len() >= KEPT {
            kept.clear();
        }
        let entry = Kept {
            config: Arc::clone(&config),
            _certificate: Arc::clone(certificate),
            _trust: Arc::clone(trust),
            _listener: Arc::clone(listener),
        };
        kept.insert(key, entry);
        Ok(config)
    }

    /// Lets go of everything, after a new snapshot: what it replaced must not stay in memory.
    pub fn forget(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn build(
        &self,
        certificate: &Certificate,
        listener: &Listener,
        trust: &Trust,
    ) -> Result<ServerConfig, rustls::Error> {
        let versions: &[&SupportedProtocolVersion] = match listener.minimum_tls {
            TlsVersion::Tls12 => &[&TLS13, &TLS12],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(trust.verifier())
            .with_cert_resolver(Arc::new(Admitted(Arc::clone(certificate.certified_key()))));
        config.alpn_protocols = listener.alpn.iter().map(|protocol| protocol.alpn_id().to_vec()).collect();
        config.ticketer = trust.ticketer();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = TICKETS;
        // For the alert of a client that is refused after its handshake; see `alert`.
        config.enable_secret_extraction = true;
        Ok(config)
    }
}

/// The one certificate that the policies admitted.
#[derive(Debug)]
struct Admitted(Arc<CertifiedKey>);

impl ResolvesServerCert for Admitted {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
