//! Finding out what changed in the sources.
//!
//! A scan lists the folders that changed, looks at every file (`stat` only), loads pairs that are new or were refused
//! and changed since, and reloads the live ones that changed. One runs at a time; whoever asks meanwhile shares it if it
//! began after they came, and waits for the next one otherwise.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::entry::{Entry, Refused};
use super::status::{Finding, Severity};
use super::{CertificateStore, StoreError, lock};
use crate::certificate::source::directory::{Candidate, LeftOut};
use crate::freshness::SingleFlight;
use crate::telemetry::error_chain;

/// How long after a scan a name that is not found may cause the next, for each folder and file in the sources. A `stat`
/// takes about 1 us, so clients, who choose those names, can make the store scan for a tenth of the time. (Measuring
/// the scan instead would take a busy machine for a large tree.)
const PAUSE: Duration = Duration::from_micros(10);

/// How long a handshake waits for its turn to have the sources looked at: the pause of some 3,000 pairs. With more, a
/// name that was just added may be refused until the pause is over, unless the watch finds it first.
const TURN: Duration = Duration::from_millis(100);

/// What a scan did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScanSummary {
    pub folders: usize,
    /// Pairs that went live.
    pub added: usize,
    /// Live pairs whose files had changed.
    pub changed: usize,
    /// Pairs that were tried and refused.
    pub refused: usize,
}

/// The numbers of the scans.
#[derive(Debug, Default)]
pub(super) struct Scans {
    flight: SingleFlight,
    begun: AtomicU64,
    done: AtomicU64,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    summary: ScanSummary,
    /// When clients may cause the next one.
    next_turn: Option<Instant>,
}

impl Scans {
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    /// When clients may cause the next scan.
    fn next_turn(&self) -> Option<Instant> {
        lock(&self.last).next_turn
    }
}

/// What the looking part of a scan found.
#[derive(Default)]
struct Found {
    folders: usize,
    candidates: Vec<(usize, Candidate)>,
    changed: Vec<Arc<Entry>>,
    left_out: Vec<(usize, LeftOut)>,
}

impl CertificateStore {
    /// Picks up whatever was added or changed. The file watcher calls this, and SIGHUP.
    pub async fn rescan(self: &Arc<Self>) -> ScanSummary {
        let entered = self.scans.begun.load(Ordering::SeqCst);
        self.scan_since(entered).await;
        lock(&self.scans.last).summary
    }

    /// The same, and pairs that were refused are tried again although their files did not change: after the policies
    /// that judge them did.
    pub async fn retry_refused(self: &Arc<Self>) -> ScanSummary {
        for entry in self.by_id.values() {
            entry.fresh.forget_failure();
        }
        for refused in lock(&self.refused).values_mut() {
            refused.not_loaded = None;
        }
        self.rescan().await
    }

    /// For a name that [`find`](Self::find) did not find: looks at the sources once more. True if it is known now.
    ///
    /// The answer is no older than the call, except where the pause that names chosen by clients are held to is longer
    /// than [`TURN`]: then it is `false` at once.
    pub async fn look_again(self: &Arc<Self>, name: &str) -> bool {
        let entered = self.scans.begun.load(Ordering::SeqCst);
        let longest = self.sources.iter().map(|source| source.config.reload_wait).max().unwrap_or_default();
        let deadline = Instant::now() + longest;
        if let Some(turn) = self.scans.next_turn() {
            if turn > Instant::now() + TURN {
                return false;
            }
            tokio::time::sleep_until(turn).await;
        }
        // A scan that outlasts the wait goes on, and the next handshake has its result.
        let _ = tokio::time::timeout_at(deadline, self.scan_since(entered)).await;
        !self.find(name).is_empty()
    }

    /// Returns when a scan has finished that began after number `entered`.
    async fn scan_since(self: &Arc<Self>, entered: u64) {
        while self.scans.done() <= entered {
            let (mut progress, started) = self.scans.flight.join(&self.background, |progress| {
                let store = self.clone();
                async move {
                    store.scan().await;
                    drop(progress);
                }
            });
            progress.mark_unchanged();
            // The scan sends nothing: this is the end of it.
            let _ = progress.changed().await;
            if started && self.scans.done() <= entered {
                // It was dropped with its runtime.
                return;
            }
        }
    }

    async fn scan(self: &Arc<Self>) {
        let number = self.scans.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let found = self.look().await;
        let paths =
            found.as_ref().map_or(0, |found| found.folders + 2 * (self.len() + lock(&self.refused).len()));
        let pause = PAUSE.saturating_mul(u32::try_from(paths).unwrap_or(u32::MAX));
        let next_turn = Instant::now().checked_add(pause);
        let summary = match found {
            Ok(found) => {
                for (source, left_out) in &found.left_out {
                    info!(source = self.source_name(*source), reason = error_chain(left_out), "left out");
                }
                self.take_in(found).await.0
            }
            Err(error) => {
                warn!(
                    error = error_chain(&error),
                    "certificates cannot be scanned; those that are loaded keep serving"
                );
                ScanSummary::default()
            }
        };
        *lock(&self.scans.last) = Last { summary, next_turn };
        self.scans.done.store(number, Ordering::SeqCst);
    }

    /// The scan at the start, whose findings are returned rather than logged.
    pub(super) async fn first_scan(self: &Arc<Self>) -> Result<Vec<Finding>, StoreError> {
        let mut found = self.look().await?;
        let left_out = std::mem::take(&mut found.left_out);
        self.take_in(found).await;
        let mut findings = self.findings();
        for (source, left_out) in left_out {
            findings.push(Finding::new(Severity::Note, self.source_name(source), error_chain(&left_out)));
        }
        Ok(findings)
    }

    async fn look(self: &Arc<Self>) -> Result<Found, StoreError> {
        let store = self.clone();
        self.background.spawn_blocking(move || store.look_now()).await.map_err(|_ended| StoreError::Ended)?
    }

    /// Blocks.
    fn look_now(&self) -> Result<Found, StoreError> {
        let mut found = Found::default();
        for (position, source) in self.sources.iter().enumerate() {
            let look = lock(&source.tree).look().map_err(|error| StoreError::Source {
                name: source.config.name.clone(),
                path: source.config.path.clone(),
                source: error,
            })?;
            found.folders += look.folders;
            found.left_out.extend(look.left_out.into_iter().map(|left_out| (position, left_out)));
            found.candidates.extend(look.candidates.into_iter().map(|candidate| (position, candidate)));
        }
        found.changed.extend(self.by_id.values().filter(|entry| entry.fresh.has_changed()));
        self.select_candidates(&mut found.candidates);
        Ok(found)
    }

    /// Leaves the candidates that are worth loading: new ones, and refused ones that changed.
    fn select_candidates(&self, candidates: &mut Vec<(usize, Candidate)>) {
        let mut refused = lock(&self.refused);
        candidates.retain(|(_, candidate)| {
            let is_live =
                self.by_id.find(&candidate.id).is_some_and(|entry| entry.fresh.files() == candidate.files);
            let first = candidate.files.first();
            match first.and_then(|first| refused.get(first)) {
                // Looked at below.
                Some(refused) if refused.candidate == *candidate => return false,
                // One file was refused, and now it is half of a pair.
                Some(_) => drop(first.and_then(|first| refused.remove(first))),
                None => {}
            }
            !is_live
        });
        refused.retain(|_, refused| {
            let again = refused.not_loaded.as_ref().is_none_or(|not_loaded| not_loaded.is_worth_retrying());
            // A pair that is not there any more is forgotten; should it come back, its folder tells.
            let there = refused.candidate.files.iter().all(|file| file.symlink_metadata().is_ok());
            if again && there {
                candidates.push((refused.source, refused.candidate.clone()));
            }
            there
        });
        // A fixed order, so that which of two pairs with one id is served does not depend on the disk's.
        candidates.sort_by(|one, other| one.1.files.cmp(&other.1.files));
    }

    /// Loads and reloads what was found, a few at a time.
    async fn take_in(self: &Arc<Self>, found: Found) -> (ScanSummary, usize) {
        let Found { folders, candidates, changed, .. } = found;
        let mut summary = ScanSummary { folders, changed: changed.len(), ..ScanSummary::default() };
        // Two pairs with one id in one scan: the first in order has it.
        let mut ids = std::collections::HashSet::new();
        let (candidates, later): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|(_, candidate)| ids.insert(candidate.id.clone()));
        for batch in [candidates, later] {
            let store = self.clone();
            let loaded = self
                .each(batch, move |(source, candidate)| {
                    let store = store.clone();
                    async move { store.load(source, candidate).await }
                })
                .await;
            let mut entries = Vec::new();
            for loaded in loaded {
                match loaded {
                    Ok(entry) => entries.push(entry),
                    Err(refused) => {
                        summary.refused += 1;
                        self.remember(refused);
                    }
                }
            }
            summary.added += entries.len();
            self.take_over(&entries);
        }
        let reloaded = self
            .each(changed, |entry| async move {
                entry.fresh.ensure(entry.source.reload_wait).await;
            })
            .await;
        (summary, reloaded.len())
    }

    fn take_over(&self, entries: &[Arc<Entry>]) {
        if entries.is_empty() {
            return;
        }
        let mut refused = lock(&self.refused);
        for file in entries.iter().filter_map(|entry| entry.fresh.files().first()) {
            refused.remove(file);
        }
        drop(refused);
        self.register(entries);
        if self.scans.done() > 0 {
            for entry in entries {
                info!(certificate = %entry.id, fingerprint = entry.fresh.current().fingerprint(), "certificate added");
            }
        }
    }

    fn remember(&self, refused: Refused) {
        let first: PathBuf = refused.candidate.files.first().cloned().unwrap_or_default();
        let reason = error_chain(&*refused.reason);
        let known = lock(&self.refused).insert(first, refused.clone());
        let is_news = known.is_none_or(|known| error_chain(&*known.reason) != reason);
        // At the start they are findings.
        if is_news && self.scans.begun.load(Ordering::SeqCst) > 0 {
            warn!(certificate = %refused.candidate.id, error = reason, "certificate not served");
        }
    }

    /// Runs `work` on every item, as many at a time as there are processors, and returns the results in no order.
    async fn each<I, O, F>(&self, items: Vec<I>, work: impl Fn(I) -> F + Clone + Send + 'static) -> Vec<O>
    where
        I: Send + 'static,
        O: Send + 'static,
        F: Future<Output = O> + Send + 'static,
    {
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
        let items = Arc::new(Mutex::new(items.into_iter()));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..workers {
            let (items, work) = (items.clone(), work.clone());
            let worker = async move {
                let mut results = Vec::new();
                loop {
                    let Some(item) = lock(&items).next() else { return results };
                    results.push(work(item).await);
                }
            };
            tasks.spawn_on(worker, &self.background);
        }
        let mut results = Vec::new();
        while let Some(finished) = tasks.join_next().await {
            results.extend(finished.unwrap_or_default());
        }
        results
    }
}
