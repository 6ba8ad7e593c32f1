//! The certificates behind a leaf, kept once for all pairs that have the same.
//!
//! A handful of authorities issue nearly all certificates of a platform: 100,000 chains differ in their leaves only, and
//! their issuers would take 1 to 4 KiB each. [`super::load`] asks for every chain that it has judged.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

/// In the order of the chain.
pub(super) type Issuers = Arc<[CertificateDer<'static>]>;

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Known {
    by_digest: HashMap<[u8; 32], Weak<[CertificateDer<'static>]>>,
    /// How many there may be before those that nobody has any more are looked for.
    limit: usize,
}

/// The same certificates, where others have them already: theirs.
pub(super) fn shared(issuers: Vec<CertificateDer<'static>>) -> Issuers {
    let mut digest = Sha256::new();
    for issuer in &issuers {
        digest.update(issuer.len().to_le_bytes());
        digest.update(issuer);
    }
    let digest: [u8; 32] = digest.finalize().into();
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(issuers) = known.by_digest.get(&digest).and_then(Weak::upgrade) {
        return issuers;
    }
    let issuers: Issuers = issuers.into();
    known.by_digest.insert(digest, Arc::downgrade(&issuers));
    if known.by_digest.len() > known.limit {
        known.by_digest.retain(|_, issuers| issuers.strong_count() > 0);
        known.limit = 2 * known.by_digest.len().max(16);
    }
    issuers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_chains_are_one_and_forgotten_with_their_last_owner() {
        let chain = |bytes: &[u8]| vec![CertificateDer::from(bytes.to_vec()), CertificateDer::from(vec![1])];
        let (one, same, other) = (shared(chain(b"same")), shared(chain(b"same")), shared(chain(b"other")));
        assert!(Arc::ptr_eq(&one, &same));
        assert!(!Arc::ptr_eq(&one, &other));
        drop((one, same));
        let chains = (0..200u8).map(|number| shared(chain(&[number])));
        assert_eq!(chains.map(|chain| chain.len()).sum::<usize>(), 400);
        assert!(KNOWN.lock().unwrap().by_digest.len() < 100);
    }
}
