//! The double of what a policy imports. The modules at the end have the signatures of the generated imports, so that the
//! rest of the crate calls one or the other without a difference.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use crate::{
    Certificate,
    http::{Error, Request, Response},
    log::Level,
};

/// Answers what a policy imports, and keeps what it wrote.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// In the order in which `find` and `tagged` give them.
    pub certificates: Vec<Certificate>,
    /// The listener's default certificate.
    pub fallback: Option<Certificate>,
    /// The time since 1970, and the reading of the monotonic clock.
    pub now: Duration,
    /// The next random number; each draw adds 1.
    pub random: u64,
    /// What was logged.
    pub lines: Vec<(Level, String)>,
    /// What was counted.
    pub counters: BTreeMap<String, u64>,
    /// What was stored, and the time at which it ends.
    pub key_value: BTreeMap<Vec<u8>, (Vec<u8>, Duration)>,
    /// Answers a policy's HTTP calls: unless a test says otherwise, no host is listed.
    pub http: fn(&Request) -> Result<Response, Error>,
    /// The requests that were made.
    pub requests: Vec<Request>,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            fallback: None,
            now: Duration::ZERO,
            random: 0,
            lines: Vec::new(),
            counters: BTreeMap::new(),
            key_value: BTreeMap::new(),
            http: |_| Err(Error::NotAllowed),
            requests: Vec::new(),
        }
    }
}

impl Gateway {
    /// Calls a policy for which this is the gateway. Outside of it a policy finds an empty one.
    pub fn run<R>(&mut self, call: impl FnOnce() -> R) -> R {
        let _installed = Installed::new(self);
        call()
    }
}

thread_local! {
    static CURRENT: RefCell<Gateway> = RefCell::default();
}

/// Swaps the gateway in, and out again however the call ends.
struct Installed<'a>(&'a mut Gateway);

impl<'a> Installed<'a> {
    fn new(gateway: &'a mut Gateway) -> Self {
        CURRENT.with_borrow_mut(|current| std::mem::swap(current, gateway));
        Self(gateway)
    }
}

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|current| std::mem::swap(current, self.0));
    }
}

fn current<R>(answer: impl FnOnce(&mut Gateway) -> R) -> R {
    CURRENT.with_borrow_mut(answer)
}

pub(crate) mod certificates {
    use super::current;
    use crate::Certificate;

    pub(crate) fn find(name: &str) -> Vec<Certificate> {
        let name = name.to_ascii_lowercase();
        let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let mut found = Vec::new();
        current(|gateway| {
            for wanted in [Some(name), wildcard].into_iter().flatten() {
                found
                    .extend(gateway.certificates.iter().filter(|held| held.names.contains(&wanted)).cloned());
            }
        });
        found
    }

    pub(crate) fn by_id(id: &str) -> Option<Certificate> {
        current(|gateway| gateway.certificates.iter().find(|held| held.id == id).cloned())
    }

    pub(crate) fn tagged(key: &str, value: &str) -> Vec<Certificate> {
        let tagged = |held: &&Certificate| held.tag(key).as_deref() == Some(value);
        current(|gateway| gateway.certificates.iter().filter(tagged).cloned().collect())
    }

    pub(crate) fn fallback() -> Option<Certificate> {
        current(|gateway| gateway.fallback.clone())
    }
}

pub(crate) mod log {
    use super::current;
    use crate::log::Level;

    pub(crate) fn write(level: Level, message: &str) {
        current(|gateway| gateway.lines.push((level, message.to_owned())));
    }
}

pub(crate) mod clock {
    use super::current;

    pub(crate) fn now() -> (i64, u32) {
        let now = current(|gateway| gateway.now);
        (now.as_secs().try_into().unwrap_or(i64::MAX), now.subsec_nanos())
    }

    pub(crate) fn monotonic() -> u64 {
        current(|gateway| gateway.now).as_nanos().try_into().unwrap_or(u64::MAX)
    }
}

pub(crate) mod random {
    use super::current;

    pub(crate) fn bytes(length: u32) -> Vec<u8> {
        (0..length).map(|_| unsigned().to_le_bytes()[0]).collect()
    }

    pub(crate) fn unsigned() -> u64 {
        current(|gateway| {
            let drawn = gateway.random;
            gateway.random = drawn.wrapping_add(1);
            drawn
        })
    }
}

pub(crate) mod counter {
    use super::current;

    pub(crate) fn add(name: &str, delta: u64) {
        current(|gateway| *gateway.counters.entry(name.to_owned()).or_default() += delta);
    }
}

pub(crate) mod http {
    use super::current;
    use crate::http::{Error, Request, Response};

    pub(crate) fn send(request: &Request) -> Result<Response, Error> {
        // Answered outside of the borrow: a test's answer may look at the gateway itself.
        let answer = current(|gateway| {
            gateway.requests.push(request.clone());
            gateway.http
        });
        answer(request)
    }
}

pub(crate) mod key_value {
    use std::time::Duration;

    use super::current;
    use crate::key_value::Error;

    pub(crate) fn get(key: &[u8]) -> Option<Vec<u8>> {
        current(|gateway| {
            let (value, end) = gateway.key_value.get(key)?;
            (gateway.now < *end).then(|| value.clone())
        })
    }

    pub(crate) fn set(key: &[u8], value: &[u8], time_to_live: u64) -> Result<(), Error> {
        if key.len() > 256 || value.len() > 64 << 10 {
            return Err(Error::TooLarge);
        }
        current(|gateway| {
            let end = gateway.now.saturating_add(Duration::from_millis(time_to_live));
            gateway.key_value.insert(key.to_vec(), (value.to_vec(), end));
        });
        Ok(())
    }

    pub(crate) fn delete(key: &[u8]) {
        current(|gateway| gateway.key_value.remove(key));
    }

    pub(crate) fn increment(key: &[u8], delta: i64, time_to_live: u64) -> Result<i64, Error> {
        let Some(value) = get(key) else {
            set(key, &delta.to_le_bytes(), time_to_live)?;
            return Ok(delta);
        };
        let sum = i64::from_le_bytes(value.try_into().map_err(|_| Error::NotANumber)?).wrapping_add(delta);
        current(|gateway| {
            if let Some((value, _)) = gateway.key_value.get_mut(key) {
                *value = sum.to_le_bytes().to_vec();
            }
        });
        Ok(sum)
    }

    pub(crate) fn compare_and_set(
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
        time_to_live: u64,
    ) -> Result<bool, Error> {
        if get(key).as_deref() != expected {
            return Ok(false);
        }
        set(key, value, time_to_live).map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{key_value, log};

    #[test]
    fn what_a_policy_logs_is_kept() {
        let mut gateway = Gateway::default();
        gateway.run(|| log::warn!("{} left", 3));
        assert_eq!(gateway.lines, [(Level::Warn, "3 left".to_owned())]);
    }

    #[test]
    fn a_value_ends_with_its_time() {
        let mut gateway = Gateway::default();
        let minute = Duration::from_secs(60);
        assert_eq!(gateway.run(|| key_value::increment(b"seen", 2, minute)), Ok(2));
        assert_eq!(gateway.run(|| key_value::increment(b"seen", 3, minute)), Ok(5));
        gateway.now += minute;
        assert_eq!(gateway.run(|| key_value::get(b"seen")), None);
    }

    #[test]
    fn an_exact_name_comes_before_a_wildcard() {
        let named = |name| Certificate::named(name);
        let mut gateway = Gateway {
            certificates: vec![named("*.shop.example"), named("www.shop.example")],
            ..Gateway::default()
        };
        let found = gateway.run(|| crate::certificates::find("WWW.shop.example"));
        assert_eq!(
            found.iter().map(Certificate::id).collect::<Vec<_>>(),
            ["www.shop.example", "*.shop.example"]
        );
    }
}
