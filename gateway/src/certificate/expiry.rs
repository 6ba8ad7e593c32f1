//! Which certificates come to their end, said in time: once for each horizon, and once at the end.
//!
//! `server` runs [`watch`] on the background runtime. It changes nothing: whether an expired certificate is served is for
//! the store, whether the gateway is ready for `admin`.
//!
//! The goal is 100,000 certificates without a timer or a record for each. Rejected: a queue ordered by time, which the
//! store would have to keep right at each replacement. A **pass** looks at every certificate instead, in batches between
//! which it yields. It is only made when it can find something: after a change of any kind (the generation), or once the
//! next horizon that any certificate will cross has come; each pass notes when that is. At 100,000 certificates a pass
//! takes some 20 ms, and [`pause`] keeps passes below a hundredth of the time.
//!
//! What was said is kept only for certificates within the widest horizon, by id and fingerprint: a replaced certificate
//! has another fingerprint, so about that one everything is said anew. Passing several horizons at once (at the start,
//! say) is told as the narrowest. The core, [`Monitor`], has neither clock nor task.

use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::warn;

use super::{Certificate, CertificateStore};
use crate::metrics::{Expiry, Metrics};

/// The certificates that have a series of their own in the metrics: the soonest to expire. About 100 KB of a scrape.
pub const SERIES: usize = 1_000;

/// Certificates of a pass that are looked at before others have their turn: about 0.1 ms.
const BATCH: usize = 500;

/// Lines that are written at once, and how long the next ones wait. The log's queue has room for 8,192 and drops what
/// does not fit, so 100,000 certificates that expire together are told at a thousand lines a second.
const LINES: usize = 100;
const BETWEEN_LINES: Duration = Duration::from_millis(100);

/// What is watched at this moment.
pub struct Watched {
    pub store: Arc<CertificateStore>,
    /// How long before the end to warn.
    pub horizons: Horizons,
}

/// Warns of what expires and publishes the gauges, for as long as the runtime lives. `clock` in seconds since 1970.
pub async fn watch(current: impl Fn() -> Watched, clock: impl Fn() -> i64, metrics: Arc<Metrics>) {
    let mut monitor = Monitor::default();
    let mut last: Option<(u64, Horizons)> = None;
    let mut due = i64::MIN;
    loop {
        let Watched { store, horizons } = current();
        let certificates = store.len();
        // Before the look: what changes meanwhile is seen the next time.
        let seen = (store.changes(), horizons);
        if last.as_ref() != Some(&seen) || clock() >= due {
            let mut pass = monitor.begin(&seen.1, clock());
            for (number, certificate) in store.live().enumerate() {
                pass.see(&certificate);
                if number % BATCH == BATCH - 1 {
                    tokio::task::yield_now().await;
                }
            }
            drop(store);
            let (expiry, warnings, next) = pass.finish();
            metrics.expiry(expiry);
            (last, due) = (Some(seen), next);
            for warnings in warnings.chunks(LINES) {
                warnings.iter().for_each(Warning::tell);
                if warnings.len() == LINES {
                    tokio::time::sleep(BETWEEN_LINES).await;
                }
            }
        }
        tokio::time::sleep(pause(certificates)).await;
    }
}

/// Between two passes: a certificate takes one about 0.2 us. Also how late a warning may be.
fn pause(certificates: usize) -> Duration {
    let certificates = u32::try_from(certificates).unwrap_or(u32::MAX);
    Duration::from_secs(1) + Duration::from_micros(20).saturating_mul(certificates)
}

/// The times before the end of a certificate's validity at which to warn.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Horizons(Arc<[i64]>);

impl Horizons {
    pub fn new(horizons: &[Duration]) -> Self {
        let mut seconds: Vec<i64> =
            horizons.iter().map(|horizon| i64::try_from(horizon.as_secs()).unwrap_or(i64::MAX)).collect();
        seconds.sort_unstable_by(|one, other| other.cmp(one));
        seconds.dedup();
        Self(seconds.into())
    }

    /// The narrowest that a certificate has come within.
    pub fn reached(&self, not_after: i64, now: i64) -> Option<Milestone> {
        let left = not_after.saturating_sub(now);
        if left < 0 {
            return Some(Milestone::Expired);
        }
        self.0.iter().rev().find(|horizon| left <= **horizon).map(|horizon| Milestone::Within(*horizon))
    }

    /// When a certificate reaches the next one after `now`, or its end. Nothing follows the end.
    fn next(&self, not_after: i64, now: i64) -> i64 {
        let moments = self.0.iter().map(|horizon| not_after.saturating_sub(*horizon));
        // RFC 5280 section 4.1.2.5: the last second still belongs to the validity.
        let end = not_after.saturating_add(1);
        moments.chain([end]).filter(|moment| *moment > now).min().unwrap_or(i64::MAX)
    }

    fn iter(&self) -> impl Iterator<Item = i64> {
        self.0.iter().copied()
    }
}

/// How near its end a certificate has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Milestone {
    /// So many seconds are left, or fewer.
    Within(i64),
    Expired,
}

impl Milestone {
    /// Whether there is less left than at `other`.
    fn is_after(self, other: Self) -> bool {
        match (self, other) {
            (Self::Within(own), Self::Within(other)) => own < other,
            (Self::Expired, Self::Within(_)) => true,
            (_, Self::Expired) => false,
        }
    }
}

/// What has been said about which certificate.
#[derive(Debug, Default)]
pub struct Monitor {
    told: HashMap<Arc<str>, Told>,
    passes: u64,
}

#[derive(Debug)]
struct Told {
    fingerprint: Box<str>,
    milestone: Milestone,
    /// The last pass that saw the certificate.
    pass: u64,
}

impl Monitor {
    /// Begins a look at every certificate.
    pub fn begin<'a>(&'a mut self, horizons: &'a Horizons, now: i64) -> Pass<'a> {
        self.passes += 1;
        Pass {
            monitor: self,
            horizons,
            now,
            next: i64::MAX,
            expired: 0,
            within: horizons.iter().map(|horizon| (horizon, 0)).collect(),
            soonest: BinaryHeap::new(),
            warnings: Vec::new(),
        }
    }
}

/// One look at every certificate.
pub struct Pass<'a> {
    monitor: &'a mut Monitor,
    horizons: &'a Horizons,
    now: i64,
    next: i64,
    expired: usize,
    within: Vec<(i64, usize)>,
    /// The last to expire of them on top, to make way.
    soonest: BinaryHeap<(i64, Arc<str>)>,
    warnings: Vec<Warning>,
}

impl Pass<'_> {
    pub fn see(&mut self, certificate: &Certificate) {
        self.see_one(certificate.id(), certificate.fingerprint(), certificate.chain_not_after());
    }

    fn see_one(&mut self, id: &str, fingerprint: &str, not_after: i64) {
        self.count(id, not_after);
        let Some(milestone) = self.horizons.reached(not_after, self.now) else { return };
        let pass = self.monitor.passes;
        if let Some(told) = self.monitor.told.get_mut(id) {
            told.pass = pass;
            if *told.fingerprint == *fingerprint && !milestone.is_after(told.milestone) {
                return;
            }
        }
        let id: Arc<str> = id.into();
        let told = Told { fingerprint: fingerprint.into(), milestone, pass };
        self.monitor.told.insert(Arc::clone(&id), told);
        self.warnings.push(Warning { id, milestone, not_after, left: not_after.saturating_sub(self.now) });
    }

    /// The gauges, what there is to say now, and when there may be more without any change.
    pub fn finish(self) -> (Expiry, Vec<Warning>, i64) {
        let pass = self.monitor.passes;
        self.monitor.told.retain(|_, told| told.pass == pass);
        let within = self.within.iter().map(|(horizon, number)| (duration(*horizon), *number));
        let soonest = self.soonest.into_sorted_vec().into_iter().map(|(not_after, id)| (id, not_after));
        let expiry = Expiry { expired: self.expired, within: within.collect(), soonest: soonest.collect() };
        (expiry, self.warnings, self.next)
    }

    fn count(&mut self, id: &str, not_after: i64) {
        self.next = self.next.min(self.horizons.next(not_after, self.now));
        let left = not_after.saturating_sub(self.now);
        match left < 0 {
            true => self.expired += 1,
            false => {
                let within = self.within.iter_mut().filter(|(horizon, _)| left <= *horizon);
                within.for_each(|(_, number)| *number += 1);
            }
        }
        let is_sooner = self.soonest.peek().is_none_or(|(last, _)| not_after < *last);
        if self.soonest.len() < SERIES || is_sooner {
            self.soonest.push((not_after, id.into()));
        }
        if self.soonest.len() > SERIES {
            self.soonest.pop();
        }
    }
}

/// Something to say about a certificate.
#[derive(Debug, PartialEq, Eq)]
pub struct Warning {
    pub id: Arc<str>,
    pub milestone: Milestone,
    /// Seconds since 1970.
    pub not_after: i64,
    /// Seconds; negative after the end.
    pub left: i64,
}

impl Warning {
    fn tell(&self) {
        let (certificate, not_after) = (&*self.id, rfc3339(self.not_after));
        match self.milestone {
            Milestone::Within(horizon) => {
                let (days_left, horizon) = (days(self.left), duration(horizon));
                warn!(certificate, not_after, days_left, horizon, "certificate expires soon");
            }
            Milestone::Expired => warn!(certificate, not_after, "certificate has expired"),
        }
    }
}

/// Whole days; a certificate that expired an hour ago has -1 left.
pub fn days(seconds: i64) -> i64 {
    seconds.div_euclid(24 * 3600)
}

/// A moment as people and machines both read it: `2026-01-31T12:00:00Z`.
pub fn rfc3339(seconds: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(seconds).ok();
    // Both fail beyond the year 9999 only, where X.509 has no certificates either.
    moment.and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_else(|| seconds.to_string())
}

/// A horizon as the configuration writes it.
fn duration(seconds: i64) -> String {
    match seconds {
        seconds if seconds % (24 * 3600) == 0 => format!("{}d", seconds / (24 * 3600)),
        seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;

    fn usual() -> Horizons {
        Horizons::new(&[1, 30, 7].map(|days| Duration::from_secs(days * 24 * 3600)))
    }

    /// What is said when certificates are seen at a moment, and when the next pass is due.
    fn look(monitor: &mut Monitor, now: i64, certificates: &[(&str, &str, i64)]) -> (Vec<String>, i64) {
        let horizons = usual();
        let mut pass = monitor.begin(&horizons, now);
        for (id, fingerprint, not_after) in certificates {
            pass.see_one(id, fingerprint, *not_after);
        }
        let (_, warnings, next) = pass.finish();
        let said = warnings.iter().map(|warning| match warning.milestone {
            Milestone::Within(horizon) => format!("{} within {}", warning.id, duration(horizon)),
            Milestone::Expired => format!("{} expired", warning.id),
        });
        (said.collect(), next)
    }

    #[test]
    fn each_horizon_and_the_end_are_told_once_when_they_are_due() {
        let mut monitor = Monitor::default();
        let end = 100 * DAY;
        let mut now = 0;
        let mut told = Vec::new();
        while now != i64::MAX {
            let (said, next) = look(&mut monitor, now, &[("a", "1", end)]);
            told.extend(said.into_iter().map(|said| (now, said)));
            // Nothing is told before it is due, and nothing twice.
            assert_eq!(look(&mut monitor, next.min(end + 9) - 1, &[("a", "1", end)]).0, [""; 0]);
            assert!(next > now);
            now = next;
        }
        let expected = [
            (70 * DAY, "a within 30d"),
            (93 * DAY, "a within 7d"),
            (99 * DAY, "a within 1d"),
            (end + 1, "a expired"),
        ];
        assert_eq!(told, expected.map(|(moment, said)| (moment, said.to_owned())));
    }

    #[test]
    fn several_horizons_at_once_are_told_as_the_narrowest() {
        let mut monitor = Monitor::default();
        let certificates = [("a", "1", 3 * DAY), ("b", "1", -1), ("c", "1", 31 * DAY)];
        assert_eq!(look(&mut monitor, 0, &certificates).0, ["a within 7d", "b expired"]);
        assert_eq!(look(&mut monitor, 1, &certificates).0, [""; 0]);
    }

    #[test]
    fn a_replacement_is_told_of_anew() {
        let mut monitor = Monitor::default();
        assert_eq!(look(&mut monitor, 0, &[("a", "1", DAY)]).0, ["a within 1d"]);
        assert_eq!(look(&mut monitor, 1, &[("a", "2", 5 * DAY)]).0, ["a within 7d"]);
        assert_eq!(look(&mut monitor, 2, &[("a", "3", 90 * DAY)]).0, [""; 0]);
        assert!(monitor.told.is_empty(), "nothing is kept of what has time");
        assert_eq!(look(&mut monitor, 83 * DAY, &[("a", "3", 90 * DAY)]).0, ["a within 7d"]);
    }

    #[test]
    fn a_clock_that_is_set_back_repeats_nothing() {
        let mut monitor = Monitor::default();
        assert_eq!(look(&mut monitor, 10 * DAY, &[("a", "1", 12 * DAY)]).0, ["a within 7d"]);
        assert_eq!(look(&mut monitor, 0, &[("a", "1", 12 * DAY)]).0, [""; 0]);
        assert_eq!(look(&mut monitor, 12 * DAY, &[("a", "1", 12 * DAY)]).0, ["a within 1d"]);
    }

    #[test]
    fn the_gauges_cover_all_and_name_the_soonest() {
        let horizons = usual();
        let mut monitor = Monitor::default();
        let mut pass = monitor.begin(&horizons, 0);
        for number in (0..5 * SERIES).rev() {
            let hours = i64::try_from(number).unwrap() - 10;
            pass.see_one(&number.to_string(), "1", hours * 3600);
        }
        let (expiry, _, _) = pass.finish();
        assert_eq!(expiry.expired, 10);
        let within: Vec<_> =
            expiry.within.iter().map(|(horizon, number)| (horizon.as_str(), *number)).collect();
        assert_eq!(within, [("30d", 721), ("7d", 169), ("1d", 25)]);
        assert_eq!(expiry.soonest.len(), SERIES);
        assert_eq!(expiry.soonest.first(), Some(&("0".into(), -36_000)));
        assert_eq!(expiry.soonest.last(), Some(&("999".into(), 989 * 3600)));
    }

    #[test]
    fn moments_and_horizons_are_written_as_people_write_them() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(4_070_908_800), "2099-01-01T00:00:00Z");
        assert_eq!(rfc3339(i64::MAX), i64::MAX.to_string());
        assert_eq!([30 * DAY, 7200, 90, 60].map(duration), ["30d", "2h", "90s", "1m"]);
        assert_eq!((days(DAY), days(DAY - 1), days(-1)), (1, 0, -1));
    }
}
