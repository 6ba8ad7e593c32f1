//! What a run found, as JSON on one line; `cargo xtask bench` reads it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use crate::handshake::Done;

/// What one place among the connections saw.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    latencies: Vec<Duration>,
    resumed: u64,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn done(&mut self, done: &Done) {
        self.latencies.push(done.latency);
        self.resumed += u64::from(done.resumed);
    }

    pub(crate) fn failed(&mut self, error: &io::Error) {
        *self.errors.entry(error.to_string()).or_default() += 1;
    }
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Report {
    /// In order.
    latencies: Vec<Duration>,
    resumed: u64,
    errors: BTreeMap<String, u64>,
    took: Duration,
}

impl Report {
    pub(crate) fn new(tallies: Vec<Tally>, took: Duration) -> Self {
        let mut all = Self { latencies: Vec::new(), resumed: 0, errors: BTreeMap::new(), took };
        for tally in tallies {
            all.latencies.extend(tally.latencies);
            all.resumed += tally.resumed;
            for (error, times) in tally.errors {
                *all.errors.entry(error).or_default() += times;
            }
        }
        all.latencies.sort_unstable();
        all
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "operations": self.latencies.len(),
            "resumed": self.resumed,
            "errors": self.errors.values().sum::<u64>(),
            "error_texts": self.errors,
            "seconds": self.took.as_secs_f64(),
            "latency_us": {
                "p50": self.percentile(0.5),
                "p90": self.percentile(0.9),
                "p99": self.percentile(0.99),
                "p99.9": self.percentile(0.999),
                "max": self.percentile(1.0),
            },
        })
    }

    /// The smallest latency that this share of the operations did not exceed; `null` where there are none.
    fn percentile(&self, share: f64) -> Option<u128> {
        let rank = (self.latencies.len() as f64 * share).ceil() as usize;
        self.latencies.get(rank.max(1) - 1).map(Duration::as_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(micros: impl Iterator<Item = u64>) -> Report {
        let latencies = micros.map(Duration::from_micros).collect();
        Report::new(vec![Tally { latencies, ..Tally::default() }], Duration::from_secs(1))
    }

    #[test]
    fn percentiles_are_latencies_that_occurred() {
        let report = report((1..=1000).rev());
        let found = [0.5, 0.99, 0.999, 1.0].map(|share| report.percentile(share));
        assert_eq!(found, [Some(500), Some(990), Some(999), Some(1000)]);
    }

    #[test]
    fn a_run_without_an_operation_has_no_percentiles() {
        assert_eq!(report(std::iter::empty()).json()["latency_us"]["p50"], Value::Null);
    }
}
