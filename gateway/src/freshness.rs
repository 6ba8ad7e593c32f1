//! A value that is made from files and is never older than they are.
//!
//! Certificates and plugins are both kept in a [`Fresh`]. A handshake calls [`Fresh::ensure`] before it uses the value;
//! the file watcher and the slow scan call the same, earlier. Nothing here knows what the files mean: a [`Load`] does.
//! Worker threads only ever call `stat` here; reading, parsing and compiling run on the background runtime. Where even
//! `stat` may block, [`Fresh::known`] answers without a look, and is as old as the last one.
//!
//! # Why no stale value is handed out
//!
//! Claim: if an update of the files was complete (its last rename or write had returned) before `ensure` was called,
//! `ensure` does not answer `Unchanged` or `Reloaded` with a value from before that update.
//!
//! 1. The fast path answers `Unchanged` only if `stat` of every path, called after `ensure` was, gives exactly the
//!    identities (device, inode, size, modification and change time) that the value was read under. A rename that has
//!    returned is visible to every later `stat`, so at least one of them would differ, unless two states of a file
//!    share an identity. Two files alive at once differ in device and inode. A file that is written in place, or gets
//!    the inode number of a deleted one, carries a change time that the kernel gave it, and that is later than the one
//!    recorded, because a reading counts as *settled* only if the kernel's clock had already passed the recorded stamps
//!    when they were looked at ([`FileIdentity::is_settled`]). An unsettled reading is never trusted on the fast path:
//!    the files are read again, which costs a few readings in the milliseconds after a change and none later.
//! 2. The slow path answers `Reloaded` only from an attempt that *began* after `ensure` was called: attempts are
//!    numbered before their first `stat`, and the caller notes the number on entry. A reload that others began earlier
//!    is waited for, and then the files are looked at again, since it may have read them before the update.
//! 3. A path is followed by each `stat` anew, symbolic links and all. So it does not matter which component of it was
//!    replaced: the file, a link to it, a link to its folder (`..data` of Kubernetes, `live/` of certbot) or the folder.
//! 4. A missing optional file has an identity too: `stat` says "not found", and one that comes into being says
//!    something else from the moment its creation or rename has returned. Absence has no two states that could be
//!    confused, so it is settled at once. A file that came and went between two looks left the state that was read.
//! 5. Where the fast path leaves out files, what they hold now makes no other value; see "What a folder saves".
//!
//! What the identity leaves out, and why that is enough: names and contents. Two states with one identity would have to
//! be the same inode of the same device with the same change time; the kernel sets that at every write, truncation,
//! `chmod`, `link`, rename and `utimes`, and gives user space no call to set it. Size and modification time add nothing
//! to that argument on a local file system; they are compared because they cost nothing and tell states apart on network
//! file systems whose change time is coarse. Not seen at all: writes through `mmap` to a page that is dirty already (no
//! tool installs certificates so) and changes to the raw device below.
//!
//! What is left: a file system whose change times do not come from this machine's clock (NFS and other network file
//! systems), or a clock set back to the exact nanosecond of an earlier change.
//!
//! # What a folder saves
//!
//! A look at four files, two of which are seldom there, took 3.6 to 4.0 µs and as many entries of the kernel's caches, of
//! which those of a rarely used certificate are cold. For a value whose files are in one folder and led by the first
//! ([`Files::led_by_first`]) the fast path looks at the folder, which all of them share, and at the first file. Of the
//! others it leaves out, while the folder has the number that it had when all were looked at ([`folder::Folder::number`],
//! asked before the files are):
//!
//! - What was absent then, itself and not only behind a link: to come into being it needs an entry in the folder.
//! - The other required files (the key), unless they are links: that one was replaced or removed shows in the folder. It can
//!   only have been written in place, or its mode changed. As long as the first file (the chain) is what it was, the value
//!   could only become the same again, or refused; and refused means that the last good value goes on, which is this one.
//!   So what is handed out is no different. What is different is who finds out that the key was spoilt: not a handshake
//!   but the next file event or scan, which look at everything, as do all looks on the slow path and those at files that
//!   were refused.
//!
//! Any change in a folder makes the next look at each of its values one at everything, which is no more than it was
//! before: while a folder of 100,000 pairs gets a new one ten times a second, that is what the handshakes pay. Rejected: to
//! trust file events instead. The kernel queues them before a rename returns, so reading an empty queue would say "nothing
//! changed" for one system call, but queues overflow, links lead out of the tree, and network file systems send none.
//!
//! File systems that do not stamp their folders (some in user space) break this for what comes into being beside a
//! certificate, never for the certificate itself; there too the scan finds it.
//!
//! # Why no mixed pair is handed out
//!
//! [`file::read_together`] calls, in this order: `clock_gettime`; `stat` of each path; for each file `open`, `fstat`,
//! `read` to the end; `stat` of each path again. It counts only if each `fstat` and the second round equal the first
//! round, so it returns bytes that all files held together at one moment: the one between the last `read` and the
//! second round. A rename of any of them in between shows in `fstat` (of a file opened after it) or in the second round
//! (for one opened before). An update by two renames has one such moment that is half old and half new; there the loader refuses the pair (the key does not match) and the last
//! good value stays. A state that is refused may just be half way, so the reload goes on watching it for
//! [`HALF_DONE`] before it ends: a handshake that arrived between two quick updates then gets the second instead of a
//! value from before the first. A state that stays broken costs that wait once; from then on it is known by its
//! identities and costs its `stat`s only, with no read and no parse. (So an update that nobody asked for, and whose
//! successor then stays half done for longer than [`HALF_DONE`], is never served: nothing on disk has it any more. The
//! same goes for one whose successor passes through a missing file, if a file was missing for that long before it:
//! absence has no identity, so the second absence looks like the first, which is waited for no more. The stamps of the
//! folder would tell the two apart. They are not used, since any other pair's change would then look like news of the
//! missing file, and in a folder that changes often each handshake for it would wait for [`HALF_DONE`] again.)

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io::ErrorKind::NotFound;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

pub mod file;
pub mod folder;
pub mod single_flight;

mod judgement;

pub use file::{Contents, FileIdentity, Files, ReadError};
pub use folder::Folders;
pub use single_flight::SingleFlight;

use file::{Seen, Watched};
use judgement::{Failure, judge, judge_blocking, read_on};

/// How long a reload goes on watching files that were refused, in case an update is half done. Scripts take 1 to 50 ms
/// between the two files of a pair; 270 ms were seen where the disk's journal made the second rename wait.
const HALF_DONE: Duration = Duration::from_millis(500);

/// How often it looks meanwhile.
const LOOK: Duration = Duration::from_millis(2);

/// Longer than a tick of the clock that files are stamped with (10 ms at the least frequency kernels are built with).
const TICK: Duration = Duration::from_millis(12);

/// Why a value could not be made from its files.
pub type Reason = Arc<dyn Error + Send + Sync>;

/// Makes a value from files.
pub trait Load<T>: Send + Sync + 'static {
    /// Called on the background runtime with the files in the order of their paths, without optional ones that are
    /// missing. May wait, must not block for long.
    fn load(&self, files: Vec<Contents>) -> LoadFuture<'_, T>;

    /// Told of each change once; of a new value before anybody who waits for it is woken.
    fn changed(&self, change: Change<'_, T>) {
        let _ = change;
    }
}

pub type LoadFuture<'a, T> = Pin<Box<dyn Future<Output = Result<Arc<T>, Refusal>> + Send + 'a>>;

/// A loader's no.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub reason: Reason,
    /// When the same files may be judged differently. `None`: never, so they are not read again until they change.
    pub retry: Option<Duration>,
}

impl<E: Error + Send + Sync + 'static> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self { reason: Arc::new(error), retry: None }
    }
}

/// What became of files that changed.
pub enum Change<'a, T> {
    Replaced {
        old: &'a Arc<T>,
        new: &'a Arc<T>,
    },
    /// The last good value stays. Told once per state of the files, when it has lasted for a moment: an update that is
    /// seen half done is no news.
    Refused {
        kept: &'a Arc<T>,
        reason: &'a Reason,
        gone: bool,
    },
    /// The files are what the last good value was made from again.
    Restored {
        value: &'a Arc<T>,
    },
}

/// The answer of [`Fresh::ensure`].
#[derive(Debug, Clone)]
pub enum Outcome {
    Unchanged,
    Reloaded,
    /// The files were refused; the value is from before.
    KeptLastGood(Reason),
    /// A file is missing; the value is from before.
    Gone(Reason),
    /// The reload took longer than the caller could wait. It goes on.
    TimedOut,
}

/// A value, the files it comes from, and what is known of them.
pub struct Fresh<T> {
    files: Files,
    limit: usize,
    loader: Arc<dyn Load<T>>,
    background: Handle,
    state: ArcSwap<State<T>>,
    /// The number of the last attempt that began. An attempt takes its number before it looks at the files.
    begun: AtomicU64,
    reload: SingleFlight,
    /// Whether the loader was told of a refusal since the last good state.
    refusal_told: AtomicBool,
}

/// The files at one moment, and the newest value made until then.
struct State<T> {
    value: Arc<T>,
    /// Over the bytes and modes that `value` was made from.
    digest: [u8; 32],
    seen: Box<[Seen]>,
    /// When not to believe that equal identities mean equal files.
    doubt: Doubt,
    attempt: u64,
    /// Why `value` is older than `seen`.
    failure: Option<Failure>,
    /// Under which number of the folder everything was `seen` last, and what has to be looked at while it has that.
    rest: Rest,
}

/// The number of a folder and which files to look at, in one word; 0 if there is none. Whoever writes it has looked at
/// everything, and whoever reads an older one than was written looks at everything once more.
#[derive(Default)]
struct Rest(AtomicU64);

impl Rest {
    fn under(&self, number: u64) -> Option<Watched> {
        let word = self.0.load(Ordering::Relaxed);
        (word >> u16::BITS == number).then_some(Watched((word & u64::from(u16::MAX)) as u16))
    }

    fn set(&self, number: u64, watched: Watched) {
        self.0.store(number << u16::BITS | u64::from(watched.0), Ordering::Relaxed);
    }
}

#[derive(Clone, Copy)]
enum Doubt {
    Never,
    Always,
    From(Instant),
}

impl<T: Send + Sync + 'static> Fresh<T> {
    /// Reads the files and makes the first value. `limit` bounds the size of each required file; reloads run on
    /// `background`.
    pub async fn load(
        files: impl Into<Files>,
        limit: usize,
        loader: Arc<dyn Load<T>>,
        background: Handle,
    ) -> Result<Arc<Self>, NotLoaded> {
        let files: Files = files.into();
        let reading = read_on(&background, &files, limit).await;
        let (seen, settled) = (reading.seen.clone(), reading.settled);
        let judged = judge(&loader, &background, &files, reading, |_| None).await;
        Self::first(files, limit, loader, background, seen, settled, judged)
    }

    /// The same on a thread that may block, without a task for each step: for whoever loads many values.
    pub fn load_blocking(
        files: impl Into<Files>,
        limit: usize,
        loader: Arc<dyn Load<T>>,
        background: Handle,
    ) -> Result<Arc<Self>, NotLoaded> {
        let files: Files = files.into();
        let reading = file::read_together(&files, limit);
        let (seen, settled) = (reading.seen.clone(), reading.settled);
        let judged = judge_blocking(&loader, &background, &files, reading);
        Self::first(files, limit, loader, background, seen, settled, judged)
    }

    fn first(
        files: Files,
        limit: usize,
        loader: Arc<dyn Load<T>>,
        background: Handle,
        seen: Box<[Seen]>,
        settled: bool,
        judged: Result<(Arc<T>, [u8; 32]), Failure>,
    ) -> Result<Arc<Self>, NotLoaded> {
        match judged {
            Ok((value, digest)) => {
                let doubt = if settled { Doubt::Never } else { Doubt::Always };
                let rest = Rest::default();
                let state = State { value, digest, seen, doubt, attempt: 0, failure: None, rest };
                Ok(Arc::new(Self {
                    files,
                    limit,
                    loader,
                    background,
                    state: ArcSwap::from_pointee(state),
                    begun: AtomicU64::new(0),
                    reload: SingleFlight::default(),
                    refusal_told: AtomicBool::new(false),
                }))
            }
            Err(failure) => {
                Err(NotLoaded { doubt: doubt(settled, Some(&failure)), reason: failure.reason, files, seen })
            }
        }
    }

    /// Goes on with a value that was made elsewhere, and that files which were refused cannot take the place of.
    pub fn resume(
        value: Arc<T>,
        not_loaded: NotLoaded,
        limit: usize,
        loader: Arc<dyn Load<T>>,
        background: Handle,
    ) -> Arc<Self> {
        let gone = not_loaded.is_gone();
        let NotLoaded { reason, files, seen, doubt } = not_loaded;
        let failure = Some(Failure { reason, digest: None, retry: None, gone });
        // No contents have this digest: whatever the files hold next is judged, even if it is what they held before.
        let rest = Rest::default();
        let state = State { value, digest: [0; 32], seen, doubt, attempt: 0, failure, rest };
        Arc::new(Self {
            files,
            limit,
            loader,
            background,
            state: ArcSwap::from_pointee(state),
            begun: AtomicU64::new(0),
            reload: SingleFlight::default(),
            refusal_told: AtomicBool::new(true),
        })
    }

    /// The newest good value. Its files are not looked at.
    pub fn current(&self) -> Arc<T> {
        self.state.load().value.clone()
    }

    /// The required files.
    pub fn files(&self) -> &[PathBuf] {
        self.files.required()
    }

    /// Why the value is older than its files, as far as that was noticed.
    pub fn last_error(&self) -> Option<Reason> {
        self.state.load().failure.as_ref().map(|failure| failure.reason.clone())
    }

    /// Whether a file was missing when last looked at.
    pub fn is_gone(&self) -> bool {
        self.state.load().failure.as_ref().is_some_and(|failure| failure.gone)
    }

    /// Whether the files differ from those of the last attempt. One `stat` each.
    pub fn has_changed(&self) -> bool {
        let state = self.state.load();
        state.is_in_doubt() || !file::unchanged(&self.files, &state.seen)
    }

    /// What is known of the files, as of the last look: [`ensure`](Self::ensure) without one. Never blocks and never
    /// waits; how old the answer may be is the matter of whoever looks.
    pub fn known(&self) -> Outcome {
        self.state.load().failure.as_ref().map_or(Outcome::Unchanged, Failure::outcome)
    }

    /// Whether a required file is missing at this moment. One `stat` each.
    pub fn is_missing(&self) -> bool {
        self.files().iter().any(|path| FileIdentity::of(path).is_err_and(|error| error.kind() == NotFound))
    }

    /// What is known of files that were refused, for a value that is being given up. `None` if they are good.
    pub fn give_up(&self) -> Option<NotLoaded> {
        let state = self.state.load();
        let failure = state.failure.as_ref()?;
        Some(NotLoaded {
            reason: failure.reason.clone(),
            files: self.files.clone(),
            seen: state.seen.clone(),
            doubt: state.doubt,
        })
    }

    /// Forgets that the present files were refused: the next `ensure` reads and judges them again.
    pub fn forget_failure(&self) {
        self.state.rcu(|state| match &state.failure {
            Some(failure) => {
                let failure = Failure { digest: None, ..failure.clone() };
                Arc::new(State { doubt: Doubt::Always, failure: Some(failure), ..state.copy() })
            }
            None => state.clone(),
        });
    }

    /// Makes sure that the value is not older than the files are now; see the top of the module.
    ///
    /// Costs one `stat` per file where nothing changed, or fewer (see there). Otherwise waits at most `wait` for a reload that all callers
    /// share. Whatever the answer, [`current`](Self::current) is afterwards the newest good value. Cancel safe.
    pub async fn ensure(self: &Arc<Self>, wait: Duration) -> Outcome {
        let before = {
            let state = self.state.load();
            if !state.is_in_doubt() && self.is_as_seen(&state) {
                match &state.failure {
                    None => return Outcome::Unchanged,
                    Some(failure) if !self.reload.is_under_way() => return failure.outcome(),
                    // Refused a moment ago and still being watched.
                    Some(_) => {}
                }
            }
            state.value.clone()
        };
        self.ensure_newer_than(before, wait).await
    }

    /// The same for a scan, which looks at everything: also at what a folder would save.
    pub async fn ensure_thoroughly(self: &Arc<Self>, wait: Duration) -> Outcome {
        if !self.has_changed() {
            return self.known();
        }
        let before = self.state.load().value.clone();
        self.ensure_newer_than(before, wait).await
    }

    async fn ensure_newer_than(self: &Arc<Self>, before: Arc<T>, wait: Duration) -> Outcome {
        match self.ensure_reloaded(wait).await {
            Outcome::Reloaded if Arc::ptr_eq(&before, &self.current()) => Outcome::Unchanged,
            outcome => outcome,
        }
    }

    /// Whether the files are what they were, at the cost that "What a folder saves" tells of.
    fn is_as_seen(&self, state: &State<T>) -> bool {
        let Some(folder) = self.files.folder().filter(|_| state.failure.is_none()) else {
            return file::unchanged(&self.files, &state.seen);
        };
        // Before the files, so that what it says of them holds when they are looked at.
        let number = folder.number();
        if let Some(watched) = number.and_then(|number| state.rest.under(number)) {
            return file::unchanged_of(&self.files, &state.seen, watched);
        }
        let watched = file::unchanged_led(&self.files, &state.seen);
        if let (Some(number), Some(watched)) = (number, watched) {
            state.rest.set(number, watched);
        }
        watched.is_some()
    }

    async fn ensure_reloaded(self: &Arc<Self>, wait: Duration) -> Outcome {
        let deadline = Instant::now() + wait;
        let entered = self.begun.load(Ordering::SeqCst);
        loop {
            let (mut progress, started) =
                self.reload.join(&self.background, |progress| self.clone().reload(progress));
            // Marked before looking, so that no news falls between the look and the wait.
            progress.mark_unchanged();
            if let Some(outcome) = self.outcome_since(entered) {
                return outcome;
            }
            loop {
                match tokio::time::timeout_at(deadline, progress.changed()).await {
                    Err(_elapsed) => return Outcome::TimedOut,
                    Ok(Ok(())) => {}
                    // Over. One that this call started and that tried nothing was dropped with its runtime.
                    Ok(Err(_closed)) if started && self.state.load().attempt <= entered => {
                        return Outcome::TimedOut;
                    }
                    Ok(Err(_closed)) => break,
                }
                if let Some(outcome) = self.outcome_since(entered) {
                    return outcome;
                }
            }
            if let Some(outcome) = self.outcome_since(entered) {
                return outcome;
            }
        }
    }

    /// The answer for a caller that came when `entered` was the last attempt, if there is one yet.
    fn outcome_since(&self, entered: u64) -> Option<Outcome> {
        // Before the state: a reload that ends in between has published what it ended with.
        let over = !self.reload.is_under_way();
        let state = self.state.load();
        let judged_since = state.attempt > entered;
        match &state.failure {
            None if judged_since => Some(Outcome::Reloaded),
            None => (!state.is_in_doubt() && file::unchanged(&self.files, &state.seen))
                .then_some(Outcome::Reloaded),
            Some(failure) => {
                let known = || !state.is_in_doubt() && file::unchanged(&self.files, &state.seen);
                (over && (judged_since || known())).then(|| failure.outcome())
            }
        }
    }

    /// Attempts until the files are good, or have stayed bad for [`HALF_DONE`].
    async fn reload(self: Arc<Self>, progress: watch::Sender<()>) {
        let mut patience: Option<Instant> = None;
        loop {
            let attempt = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let is_news = self.attempt(attempt).await;
            progress.send_replace(());
            let state = self.state.load_full();
            let Some(failure) = &state.failure else { return };
            let end = match patience {
                Some(end) if !is_news => end,
                // The state that was given up on before.
                None if !is_news => return,
                _ => Instant::now() + HALF_DONE,
            };
            patience = Some(end);
            let again = match state.doubt {
                Doubt::Never => end,
                // What was read in the tick of its last change has to be read again, not only looked at.
                Doubt::Always => Instant::now() + TICK,
                Doubt::From(time) => time.min(end),
            };
            // The clock before the look: whoever gives up has seen the files as they were after the end.
            let mut now = Instant::now();
            let mut is_same = file::unchanged(&self.files, &state.seen);
            while is_same && now < again {
                tokio::time::sleep(LOOK).await;
                now = Instant::now();
                is_same = file::unchanged(&self.files, &state.seen);
            }
            if is_same && now >= end {
                self.refusal_told.store(true, Ordering::SeqCst);
                let (reason, gone) = (&failure.reason, failure.gone);
                self.loader.changed(Change::Refused { kept: &state.value, reason, gone });
                return;
            }
        }
    }

    /// Looks, reads, judges and publishes once. False if the files are in the state that was refused before.
    async fn attempt(&self, attempt: u64) -> bool {
        let old = self.state.load_full();
        let reading = read_on(&self.background, &self.files, self.limit).await;
        let (seen, settled) = (reading.seen.clone(), reading.settled);
        let same_files = seen == old.seen;
        let judged = judge(&self.loader, &self.background, &self.files, reading, |digest| {
            if *digest == old.digest {
                // Touched, copied over itself, or only in doubt: the value is the one there is.
                return Some(Ok(old.value.clone()));
            }
            let failure =
                old.failure.as_ref().filter(|failure| same_files && failure.digest == Some(*digest))?;
            failure.retry.is_none().then(|| Err(failure.clone()))
        })
        .await;
        let (value, digest, failure) = match judged {
            Ok((value, digest)) => (value, digest, None),
            Err(failure) => (old.value.clone(), old.digest, Some(failure)),
        };
        let doubt = doubt(settled, failure.as_ref());
        let has_failed = failure.is_some();
        let rest = Rest::default();
        self.state.store(Arc::new(State {
            value: value.clone(),
            digest,
            seen,
            doubt,
            attempt,
            failure,
            rest,
        }));
        if !has_failed {
            let was_told = self.refusal_told.swap(false, Ordering::SeqCst);
            match Arc::ptr_eq(&old.value, &value) {
                false => self.loader.changed(Change::Replaced { old: &old.value, new: &value }),
                true if was_told => self.loader.changed(Change::Restored { value: &value }),
                true => {}
            }
        }
        !(same_files && old.failure.is_some())
    }
}

impl<T> fmt::Debug for Fresh<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Fresh").field("files", &self.files).finish_non_exhaustive()
    }
}

impl<T> State<T> {
    fn is_in_doubt(&self) -> bool {
        self.doubt.holds()
    }

    fn copy(&self) -> Self {
        Self {
            value: self.value.clone(),
            digest: self.digest,
            seen: self.seen.clone(),
            doubt: self.doubt,
            attempt: self.attempt,
            failure: self.failure.clone(),
            rest: Rest::default(),
        }
    }
}

impl Doubt {
    fn holds(self) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::From(time) => Instant::now() >= time,
        }
    }
}

/// Files that no value could be made from, remembered so that they are not read again until they change.
#[derive(Clone)]
pub struct NotLoaded {
    pub reason: Reason,
    pub files: Files,
    seen: Box<[Seen]>,
    doubt: Doubt,
}

impl NotLoaded {
    /// Whether a required file was missing.
    pub fn is_gone(&self) -> bool {
        self.files.is_gone(&self.seen)
    }

    /// Whether another try could end differently. One `stat` per file.
    pub fn is_worth_retrying(&self) -> bool {
        self.doubt.holds() || !file::unchanged(&self.files, &self.seen)
    }
}

impl fmt::Debug for NotLoaded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("NotLoaded").field("reason", &self.reason).field("files", &self.files).finish()
    }
}

fn doubt(settled: bool, failure: Option<&Failure>) -> Doubt {
    match failure.and_then(|failure| failure.retry) {
        // A retry outranks an unsettled reading: what failed for want of file descriptors would fail in a tight loop.
        Some(retry) => Doubt::From(Instant::now() + retry),
        None if settled => Doubt::Never,
        None => Doubt::Always,
    }
}

#[cfg(test)]
pub(crate) mod tests;
