//! What the store tells people: findings at start, the state of each certificate, counters.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use handfast_plugin_host::KeyAlgorithm;

use super::{CertificateStore, lock};
use crate::certificate::unix_now;
use crate::telemetry::error_chain;

/// The CA/Browser Forum's clients warn their operators at 30 days; a certificate that lives for less than 90 is due
/// when a third of its life is left.
const NEAR_EXPIRY: i64 = 30 * 24 * 3600;

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

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.subject, self.text)
    }
}

/// One certificate, for the CLI and metrics.
#[derive(Debug, Clone)]
pub struct Status {
    pub id: String,
    pub source: String,
    pub files: Vec<PathBuf>,
    pub state: State,
    pub last_error: Option<String>,
    /// `None` for a pair that never went live.
    pub live: Option<Live>,
}

/// The facts of a certificate that serves.
#[derive(Debug, Clone)]
pub struct Live {
    pub names: Vec<String>,
    pub key_algorithm: KeyAlgorithm,
    pub key_bits: u32,
    /// Seconds since 1970.
    pub not_after: i64,
    pub fingerprint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Serves what its files hold.
    Current,
    /// Serves the last good pair, since the files were refused.
    KeptLastGood,
    /// Serves the last good pair, since a file is missing.
    Gone,
    /// Does not serve.
    Refused,
}

/// Counted since the start.
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
    pub scans: u64,
}

impl CertificateStore {
    /// Every certificate, ordered by id; the files are not looked at.
    pub fn list(&self) -> Vec<Status> {
        let live = self.by_id.values().map(|entry| {
            let (certificate, error) = (entry.fresh.current(), entry.fresh.last_error());
            let state = match &error {
                None => State::Current,
                Some(_) if entry.fresh.is_gone() => State::Gone,
                Some(_) => State::KeptLastGood,
            };
            Status {
                id: entry.id.to_string(),
                source: entry.source.name.clone(),
                files: entry.fresh.files().to_vec(),
                state,
                last_error: error.map(|reason| error_chain(&*reason)),
                live: Some(Live {
                    names: certificate.names().to_vec(),
                    key_algorithm: certificate.key_algorithm(),
                    key_bits: certificate.key_bits(),
                    not_after: certificate.not_after(),
                    fingerprint: certificate.fingerprint().to_owned(),
                }),
            }
        });
        let mut list: Vec<Status> = live.collect();
        for refused in lock(&self.refused).values() {
            list.push(Status {
                id: refused.candidate.id.to_string(),
                source: self.source_name(refused.source),
                files: refused.candidate.files.clone(),
                state: State::Refused,
                last_error: Some(error_chain(&*refused.reason)),
                live: None,
            });
        }
        list.sort_by(|one, other| one.id.cmp(&other.id).then_with(|| one.files.cmp(&other.files)));
        list
    }

    pub fn counters(&self) -> Counters {
        Counters {
            replaced: self.tally.replaced.load(Ordering::Relaxed),
            refused: self.tally.refused.load(Ordering::Relaxed),
            kept: self.tally.kept.load(Ordering::Relaxed),
            timed_out: self.tally.timed_out.load(Ordering::Relaxed),
            scans: self.scans.done(),
        }
    }

    /// What is worth saying about the certificates as they are, worst first.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let now = unix_now();
        for entry in self.by_id.values() {
            let certificate = entry.fresh.current();
            let subject = || certificate.id().to_owned();
            let left = certificate.not_after().saturating_sub(now);
            let life = certificate.not_after().saturating_sub(certificate.not_before());
            if left < 0 {
                findings.push(Finding::new(Severity::Warning, subject(), "has expired; renew it".to_owned()));
            } else if left < NEAR_EXPIRY.min(life / 3) {
                let text = format!("expires in {} days; renew it", left / (24 * 3600));
                findings.push(Finding::new(Severity::Warning, subject(), text));
            }
            if certificate.names().is_empty() {
                let text =
                    "has no subject alternative names, so no client accepts it by name; issue it with some";
                findings.push(Finding::new(Severity::Warning, subject(), text.to_owned()));
            }
        }
        self.find_duplicates(&mut findings);
        for refused in lock(&self.refused).values() {
            let (subject, text) = (refused.candidate.id.to_string(), error_chain(&*refused.reason));
            findings.push(Finding::new(Severity::Error, subject, text));
        }
        findings.sort_by(|one, other| {
            other
                .severity
                .cmp(&one.severity)
                .then_with(|| (&one.subject, &one.text).cmp(&(&other.subject, &other.text)))
        });
        findings
    }

    /// Certificates with the same name and kind of key: only the newest of them is ever chosen by default.
    fn find_duplicates(&self, findings: &mut Vec<Finding>) {
        // Told once per set of certificates, however many names they share.
        let mut shared: BTreeMap<Vec<Arc<str>>, Vec<Arc<str>>> = BTreeMap::new();
        for (name, entries) in self.by_name.entries().filter(|(_, entries)| entries.len() > 1) {
            let mut by_kind: Vec<(KeyAlgorithm, Vec<Arc<str>>)> = Vec::new();
            for entry in entries.iter() {
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
            let text = format!(
                "has {} in common with {}; the newest is preferred: remove the others",
                names.first().map_or("", |name| name),
                others.join(", ")
            );
            findings.push(Finding::new(Severity::Note, first.to_string(), text));
        }
    }

    pub(super) fn source_name(&self, position: usize) -> String {
        self.sources.get(position).map(|source| source.config.name.clone()).unwrap_or_default()
    }
}

impl Finding {
    pub(super) fn new(severity: Severity, subject: String, text: String) -> Self {
        Self { severity, subject, text }
    }
}
