//! What a source holds that is no pair and is not served: keys without a certificate, folders that cannot be listed, and
//! whatever keeps a whole source from being scanned.
//!
//! Each scan hands over what it found and logs what this says is new: clients can cause scans, and a line for each of them
//! would bury the first. `status` shows all of it for as long as it lasts.
//!
//! # Memo: how severe it is
//! An error is what may keep a certificate from being served that somebody meant to be: nobody knows what is in a folder
//! that cannot be listed, and a file with a name that no id can have is a certificate by its ending. So `handfast check`
//! fails, as it does for a pair that would be refused. A key alone is a warning: there is no certificate to serve, and it
//! may be waiting for one that was not issued yet. One that must be there is for `required` in the configuration.
//! Settings that belong to no pair are one too: whatever they were to say, it keeps nothing from being served.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::status::{Finding, Severity};
use super::{CertificateStore, StoreError, lock};
use crate::certificate::source::directory::LeftOut;
use crate::telemetry::error_chain;

/// How long a key may be alone before the log has a line about it. An update that writes the key first is no news.
const ALONE: Duration = Duration::from_millis(500);

/// What is left out of one source.
#[derive(Debug, Default)]
pub(super) struct Remainder {
    /// By what there is to say about it.
    known: BTreeMap<String, Known>,
    /// Why the last scan came to nothing.
    failure: Option<String>,
}

#[derive(Debug)]
struct Known {
    severity: Severity,
    since: Instant,
    told: bool,
}

impl Remainder {
    /// Takes over what the scan at the start found. Whoever opens the store is told of it.
    pub(super) fn begin(&mut self, left_out: &[LeftOut], now: Instant) {
        self.found(left_out, now);
        self.known.values_mut().for_each(|known| known.told = true);
    }

    /// Takes over what a scan found, and returns what the log shall say about it.
    pub(super) fn found(&mut self, left_out: &[LeftOut], now: Instant) -> Vec<String> {
        self.failure = None;
        let mut before = std::mem::take(&mut self.known);
        let mut news = Vec::new();
        for left_out in left_out {
            let text = error_chain(left_out);
            let new = || Known { severity: Severity::of(left_out), since: now, told: false };
            let mut known = before.remove(&text).unwrap_or_else(new);
            // Half of an update, perhaps; nothing else is a mere warning.
            let may_pass = known.severity == Severity::Warning;
            if !known.told && (!may_pass || now.duration_since(known.since) >= ALONE) {
                known.told = true;
                news.push(text.clone());
            }
            self.known.insert(text, known);
        }
        news
    }

    /// The same for a scan that failed. What the one before found stays: it is no less left out.
    pub(super) fn failed(&mut self, error: &StoreError) -> Option<String> {
        let text = error_chain(error);
        let is_news = self.failure.as_ref() != Some(&text);
        self.failure = Some(text.clone());
        is_news.then_some(text)
    }

    fn len(&self) -> usize {
        self.known.len() + usize::from(self.failure.is_some())
    }

    fn findings(&self, source: &str) -> impl Iterator<Item = Finding> {
        let finding = move |severity, text: &String| Finding::new(severity, source.to_owned(), text.clone());
        let failure = self.failure.iter().map(move |text| finding(Severity::Error, text));
        failure.chain(self.known.iter().map(move |(text, known)| finding(known.severity, text)))
    }
}

impl CertificateStore {
    /// What is left out of the sources, as of their last scans, under the names of the sources.
    pub fn left_out(&self) -> Vec<Finding> {
        let of = |source: &super::Source| -> Vec<Finding> {
            source.scans.left_out().findings(&source.config.name).collect()
        };
        self.sources.iter().flat_map(of).collect()
    }

    /// How many pairs nothing is served of, and how much else is left out.
    pub fn not_served(&self) -> (usize, usize) {
        let left_out = self.sources.iter().map(|source| source.scans.left_out().len()).sum();
        (lock(&self.refused).len(), left_out)
    }
}

impl Severity {
    fn of(left_out: &LeftOut) -> Self {
        match left_out {
            LeftOut::LoneKey { .. } | LeftOut::NotTaken { .. } | LeftOut::Stray { .. } => Self::Warning,
            LeftOut::Name { .. }
            | LeftOut::LongId { .. }
            | LeftOut::Deep { .. }
            | LeftOut::Unlisted { .. } => Self::Error,
        }
    }
}

impl Finding {
    /// About a file or folder that nothing is served of.
    pub fn left_out(left_out: &LeftOut) -> Self {
        Self::new(Severity::of(left_out), path(left_out).display().to_string(), error_chain(left_out))
    }
}

fn path(left_out: &LeftOut) -> &Path {
    match left_out {
        LeftOut::LoneKey { path }
        | LeftOut::NotTaken { path, .. }
        | LeftOut::Stray { path }
        | LeftOut::Name { path }
        | LeftOut::LongId { path }
        | LeftOut::Deep { path }
        | LeftOut::Unlisted { path, .. } => path,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    fn unlisted() -> LeftOut {
        let source = Arc::new(io::ErrorKind::PermissionDenied.into());
        LeftOut::Unlisted { path: "/c/secret".into(), source }
    }

    fn lone() -> LeftOut {
        LeftOut::LoneKey { path: "/c/a.key".into() }
    }

    #[test]
    fn everything_is_told_once_and_anew_after_it_was_gone() {
        let (mut remainder, now) = (Remainder::default(), Instant::now());
        assert_eq!(remainder.found(&[unlisted()], now), [error_chain(&unlisted())]);
        assert!(remainder.found(&[unlisted()], now).is_empty());
        assert!(remainder.found(&[], now).is_empty());
        assert_eq!(remainder.found(&[unlisted()], now).len(), 1);
    }

    #[test]
    fn a_key_alone_is_told_of_once_it_stays_alone() {
        let (mut remainder, now) = (Remainder::default(), Instant::now());
        assert!(remainder.found(&[lone()], now).is_empty());
        assert_eq!(remainder.findings("files").count(), 1, "it is shown at once");
        assert!(remainder.found(&[lone()], now + ALONE / 2).is_empty());
        assert_eq!(remainder.found(&[lone()], now + ALONE), [error_chain(&lone())]);
        assert!(remainder.found(&[lone()], now + ALONE * 2).is_empty());
    }

    /// The first scan after the start said everything a second time.
    #[test]
    fn what_the_start_told_is_not_told_again() {
        let (mut remainder, now) = (Remainder::default(), Instant::now());
        remainder.begin(&[unlisted(), lone()], now);
        assert!(remainder.found(&[unlisted(), lone()], now + ALONE).is_empty());
        assert_eq!(remainder.len(), 2);
    }

    #[test]
    fn a_scan_that_fails_is_told_once_and_forgets_nothing() {
        let (mut remainder, now) = (Remainder::default(), Instant::now());
        remainder.begin(&[unlisted()], now);
        let failed = || StoreError::Source {
            name: "files".to_owned(),
            path: "/c".into(),
            source: io::ErrorKind::NotFound.into(),
        };
        assert!(remainder.failed(&failed()).is_some());
        assert!(remainder.failed(&failed()).is_none());
        let severities: Vec<_> = remainder.findings("files").map(|finding| finding.severity).collect();
        assert_eq!(severities, [Severity::Error, Severity::Error]);
        assert!(remainder.found(&[unlisted()], now).is_empty());
        assert_eq!(remainder.len(), 1);
    }
}
