//! Where the staple of a certificate is, and what is known about it.
//!
//! One [`Slot`] for each leaf that has anything to do with OCSP, found by its fingerprint and shared by all values of
//! that certificate: one whose other files were replaced goes on with the staple it had. Handshakes read it without a
//! lock; only the [`Stapler`](super::Stapler) writes.

use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use super::features::Features;
use super::{OcspError, Staple};
use crate::certificate::unix_now;
use crate::telemetry::error_chain;

#[derive(Debug)]
pub struct Slot {
    features: Features,
    staple: ArcSwapOption<Staple>,
    record: Mutex<Record>,
}

/// What became of the attempts to have a newer staple.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// When the next is due. `None` before the first.
    pub(super) due: Option<Instant>,
    pub(super) under_way: bool,
    /// In a row.
    pub(super) failures: u32,
    last_error: Option<Box<str>>,
    /// A hash of the file that it is about.
    refused: Option<u64>,
    /// Since when the response holds that says so.
    revoked: Option<i64>,
    /// Whether the end of the staple's validity was reported.
    expiry_told: bool,
}

/// Where a staple comes from, which decides what it may replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The file beside the pair, where nothing is fetched: what the operator put there is what is served.
    OnlyFile,
    /// The file beside the pair, where a fetched staple may be newer.
    File,
    Cache,
    Fetched,
}

/// What a certificate has for clients that ask for its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nothing, and nothing is expected.
    None,
    /// A staple that holds until then, in seconds since 1970.
    Stapled { until: i64 },
    /// Nothing yet: the responder has not answered, or a file is refused.
    Missing,
    /// The last staple has run out.
    Expired,
    /// The issuer revoked the certificate.
    Revoked,
}

impl Status {
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Stapled { .. } => "stapled",
            Self::Missing => "missing",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

impl Slot {
    pub(super) fn new(features: Features) -> Self {
        Self { features, staple: ArcSwapOption::empty(), record: Mutex::default() }
    }

    /// The staple to send now. No lock, no allocation, and never one that has run out.
    pub fn staple(&self) -> Option<Arc<Staple>> {
        self.staple_at(unix_now())
    }

    /// Whether clients that know the extension accept the certificate only with a staple (RFC 7633).
    pub fn must_staple(&self) -> bool {
        self.features.must_staple
    }

    /// The URL of the responder that the certificate names.
    pub fn responder(&self) -> Option<&str> {
        self.features.responder.as_deref()
    }

    pub fn status(&self) -> Status {
        let now = unix_now();
        let staple = self.staple.load();
        match staple.as_deref() {
            Some(staple) if staple.is_current(now) => Status::Stapled { until: staple.next_update() },
            _ if self.record().revoked.is_some() => Status::Revoked,
            Some(_) => Status::Expired,
            None => Status::Missing,
        }
    }

    /// Why there is no newer staple, if the last attempt failed.
    pub fn last_error(&self) -> Option<String> {
        self.record().last_error.as_deref().map(str::to_owned)
    }

    pub(super) fn staple_at(&self, now: i64) -> Option<Arc<Staple>> {
        self.staple.load_full().filter(|staple| staple.is_current(now))
    }

    /// The staple, be it still current or not.
    pub(super) fn last_staple(&self) -> Option<Arc<Staple>> {
        self.staple.load_full()
    }

    /// Whether a staple is news of after the revocation, if there was one.
    pub(super) fn check_revocation(&self, staple: &Staple) -> Result<(), OcspError> {
        if self.record().is_ended_by(staple) { Ok(()) } else { Err(OcspError::BeforeRevocation) }
    }

    /// Whether it is a revocation, and no older than the one that is known, if there is one.
    pub(super) fn is_news_for_the_cache(&self, error: &OcspError) -> bool {
        match error {
            OcspError::Revoked { as_of, .. } => self.record().revoked.is_none_or(|known| *as_of >= known),
            _ => false,
        }
    }

    /// Takes a staple over if it is to replace the one there is.
    pub(super) fn offer(&self, staple: Staple, origin: Origin) {
        let mut record = self.record();
        let present = self.staple.load_full();
        let is_newer = present.is_none_or(|present| staple.this_update() >= present.this_update());
        let replaces = match origin {
            Origin::OnlyFile => true,
            Origin::File | Origin::Cache | Origin::Fetched => is_newer && record.is_ended_by(&staple),
        };
        if replaces {
            self.staple.store(Some(Arc::new(staple)));
            record.last_error = None;
            record.revoked = None;
            record.expiry_told = false;
        }
    }

    /// Notes why there is no newer staple. Whether it is news: another reason than the last, or another `file`, or the
    /// first since there was a staple. A revocation takes the staple away.
    pub(super) fn fail(&self, error: &OcspError, file: Option<&[u8]>) -> bool {
        let mut record = self.record();
        if let OcspError::Revoked { as_of, .. } = error {
            record.revoked = record.revoked.max(Some(*as_of));
            self.staple.store(None);
        }
        let text = error_chain(error);
        let file = file.map(|file| BuildHasherDefault::<DefaultHasher>::default().hash_one(file));
        let is_news = record.last_error.as_deref() != Some(&text) || file != record.refused;
        record.last_error = Some(text.into());
        record.refused = file;
        is_news
    }

    /// Whether the staple has run out, the first time this is asked since it did.
    pub(super) fn has_just_expired(&self, now: i64) -> bool {
        let mut record = self.record();
        let expired = self.staple.load().as_deref().is_some_and(|staple| staple.next_update() <= now);
        expired && !std::mem::replace(&mut record.expiry_told, true)
    }

    /// A thread that panicked while it held the lock left a record that is right as far as it goes.
    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    /// A revocation is ended by what was said after it. That there is none counts as its end.
    fn is_ended_by(&self, staple: &Staple) -> bool {
        self.revoked.is_none_or(|as_of| staple.this_update() > as_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_response_from_before_a_revocation_does_not_end_it() {
        let slot = Slot::new(Features::default());
        let fetched = |this_update| {
            let staple = Staple::lasting(this_update, i64::MAX);
            let checked = slot.check_revocation(&staple);
            slot.offer(staple, Origin::Fetched);
            checked
        };
        fetched(10).unwrap();
        assert_eq!(slot.status(), Status::Stapled { until: i64::MAX });
        for as_of in [30, 20] {
            slot.fail(&OcspError::Revoked { since: None, as_of }, None);
            for before in [10, 20, 30] {
                assert!(matches!(fetched(before), Err(OcspError::BeforeRevocation)), "{before}");
                assert_eq!((slot.staple(), slot.status()), (None, Status::Revoked));
            }
        }
        fetched(31).unwrap();
        assert_eq!(slot.status(), Status::Stapled { until: i64::MAX });
    }
}
