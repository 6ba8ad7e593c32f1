//! How many lines of a policy reach the log in a second.
//!
//! `kept` has one for each policy, which all its instances share; `imports` asks it before it writes a line. A line that
//! nobody listens to takes no place.
//!
//! A token bucket in one word (the generic cell rate algorithm): the moment at which the bucket would be full again. A
//! line moves that moment on by what one line takes, and may not move it further than [`BURST`] from now.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a policy may write at once after a quiet time, in seconds of its rate: what a policy says when it starts, or when
/// many clients come at once, is what an operator wants to read.
const BURST: Duration = Duration::from_secs(10);
/// How often it is told that lines are dropped. `handfast_policy_dropped_total` counts them meanwhile.
const TOLD_EVERY: Duration = Duration::from_secs(60);

pub(crate) struct LogRate {
    begun: Instant,
    /// Nanoseconds since `begun`.
    full_at: AtomicU64,
    dropped: AtomicU64,
    /// Nanoseconds since `begun` from which a drop is told, and how many had been dropped when one last was.
    tell_at: AtomicU64,
    told: AtomicU64,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Written,
    Dropped {
        /// How many were dropped since it was told last, where it is time to say so.
        tell: Option<u64>,
    },
}

impl Default for LogRate {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            full_at: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            tell_at: AtomicU64::new(0),
            told: AtomicU64::new(0),
        }
    }
}

impl LogRate {
    pub(crate) fn line(&self, rate: u32) -> Line {
        self.line_at(rate, self.begun.elapsed())
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn line_at(&self, rate: u32, since_begun: Duration) -> Line {
        let now = nanoseconds(since_begun);
        let each = 1_000_000_000 / u64::from(rate.max(1));
        let most = now.saturating_add(nanoseconds(BURST));
        let taken = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let next = full_at.max(now).saturating_add(each);
            (next <= most).then_some(next)
        });
        if taken.is_ok() {
            return Line::Written;
        }
        let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
        let tell_at = self.tell_at.load(Ordering::Relaxed);
        let next = now.saturating_add(nanoseconds(TOLD_EVERY));
        let tell = now >= tell_at
            && self.tell_at.compare_exchange(tell_at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        Line::Dropped {
            tell: tell.then(|| dropped.saturating_sub(self.told.swap(dropped, Ordering::Relaxed))),
        }
    }
}

/// 584 years are the most that fit.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(rate: &LogRate, lines: u32, at: Duration) -> u32 {
        (0..100).map(|_| u32::from(rate.line_at(lines, at) == Line::Written)).sum()
    }

    #[test]
    fn after_a_burst_lines_come_at_the_rate() {
        let rate = LogRate::default();
        assert_eq!(written(&rate, 5, Duration::from_secs(1)), 50);
        assert_eq!(written(&rate, 5, Duration::from_secs(1)), 0);
        assert_eq!(written(&rate, 5, Duration::from_secs(3)), 10);
        assert_eq!(written(&rate, 5, Duration::from_millis(3_200)), 1);
        assert_eq!(written(&rate, 5, Duration::from_secs(1_000)), 50, "no more than a burst is saved up");
    }

    #[test]
    fn every_line_dropped_is_counted_and_told_of_now_and_then() {
        let rate = LogRate::default();
        let at = Duration::from_secs(1);
        assert_eq!(written(&rate, 1, at), 10);
        assert_eq!(rate.dropped(), 90);
        assert_eq!(rate.line_at(1, at), Line::Dropped { tell: None });
        let later = at + TOLD_EVERY;
        assert_eq!(written(&rate, 1, later - Duration::from_nanos(1)), 10);
        assert_eq!(rate.line_at(1, later), Line::Dropped { tell: Some(90 + 1 + 90) });
        assert_eq!(rate.dropped(), 182);
    }
}
