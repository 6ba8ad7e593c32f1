//! rustls configurations: one for each certificate and listener, built on first use and kept by each worker.
//!
//! A `ServerConfig` holds exactly one certificate: the choice was made before rustls is asked, so its resolver has
//! nothing to decide. It looks up the OCSP staple of the moment, which changes without the certificate. Tickets come from
//! the listener's [`Trust`], which pairs them with its client-certificate settings: a ticket issued under one setting can
//! not be opened under another.
//!
//! Kept rather than built per handshake: building one allocates a dozen times and checks its groups and suites. An entry
//! is dropped when its certificate is replaced, all of them when a snapshot is, and all of them when there are too many,
//! which costs the next handshake of each certificate one build.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::certificate::Certificate;
use crate::certificate::ocsp::Staple;
use crate::config::{Listener, TlsVersion};
use crate::trust::Trust;

/// Certificates whose configurations one worker keeps.
const KEPT: usize = 4096;

/// Tickets sent after a TLS 1.3 handshake: browsers open several connections at once and use each ticket once
/// (RFC 8446 appendix C.4). nginx and OpenSSL send two as well.
const TICKETS: usize = 2;

/// A worker's configurations.
pub struct ServerConfigs {
    provider: Arc<CryptoProvider>,
    /// Locked by one thread only: a worker's own. The lock is there because its tasks must be `Send`.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    generation: u64,
    /// By the id of the certificate; one for each listener that answered with it.
    configs: HashMap<String, Vec<Entry>>,
}

struct Entry {
    certificate: Arc<Certificate>,
    listener: Arc<Listener>,
    config: Arc<ServerConfig>,
}

impl ServerConfigs {
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider, kept: Mutex::default() }
    }

    /// The configuration that answers with this certificate on this listener of the snapshot of this generation.
    pub fn of(
        &self,
        certificate: &Arc<Certificate>,
        listener: &Arc<Listener>,
        trust: &Trust,
        generation: u64,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.generation < generation {
            *kept = Kept { generation, configs: HashMap::new() };
        }
        let entries = kept.configs.get_mut(certificate.id());
        if let Some(entries) = entries {
            entries.retain(|entry| Arc::ptr_eq(&entry.certificate, certificate));
            if let Some(entry) = entries.iter().find(|entry| Arc::ptr_eq(&entry.listener, listener)) {
                return Ok(Arc::clone(&entry.config));
            }
        }
        let config = Arc::new(self.build(certificate, listener, trust)?);
        // A connection that is still on an older snapshot is served, and leaves nothing behind.
        if kept.generation == generation {
            if kept.configs.len() >= KEPT {
                kept.configs.clear();
            }
            kept.configs.entry(certificate.id().to_owned()).or_default().push(Entry {
                certificate: Arc::clone(certificate),
                listener: Arc::clone(listener),
                config: Arc::clone(&config),
            });
        }
        Ok(config)
    }

    fn build(
        &self,
        certificate: &Arc<Certificate>,
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
            .with_cert_resolver(Arc::new(Admitted::new(certificate)));
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
struct Admitted {
    certificate: Arc<Certificate>,
    plain: Arc<CertifiedKey>,
    /// rustls wants the staple within the key. Joined once for each staple, not for each handshake.
    stapled: ArcSwapOption<Stapled>,
}

#[derive(Debug)]
struct Stapled {
    staple: Arc<Staple>,
    key: Arc<CertifiedKey>,
}

impl Admitted {
    fn new(certificate: &Arc<Certificate>) -> Self {
        Self {
            certificate: Arc::clone(certificate),
            plain: Arc::new(certificate.certified_key()),
            stapled: ArcSwapOption::empty(),
        }
    }

    /// The key with the staple that holds now, if there is one.
    fn key(&self) -> Arc<CertifiedKey> {
        let Some(staple) = self.certificate.staple() else { return Arc::clone(&self.plain) };
        if let Some(stapled) = self.stapled.load().as_deref()
            && Arc::ptr_eq(&stapled.staple, &staple)
        {
            return Arc::clone(&stapled.key);
        }
        let mut key = CertifiedKey::clone(&self.plain);
        key.ocsp = Some(staple.der().to_vec());
        let key = Arc::new(key);
        self.stapled.store(Some(Arc::new(Stapled { staple, key: Arc::clone(&key) })));
        key
    }
}

impl ResolvesServerCert for Admitted {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::ocsp::test_responder::stapled_by_turns;

    #[test]
    fn a_key_is_joined_with_each_staple_once() {
        let (certificate, mut next_staple) = stapled_by_turns();
        let admitted = Admitted::new(&certificate);
        let plain = admitted.key();
        assert!(plain.ocsp.is_none() && Arc::ptr_eq(&plain, &admitted.key()));
        for _ in 0..3 {
            let staple = next_staple();
            let stapled = admitted.key();
            assert_eq!(stapled.ocsp, Some(staple));
            assert!(Arc::ptr_eq(&stapled, &admitted.key()), "no work where nothing changed");
        }
    }
}
