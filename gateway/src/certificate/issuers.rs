//! The certificates behind a leaf, kept once for all pairs that have the same.
//!
//! A handful of authorities issue nearly all certificates of a platform: 100,000 chains differ in their leaves only, and
//! their issuers would take 1 to 4 KiB each. [`super::load`] shares those of every chain that it has judged, and need not
//! verify their signatures again behind the next leaf: whether each signed the one before depends on nothing but their
//! bytes, and verifying the signature of an intermediate takes longer than everything else about a pair. What depends on
//! the time (whether one has expired) is asked for each pair.

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

/// The same certificates, if somebody has them: then they were found to be in order.
pub(super) fn known(issuers: &[CertificateDer<'static>]) -> Option<Issuers> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).by_digest.get(&digest(issuers))?.upgrade()
}

/// Certificates that are in order: the others' copy of them, where others have one already.
pub(super) fn shared(issuers: Vec<CertificateDer<'static>>) -> Issuers {
    let digest = digest(&issuers);
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

fn digest(issuers: &[CertificateDer<'static>]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for issuer in issuers {
        digest.update(issuer.len().to_le_bytes());
        digest.update(issuer);
    }
    digest.finalize().into()
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
        assert!(known(&chain(b"same")).is_some() && known(&chain(b"none")).is_none());
        drop((one, same));
        assert!(known(&chain(b"same")).is_none());
        let chains = (0..200u8).map(|number| shared(chain(&[number])));
        assert_eq!(chains.map(|chain| chain.len()).sum::<usize>(), 400);
        assert!(KNOWN.lock().unwrap().by_digest.len() < 100);
    }
}
