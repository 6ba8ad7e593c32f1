//! When to ask again.
//!
//! At half of a response's validity, so that a responder may be down for the other half before a client notices. Where half
//! is over already (responders sign in advance, and caches hand out what they have), at half of what is left: a response
//! that does not get newer is so asked for again and again, but ever less than by a fixed interval. Every wait is cut by
//! up to a fifth at random, so that certificates which were issued or started together drift apart.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use super::Staple;

/// Even of a response that holds for years; those of public authorities hold for 10 days at most (CA/Browser Forum
/// baseline requirements section 4.9.10).
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Between two attempts for one certificate that failed: doubled each time, up to the second.
const RETRY: [Duration; 2] = [Duration::from_secs(15), Duration::from_secs(3600)];

/// Between two attempts at one responder that does not answer.
const REST: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(300)];

/// How long a staple that was fetched some time ago, or put there by others, is used before a newer one is asked for.
pub(super) fn first_refresh_in(staple: &Staple, now: i64, jitter: &mut Jitter) -> Duration {
    jitter.shorten(seconds(half_of(staple, now)).min(LONGEST))
}

/// The same for one that was fetched just now; at least `floor`.
pub(super) fn refresh_in(staple: &Staple, now: i64, floor: Duration, jitter: &mut Jitter) -> Duration {
    let half = half_of(staple, now);
    let wait = if half > 0 { half } else { staple.next_update().saturating_sub(now) / 2 };
    jitter.shorten(seconds(wait).min(LONGEST)).max(floor)
}

/// How long to wait after this many failures in a row, the first being 1.
pub(super) fn retry_in(failures: u32, jitter: &mut Jitter) -> Duration {
    jitter.shorten(doubled(RETRY, failures))
}

/// The same for a responder as a whole.
pub(super) fn rest_for(failures: u32, jitter: &mut Jitter) -> Duration {
    jitter.shorten(doubled(REST, failures))
}

/// Seconds until half of its validity is over; negative since.
fn half_of(staple: &Staple, now: i64) -> i64 {
    let (from, until) = (staple.this_update(), staple.next_update());
    from.saturating_add(until.saturating_sub(from) / 2).saturating_sub(now)
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or(0))
}

fn doubled([first, most]: [Duration; 2], failures: u32) -> Duration {
    let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(factor.max(1)).min(most)
}

/// Chance, good enough to spread work.
#[derive(Debug, Default)]
pub(super) struct Jitter {
    seed: RandomState,
    drawn: u64,
}

impl Jitter {
    /// Between four fifths of it and all of it.
    pub(super) fn shorten(&mut self, wait: Duration) -> Duration {
        self.drawn = self.drawn.wrapping_add(1);
        let share = u32::try_from(self.seed.hash_one(self.drawn) % 1024).unwrap_or(0);
        wait.saturating_sub(wait / 5 * share / 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staple_is_refreshed_at_half_of_its_validity_or_of_what_is_left() {
        let mut jitter = Jitter::default();
        let floor = Duration::from_secs(5);
        let cases = [
            // From, until, now, the longest wait.
            (0, 1000, 0, 500),
            (0, 1000, 100, 400),
            (0, 1000, 600, 200),
            (0, 1000, 998, 5),
            (0, 4, 0, 5),
            (0, 1000, 2000, 5),
            (-100, 1000, 0, 450),
            (0, i64::MAX, 0, 7 * 24 * 3600),
            (i64::MIN, i64::MAX, 0, 7 * 24 * 3600),
        ];
        for (from, until, now, longest) in cases {
            for _ in 0..100 {
                let wait = refresh_in(&Staple::lasting(from, until), now, floor, &mut jitter).as_secs_f64();
                let longest = f64::from(longest);
                assert!((longest * 0.8).max(5.0) <= wait && wait <= longest, "{from} {until} {now}: {wait}");
            }
        }
    }

    #[test]
    fn failures_are_retried_ever_later_and_at_least_hourly() {
        let mut jitter = Jitter::default();
        for (failures, longest) in
            [(0, 15), (1, 15), (2, 30), (5, 240), (9, 3600), (40, 3600), (u32::MAX, 3600)]
        {
            let wait = retry_in(failures, &mut jitter).as_secs_f64();
            let longest = f64::from(longest);
            assert!((longest * 0.8..=longest).contains(&wait), "{failures}: {wait}");
        }
        assert!(rest_for(30, &mut jitter) <= Duration::from_secs(300));
    }
}
