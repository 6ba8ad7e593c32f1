//! How much an endpoint is asked: a token bucket for each entry of the list, and a breaker for each host.
//!
//! The buckets are as many as the list is long: under a wildcard a stranger may choose the host, and must not get a bucket
//! with each. Breakers are per host, since a host that fails says nothing of its siblings; there is one only for hosts
//! that failed lately, and at most [`BREAKERS`] of them. Which one gives way to another does not matter much: the bucket
//! holds anyway.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::allowed::{Host, Target};
use crate::config::OutgoingHttp;

/// Hosts whose failures are remembered.
const BREAKERS: usize = 256;

/// Why a call is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Rate,
    Open,
}

pub(super) struct Traffic {
    rate: f64,
    buckets: Vec<Bucket>,
    failures: u32,
    pause: Duration,
    breakers: HashMap<(bool, Host, u16), Breaker>,
}

struct Bucket {
    tokens: f64,
    filled: Option<Instant>,
}

/// Of a host that failed and did not succeed since.
struct Breaker {
    failures: u32,
    /// Nothing is asked before this.
    until: Option<Instant>,
    /// One call is made to see whether the host works again; the others wait for what comes of it, but not for ever.
    probed: Option<Instant>,
}

impl Traffic {
    pub(super) fn new(settings: &OutgoingHttp) -> Self {
        let bucket = |_: &_| Bucket { tokens: f64::from(settings.rate), filled: None };
        Self {
            rate: f64::from(settings.rate),
            buckets: settings.hosts.iter().map(bucket).collect(),
            failures: settings.breaker_failures,
            pause: settings.breaker_pause,
            breakers: HashMap::new(),
        }
    }

    /// Whether a call may be made now.
    pub(super) fn pass(&mut self, target: &Target, now: Instant) -> Result<(), Refusal> {
        let pause = self.pause;
        if let Some(breaker) = self.breakers.get(&key(target))
            && !breaker.lets_through(now, pause)
        {
            return Err(Refusal::Open);
        }
        let rate = self.rate;
        // There is one for each entry.
        let bucket = self.buckets.get_mut(target.entry).ok_or(Refusal::Rate)?;
        bucket.fill(rate, now);
        if bucket.tokens < 1.0 {
            return Err(Refusal::Rate);
        }
        bucket.tokens -= 1.0;
        if let Some(breaker) = self.breakers.get_mut(&key(target))
            && breaker.until.is_some()
        {
            breaker.probed = Some(now);
        }
        Ok(())
    }

    /// A call that passed was not made after all.
    pub(super) fn give_up(&mut self, target: &Target) {
        if let Some(breaker) = self.breakers.get_mut(&key(target)) {
            breaker.probed = None;
        }
    }

    /// Learns how a call went. `Some(true)` if that opened the host's breaker, `Some(false)` if it closed it.
    pub(super) fn settle(&mut self, target: &Target, healthy: bool, now: Instant) -> Option<bool> {
        let key = key(target);
        if healthy {
            let before = self.breakers.remove(&key)?;
            return before.until.is_some().then_some(false);
        }
        if !self.breakers.contains_key(&key) && self.breakers.len() >= BREAKERS {
            self.make_room(now);
        }
        let breaker = self.breakers.entry(key).or_insert(Breaker { failures: 0, until: None, probed: None });
        breaker.failures = breaker.failures.saturating_add(1);
        breaker.probed = None;
        if breaker.failures < self.failures || self.pause.is_zero() {
            return None;
        }
        let was_open = breaker.until.replace(now + self.pause).is_some();
        (!was_open).then_some(true)
    }

    /// Hosts that are left alone.
    pub(super) fn open(&self, now: Instant) -> usize {
        let open = |breaker: &&Breaker| !breaker.lets_through(now, self.pause);
        self.breakers.values().filter(open).count()
    }

    /// Forgets a host: one that is not left alone, if there is one.
    fn make_room(&mut self, now: Instant) {
        let (pause, mut hosts) = (self.pause, self.breakers.iter());
        let one =
            hosts.clone().find(|(_, breaker)| breaker.lets_through(now, pause)).or_else(|| hosts.next());
        if let Some(key) = one.map(|(key, _)| key.clone()) {
            self.breakers.remove(&key);
        }
    }
}

impl Breaker {
    fn lets_through(&self, now: Instant, pause: Duration) -> bool {
        match (self.until, self.probed) {
            (None, _) => true,
            (Some(until), None) => now >= until,
            (Some(_), Some(probed)) => now >= probed + pause,
        }
    }
}

impl Bucket {
    fn fill(&mut self, rate: f64, now: Instant) {
        let since =
            self.filled.replace(now).map_or(Duration::ZERO, |filled| now.saturating_duration_since(filled));
        self.tokens = (self.tokens + since.as_secs_f64() * rate).min(rate);
    }
}

fn key(target: &Target) -> (bool, Host, u16) {
    (target.secure, target.host.clone(), target.port)
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    fn target(name: &str) -> Target {
        Target { secure: true, host: Host::Name(name.into()), port: 443, entry: 0 }
    }

    #[test]
    fn a_host_that_fails_is_left_alone_and_then_tried_once() {
        let settings =
            OutgoingHttp { breaker_failures: 3, breaker_pause: Duration::from_secs(5), ..settings() };
        let (mut traffic, now) = (Traffic::new(&settings), Instant::now());
        let host = target("a.example");
        assert_eq!(traffic.settle(&host, false, now), None);
        assert_eq!(traffic.settle(&host, false, now), None);
        assert_eq!(traffic.pass(&host, now), Ok(()));
        assert_eq!(traffic.settle(&host, false, now), Some(true));
        assert_eq!((traffic.pass(&host, now), traffic.open(now)), (Err(Refusal::Open), 1));
        assert_eq!(traffic.pass(&target("b.example"), now), Ok(()));

        let later = now + Duration::from_secs(5);
        assert_eq!(traffic.pass(&host, later), Ok(()));
        assert_eq!(traffic.pass(&host, later), Err(Refusal::Open), "one probe at a time");
        assert_eq!(traffic.settle(&host, false, later), None);
        assert_eq!(traffic.pass(&host, later), Err(Refusal::Open));
        let later = later + Duration::from_secs(5);
        assert_eq!(traffic.pass(&host, later), Ok(()));
        assert_eq!(traffic.settle(&host, true, later), Some(false));
        assert_eq!((traffic.pass(&host, later), traffic.open(later)), (Ok(()), 0));
    }

    #[test]
    fn a_success_between_failures_counts_anew_and_a_probe_that_never_ends_blocks_nobody() {
        let settings =
            OutgoingHttp { breaker_failures: 2, breaker_pause: Duration::from_secs(5), ..settings() };
        let (mut traffic, now) = (Traffic::new(&settings), Instant::now());
        let host = target("a.example");
        for healthy in [false, true, false, true, false] {
            assert_eq!(traffic.settle(&host, healthy, now), None);
        }
        traffic.settle(&host, false, now);
        let later = now + Duration::from_secs(5);
        assert_eq!(traffic.pass(&host, later), Ok(()));
        traffic.give_up(&host);
        assert_eq!(traffic.pass(&host, later), Ok(()));
        assert_eq!(traffic.pass(&host, later + Duration::from_secs(5)), Ok(()));
    }

    #[test]
    fn made_up_hosts_share_a_bucket_and_the_room_for_breakers() {
        let settings = OutgoingHttp { rate: 10, breaker_failures: 1, ..settings() };
        let (mut traffic, now) = (Traffic::new(&settings), Instant::now());
        let passed =
            (0..1_000).filter(|number| traffic.pass(&target(&format!("{number}.example")), now).is_ok());
        assert_eq!(passed.count(), 10);
        let later = now + Duration::from_millis(500);
        let passed =
            (0..1_000).filter(|number| traffic.pass(&target(&format!("{number}.example")), later).is_ok());
        assert_eq!(passed.count(), 5);
        for number in 0..10_000 {
            traffic.settle(&target(&format!("{number}.example")), false, now);
        }
        assert_eq!(traffic.breakers.len(), BREAKERS);
    }
}
