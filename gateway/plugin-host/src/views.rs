//! What a policy may look at, as the gateway hands it in.
//!
//! The gateway implements these traits over its own types; `imports` calls them when a guest asks. They mirror the
//! resources of `wit/v1/policy.wit`, whose text says what each value means and how long it may be: implementations
//! keep those bounds. Getters are synchronous and must not block, since they run on a worker's thread; the one
//! thing that may have to wait for a disk, [`Certificates::refresh`], is a future.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

/// The transport connection the handshake arrived on.
pub trait Connection: Send + Sync {
    fn listener(&self) -> &str;
    fn client_address(&self) -> SocketAddr;
    fn server_address(&self) -> SocketAddr;
    fn proxied(&self) -> bool;
    fn proxy_tlvs(&self) -> Vec<(u8, Vec<u8>)>;
}

/// The ClientHello, as the client sent it.
pub trait ClientHello: Send + Sync {
    fn server_name(&self) -> Option<&str>;
    fn alpn(&self) -> Vec<Vec<u8>>;
    fn protocol_versions(&self) -> Vec<u16>;
    fn cipher_suites(&self) -> Vec<u16>;
    fn signature_schemes(&self) -> Vec<u16>;
    fn named_groups(&self) -> Vec<u16>;
    fn extensions(&self) -> Vec<u16>;
    fn ja3(&self) -> String;
    fn ja4(&self) -> String;
    fn raw(&self) -> Vec<u8>;
    fn offers_resumption(&self) -> bool;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAlgorithm {
    Rsa,
    EcdsaP256,
    EcdsaP384,
    EcdsaP521,
    Ed25519,
    Other,
}

/// A certificate of the gateway, without its private key.
pub trait Certificate: Send + Sync {
    fn id(&self) -> &str;
    fn names(&self) -> Vec<String>;
    fn key_algorithm(&self) -> KeyAlgorithm;
    fn key_bits(&self) -> u32;
    fn not_before(&self) -> i64;
    fn not_after(&self) -> i64;
    fn issuer(&self) -> String;
    fn serial(&self) -> String;
    fn fingerprint(&self) -> String;
    fn der(&self) -> Vec<u8>;
    /// Ordered by key.
    fn tags(&self) -> Vec<(String, String)>;
    fn usable_by(&self, hello: &dyn ClientHello) -> bool;

    /// Whether it would be usable by this client, had its validity not ended. Not for guests: the gateway explains
    /// refusals with it.
    fn has_expired_for(&self, hello: &dyn ClientHello) -> bool {
        let _ = hello;
        false
    }
}

/// A certificate that a client presented, already verified up to a trust anchor.
pub trait PeerCertificate: Send + Sync {
    fn subject(&self) -> String;
    fn issuer(&self) -> String;
    fn serial(&self) -> String;
    fn fingerprint(&self) -> String;
    fn not_before(&self) -> i64;
    fn not_after(&self) -> i64;
    fn dns_names(&self) -> Vec<String>;
    fn uris(&self) -> Vec<String>;
    fn email_addresses(&self) -> Vec<String>;
    fn organizational_units(&self) -> Vec<String>;
    fn common_name(&self) -> Option<String>;
    fn der(&self) -> Vec<u8>;
}

/// The gateway's certificates, as the listener of this connection sees them.
///
/// Names arrive as the guest wrote them and are compared without regard to case. Of each list the first 64 are handed
/// to the guest, so whoever must not be crowded out is among them.
pub trait Certificates: Send + Sync {
    fn find(&self, name: &str) -> Vec<Arc<dyn Certificate>>;

    /// Asked only when [`find`](Self::find) gave nothing: looks at the sources again. True if it is worth asking
    /// `find` again.
    fn refresh<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

    fn by_id(&self, id: &str) -> Option<Arc<dyn Certificate>>;
    fn tagged(&self, key: &str, value: &str) -> Vec<Arc<dyn Certificate>>;
    fn fallback(&self) -> Option<Arc<dyn Certificate>>;
}
