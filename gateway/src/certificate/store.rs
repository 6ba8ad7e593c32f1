//! All certificates of the gateway: found by name, by id and by tag, and never older than their files.
//!
//! `tls` asks it on every handshake, policies through `policy`. A handshake that has chosen a certificate calls
//! [`CertificateStore::ensure_fresh`] before it answers; one that found none calls [`CertificateStore::look_again`] before
//! it gives up. Lookups take no lock. Reading and judging run on the background runtime, for each pair on its own: a
//! pair that changes costs what one pair costs, however many there are.
//!
//! What a change of the files means for a value, and why no handshake gets a stale or mixed pair, is argued in
//! [`crate::freshness`]. A pair whose files are deleted keeps serving until it expires and is reported, or is withdrawn,
//! as its source says.
//!
//! # Expired certificates
//!
//! One that expires while it is live, or has before it is first read, is here for whoever monitors it, but comes after all others in
//! [`CertificateStore::find`] and says of itself that no client can use it. So a policy that takes the first, or the first
//! usable one, takes the next best for the name. Where there is none, the chain of policies answers with the alert
//! `certificate_expired`, which tells a person at the client what is wrong; the listener's default certificate would say
//! "wrong name" instead. Rejected: dropping it from the index, since an expired certificate would then look like a name
//! that was never configured, to policies, to the outcome line and to monitoring.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::runtime::Handle;

use super::index::Index;
use super::key::KeyCache;
use super::names::{normalise, wildcard_of};
use super::ocsp::Stapler;
use super::source::directory::{Candidate, Tree};
use super::{Certificate, Gate, preference, unix_now};
use crate::config::{CertificateSource, Freshness, OnDelete};
use crate::freshness::{FileIdentity, Folders, Outcome, Reason};
use crate::generation::Generation;

mod entry;
mod inherit;
mod left_out;
mod scan;
mod status;

pub use scan::ScanSummary;
pub use status::{
    Counters, Finding, Link, Page, Severity, State, Status, Unready, remaining, unmatched_names,
};

pub(super) use entry::Entry;

use entry::Refused;
use scan::Scans;

pub struct CertificateStore {
    sources: Vec<Source>,
    gate: Arc<dyn Gate>,
    stapler: Arc<Stapler>,
    background: Handle,
    by_id: Index<Arc<Entry>>,
    /// By exact name and by wildcard as it is written: `*.example.com`.
    by_name: Index<Named>,
    /// Held by whoever changes the two above.
    writing: Mutex<()>,
    /// How many certificates have a tag of their own, by key and value with a NUL between them.
    own_tags: Index<usize>,
    /// Pairs that never went live, or were withdrawn, by their source and first file.
    refused: Mutex<HashMap<(usize, PathBuf), Refused>>,
    keys: Arc<KeyCache>,
    folders: Folders,
    generation: Arc<Generation>,
    tally: Tally,
    me: Weak<Self>,
}

struct Source {
    config: Arc<CertificateSource>,
    tree: Mutex<Tree>,
    tags: Arc<[(String, String)]>,
    /// Of this source alone, so that one whose file system does not answer holds up no other.
    scans: Scans,
}

#[derive(Debug, Default)]
struct Tally {
    replaced: AtomicU64,
    refused: AtomicU64,
    kept: AtomicU64,
    timed_out: AtomicU64,
}

impl CertificateStore {
    /// Reads every pair of the sources. Pairs that cannot be served are findings, not errors.
    pub async fn open(
        sources: &[Arc<CertificateSource>],
        gate: Arc<dyn Gate>,
        stapler: Arc<Stapler>,
        generation: Arc<Generation>,
        background: Handle,
    ) -> Result<(Arc<Self>, Vec<Finding>), StoreError> {
        let several = sources.len() > 1;
        let sources = sources.iter().map(|config| Source {
            tree: Mutex::new(Tree::new(config.path.clone(), &config.name, several)),
            tags: config.tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            config: config.clone(),
            scans: Scans::default(),
        });
        let sources: Vec<Source> = sources.collect();
        let store = Arc::new_cyclic(|me| Self {
            sources,
            gate,
            stapler,
            background,
            by_id: Index::new(),
            by_name: Index::new(),
            writing: Mutex::new(()),
            own_tags: Index::new(),
            refused: Mutex::default(),
            keys: Arc::default(),
            folders: Folders::default(),
            generation,
            tally: Tally::default(),
            me: me.clone(),
        });
        let findings = store.first_scan().await?;
        Ok((store, findings))
    }

    /// The certificates for a name: those that have it exactly before those whose wildcard covers it; of either by kind of key,
    /// the one that costs a handshake least first ([`preference`](super::preference)); of one kind the newest not-before; and
    /// behind all of them in the same order those that have expired, whether they are served or not. In any spelling. Whether the
    /// client can use them is not looked at.
    pub fn find(&self, name: &str) -> Vec<Arc<Certificate>> {
        let name = normalise(name);
        let mut found = self.with_name(&name);
        if let Some(wildcard) = wildcard_of(&name) {
            let exact = found.len();
            for certificate in self.with_name(&wildcard) {
                if !found.iter().take(exact).any(|found| Arc::ptr_eq(found, &certificate)) {
                    found.push(certificate);
                }
            }
        }
        let now = unix_now();
        // Stable, and nearly always there is nothing to move.
        found.sort_by_key(|certificate| certificate.is_past_its_end_at(now));
        found
    }

    /// What [`find`](Self::find) gives, in its order, but at most `most` of it: those that come first in their source, then
    /// those that come second, and so on. So whoever may write to one source cannot crowd out what others have for a
    /// name, however many pairs he makes and however new they are.
    pub fn find_in_all_sources(&self, name: &str, most: usize) -> Vec<Arc<Certificate>> {
        let found = self.find(name);
        if found.len() <= most {
            return found;
        }
        let mut so_far = HashMap::new();
        let mut turns = Vec::with_capacity(found.len());
        for (place, certificate) in found.iter().enumerate() {
            let source = certificate.entry.get().and_then(Weak::upgrade).map(|it| Arc::as_ptr(&it.source));
            let turn: &mut usize = so_far.entry(source).or_default();
            turns.push((*turn, place));
            *turn += 1;
        }
        turns.sort_unstable();
        let mut places: Vec<usize> = turns.into_iter().take(most).map(|(_, place)| place).collect();
        places.sort_unstable();
        places.into_iter().filter_map(|place| found.get(place).cloned()).collect()
    }

    /// The newest good certificate of this id.
    pub fn by_id(&self, id: &str) -> Option<Arc<Certificate>> {
        self.by_id.find(id).map(|entry| entry.fresh.current())
    }

    /// Those with a tag, ordered by id. Looks at every certificate, unless no source and no pair has that tag.
    pub fn tagged(&self, key: &str, value: &str) -> Vec<Arc<Certificate>> {
        let mut tags = self.sources.iter().flat_map(|source| source.tags.iter());
        if !tags.any(|tag| tag.0 == key && tag.1 == value)
            && self.own_tags.find(&format!("{key}\0{value}")).is_none()
        {
            return Vec::new();
        }
        let mut found: Vec<_> = self
            .by_id
            .values()
            .map(|entry| entry.fresh.current())
            .filter(|certificate| certificate.has_tag(key, value))
            .collect();
        found.sort_by(|one, other| one.id().cmp(other.id()));
        found
    }

    /// The strict check: makes sure that a certificate is not older than its files before a handshake is answered with
    /// it. Two `stat`s where nothing changed; otherwise waits for the reload, at most the source's
    /// `reload_wait`. For a source with `freshness = "events"` it tells what is known and looks at nothing.
    pub async fn ensure_fresh(&self, certificate: &Arc<Certificate>) -> Ensured {
        let Some(entry) = self.entry_of(certificate) else { return Ensured::Withdrawn };
        let outcome = match entry.source.freshness {
            Freshness::Strict => entry.fresh.ensure(entry.source.reload_wait).await,
            Freshness::Events => entry.fresh.known(),
        };
        let withdraws = entry.source.on_delete == OnDelete::Withdraw;
        let current = entry.fresh.current();
        let why = match outcome {
            Outcome::Unchanged | Outcome::Reloaded => {
                return match Arc::ptr_eq(&current, certificate) {
                    true => Ensured::Unchanged,
                    false => Ensured::Replaced(current),
                };
            }
            Outcome::KeptLastGood(reason) => Kept::Refused(reason),
            // The reload has taken it out of the index.
            Outcome::Gone(_) if withdraws => return Ensured::Withdrawn,
            Outcome::Gone(reason) => Kept::Gone(reason),
            // Whether the files come back is not known yet, and this handshake cannot wait for it.
            Outcome::TimedOut if withdraws && entry.fresh.is_missing() => return Ensured::Withdrawn,
            Outcome::TimedOut => {
                self.tally.timed_out.fetch_add(1, Ordering::Relaxed);
                Kept::TimedOut
            }
        };
        self.tally.kept.fetch_add(1, Ordering::Relaxed);
        Ensured::Kept { certificate: current, why }
    }

    /// The entry that is live under a certificate's id: nearly always the one it is of.
    fn entry_of(&self, certificate: &Certificate) -> Option<Arc<Entry>> {
        let own = certificate.entry.get().and_then(Weak::upgrade);
        match own.filter(|entry| entry.is_live.load(Ordering::Acquire)) {
            Some(entry) => Some(entry),
            None => self.by_id.find(certificate.id()),
        }
    }

    /// How many private keys are kept ready for signing, at most. Takes effect as keys are used.
    pub fn keep_keys(&self, most: usize) {
        self.keys.set_capacity(most);
    }

    /// Pairs that are live.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In the order of the configuration.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Arc<CertificateSource>> {
        self.sources.iter().map(|source| &source.config)
    }

    /// The folders of a source, as of its last scan, and which they were then.
    pub(super) fn folders(&self, position: usize) -> Vec<(PathBuf, FileIdentity)> {
        self.sources.get(position).map_or_else(Vec::new, |source| lock(&source.tree).folders())
    }

    /// The number of the newest change, of certificates or of anything else. One that goes live, or goes, has its number once
    /// lookups find it so.
    pub fn newest_change(&self) -> u64 {
        self.generation.current()
    }

    pub fn background(&self) -> &Handle {
        &self.background
    }

    /// Certificates with this very name, best first.
    fn with_name(&self, name: &str) -> Vec<Arc<Certificate>> {
        let Some(entries) = self.by_name.find(name) else { return Vec::new() };
        let mut found: Vec<_> = entries
            .all()
            .iter()
            .map(|entry| entry.fresh.current())
            // A replacement that lost the name is current a moment before the index knows.
            .filter(|certificate| certificate.names().iter().any(|own| own == name))
            .collect();
        let place = |one: &Certificate| (preference(one.key_algorithm()), Reverse(one.not_before()));
        found.sort_by(|one, other| place(one).cmp(&place(other)).then_with(|| one.id().cmp(other.id())));
        found
    }

    /// Makes entries live, in place of those that have the same id.
    fn register(&self, entries: &[Arc<Entry>]) {
        let _writing = lock(&self.writing);
        for entry in entries {
            if let Some(old) = self.by_id.find(&entry.id) {
                self.unindex(&old, old.fresh.current().names());
                self.count_tags(&old, &old.fresh.current(), false);
                old.is_live.store(false, Ordering::Release);
            }
            let certificate = entry.fresh.current();
            self.count_tags(entry, &certificate, true);
            let _ = certificate.entry.set(Arc::downgrade(entry));
            entry.is_live.store(true, Ordering::Release);
        }
        self.by_id.add_all(entries.iter().map(|entry| (entry.id.clone(), entry.clone())), |_, entry| entry);
        let certificates: Vec<_> = entries.iter().map(|entry| (entry, entry.fresh.current())).collect();
        let names = certificates.iter().flat_map(|(entry, certificate)| {
            certificate.names().iter().map(|name| (Arc::from(name.as_str()), (*entry).clone()))
        });
        self.by_name.add_all(names, Named::with);
        self.generation.next();
    }

    /// Follows the names of an entry whose certificate was replaced.
    fn reindex(&self, id: &str, old: &Certificate, new: &Arc<Certificate>) {
        let _writing = lock(&self.writing);
        // Not that of another pair that has taken over the id.
        if let Some(entry) = self.by_id.find(id).filter(|entry| Arc::ptr_eq(&entry.fresh.current(), new)) {
            self.count_tags(&entry, old, false);
            self.count_tags(&entry, new, true);
            let _ = new.entry.set(Arc::downgrade(&entry));
            let lost: Vec<String> =
                old.names().iter().filter(|name| !new.names().contains(name)).cloned().collect();
            self.unindex(&entry, &lost);
            for name in new.names().iter().filter(|name| !old.names().contains(name)) {
                self.by_name.change(name, |present| Some(Named::with(present, entry.clone())));
            }
        }
        self.generation.next();
    }

    /// Takes a pair whose files were deleted out of the index. Should its paths lead to files again without its folder
    /// being changed (they are links), a scan finds it among those that were refused.
    fn withdraw(&self, id: &str, last: &Arc<Certificate>) {
        let writing = lock(&self.writing);
        let entry = self.by_id.find(id).filter(|entry| Arc::ptr_eq(&entry.fresh.current(), last));
        let Some(entry) = entry else { return };
        self.unindex(&entry, last.names());
        self.count_tags(&entry, last, false);
        self.by_id.change(id, |_| None);
        entry.is_live.store(false, Ordering::Release);
        drop(writing);
        self.generation.next();
        let source = self.sources.iter().position(|source| Arc::ptr_eq(&source.config, &entry.source));
        if let (Some(source), Some(not_loaded)) = (source, entry.fresh.give_up()) {
            let candidate = Candidate { id: entry.id.clone(), files: entry.fresh.files().to_vec() };
            let reason = not_loaded.reason.clone();
            let refused = Refused { candidate, source, reason, not_loaded: Some(not_loaded) };
            lock(&self.refused).insert(refused.key(), refused);
        }
    }

    /// Tags that are the source's are not counted: they are known without.
    fn count_tags(&self, entry: &Entry, certificate: &Certificate, more: bool) {
        let of_source =
            |key: &str, value: &str| entry.source.tags.get(key).is_some_and(|source| source == value);
        for (key, value) in certificate.tags().iter().filter(|(key, value)| !of_source(key, value)) {
            self.own_tags.change(&format!("{key}\0{value}"), |count| {
                let count = count.copied().unwrap_or(0);
                let count = if more { count.saturating_add(1) } else { count.saturating_sub(1) };
                (count > 0).then_some(count)
            });
        }
    }

    fn unindex(&self, entry: &Arc<Entry>, names: &[String]) {
        for name in names {
            self.by_name.change(name, |present| present?.without(entry));
        }
    }
}

/// The entries of one name. Nearly always there is one, which costs no list.
#[derive(Clone)]
enum Named {
    One(Arc<Entry>),
    Several(Arc<[Arc<Entry>]>),
}

impl Named {
    fn all(&self) -> &[Arc<Entry>] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Several(entries) => entries,
        }
    }

    fn with(present: Option<&Self>, entry: Arc<Entry>) -> Self {
        match present {
            None => Self::One(entry),
            Some(present) => Self::Several(present.all().iter().cloned().chain([entry]).collect()),
        }
    }

    fn without(&self, entry: &Arc<Entry>) -> Option<Self> {
        let others: Vec<_> = self.all().iter().filter(|other| !Arc::ptr_eq(other, entry)).cloned().collect();
        match others.as_slice() {
            [] => None,
            [one] => Some(Self::One(Arc::clone(one))),
            _ => Some(Self::Several(others.into())),
        }
    }
}

impl std::fmt::Debug for CertificateStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CertificateStore").field("certificates", &self.len()).finish_non_exhaustive()
    }
}

/// What the strict check found.
#[derive(Debug)]
pub enum Ensured {
    /// The certificate is what its files hold.
    Unchanged,
    /// The files hold this one now; it has the same id, and perhaps other names.
    Replaced(Arc<Certificate>),
    /// The files hold nothing that may be served. This is the last good one.
    Kept { certificate: Arc<Certificate>, why: Kept },
    /// The store has no certificate of this id (any more).
    Withdrawn,
}

/// Why the last good certificate is served.
#[derive(Debug, Clone)]
pub enum Kept {
    Refused(Reason),
    Gone(Reason),
    /// The reload took longer than the source's `reload_wait`; it goes on.
    TimedOut,
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the certificate source \"{name}\" cannot be read at {}; check the path and its permissions", path.display())]
    Source { name: String, path: PathBuf, source: io::Error },
    #[error("the runtime that reads certificates has ended; start the gateway again")]
    Ended,
}

/// A thread that panicked while it held the lock left at worst a change half done in a way every reader tolerates.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
