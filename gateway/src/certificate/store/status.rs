//! What the store tells people: findings at start, the state of each certificate, counters.
//!
//! `reload`, `admin` and the CLI call this; handshakes never do. It reads what the store knows and looks at no file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use handfast_plugin_host::KeyAlgorithm;
use x509_parser::certificate::X509Certificate;

use super::entry::{Entry, Refused};
use super::{CertificateStore, Tally, lock};
use crate::certificate::expiry::{Horizons, days, rfc3339};
use crate::certificate::load::ChainError;
use crate::certificate::{Certificate, distinguished_name, names, ocsp, unix_now, x509};
use crate::telemetry::{error_chain, one_line};

/// The ids that one finding lists: a folder of copies is one line that can be read.
const SHOWN: usize = 10;

/// Something that whoever runs the gateway should know about a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// The id of a certificate, or the name of a source.
    pub subject: String,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Serves, and will go on.
    Note,
    /// Serves, and may not for long.
    Warning,
    /// Does not serve.
    Error,
}

impl Severity {
    /// As it is written, for people and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.subject, self.text)
    }
}

/// One certificate, for the CLI and the admin listener.
#[derive(Debug, Clone)]
pub struct Status {
    pub id: String,
    pub source: String,
    pub files: Vec<PathBuf>,
    pub state: State,
    pub last_error: Option<String>,
    /// Without it the gateway is not ready.
    pub required: bool,
    /// What serves. `None` for a pair that never went live.
    pub certificate: Option<Arc<Certificate>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Serves what its files hold.
    Current,
    /// Serves the last good pair, since the files were refused.
    KeptLastGood,
    /// Serves the last good pair, since a file is missing.
    Gone,
    /// Its validity has ended.
    Expired,
    /// Does not serve, and never did.
    Refused,
}

impl State {
    /// As people read it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::KeptLastGood => "last good kept",
            Self::Gone => "gone",
            Self::Expired => "expired",
            Self::Refused => "refused",
        }
    }
}

impl Status {
    /// What clients are sent, leaf first. Parses it, which takes some 10 us for each.
    pub fn chain(&self) -> Vec<Link> {
        let Some(certificate) = &self.certificate else { return Vec::new() };
        let parsed = certificate.chain().filter_map(x509::parse);
        let link = |parsed: X509Certificate<'_>| Link {
            subject: distinguished_name::to_string(parsed.subject()),
            not_after: parsed.validity().not_after.timestamp(),
            fingerprint: x509::fingerprint(parsed.as_raw()),
        };
        parsed.map(link).collect()
    }
}

/// Some of all certificates.
#[derive(Debug)]
pub struct Page {
    /// Ordered by id.
    pub certificates: Vec<Status>,
    /// Of all pages together.
    pub total: usize,
    /// What to ask for the next page with. `None`: this was the last.
    pub next: Option<String>,
}

/// A certificate of the chain that clients are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// In the form of RFC 4514.
    pub subject: String,
    /// Seconds since 1970.
    pub not_after: i64,
    pub fingerprint: String,
}

/// Why the gateway is not ready, as far as certificates go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    #[error("the required certificate {id} is missing; `handfast certificate list` says what there is")]
    Missing { id: String },
    #[error("the required certificate {id} expired on {when}; renew it")]
    Expired { id: String, when: String },
}

/// Counted since the start, over reloads of the configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Pairs that took the place of another.
    pub replaced: u64,
    /// States of files that were refused in favour of the last good pair.
    pub refused: u64,
    /// Handshakes answered with the last good pair although the files had changed.
    pub kept: u64,
    /// Of those, the ones that could not wait for the reload.
    pub timed_out: u64,
    /// Of this store alone.
    pub scans: u64,
}

impl CertificateStore {
    /// Every certificate, ordered by id; the files are not looked at.
    pub fn list(&self) -> Vec<Status> {
        self.page(None, usize::MAX).certificates
    }

    /// At most `limit` certificates, the first ones after the id `after`, or more where several pairs claim the last id.
    ///
    /// Looks at every id and sorts only the page.
    pub fn page(&self, after: Option<&str>, limit: usize) -> Page {
        let refused = self.refused();
        let live = self.by_id.entries().map(|(id, entry)| (id, Pair::Live(entry)));
        let mut all: Vec<(Arc<str>, Pair)> = live.chain(refused).collect();
        let total = all.len();
        all.retain(|(id, _)| after.is_none_or(|after| **id > *after));
        let mut next = None;
        if let Some(nth) = limit.checked_sub(1).filter(|nth| nth + 1 < all.len()) {
            let last = Arc::clone(&all.select_nth_unstable_by(nth, |one, other| one.0.cmp(&other.0)).1.0);
            let more = all.len();
            all.retain(|(id, _)| *id <= last);
            next = (all.len() < more).then(|| last.to_string());
        }
        Page { certificates: self.describe(all), total, next }
    }

    /// Whatever claims an id: at most one that serves, and pairs that were refused.
    pub fn status(&self, id: &str) -> Vec<Status> {
        let live = self.by_id.find(id).map(|entry| (entry.id.clone(), Pair::Live(entry)));
        let refused = self.refused().into_iter().filter(|(own, _)| **own == *id);
        self.describe(live.into_iter().chain(refused).collect())
    }

    /// The certificates that serve, in no order. Cheap to begin and to leave.
    pub(crate) fn live(&self) -> impl Iterator<Item = Arc<Certificate>> {
        self.by_id.values().map(|entry| entry.fresh.current())
    }

    /// How many of them serve the last good state of their pair, since its files were refused or are gone. Looks at every
    /// certificate: 100,000 of them take some milliseconds.
    pub fn kept_last_good(&self) -> usize {
        self.by_id.values().filter(|entry| entry.fresh.last_error().is_some()).count()
    }

    /// Another number after each change of any certificate.
    pub(crate) fn changes(&self) -> u64 {
        self.generation.current()
    }

    /// Which of these certificates cannot be served, as they are required. Costs a look-up for each.
    pub fn unready(&self, required: &[Arc<str>]) -> Vec<Unready> {
        let now = unix_now();
        let judge = |id: &Arc<str>| match self.by_id(id) {
            None => Some(Unready::Missing { id: id.to_string() }),
            Some(certificate) if certificate.chain_not_after() < now => {
                let when = rfc3339(certificate.chain_not_after());
                Some(Unready::Expired { id: id.to_string(), when })
            }
            Some(_) => None,
        };
        required.iter().filter_map(judge).collect()
    }

    /// The ids of the certificates that their source requires, whether they are there or not, and of those that say so
    /// themselves. Looks at every certificate.
    pub fn required(&self) -> Vec<Arc<str>> {
        let by_source = self.sources.iter().flat_map(|source| source.config.required.iter());
        let themselves = self.live().filter(|certificate| certificate.is_required());
        let mut required: Vec<Arc<str>> = by_source
            .map(|id| Arc::from(id.as_str()))
            .chain(themselves.map(|certificate| Arc::from(certificate.id())))
            .collect();
        required.sort_unstable();
        required.dedup();
        required
    }

    fn is_required(&self, id: &str, certificate: Option<&Certificate>) -> bool {
        certificate.is_some_and(Certificate::is_required)
            || self.sources.iter().any(|source| source.config.required.iter().any(|required| required == id))
    }

    fn refused(&self) -> Vec<(Arc<str>, Pair)> {
        let refused = lock(&self.refused);
        refused
            .values()
            .map(|refused| (refused.candidate.id.clone(), Pair::Refused(refused.clone())))
            .collect()
    }

    fn describe(&self, pairs: Vec<(Arc<str>, Pair)>) -> Vec<Status> {
        let now = unix_now();
        let mut list: Vec<Status> = pairs
            .into_iter()
            .map(|(id, pair)| match pair {
                Pair::Live(entry) => {
                    let certificate = entry.fresh.current();
                    let required = self.is_required(&id, Some(&certificate));
                    live_status(&entry, certificate, required, now)
                }
                Pair::Refused(refused) => Status {
                    id: id.to_string(),
                    source: self.source_name(refused.source),
                    files: refused.candidate.files,
                    state: State::Refused,
                    last_error: Some(one_line(&error_chain(&*refused.reason))),
                    required: self.is_required(&id, None),
                    certificate: None,
                },
            })
            .collect();
        list.sort_by(|one, other| one.id.cmp(&other.id).then_with(|| one.files.cmp(&other.files)));
        list
    }

    pub fn counters(&self) -> Counters {
        Counters {
            replaced: self.tally.replaced.load(Ordering::Relaxed),
            refused: self.tally.refused.load(Ordering::Relaxed),
            kept: self.tally.kept.load(Ordering::Relaxed),
            timed_out: self.tally.timed_out.load(Ordering::Relaxed),
            scans: self.scans(),
        }
    }

    /// Of all stores since the start: a reload begins no new count.
    pub fn ocsp_counters(&self) -> ocsp::Counters {
        self.stapler.counters()
    }

    /// What is worth saying about the certificates and their sources as they are, worst first. What expires, but has not, is not among it:
    /// see [`near_expiry`](Self::near_expiry).
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for certificate in self.live() {
            if let Some(text) = unmatched_names(&certificate) {
                findings.push(Finding::new(Severity::Warning, certificate.id().to_owned(), text));
            }
        }
        self.find_duplicates(&mut findings);
        let now = unix_now();
        for entry in self.by_id.values() {
            if let Some(text) = why_expired(&entry, &entry.fresh.current(), now) {
                findings.push(Finding::new(Severity::Error, entry.id.to_string(), text));
            }
        }
        for refused in lock(&self.refused).values() {
            let (subject, text) =
                (refused.candidate.id.to_string(), one_line(&error_chain(&*refused.reason)));
            findings.push(Finding::new(Severity::Error, subject, text));
        }
        let is_known = |id: &str| findings.iter().any(|finding| finding.subject == id);
        let required = self.sources.iter().flat_map(|source| source.config.required.iter());
        let missing = required.filter(|id| self.by_id.find(id).is_none() && !is_known(id));
        let text = "is required and there is no such certificate, so the gateway will not be ready; is the id right?";
        let missing: Vec<_> =
            missing.map(|id| Finding::new(Severity::Error, id.clone(), text.to_owned())).collect();
        findings.extend(missing);
        findings.extend(self.left_out());
        findings.sort_by(|one, other| {
            other
                .severity
                .cmp(&one.severity)
                .then_with(|| (&one.subject, &one.text).cmp(&(&other.subject, &other.text)))
        });
        findings
    }

    /// The certificates that come within the widest of these horizons, or have expired and are served all the same, the soonest
    /// first: what a running gateway warns of from time to time, for a command that looks once.
    pub fn near_expiry(&self, horizons: &Horizons) -> Vec<Finding> {
        let now = unix_now();
        let mut near: Vec<_> = self
            .live()
            .filter(|certificate| {
                horizons.reached(certificate.chain_not_after(), now).is_some()
                    && !certificate.has_expired_at(now)
            })
            .map(|certificate| (certificate.chain_not_after(), certificate.id().to_owned()))
            .collect();
        near.sort_unstable();
        let finding = |(not_after, id)| Finding::new(Severity::Warning, id, remaining(not_after, now));
        near.into_iter().map(finding).collect()
    }

    /// The certificates that have no staple, or no newer one, for a reason that is known, by id: what a gateway warns of as it
    /// reads them, for a command that looks once.
    pub fn unstapled(&self) -> Vec<Finding> {
        let finding = |certificate: Arc<Certificate>| {
            let text = format!("no OCSP staple: {}", certificate.staples()?.last_error()?);
            Some(Finding::new(Severity::Warning, certificate.id().to_owned(), text))
        };
        let mut unstapled: Vec<_> = self.live().filter_map(finding).collect();
        unstapled.sort_by(|one, other| one.subject.cmp(&other.subject));
        unstapled
    }

    /// Certificates with the same name and kind of key: only the newest of them is ever chosen by default.
    fn find_duplicates(&self, findings: &mut Vec<Finding>) {
        // Told once per set of certificates, however many names they share.
        let mut shared: BTreeMap<Vec<Arc<str>>, Vec<Arc<str>>> = BTreeMap::new();
        for (name, entries) in self.by_name.entries().filter(|(_, entries)| entries.all().len() > 1) {
            let mut by_kind: Vec<(KeyAlgorithm, Vec<Arc<str>>)> = Vec::new();
            for entry in entries.all().iter() {
                let kind = entry.fresh.current().key_algorithm();
                match by_kind.iter_mut().find(|(other, _)| *other == kind) {
                    Some((_, ids)) => ids.push(entry.id.clone()),
                    None => by_kind.push((kind, vec![entry.id.clone()])),
                }
            }
            for (_, mut ids) in by_kind.into_iter().filter(|(_, ids)| ids.len() > 1) {
                ids.sort();
                shared.entry(ids).or_default().push(name.clone());
            }
        }
        for (ids, mut names) in shared {
            names.sort();
            let Some((first, others)) = ids.split_first() else { continue };
            let mut shown = others.iter().take(SHOWN).map(|id| &**id).collect::<Vec<_>>().join(", ");
            if let Some(more @ 1..) = others.len().checked_sub(SHOWN) {
                shown.push_str(&format!(" and {more} more"));
            }
            let text = format!(
                "has {} in common with {shown}; the newest is preferred: remove the others",
                names.first().map_or("", |name| name),
            );
            findings.push(Finding::new(Severity::Note, first.to_string(), text));
        }
    }

    pub(super) fn source_name(&self, position: usize) -> String {
        self.sources.get(position).map(|source| source.config.name.clone()).unwrap_or_default()
    }
}

impl Tally {
    /// Goes on from what the store before has counted.
    pub(super) fn follow(&self, before: &Self) {
        for (own, before) in [
            (&self.replaced, &before.replaced),
            (&self.refused, &before.refused),
            (&self.kept, &before.kept),
            (&self.timed_out, &before.timed_out),
        ] {
            own.fetch_add(before.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// What a page is chosen from.
enum Pair {
    Live(Arc<Entry>),
    Refused(Refused),
}

fn live_status(entry: &Entry, certificate: Arc<Certificate>, required: bool, now: i64) -> Status {
    let error = entry.fresh.last_error();
    let state = match &error {
        _ if certificate.chain_not_after() < now => State::Expired,
        None => State::Current,
        Some(_) if entry.fresh.is_gone() => State::Gone,
        Some(_) => State::KeptLastGood,
    };
    Status {
        id: entry.id.to_string(),
        source: entry.source.name.clone(),
        files: entry.fresh.files().to_vec(),
        state,
        last_error: error
            .map(|reason| one_line(&error_chain(&*reason)))
            .or_else(|| why_expired(entry, &certificate, now)),
        required,
        certificate: Some(certificate),
    }
}

/// Of one that is not served any more: in the words of a check that finds the same in files.
fn why_expired(entry: &Entry, certificate: &Certificate, now: i64) -> Option<String> {
    let path = entry.fresh.files().first().filter(|_| certificate.has_expired_at(now))?;
    let end = certificate.chain_not_after();
    Some(if end == certificate.not_after() {
        ChainError::expired(path, end).to_string()
    } else {
        let when = rfc3339(end);
        format!(
            "an issuer's certificate in {} expired on {when}; take the issuer's current chain",
            path.display()
        )
    })
}

/// What is wrong with the names of a certificate that is sound otherwise: it has none, or one that no client can ask for.
pub fn unmatched_names(certificate: &Certificate) -> Option<String> {
    if certificate.names().is_empty() {
        return Some(
            "has no subject alternative names, so no client accepts it by name; issue it with some"
                .to_owned(),
        );
    }
    let name = certificate.names().iter().find(|name| !names::can_match(name))?;
    Some(format!(
        "has the name {name}, which matches nothing: `*` stands for the whole first label; issue it with names that \
         clients ask for"
    ))
}

/// `expires in 12 days, on …; renew it`, or that it has.
pub fn remaining(not_after: i64, now: i64) -> String {
    let when = rfc3339(not_after);
    match days(not_after.saturating_sub(now)) {
        ..0 => format!("expired on {when}; renew it"),
        0 => format!("expires within a day, on {when}; renew it"),
        1 => format!("expires in 1 day, on {when}; renew it"),
        days => format!("expires in {days} days, on {when}; renew it"),
    }
}

impl Finding {
    pub fn new(severity: Severity, subject: String, text: String) -> Self {
        Self { severity, subject, text }
    }
}
