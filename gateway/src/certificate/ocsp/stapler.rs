//! Keeps the staples of all certificates current: one task, and a queue ordered by time.
//!
//! The store calls [`Stapler::adopt`] with each certificate before it goes live. That judges its `.ocsp` file at once (it was
//! read with the pair, and the handshake that waits for the reload is to be answered with the new staple) and leaves the
//! rest to the task: reading the cache, asking responders, noticing that a staple has run out. Reading the cache at once
//! would make the start wait for a file and a signature's check per certificate; only must-staple certificates get that, and those with an
//! `.ocsp` file, which may be from before a revocation that an earlier run was told of.
//!
//! # Scale
//!
//! The queue has 40 bytes for each certificate with something to do, which holds it weakly: one that is replaced or withdrawn
//! drops out when its turn comes. At most [`Settings::at_once`] exchanges are under way, and those whose time has come take
//! turns by source and by responder ([`super::turns`]), so that nobody waits for 100,000 certificates of somebody else's. A
//! responder that does not answer rests as a whole.
//!
//! A weakness: waits are measured by a clock that stands still while the machine sleeps. A staple that ran out meanwhile is
//! not sent, and replaced later than it could be.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::warn;

use super::cache::Cache;
use super::features::Features;
use super::slot::Origin;
use super::{OcspError, Slot, Staple, response};
use crate::certificate::{Certificate, unix_now};
use crate::config::{CertificateSource, Ocsp};
use crate::telemetry::error_chain;

use self::exchange::{Shared, leaf_and_issuer};
use self::task::Task;

mod exchange;
mod task;

/// Bounds of what is done over the network.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Exchanges under way.
    pub at_once: usize,
    /// The least time between two successful exchanges for one certificate, however short its responses hold.
    pub floor: Duration,
    pub connect_timeout: Duration,
    /// Of one exchange.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            at_once: 8,
            floor: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
        }
    }
}

/// Counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Staples that responders gave.
    pub fetched: u64,
    /// Exchanges that gave none.
    pub failed: u64,
    /// Staples that ran out before there was another.
    pub stale: u64,
}

/// The task ends when this is dropped.
pub struct Stapler {
    work: mpsc::UnboundedSender<Followed>,
    /// Until the task has it.
    waiting: Mutex<Option<mpsc::UnboundedReceiver<Followed>>>,
    shared: Arc<Shared>,
    slots: Mutex<Slots>,
}

/// By the fingerprint of the leaf.
#[derive(Default)]
struct Slots {
    known: HashMap<Box<str>, Weak<Slot>>,
    /// The number at which those that are gone are looked for.
    crowded: usize,
}

/// A certificate that is to be in the queue.
struct Followed {
    certificate: Weak<Certificate>,
    source: Arc<CertificateSource>,
    fetch: bool,
}

impl Stapler {
    /// Asks nobody before it is started; `.ocsp` files are judged nevertheless. Without a state directory nothing is kept
    /// between runs.
    pub fn new(state_directory: Option<&Path>) -> Self {
        Self::with(Settings::default(), state_directory)
    }

    pub fn with(settings: Settings, state_directory: Option<&Path>) -> Self {
        let counted = || AtomicU64::new(0);
        let cache = state_directory.map(Cache::new);
        let shared = Shared { settings, cache, fetched: counted(), failed: counted(), stale: counted() };
        let (work, waiting) = mpsc::unbounded_channel();
        let waiting = Mutex::new(Some(waiting));
        Self { work, waiting, shared: Arc::new(shared), slots: Mutex::default() }
    }

    /// Starts the task. To be called on the background runtime, once the gateway serves: nothing here is worth a later
    /// start, and a configuration that is only checked makes no connections.
    pub fn start(&self) {
        let Some(waiting) = lock(&self.waiting).take() else { return };
        if let Some(cache) = self.shared.cache.clone() {
            tokio::task::spawn_blocking(move || cache.tidy());
        }
        tokio::spawn(Task::new(self.shared.clone()).run(waiting));
    }

    /// Gives a certificate its place for a staple, judges its `.ocsp` file, and sees to it from now on as its source has it.
    /// To be called once for each value, before it goes live.
    pub fn adopt(&self, certificate: &Arc<Certificate>, source: &Arc<CertificateSource>) {
        let mode = source.ocsp;
        if mode == Ocsp::Off {
            return;
        }
        let Some(slot) = self.slot_of(certificate) else { return };
        certificate.keep_staples_in(slot.clone());
        let fetch = mode == Ocsp::Fetch && slot.responder().is_some();
        // Before the file, which may be from before a revocation.
        if fetch && (slot.must_staple() || certificate.ocsp_file().is_some()) {
            self.shared.recall(certificate, &slot);
        }
        if let Some(file) = certificate.ocsp_file() {
            match judge(file, certificate) {
                Ok(staple) => slot.offer(staple, if fetch { Origin::File } else { Origin::OnlyFile }),
                Err(error) => {
                    if fetch && slot.is_news_for_the_cache(&error) {
                        self.shared.write(certificate.fingerprint(), file);
                    }
                    report(certificate, &slot, &error, Some(file), "OCSP file not used");
                }
            }
        } else if let Some(source) = certificate.ocsp_file_trouble() {
            let error = OcspError::Unreadable { source: Arc::clone(source) };
            report(certificate, &slot, &error, None, "OCSP file not used");
        }
        if fetch || slot.last_staple().is_some() {
            // Fails only if the task has panicked, which was printed.
            let (certificate, source) = (Arc::downgrade(certificate), Arc::clone(source));
            let _ = self.work.send(Followed { certificate, source, fetch });
        } else if slot.must_staple() && !has_file(certificate) {
            report(
                certificate,
                &slot,
                &OcspError::NoSource,
                None,
                "must-staple certificate without a staple",
            );
        }
    }

    pub fn counters(&self) -> Counters {
        let Shared { fetched, failed, stale, .. } = &*self.shared;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters { fetched: read(fetched), failed: read(failed), stale: read(stale) }
    }

    /// `None` for a certificate that has nothing to do with OCSP.
    fn slot_of(&self, certificate: &Certificate) -> Option<Arc<Slot>> {
        let fingerprint = certificate.fingerprint();
        let known = lock(&self.slots).find(fingerprint);
        if known.is_some() {
            return known;
        }
        // Without the lock, since many are loaded at once.
        let features = Features::of(certificate.leaf());
        if features == Features::default() && !has_file(certificate) {
            return None;
        }
        Some(lock(&self.slots).find_or_add(fingerprint, features))
    }
}

impl Slots {
    fn find(&self, fingerprint: &str) -> Option<Arc<Slot>> {
        self.known.get(fingerprint)?.upgrade()
    }

    fn find_or_add(&mut self, fingerprint: &str, features: Features) -> Arc<Slot> {
        if let Some(slot) = self.find(fingerprint) {
            return slot;
        }
        if self.known.len() >= self.crowded {
            self.known.retain(|_, slot| slot.strong_count() > 0);
            self.crowded = self.known.len().saturating_mul(2).max(1024);
        }
        let slot = Arc::new(Slot::new(features));
        self.known.insert(fingerprint.into(), Arc::downgrade(&slot));
        slot
    }
}

/// One that keeps nothing between runs.
impl Default for Stapler {
    fn default() -> Self {
        Self::new(None)
    }
}

impl std::fmt::Debug for Stapler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Stapler").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

/// Checks a response against a certificate's own chain.
pub fn judge(response: &[u8], certificate: &Certificate) -> Result<Staple, OcspError> {
    let (leaf, issuer) = leaf_and_issuer(certificate)?;
    response::check(response, leaf, issuer, unix_now())
}

/// Warns of a failure once.
fn report(
    certificate: &Certificate,
    slot: &Slot,
    error: &OcspError,
    file: Option<&[u8]>,
    message: &'static str,
) {
    if slot.fail(error, file) {
        let (status, must_staple) = (slot.status().word(), slot.must_staple());
        warn!(
            certificate = certificate.id(),
            error = error_chain(error),
            staple = status,
            must_staple,
            "{message}"
        );
    }
}

/// A thread that panicked while it held the lock left at worst a certificate without a place.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether there is an `.ocsp` file, be it readable or not.
fn has_file(certificate: &Certificate) -> bool {
    certificate.ocsp_file().is_some() || certificate.ocsp_file_trouble().is_some()
}

#[cfg(test)]
mod tests;
