//! A first-party policy: new handshakes of each client network, within a rate.
//!
//! ```toml
//! config = { handshakes = 20, per = "1s", burst = 40 }
//! ```
//!
//! # How it counts
//!
//! A bucket of `burst` tokens for each network, filled at the rate of `handshakes` in `per`. Kept is one moment: when the
//! bucket is full again if nobody takes from it (the generic cell rate algorithm, ITU-T I.371). A handshake takes a token
//! by moving that moment on; an entry whose moment has passed says nothing and expires by itself. A handshake that is
//! refused changes nothing, so who goes on trying is not punished, and pays for a look-up only.
//!
//! # How exact it is
//!
//! Every token is taken by one successful `compare-and-set`, so workers that ask at once never give out one token twice:
//! within any time t a network gets at most `burst` + t · `handshakes` / `per` handshakes. Whoever loses a race looks
//! again; after [`TRIES`] lost races, each of them another client's success, the handshake is refused. The clock is read
//! after the entry, so the moment in an entry is never further ahead of it than a full bucket takes; an entry
//! that is was written under other settings, and is forgotten.
//!
//! # When there are too many networks
//!
//! A full store forgets what was not used lately, and a forgotten bucket is a full one. So that an attacker with many
//! addresses cannot wash out the buckets of others, this policy keeps within `max-networks` by itself: it counts the
//! networks that it keeps in each [`window`](RateLimit::window) of the time a bucket takes to fill. What
//! is kept was counted in this window or in the one before, for an entry that nobody used for so long is gone; their sum is
//! the bound. A network that is counted in both counts twice: the bound is reached early, never late. Beyond it, networks
//! that are not kept yet are let in uncounted or refused, as `when-full` says, and those that are kept are judged as ever.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::{borrow::ToOwned, string::String, vec::Vec};
use core::time::Duration;

use handfast_policy::{
    Alert, ClientHello, Configure, Connection, Decision, IpAddress, Select, clock, key_value, log,
};
use handfast_policy_settings::{Answer, Network, Refusal, Value, decimal, read};

/// Lost races after which a handshake is refused. Of n workers that ask at once for one network, the last loses n - 1.
const TRIES: usize = 64;

const ROUNDING: Duration = Duration::from_millis(2);

/// As long as a bucket may take to fill, and `per` may be.
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Nanoseconds.
type Moment = u64;

struct RateLimit {
    handshakes: u64,
    per: Duration,
    burst: u64,
    ipv4_prefix: u32,
    ipv6_prefix: u32,
    exempt: Vec<Network>,
    alert: Answer,
    max_networks: u64,
    when_full: WhenFull,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WhenFull {
    Pass,
    Reject,
}

/// What becomes of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Within,
    Over,
    /// Its network is one too many to keep.
    Full,
}

/// What is kept of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    full_at: Moment,
    /// The window in which the network was counted last.
    counted_in: u64,
}

handfast_policy::export!(RateLimit: configure, select; panic = trap);

impl Configure for RateLimit {
    fn configure(config: &str) -> Result<Self, String> {
        let mut policy = Self {
            handshakes: 0,
            per: Duration::from_secs(1),
            burst: 0,
            ipv4_prefix: 32,
            ipv6_prefix: 64,
            exempt: Vec::new(),
            alert: Answer::Alert(Alert::AccessDenied),
            max_networks: 50_000,
            when_full: WhenFull::Pass,
        };
        read(config, &mut |key, value| policy.set(key, value))?;
        if policy.handshakes == 0 {
            return Err(
                "`handshakes` is missing: write how many a network may begin in the time `per`".to_owned()
            );
        }
        if policy.burst == 0 {
            policy.burst = policy.handshakes;
        }
        if policy.window() > DAY.as_nanos() as Moment {
            return Err(
                "`burst` takes more than a day to fill at this rate: lower it, or raise `handshakes`"
                    .to_owned(),
            );
        }
        Ok(policy)
    }
}

impl Select for RateLimit {
    fn select(&self, connection: &Connection, _: &ClientHello) -> Decision {
        let client = connection.client_address().ip;
        if self.exempt.iter().any(|network| network.contains(&client)) {
            return Decision::pass();
        }
        match self.take(&client) {
            Outcome::Within => Decision::pass(),
            Outcome::Full if self.when_full == WhenFull::Pass => Decision::pass(),
            Outcome::Full => self.alert.decision().because("more networks than `max-networks` at once"),
            Outcome::Over => {
                let per = decimal(self.per.as_millis() as u64);
                let rate =
                    ["over ", &decimal(self.handshakes), " handshakes in ", &per, " ms from its network"];
                self.alert.decision().because(rate.concat())
            }
        }
    }
}

impl RateLimit {
    fn set(&mut self, key: &str, value: Value<'_>) -> Result<(), Refusal> {
        match key {
            "handshakes" => self.handshakes = value.integer(1, 1_000_000)?,
            "per" => {
                self.per = value.duration()?;
                if self.per > DAY {
                    return Err(Refusal::new(&["is longer than a day: write at most \"24h\""]));
                }
            }
            "burst" => self.burst = value.integer(1, 1_000_000)?,
            "ipv4-prefix" => self.ipv4_prefix = value.integer(8, 32)? as u32,
            "ipv6-prefix" => self.ipv6_prefix = value.integer(16, 128)? as u32,
            "exempt" => self.exempt = value.list(Value::network)?,
            "alert" => self.alert = value.answer()?,
            "max-networks" => self.max_networks = value.integer(1, 8_000_000)?,
            "when-full" => {
                let at = value.word(&["pass", "reject"])?;
                self.when_full = if at == 0 { WhenFull::Pass } else { WhenFull::Reject };
            }
            _ => {
                return Err(Refusal::unknown(&[
                    "handshakes",
                    "per",
                    "burst",
                    "ipv4-prefix",
                    "ipv6-prefix",
                    "exempt",
                    "alert",
                    "max-networks",
                    "when-full",
                ]));
            }
        }
        Ok(())
    }

    /// How long a token takes to come back: rounded up, so that the rate is never exceeded.
    fn interval(&self) -> Moment {
        (self.per.as_nanos() as Moment).div_ceil(self.handshakes.max(1))
    }

    /// How long an empty bucket takes to fill.
    fn window(&self) -> Moment {
        self.interval().saturating_mul(self.burst)
    }

    fn take(&self, client: &IpAddress) -> Outcome {
        let key = Network::key(client, self.ipv4_prefix, self.ipv6_prefix);
        let (interval, window) = (self.interval(), self.window());
        let mut counted = None;
        for _ in 0..TRIES {
            let before = key_value::get(&key);
            let now = clock::monotonic().as_nanos() as Moment;
            let bucket = before.as_deref().and_then(Bucket::from_bytes);
            let bucket = bucket.filter(|bucket| bucket.full_at <= now.saturating_add(window));
            let missing = bucket.map_or(0, |bucket| bucket.full_at.saturating_sub(now));
            if missing > window - interval {
                return Outcome::Over;
            }
            let current = now / window;
            let is_counted = bucket.is_some_and(|bucket| bucket.counted_in == current);
            if !is_counted && counted != Some(current) {
                if !self.count(current, bucket.is_none()) {
                    return Outcome::Full;
                }
                counted = Some(current);
            }
            let after = Bucket { full_at: now + missing + interval, counted_in: current };
            // An entry must not be gone before its bucket is full, and the store counts in whole milliseconds.
            let time_to_live = Duration::from_nanos(missing + interval) + ROUNDING;
            match key_value::compare_and_set(&key, before.as_deref(), &after.to_bytes(), time_to_live) {
                Ok(true) => return Outcome::Within,
                Ok(false) => {}
                Err(_) => return Outcome::Full,
            }
        }
        Outcome::Over
    }

    /// Counts a network in the window of this number. False: it is a new one, and one too many.
    fn count(&self, window: u64, is_new: bool) -> bool {
        // Until the window after this one is over.
        let time_to_live = Duration::from_nanos(self.window()).saturating_mul(2) + Duration::from_secs(1);
        let counter = |window| Counter::Networks.key(window);
        let before = key_value::get(&counter(window.wrapping_sub(1)));
        let before = before.and_then(|value| Some(u64::from_le_bytes(value.try_into().ok()?))).unwrap_or(0);
        let Ok(now) = key_value::increment(&counter(window), 1, time_to_live) else { return !is_new };
        if !is_new || before.saturating_add(now as u64) <= self.max_networks {
            return true;
        }
        let _ = key_value::increment(&counter(window), -1, time_to_live);
        // Once in each window.
        if key_value::compare_and_set(&Counter::Warned.key(window), None, b"", time_to_live) == Ok(true) {
            log::write(
                log::Level::Warn,
                match self.when_full {
                    WhenFull::Pass => "more networks than `max-networks`: new ones are let in uncounted",
                    WhenFull::Reject => "more networks than `max-networks`: new ones are refused",
                },
            );
        }
        false
    }
}

/// What is kept beside the networks. Their keys begin with 4 or 6.
#[derive(Clone, Copy)]
enum Counter {
    Networks = b'n' as isize,
    Warned = b'w' as isize,
}

impl Counter {
    fn key(self, window: u64) -> [u8; 9] {
        let mut key = [self as u8; 9];
        if let Some(place) = key.last_chunk_mut::<8>() {
            *place = window.to_le_bytes();
        }
        key
    }
}

impl Bucket {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (full_at, counted_in) = bytes.split_first_chunk()?;
        let counted_in = u64::from_le_bytes(counted_in.try_into().ok()?);
        Some(Self { full_at: u64::from_le_bytes(*full_at), counted_in })
    }

    fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.counted_in) << 64 | u128::from(self.full_at)).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use handfast_policy::{SocketAddress, Verdict, testing::Gateway};

    use super::*;

    const REFUSED: Verdict = Verdict::Reject(Alert::AccessDenied);

    struct Scene {
        gateway: Gateway,
        policy: RateLimit,
    }

    impl Scene {
        fn new(config: &str) -> Self {
            let gateway = Gateway { now: Duration::from_secs(1_000), ..Gateway::default() };
            Self { gateway, policy: RateLimit::configure(config).unwrap() }
        }

        fn select(&mut self, client: &str) -> Decision {
            let ip = client.parse::<IpAddr>().unwrap().into();
            let connection =
                Connection { client_address: SocketAddress { ip, port: 50_000 }, ..Connection::default() };
            let policy = &self.policy;
            self.gateway.run(|| policy.select(&connection, &ClientHello::default()))
        }

        /// How many of so many handshakes at once come in.
        fn let_in(&mut self, client: &str, handshakes: usize) -> usize {
            (0..handshakes).filter(|_| self.select(client).verdict == Verdict::Pass).count()
        }
    }

    #[test]
    fn a_network_gets_its_burst_and_then_its_rate() {
        let mut scene = Scene::new(r#"{"handshakes": 10, "per": "1s", "burst": 20}"#);
        assert_eq!(scene.let_in("192.0.2.1", 30), 20);
        for _ in 0..5 {
            scene.gateway.now += Duration::from_millis(100);
            assert_eq!(scene.let_in("192.0.2.1", 3), 1);
        }
        scene.gateway.now += Duration::from_secs(60);
        assert_eq!(scene.let_in("192.0.2.1", 30), 20, "a full bucket holds no more than the burst");
    }

    #[test]
    fn over_any_time_no_more_come_in_than_the_rate_allows() {
        let mut scene = Scene::new(r#"{"handshakes": 7, "per": "2s", "burst": 3}"#);
        let begun = scene.gateway.now;
        let mut let_in = 0;
        for step in 0..2_000_u64 {
            // Some 8 s in uneven steps.
            scene.gateway.now += Duration::from_millis(step * 7919 % 9);
            let_in += scene.let_in("192.0.2.1", 1 + (step % 3) as usize);
            let elapsed = (scene.gateway.now - begun).as_secs_f64();
            assert!(let_in as f64 <= 3.0 + elapsed * 3.5, "{let_in} in {elapsed} s");
        }
        let elapsed = (scene.gateway.now - begun).as_secs_f64();
        assert!(let_in as f64 >= elapsed * 3.5 - 1.0, "no fewer either: {let_in} in {elapsed} s");
    }

    #[test]
    fn addresses_of_one_network_share_and_others_do_not() {
        let mut scene = Scene::new(r#"{"handshakes": 2, "ipv4-prefix": 24, "ipv6-prefix": 56}"#);
        assert_eq!(scene.let_in("192.0.2.1", 2) + scene.let_in("192.0.2.200", 2), 2);
        assert_eq!(scene.let_in("192.0.3.1", 2), 2);
        assert_eq!(scene.let_in("2001:db8:0:1::1", 2) + scene.let_in("2001:db8:0:ff::1", 2), 2);
        assert_eq!(scene.let_in("2001:db8:0:100::1", 2), 2);
    }

    #[test]
    fn exempt_networks_are_not_counted() {
        let mut scene = Scene::new(r#"{"handshakes": 1, "exempt": ["10.0.0.0/8", "::1"]}"#);
        assert_eq!(scene.let_in("10.1.2.3", 50) + scene.let_in("::1", 50), 100);
        assert!(scene.gateway.key_value.is_empty());
    }

    #[test]
    fn a_refusal_changes_nothing_and_says_the_rate() {
        let mut scene = Scene::new(r#"{"handshakes": 3, "per": "1m", "burst": 1, "alert": "none"}"#);
        assert_eq!(scene.let_in("192.0.2.1", 1), 1);
        let before = scene.gateway.key_value.clone();
        let decision = scene.select("192.0.2.1");
        let reason = "over 3 handshakes in 60000 ms from its network";
        assert_eq!(decision, Decision::drop().because(reason));
        assert_eq!(scene.gateway.key_value, before);
        scene.gateway.now += Duration::from_secs(20);
        assert_eq!(scene.let_in("192.0.2.1", 2), 1);
    }

    #[test]
    fn networks_beyond_the_bound_are_let_in_uncounted_or_refused_and_known_ones_judged() {
        for (when_full, new) in [("pass", 9), ("reject", 0)] {
            let mut scene =
                Scene::new(&format!(r#"{{"handshakes": 3, "max-networks": 2, "when-full": "{when_full}"}}"#));
            assert_eq!(scene.let_in("192.0.2.1", 2) + scene.let_in("192.0.2.2", 2), 4);
            assert_eq!(scene.let_in("192.0.2.3", 9), new, "{when_full}");
            assert_eq!(scene.let_in("192.0.2.1", 9) + scene.let_in("192.0.2.2", 9), 2, "{when_full}");
            assert_eq!(scene.gateway.lines.len(), 1, "warned once: {:?}", scene.gateway.lines);
            assert_eq!(scene.gateway.lines[0].0, log::Level::Warn);
            // Two windows of a second later there is room again.
            scene.gateway.now += Duration::from_secs(2);
            assert_eq!(scene.let_in("192.0.2.3", 9), 3, "{when_full}");
        }
    }

    #[test]
    fn no_more_networks_are_kept_than_the_bound_says() {
        let mut scene =
            Scene::new(r#"{"handshakes": 5, "burst": 10, "max-networks": 40, "when-full": "reject"}"#);
        for step in 0..3_000_u64 {
            scene.gateway.now += Duration::from_millis(step * 31 % 40);
            // Ten that come again and again among those that come once.
            let client = if step % 3 == 0 { step % 10 } else { step + 100 };
            scene.select(&format!("10.0.{}.{}", client >> 8 & 255, client & 255));
            let now = scene.gateway.now;
            let kept = scene.gateway.key_value.iter();
            let kept = kept.filter(|(key, (_, end))| key.len() == 17 && *end > now + ROUNDING);
            assert!(kept.count() <= 40, "step {step}");
        }
    }

    #[test]
    fn an_entry_of_other_settings_is_forgotten() {
        let mut scene = Scene::new(r#"{"handshakes": 1, "per": "1h"}"#);
        assert_eq!(scene.let_in("192.0.2.1", 2), 1);
        scene.policy = RateLimit::configure(r#"{"handshakes": 5}"#).unwrap();
        assert_eq!(scene.let_in("192.0.2.1", 9), 5);
    }

    #[test]
    fn a_config_with_a_mistake_is_refused_at_its_key() {
        for (config, expected) in [
            ("{}", "`handshakes` is missing"),
            (r#"{"handshakes": 0}"#, "`handshakes` is 0: write an integer from 1 to 1000000"),
            (r#"{"handshakes": 1, "per": 1}"#, "`per` is 1: write a text"),
            (r#"{"handshakes": 1, "per": "1 s"}"#, "`per` is \"1 s\": write a whole number and a unit"),
            (r#"{"handshakes": 1, "per": "25h"}"#, "`per` is longer than a day"),
            (r#"{"handshakes": 1, "ipv4-prefix": 33}"#, "`ipv4-prefix` is 33: write an integer from 8 to 32"),
            (
                r#"{"handshakes": 1, "exempt": ["10.0.0.1/8"]}"#,
                "`exempt` has \"10.0.0.1/8\", which has bits beyond",
            ),
            (r#"{"handshakes": 1, "alert": "denied"}"#, "`alert` is \"denied\": write \"none\""),
            (r#"{"handshakes": 1, "when-full": "drop"}"#, "`when-full` is \"drop\""),
            (r#"{"handshakes": 1, "per": "1h", "burst": 99}"#, "`burst` takes more than a day"),
            (r#"{"rate": 1}"#, "`rate` is unknown: there are `handshakes`, `per`"),
        ] {
            let error = RateLimit::configure(config).err().unwrap();
            assert!(error.starts_with(expected), "{config}: {error}");
        }
        assert_eq!(Scene::new(r#"{"handshakes": 1}"#).select("192.0.2.1").verdict, Verdict::Pass);
        assert_eq!(REFUSED, Answer::Alert(Alert::AccessDenied).decision().verdict);
    }
}
