//! The task that sees to all staples: a queue ordered by time, the exchanges under way, and the responders that rest.
//!
//! [`super::Stapler::start`] starts it; it ends when that is dropped. It reads no file and waits for nobody itself.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering as Memory;
use std::time::Duration;

use der::DateTime;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{info, warn};

use super::exchange::{Attempt, Done, Shared};
use super::{Followed, report};
use crate::certificate::ocsp::Staple;
use crate::certificate::ocsp::fetch::Responder;
use crate::certificate::ocsp::schedule::{self, Jitter};
use crate::certificate::ocsp::slot::Origin;
use crate::certificate::ocsp::turns::Turns;
use crate::certificate::unix_now;

/// When a place in the queue has to wait for another of the same slot that is under way.
const MEANWHILE: Duration = Duration::from_secs(1);

/// How many are sorted, and how many are given or refused a place, before the task looks at what else there is: about a
/// millisecond each.
const AT_A_TIME: usize = 1_000;

pub(super) struct Task {
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
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            queue: BinaryHeap::new(),
            waiting: Turns::default(),
            running: JoinSet::new(),
            resting: HashMap::new(),
            jitter: Jitter::default(),
        }
    }

    pub(super) async fn run(mut self, mut work: mpsc::UnboundedReceiver<Followed>) {
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
mod tests {
    use super::*;
    use crate::certificate::ocsp::Stapler;
    use crate::certificate::ocsp::stapler::tests::{adopted, served, stapler, until};
    use crate::certificate::ocsp::test_responder::{Answer, Authority, names_responder, source};
    use crate::config::Ocsp;

    #[tokio::test]
    async fn certificates_that_are_gone_drop_out_of_the_queue() {
        let authority = Authority::new("Issuer");
        let shared = stapler(None).shared.clone();
        let mut task = Task::new(shared);
        let stapler = stapler(None);
        for serial in 0..10 {
            let leaf = authority.leaf(serial, vec![names_responder("http://127.0.0.1:9/")]);
            let certificate = adopted(&stapler, &leaf, None, Ocsp::Fetch);
            let (certificate, source) = (Arc::downgrade(&certificate), source("files", Ocsp::Fetch));
            task.push(Instant::now(), Followed { certificate, source, fetch: true });
        }
        task.line_up();
        task.begin_waiting();
        assert_eq!((task.queue.len(), task.running.len()), (0, 0));
        assert!(task.waiting.take().is_none());
    }

    /// Once, all of them were looked at in one go, while nothing else was.
    #[tokio::test]
    async fn those_who_take_no_place_are_looked_at_in_portions_and_hold_up_nobody() {
        let authority = Authority::new("Issuer");
        let (_server, leaf, _) = served(&authority, &Answer::good(unix_now())).await;
        let stapler = Stapler::new(None);
        let certificate = adopted(&stapler, &leaf, None, Ocsp::Fetch);
        let of = |certificate| Followed { certificate, source: source("files", Ocsp::Fetch), fetch: true };
        let mut task = Task::new(stapler.shared.clone());
        for _ in 0..2 * AT_A_TIME {
            // Of a certificate that is gone.
            task.waiting.push("files", "responder", of(std::sync::Weak::new()));
        }
        task.waiting.push("files", "responder", of(Arc::downgrade(&certificate)));
        task.begin_waiting();
        assert_eq!((task.waiting.is_empty(), task.running.len()), (false, 0));
        let (_work, waiting) = mpsc::unbounded_channel();
        tokio::spawn(task.run(waiting));
        until("the staple", || certificate.staple().is_some()).await;
    }
}
