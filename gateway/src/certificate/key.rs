//! A private key: kept as DER, made ready for signing when it is first used.
//!
//! [`super::load`] makes a [`PrivateKey`] of a file, once it has seen that the key belongs to its certificate; rustls signs
//! with it. Of 100,000 pairs only some are in use at a time, and a key that is ready takes ten times the memory of its DER,
//! so the ready ones are kept in a [`KeyCache`] of bounded size. Nothing here shows a key: `Debug` names its algorithm,
//! and the DER is overwritten when the last owner lets go. (The copies that the PEM decoder and aws-lc make while they
//! work are theirs to clean up; aws-lc does.)
//!
//! A key is made ready on the worker thread that needs it: 15 us for P-256 and 120 us for RSA-2048 (2-core machine), less
//! than the signature that follows takes, and less than handing the work to another thread would be worth.
//!
//! Which key makes way is decided by the clock algorithm: each key has a flag that a use sets; the hand goes around,
//! spares a key whose flag is set, once, and drops the first one whose flag is not. Rejected: a list ordered by use,
//! which every handshake of every worker would have to lock; here a use touches nothing but its own key.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use handfast_plugin_host::KeyAlgorithm;
use rustls::crypto::aws_lc_rs::sign;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error as TlsError, SignatureAlgorithm, SignatureScheme};
use zeroize::Zeroize;

/// What a cache keeps unless it is told otherwise.
const CAPACITY: usize = 10_000;

/// Keys that are spared in a row. With more, admitting one key would go on for as long as handshakes set flags.
const SPARED: usize = 64;

pub(super) struct PrivateKey {
    der: PrivateKeyDer<'static>,
    algorithm: SignatureAlgorithm,
    ready: Mutex<Option<Arc<dyn SigningKey>>>,
    /// Since the hand of the cache came by.
    used: AtomicBool,
    /// Without one, every use parses the key again: `handfast check` needs none.
    cache: OnceLock<Arc<KeyCache>>,
    me: Weak<Self>,
}

impl PrivateKey {
    /// The key, and the same ready to use. The latter is for checks and not kept. `expected` is of the certificate.
    pub(super) fn new(
        der: PrivateKeyDer<'static>,
        expected: KeyAlgorithm,
    ) -> Result<(Arc<Self>, Arc<dyn SigningKey>), TlsError> {
        let expected = match expected {
            KeyAlgorithm::Rsa => SignatureAlgorithm::RSA,
            KeyAlgorithm::Ed25519 => SignatureAlgorithm::ED25519,
            _ => SignatureAlgorithm::ECDSA,
        };
        // A key of another kind is sound too, if not this certificate's.
        let ready = make_ready(&der, expected).or_else(|_| sign::any_supported_type(&der))?;
        let algorithm = ready.algorithm();
        let key = Arc::new_cyclic(|me| Self {
            der,
            algorithm,
            ready: Mutex::default(),
            used: AtomicBool::new(false),
            cache: OnceLock::new(),
            me: me.clone(),
        });
        Ok((key, ready))
    }

    /// Only the first cache counts.
    pub(super) fn keep_in(&self, cache: &Arc<KeyCache>) {
        let _ = self.cache.set(Arc::clone(cache));
    }

    /// Parses the key at its first use and after it was dropped from the cache. Two handshakes that need it at once parse
    /// it once: the second waits, which is what it would do anyway.
    fn ready(&self) -> Option<Arc<dyn SigningKey>> {
        let mut ready = lock(&self.ready);
        if let Some(key) = ready.as_ref() {
            if !self.used.load(Ordering::Relaxed) {
                self.used.store(true, Ordering::Relaxed);
            }
            return Some(Arc::clone(key));
        }
        // It was parsed before, or there would be no certificate.
        let key = make_ready(&self.der, self.algorithm).ok()?;
        if let Some(cache) = self.cache.get() {
            *ready = Some(Arc::clone(&key));
            drop(ready);
            cache.admit(self.me.clone());
        }
        Some(key)
    }
}

/// Tried as one kind: finding out which it is parses and checks the key once for each kind before.
fn make_ready(
    der: &PrivateKeyDer<'_>,
    algorithm: SignatureAlgorithm,
) -> Result<Arc<dyn SigningKey>, TlsError> {
    match (algorithm, der) {
        (SignatureAlgorithm::RSA, _) => Ok(Arc::new(sign::RsaSigningKey::new(der)?)),
        (SignatureAlgorithm::ED25519, PrivateKeyDer::Pkcs8(der)) => sign::any_eddsa_type(der),
        (SignatureAlgorithm::ECDSA, _) => sign::any_ecdsa_type(der),
        _ => sign::any_supported_type(der),
    }
}

impl SigningKey for PrivateKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.ready()?.choose_scheme(offered)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.ready()?.public_key().map(SubjectPublicKeyInfoDer::into_owned)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PrivateKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.der.zeroize();
    }
}

/// The keys of a store that are ready.
pub(super) struct KeyCache {
    capacity: AtomicUsize,
    /// In the order in which the hand comes by.
    ring: Mutex<VecDeque<Weak<PrivateKey>>>,
}

impl Default for KeyCache {
    fn default() -> Self {
        Self { capacity: AtomicUsize::new(CAPACITY), ring: Mutex::default() }
    }
}

impl KeyCache {
    /// Takes effect as keys are used.
    pub(super) fn set_capacity(&self, keys: usize) {
        self.capacity.store(keys, Ordering::Relaxed);
    }

    /// Whoever holds the ring may lock a key, and nobody who holds a key locks the ring.
    fn admit(&self, key: Weak<PrivateKey>) {
        let mut ring = lock(&self.ring);
        ring.push_back(key);
        let mut spared = 0;
        while ring.len() > self.capacity.load(Ordering::Relaxed) {
            let Some(first) = ring.pop_front() else { return };
            // A certificate that was replaced or withdrawn took its key along.
            let Some(key) = first.upgrade() else { continue };
            if spared < SPARED && key.used.swap(false, Ordering::Relaxed) {
                spared += 1;
                ring.push_back(first);
            } else {
                *lock(&key.ready) = None;
            }
        }
    }
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeyCache").field("keys", &lock(&self.ring).len()).finish_non_exhaustive()
    }
}

/// Nothing that can panic runs under either lock but the parser, and that leaves what it found.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivatePkcs8KeyDer;

    use super::*;

    fn key(cache: &Arc<KeyCache>) -> Arc<PrivateKey> {
        let der = rcgen::KeyPair::generate().unwrap().serialize_der();
        let (key, _) =
            PrivateKey::new(PrivatePkcs8KeyDer::from(der).into(), KeyAlgorithm::EcdsaP256).unwrap();
        key.keep_in(cache);
        key
    }

    fn is_ready(key: &PrivateKey) -> bool {
        lock(&key.ready).is_some()
    }

    #[test]
    fn a_key_is_made_ready_at_its_first_use_and_signs() {
        let key = key(&Arc::default());
        assert!(!is_ready(&key));
        let signer = key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
        assert!(!signer.sign(b"message").unwrap().is_empty());
        assert!(is_ready(&key));
        assert!(key.choose_scheme(&[SignatureScheme::ED25519]).is_none());
        assert_eq!(key.algorithm(), SignatureAlgorithm::ECDSA);
        assert_eq!(format!("{key:?}"), "PrivateKey { algorithm: ECDSA, .. }");
    }

    #[test]
    fn the_cache_is_bounded_and_keys_in_use_stay() {
        let cache: Arc<KeyCache> = Arc::default();
        cache.set_capacity(3);
        let hot = key(&cache);
        hot.ready().unwrap();
        let others: Vec<_> = (0..10).map(|_| key(&cache)).collect();
        for other in &others {
            other.ready().unwrap();
            hot.ready().unwrap();
            assert!(lock(&cache.ring).len() <= 3);
        }
        assert!(is_ready(&hot));
        assert_eq!(others.iter().filter(|other| is_ready(other)).count(), 2);
        others[0].ready().unwrap();
        assert!(is_ready(&others[0]), "a dropped key is made ready again");
    }

    #[test]
    fn without_a_cache_nothing_is_kept() {
        let der = rcgen::KeyPair::generate().unwrap().serialize_der();
        let (key, _) =
            PrivateKey::new(PrivatePkcs8KeyDer::from(der).into(), KeyAlgorithm::EcdsaP256).unwrap();
        assert!(key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).is_some());
        assert!(!is_ready(&key));
    }
}
