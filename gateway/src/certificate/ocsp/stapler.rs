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

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering as Memory};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use der::DateTime;
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{info, warn};

use super::cache::Cache;
use super::features::Features;
use super::fetch::Responder;
use super::schedule::{self, Jitter};
use super::slot::{Origin, Status};
use super::turns::Turns;
use super::{OcspError, Slot, Staple, request, response};
use crate::certificate::{Certificate, unix_now};
use crate::config::{CertificateSource, Ocsp};
use crate::telemetry::error_chain;

/// When a place in the queue has to wait for another of the same slot that is under way.
const MEANWHILE: Duration = Duration::from_secs(1);

/// How many are sorted, and how many are given or refused a place, before the task looks at what else there is: about a
/// millisecond each.
const AT_A_TIME: usize = 1_000;

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

struct Shared {
    settings: Settings,
    cache: Option<Cache>,
    fetched: AtomicU64,
    failed: AtomicU64,
    stale: AtomicU64,
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
        let read = |counter: &AtomicU64| counter.load(Memory::Relaxed);
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

impl Shared {
    /// Takes over what an earlier run was told, if nothing is known yet. Blocks for one small file.
    fn recall(&self, certificate: &Certificate, slot: &Slot) {
        if slot.status() != Status::Missing {
            return;
        }
        let cached = self.cache.as_ref().and_then(|cache| cache.read(certificate.fingerprint()));
        let Some(cached) = cached else { return };
        if let Ok(staple) = judge(&cached, certificate) {
            return slot.offer(staple, Origin::Cache);
        }
        // One that is not good any more is no news: it is fetched anew. But a revocation does not run out.
        let Ok((leaf, issuer)) = leaf_and_issuer(certificate) else { return };
        if let Some(error) = response::past_revocation(&cached, leaf, issuer, unix_now()) {
            // Anew, so that it is not forgotten for its age.
            self.write(certificate.fingerprint(), &cached);
            report(certificate, slot, &error, None, "OCSP staple not fetched");
        }
    }

    /// What a responder says, kept for the next run.
    async fn fetch(self: &Arc<Self>, due: &Attempt) -> Result<Staple, OcspError> {
        let (leaf, issuer) = leaf_and_issuer(&due.certificate)?;
        let request = request::encode(leaf, issuer)?;
        let Settings { connect_timeout, timeout, .. } = self.settings;
        let answer = due.responder.as_ref().map_err(|url| OcspError::Url { url: url.to_string() })?;
        let answer = answer.ask(&request, due.post, connect_timeout, timeout).await?;
        let judged = judge(&answer, &due.certificate);
        // A good one from before a revocation is not kept for the next run either.
        let judged = judged.and_then(|staple| due.slot.check_revocation(&staple).map(|()| staple));
        if judged.as_ref().map_or_else(|error| due.slot.is_news_for_the_cache(error), |_staple| true) {
            let (shared, fingerprint) = (Arc::clone(self), due.certificate.fingerprint().to_owned());
            off_the_runtime(move || shared.write(&fingerprint, &answer)).await;
        }
        judged
    }

    /// Makes the cache say what the issuer said last: that the certificate is good, or that it is revoked.
    fn write(&self, fingerprint: &str, response: &[u8]) {
        let Some(cache) = &self.cache else { return };
        if let Err(error) = cache.write(fingerprint, response) {
            warn!(fingerprint, %error, "OCSP staple not kept for the next start");
        }
    }

    async fn attempt(self: Arc<Self>, attempt: Attempt) -> Done {
        if attempt.slot.last_staple().is_none() && attempt.failures == 0 {
            let (shared, certificate, slot) =
                (self.clone(), attempt.certificate.clone(), attempt.slot.clone());
            off_the_runtime(move || shared.recall(&certificate, &slot)).await;
            if attempt.slot.staple().is_some() {
                return Done { attempt, result: Ok(None) };
            }
        }
        let result = self.fetch(&attempt).await;
        Done { attempt, result: result.map(Some) }
    }
}

/// What blocks on the disk, which may be a slow one.
async fn off_the_runtime(work: impl FnOnce() + Send + 'static) {
    // It fails only if the work panicked, which was printed, or the runtime is ending.
    let _ = tokio::task::spawn_blocking(work).await;
}

/// One turn of a certificate.
struct Attempt {
    certificate: Arc<Certificate>,
    source: Arc<CertificateSource>,
    slot: Arc<Slot>,
    /// The error is what its URL is.
    responder: Result<Responder, Box<str>>,
    post: bool,
    failures: u32,
}

/// What came of it: `None` if the cache had it.
struct Done {
    attempt: Attempt,
    result: Result<Option<Staple>, OcspError>,
}

/// A place in the queue.
struct Due {
    at: Instant,
    followed: Followed,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

/// A responder that did not answer.
struct Rest {
    failures: u32,
    until: Instant,
}

struct Task {
    shared: Arc<Shared>,
    queue: BinaryHeap<Reverse<Due>>,
    /// Whose time has come.
    waiting: Turns<Followed>,
    running: JoinSet<Done>,
    /// By the responder's name.
    resting: HashMap<String, Rest>,
    jitter: Jitter,
}

impl Task {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            queue: BinaryHeap::new(),
            waiting: Turns::default(),
            running: JoinSet::new(),
            resting: HashMap::new(),
            jitter: Jitter::default(),
        }
    }

    async fn run(mut self, mut work: mpsc::UnboundedReceiver<Followed>) {
        loop {
            self.line_up();
            self.begin_waiting();
            let next = self.next();
            tokio::select! {
                followed = work.recv() => match followed {
                    Some(followed) => self.follow(followed),
                    None => return,
                },
                Some(done) = self.running.join_next() => self.finish(done),
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    /// When there is something to do, if nothing comes before.
    fn next(&self) -> Option<Instant> {
        if self.has_place() && !self.waiting.is_empty() {
            return Some(Instant::now());
        }
        self.queue.peek().map(|Reverse(due)| due.at)
    }

    fn has_place(&self) -> bool {
        self.running.len() < self.shared.settings.at_once
    }

    fn follow(&mut self, followed: Followed) {
        let Some(certificate) = followed.certificate.upgrade() else { return };
        let Some(slot) = certificate.staples() else { return };
        let wait = match slot.last_staple() {
            Some(staple) if followed.fetch => {
                schedule::first_refresh_in(&staple, unix_now(), &mut self.jitter)
            }
            Some(staple) => until_it_runs_out(&staple),
            None => Duration::ZERO,
        };
        let mut at = Instant::now() + wait;
        if followed.fetch {
            // Of the same leaf with other files: it is not asked for earlier than was planned.
            let mut record = slot.record();
            at = record.due.map_or(at, |due| due.max(at));
            record.due = Some(at);
        }
        self.push(at, followed);
    }

    /// Sorts what is due, as much of it as takes a moment.
    fn line_up(&mut self) {
        let now = Instant::now();
        for _ in 0..AT_A_TIME {
            match self.queue.peek() {
                Some(Reverse(due)) if due.at <= now => {}
                _ => return,
            }
            if let Some(Reverse(due)) = self.queue.pop() {
                self.sort(due.followed, now);
            }
        }
    }

    /// Tells of a staple that has run out, and puts the certificate into its line if it is to be fetched for.
    fn sort(&mut self, followed: Followed, now: Instant) {
        let Some(certificate) = followed.certificate.upgrade() else { return };
        let Some(slot) = certificate.staples() else { return };
        if slot.has_just_expired(unix_now()) {
            self.shared.stale.fetch_add(1, Memory::Relaxed);
            let must_staple = slot.must_staple();
            warn!(
                certificate = certificate.id(),
                must_staple, "OCSP staple has run out and is not sent any more"
            );
        }
        if !followed.fetch {
            // Without one it is over: the next file brings a place of its own.
            if let Some(staple) = slot.staple() {
                self.push(now + until_it_runs_out(&staple), followed);
            }
            return;
        }
        let url = slot.responder().unwrap_or_default();
        let source = Arc::clone(&followed.source);
        match Responder::parse(url) {
            Ok(responder) => self.waiting.push(&source.name, responder.name(), followed),
            Err(_invalid) => self.waiting.push(&source.name, url, followed),
        }
    }

    /// Gives free places to those whose turn it is, as far as that takes a moment: of 100,000 that name a responder which
    /// rests, none takes a place.
    fn begin_waiting(&mut self) {
        let now = Instant::now();
        for _ in 0..AT_A_TIME {
            if !self.has_place() {
                return;
            }
            match self.waiting.take() {
                Some(followed) => self.begin(followed, now),
                None => return,
            }
        }
    }

    fn begin(&mut self, followed: Followed, now: Instant) {
        let Some(certificate) = followed.certificate.upgrade() else { return };
        let Some(slot) = certificate.staples().cloned() else { return };
        let url = slot.responder().unwrap_or_default();
        let responder = Responder::parse(url).map_err(|_invalid| Box::from(url));
        let mut record = slot.record();
        let later = match record.due {
            // Another value of the same leaf has a place in the queue too.
            _ if record.under_way => Some(now + MEANWHILE),
            Some(due) if due > now => Some(due),
            _ => self.rest_of(responder.as_ref().ok(), now),
        };
        if let Some(later) = later {
            drop(record);
            return self.push(later, followed);
        }
        record.under_way = true;
        let failures = record.failures;
        drop(record);
        let post = failures % 2 == 1;
        let attempt = Attempt { certificate, source: followed.source, slot, responder, post, failures };
        self.running.spawn(self.shared.clone().attempt(attempt));
    }

    /// When the responder may be asked again, if that is later.
    fn rest_of(&mut self, responder: Option<&Responder>, now: Instant) -> Option<Instant> {
        let until = self.resting.get(responder?.name())?.until;
        // Not all of its certificates at once.
        (until > now).then(|| until + self.jitter.shorten(MEANWHILE))
    }

    fn finish(&mut self, done: Result<Done, JoinError>) {
        // One that panicked takes its place in the queue with it; the panic was printed.
        let Ok(Done { attempt, result }) = done else { return };
        let now = unix_now();
        let Attempt { certificate, source, slot, responder, .. } = attempt;
        let wait = match result {
            Ok(fetched) => {
                let is_fetched = fetched.is_some();
                if let Some(staple) = fetched {
                    self.shared.fetched.fetch_add(1, Memory::Relaxed);
                    if let Ok(responder) = &responder {
                        self.resting.remove(responder.name());
                    }
                    let until = time(staple.next_update());
                    info!(certificate = certificate.id(), until, "OCSP staple fetched");
                    slot.offer(staple, Origin::Fetched);
                }
                slot.record().failures = 0;
                match slot.last_staple() {
                    Some(staple) if is_fetched => {
                        schedule::refresh_in(&staple, now, self.shared.settings.floor, &mut self.jitter)
                    }
                    Some(staple) => schedule::first_refresh_in(&staple, now, &mut self.jitter),
                    None => Duration::ZERO,
                }
            }
            Err(error) => {
                self.shared.failed.fetch_add(1, Memory::Relaxed);
                if let (true, Ok(responder)) = (error.is_about_the_responder(), &responder) {
                    self.let_rest(responder.name());
                }
                report(&certificate, &slot, &error, None, "OCSP staple not fetched");
                let mut record = slot.record();
                record.failures = record.failures.saturating_add(1);
                schedule::retry_in(record.failures, &mut self.jitter)
            }
        };
        let at = Instant::now() + wait;
        {
            let mut record = slot.record();
            record.under_way = false;
            record.due = Some(at);
        }
        self.push(at, Followed { certificate: Arc::downgrade(&certificate), source, fetch: true });
    }

    fn let_rest(&mut self, responder: &str) {
        let now = Instant::now();
        // Those that were not asked since belong to certificates that are gone.
        self.resting.retain(|_, rest| rest.until + Duration::from_secs(3600) > now);
        let rest = self.resting.entry(responder.to_owned()).or_insert(Rest { failures: 0, until: now });
        // Several that were under way together have failed once.
        if rest.until <= now {
            rest.failures = rest.failures.saturating_add(1);
            rest.until = now + schedule::rest_for(rest.failures, &mut self.jitter);
        }
    }

    fn push(&mut self, at: Instant, followed: Followed) {
        self.queue.push(Reverse(Due { at, followed }));
    }
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

fn leaf_and_issuer(
    certificate: &Certificate,
) -> Result<(&CertificateDer<'static>, &CertificateDer<'static>), OcspError> {
    let issuer = certificate.issuers().first().ok_or(OcspError::NoIssuer)?;
    Ok((certificate.leaf(), issuer))
}

fn until_it_runs_out(staple: &Staple) -> Duration {
    let seconds = staple.next_update().saturating_sub(unix_now()).saturating_add(1);
    // An instant in a hundred years is one that every clock can tell.
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(100 * 365 * 24 * 3600))
}

fn time(seconds: i64) -> String {
    let time = DateTime::from_unix_duration(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    time.map(|time| time.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
