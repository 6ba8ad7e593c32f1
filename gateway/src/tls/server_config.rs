//! rustls configurations: a template for each listener, kept by each worker, and a copy of it for each handshake.
//!
//! A `ServerConfig` holds exactly one certificate: the choice was made before rustls is asked, so its resolver has
//! nothing to decide. Tickets come from the listener's [`Trust`], which pairs them with its client-certificate settings: a
//! ticket issued under one setting can not be opened under another.
//!
//! A template is built rather than each configuration, since building one checks its groups and suites; it goes with the
//! snapshot that it was built for. The copy costs a handshake a dozen counters and a handful of allocations, the chain
//! among them. Rejected: one configuration for each certificate, kept until the certificate is replaced. It saves the
//! copy, and with thousands of certificates costs more than that: each handshake then reads a configuration, a resolver and
//! a chain of its own from memory that no cache holds any more, where the copy is made in memory that was in use a
//! moment ago, and all leaves share the issuers that it copies.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::certificate::Certificate;
use crate::config::{Listener, TlsVersion};
use crate::trust::Trust;

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
    templates: Vec<Template>,
}

struct Template {
    listener: Arc<Listener>,
    config: ServerConfig,
}

impl ServerConfigs {
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider, kept: Mutex::default() }
    }

    /// The configuration that answers with this certificate on this listener of the snapshot of this generation.
    pub fn of(
        &self,
        certificate: &Certificate,
        listener: &Arc<Listener>,
        trust: &Trust,
        generation: u64,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = self.template(listener, trust, generation)?;
        config.cert_resolver = Arc::new(Admitted::new(certificate));
        Ok(Arc::new(config))
    }

    fn template(
        &self,
        listener: &Arc<Listener>,
        trust: &Trust,
        generation: u64,
    ) -> Result<ServerConfig, rustls::Error> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.generation < generation {
            *kept = Kept { generation, templates: Vec::new() };
        }
        let mut templates = kept.templates.iter();
        if let Some(template) = templates.find(|template| Arc::ptr_eq(&template.listener, listener)) {
            return Ok(template.config.clone());
        }
        let config = self.build(listener, trust)?;
        // A connection that is still on an older snapshot is served, and leaves nothing behind.
        if kept.generation == generation {
            kept.templates.push(Template { listener: Arc::clone(listener), config: config.clone() });
        }
        Ok(config)
    }

    fn build(&self, listener: &Listener, trust: &Trust) -> Result<ServerConfig, rustls::Error> {
        let versions: &[&SupportedProtocolVersion] = match listener.minimum_tls {
            TlsVersion::Tls12 => &[&TLS13, &TLS12],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(trust.verifier())
            .with_cert_resolver(Arc::new(Nobody));
        config.alpn_protocols = listener.alpn.iter().map(|protocol| protocol.alpn_id().to_vec()).collect();
        config.ticketer = trust.ticketer();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = TICKETS;
        // For the alert of a client that is refused after its handshake; see `alert`.
        config.enable_secret_extraction = true;
        Ok(config)
    }
}

/// The one certificate that the policies admitted, with the staple of the moment.
#[derive(Debug)]
struct Admitted(Arc<CertifiedKey>);

impl Admitted {
    fn new(certificate: &Certificate) -> Self {
        let mut key = certificate.certified_key();
        key.ocsp = certificate.staple().map(|staple| staple.der().to_vec());
        Self(Arc::new(key))
    }
}

impl ResolvesServerCert for Admitted {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// A template's place for the certificate.
#[derive(Debug)]
struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::ocsp::test_responder::stapled_by_turns;

    #[test]
    fn each_handshake_gets_the_staple_of_its_moment() {
        let (certificate, mut next_staple) = stapled_by_turns();
        assert!(Admitted::new(&certificate).0.ocsp.is_none());
        for _ in 0..3 {
            let staple = next_staple();
            assert_eq!(Admitted::new(&certificate).0.ocsp, Some(staple));
        }
    }
}
