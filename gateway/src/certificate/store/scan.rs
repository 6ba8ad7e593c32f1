//! Finding out what changed in the sources.
//!
//! A scan of a source lists the folders that changed, looks at every file (`stat` only), loads pairs that are new or were
//! refused and changed since, and reloads the live ones that changed. One runs at a time for each source; whoever asks
//! meanwhile shares it if it began after they came, and waits for the next one otherwise. It looks at files in batches on
//! blocking threads and yields in between, so a scan of 100,000 pairs takes a share of one core and holds up nobody.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::entry::{Entry, Refused};
use super::left_out::Remainder;
use super::status::Finding;
use super::{CertificateStore, Source, StoreError, lock};
use crate::certificate::source::directory::{Candidate, LeftOut};
use crate::config::{Freshness, OnDelete};
use crate::freshness::SingleFlight;
use crate::telemetry::{error_chain, one_line};

/// How long after a scan a name that is not found may cause the next, for each folder and file in the sources. A `stat`
/// takes about 1 us, so clients, who choose those names, can make the store scan for a tenth of the time. (Measuring
/// the scan instead would take a busy machine for a large tree.)
const PAUSE: Duration = Duration::from_micros(10);

/// How long a handshake waits for its turn to have the sources looked at: the pause of some 3,000 pairs. With more, a
/// name that was just added may be refused until the pause is over, unless the watch finds it first.
const TURN: Duration = Duration::from_millis(100);

/// How long [`CertificateStore::rescan`] waits for sources whose file system does not answer. Their scans go on.
const RESCAN: Duration = Duration::from_secs(30);

/// Threads that read and judge pairs at once, for each processor: while one waits for the disk, others judge.
const READERS: usize = 8;

/// Pairs that are looked at in one go: less than a millisecond.
const BATCH: usize = 256;

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

/// The numbers of the scans of a source.
#[derive(Debug, Default)]
pub(super) struct Scans {
    flight: SingleFlight,
    begun: AtomicU64,
    done: AtomicU64,
    last: Mutex<Last>,
    left_out: Mutex<Remainder>,
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

    pub(super) fn left_out(&self) -> MutexGuard<'_, Remainder> {
        lock(&self.left_out)
    }

    /// When clients may cause the next scan.
    fn next_turn(&self) -> Option<Instant> {
        lock(&self.last).next_turn
    }
}

impl std::ops::AddAssign for ScanSummary {
    fn add_assign(&mut self, other: Self) {
        self.folders += other.folders;
        self.added += other.added;
        self.changed += other.changed;
        self.refused += other.refused;
    }
}

/// What the looking part of a scan found.
#[derive(Default)]
struct Found {
    folders: usize,
    listed: HashSet<PathBuf>,
    candidates: Vec<Candidate>,
    changed: Vec<Arc<Entry>>,
    left_out: Vec<LeftOut>,
}

impl CertificateStore {
    /// Picks up whatever was added or changed in any source, as at SIGHUP.
    pub async fn rescan(self: &Arc<Self>) -> ScanSummary {
        let mut scans = tokio::task::JoinSet::new();
        for position in 0..self.sources.len() {
            let store = self.clone();
            scans.spawn_on(async move { store.rescan_source(position).await }, &self.background);
        }
        let mut total = ScanSummary::default();
        let deadline = Instant::now() + RESCAN;
        while let Ok(Some(summary)) = tokio::time::timeout_at(deadline, scans.join_next()).await {
            total += summary.unwrap_or_default();
        }
        total
    }

    /// The same for one source, by its position in the configuration. The watch calls this.
    pub async fn rescan_source(self: &Arc<Self>, position: usize) -> ScanSummary {
        let Some(source) = self.sources.get(position) else { return ScanSummary::default() };
        let entered = source.scans.begun.load(Ordering::SeqCst);
        self.scan_since(position, source, entered).await;
        lock(&source.scans.last).summary
    }

    /// Like [`rescan`](Self::rescan), and pairs that were refused are tried again although their files did not change:
    /// after the policies that judge them did.
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
    /// than [`TURN`]: then that source is not looked at. Nor are those with `freshness = "events"`, for whose file systems
    /// nobody waits.
    pub async fn look_again(self: &Arc<Self>, name: &str) -> bool {
        let begun = Instant::now();
        for (position, source) in self.sources.iter().enumerate() {
            if source.config.freshness == Freshness::Events {
                continue;
            }
            if let Some(turn) = source.scans.next_turn() {
                if turn > Instant::now() + TURN {
                    continue;
                }
                tokio::time::sleep_until(turn).await;
            }
            let entered = source.scans.begun.load(Ordering::SeqCst);
            // A scan that outlasts the wait goes on, and the next handshake has its result.
            let deadline = begun + source.config.reload_wait;
            let _ = tokio::time::timeout_at(deadline, self.scan_since(position, source, entered)).await;
        }
        !self.find(name).is_empty()
    }

    /// Scans that have finished, over all sources.
    pub(super) fn scans(&self) -> u64 {
        self.sources.iter().map(|source| source.scans.done()).sum()
    }

    /// Returns when a scan of the source has finished that began after number `entered`.
    async fn scan_since(self: &Arc<Self>, position: usize, source: &Source, entered: u64) {
        while source.scans.done() <= entered {
            let (mut progress, started) = source.scans.flight.join(&self.background, |progress| {
                let store = self.clone();
                async move {
                    store.scan(position).await;
                    drop(progress);
                }
            });
            progress.mark_unchanged();
            // The scan sends nothing: this is the end of it.
            let _ = progress.changed().await;
            if started && source.scans.done() <= entered {
                // It was dropped with its runtime.
                return;
            }
        }
    }

    async fn scan(self: &Arc<Self>, position: usize) {
        let Some(source) = self.sources.get(position) else { return };
        let number = source.scans.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let found = self.look(position).await;
        let paths = found.as_ref().map_or(0, |found| {
            found.folders + found.left_out.len() + 4 * (self.len() + lock(&self.refused).len())
        });
        let pause = PAUSE.saturating_mul(u32::try_from(paths).unwrap_or(u32::MAX));
        let next_turn = Instant::now().checked_add(pause);
        let summary = match found {
            Ok(found) => {
                let news = source.scans.left_out().found(&found.left_out, Instant::now());
                for reason in news {
                    warn!(source = source.config.name, reason, "left out");
                }
                self.take_in(position, found).await
            }
            Err(error) => {
                let news = source.scans.left_out().failed(&error);
                match news {
                    Some(error) if source.config.on_delete == OnDelete::Withdraw => {
                        warn!(
                            error,
                            "certificates cannot be scanned; those whose files are gone are withdrawn"
                        );
                    }
                    Some(error) => {
                        warn!(error, "certificates cannot be scanned; those that are loaded keep serving");
                    }
                    None => {}
                }
                ScanSummary::default()
            }
        };
        *lock(&source.scans.last) = Last { summary, next_turn };
        source.scans.done.store(number, Ordering::SeqCst);
    }

    /// The scan at the start, whose findings are returned rather than logged.
    pub(super) async fn first_scan(self: &Arc<Self>) -> Result<Vec<Finding>, StoreError> {
        for (position, source) in self.sources.iter().enumerate() {
            let found = self.look(position).await?;
            source.scans.left_out().begin(&found.left_out, Instant::now());
            self.take_in(position, found).await;
        }
        Ok(self.findings())
    }

    async fn look(self: &Arc<Self>, position: usize) -> Result<Found, StoreError> {
        let mut found = self.on_blocking_thread(move |store| store.look_at_folders(position)).await??;
        let Some(source) = self.sources.get(position) else { return Ok(found) };
        let mut batch: Vec<Arc<Entry>> = Vec::new();
        for entries in self.by_id.by_shard() {
            batch.extend(entries.into_iter().filter(|entry| Arc::ptr_eq(&entry.source, &source.config)));
            if batch.len() >= BATCH {
                found.changed.extend(self.changed_of(std::mem::take(&mut batch)).await?);
            }
        }
        found.changed.extend(self.changed_of(batch).await?);
        let select = move |store: &Self| {
            store.select_candidates(position, &mut found);
            found
        };
        self.on_blocking_thread(select).await
    }

    async fn changed_of(self: &Arc<Self>, mut batch: Vec<Arc<Entry>>) -> Result<Vec<Arc<Entry>>, StoreError> {
        if batch.is_empty() {
            return Ok(batch);
        }
        let changed = move |_: &Self| {
            batch.retain(|entry| entry.fresh.has_changed());
            batch
        };
        self.on_blocking_thread(changed).await
    }

    async fn on_blocking_thread<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        self.background.spawn_blocking(move || work(&store)).await.map_err(|_ended| StoreError::Ended)
    }

    /// Blocks.
    fn look_at_folders(&self, position: usize) -> Result<Found, StoreError> {
        let Some(source) = self.sources.get(position) else { return Ok(Found::default()) };
        let look = lock(&source.tree).look().map_err(|error| StoreError::Source {
            name: source.config.name.clone(),
            path: source.config.path.clone(),
            source: error,
        })?;
        Ok(Found {
            folders: look.folders,
            listed: look.listed,
            candidates: look.candidates,
            left_out: look.left_out,
            changed: Vec::new(),
        })
    }

    /// Leaves the candidates that are worth loading: new ones, and refused ones that changed.
    fn select_candidates(&self, position: usize, found: &mut Found) {
        let Found { candidates, listed, .. } = found;
        let mut refused = lock(&self.refused);
        let is_listed = |candidate: &Candidate| {
            candidate
                .files
                .first()
                .and_then(|file| file.parent())
                .is_some_and(|folder| listed.contains(folder))
        };
        // Those of folders that were not listed are as they were.
        let mut still = HashSet::new();
        if !refused.is_empty() {
            still.extend(candidates.iter().map(|candidate| candidate.files.clone()));
        }
        candidates.retain(|candidate| {
            let is_live =
                self.by_id.find(&candidate.id).is_some_and(|entry| entry.fresh.files() == candidate.files);
            let key = (position, candidate.files.first().cloned().unwrap_or_default());
            match refused.get(&key) {
                // Looked at below.
                Some(refused) if refused.candidate == *candidate => return false,
                // One file was refused, and now it is half of a pair.
                Some(_) => drop(refused.remove(&key)),
                None => {}
            }
            !is_live
        });
        refused.retain(|_, refused| {
            if refused.source != position {
                return true;
            }
            let again = refused.not_loaded.as_ref().is_none_or(|not_loaded| not_loaded.is_worth_retrying());
            // A pair that is not there any more is forgotten; should it come back, its folder tells.
            // So is one whose file has become a part of another.
            let there = (!is_listed(&refused.candidate) || still.contains(&refused.candidate.files))
                && refused.candidate.files.iter().all(|file| file.symlink_metadata().is_ok());
            if again && there {
                candidates.push(refused.candidate.clone());
            }
            there
        });
        // A fixed order, so that which of two pairs with one id is served does not depend on the disk's.
        candidates.sort_by(|one, other| one.files.cmp(&other.files));
    }

    /// Loads and reloads what was found, a few at a time.
    async fn take_in(self: &Arc<Self>, position: usize, found: Found) -> ScanSummary {
        let Found { folders, candidates, changed, .. } = found;
        let mut summary = ScanSummary { folders, changed: changed.len(), ..ScanSummary::default() };
        // Two pairs with one id in one scan: the first in order has it.
        let mut ids = HashSet::new();
        let (candidates, later): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|candidate| ids.insert(candidate.id.clone()));
        for batch in [candidates, later] {
            let store = self.clone();
            let loaded = self.each_blocking(batch, move |candidate| store.load(position, candidate)).await;
            let mut entries = Vec::new();
            for loaded in loaded {
                match loaded {
                    Ok(entry) => entries.push(entry),
                    Err(refused) => {
                        summary.refused += 1;
                        self.remember(*refused);
                    }
                }
            }
            summary.added += entries.len();
            self.take_over(position, &entries);
        }
        self.each(changed, |entry| async move {
            entry.fresh.ensure_thoroughly(entry.source.reload_wait).await;
        })
        .await;
        summary
    }

    pub(super) fn take_over(&self, position: usize, entries: &[Arc<Entry>]) {
        if entries.is_empty() {
            return;
        }
        let mut refused = lock(&self.refused);
        for file in entries.iter().filter_map(|entry| entry.fresh.files().first()) {
            refused.remove(&(position, file.clone()));
        }
        drop(refused);
        self.register(entries);
        if self.is_scanning_again(position) {
            for entry in entries {
                info!(certificate = %entry.id, fingerprint = entry.fresh.current().fingerprint(), "certificate added");
            }
        }
    }

    fn remember(&self, refused: Refused) {
        let reason = error_chain(&*refused.reason);
        let known = lock(&self.refused).insert(refused.key(), refused.clone());
        let is_news = known.is_none_or(|known| error_chain(&*known.reason) != reason);
        // At the start they are findings.
        if is_news && self.is_scanning_again(refused.source) {
            warn!(certificate = %refused.candidate.id, error = one_line(&reason), "certificate not served");
        }
    }

    /// False during the scan at the start, whose findings are returned.
    fn is_scanning_again(&self, position: usize) -> bool {
        self.sources.get(position).is_some_and(|source| source.scans.begun.load(Ordering::SeqCst) > 0)
    }

    /// Runs `work` on every item, several at a time for each processor, each on a thread that may block, and returns the
    /// results in no order.
    pub(super) async fn each_blocking<I, O>(
        &self,
        items: Vec<I>,
        work: impl Fn(I) -> O + Clone + Send + 'static,
    ) -> Vec<O>
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = processors.saturating_mul(READERS).min(items.len());
        let items = Arc::new(Mutex::new(items.into_iter()));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..workers {
            let (items, work) = (items.clone(), work.clone());
            let worker = move || {
                let mut results = Vec::new();
                loop {
                    let Some(item) = lock(&items).next() else { return results };
                    results.push(work(item));
                }
            };
            tasks.spawn_blocking_on(worker, &self.background);
        }
        gathered(tasks).await
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
        gathered(tasks).await
    }
}

async fn gathered<O: 'static>(mut tasks: tokio::task::JoinSet<Vec<O>>) -> Vec<O> {
    let mut results = Vec::new();
    while let Some(finished) = tasks.join_next().await {
        results.extend(finished.unwrap_or_default());
    }
    results
}
