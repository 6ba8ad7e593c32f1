//! What policies count and keep, written from the values that a scrape collected.
//!
//! Their names are the policies' own, and go with the policy: a registered family would keep the series of a policy that
//! a reload took out of the configuration. How many names there can be is bounded where they are counted.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// What one policy counted and keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyCounts {
    pub policy: String,
    /// Of the policy's own, by name.
    pub counters: Vec<(String, u64)>,
    pub dropped_additions: u64,
    pub dropped_messages: u64,
    /// Entries, bytes and evictions of its store, if it has one.
    pub key_value: Option<(usize, usize, u64)>,
}

/// Writes the newest [`PolicyCounts`] at each scrape.
#[derive(Debug, Clone, Default)]
pub(super) struct PolicyCollector(Arc<ArcSwap<Vec<PolicyCounts>>>);

impl PolicyCollector {
    pub(super) fn publish(&self, counts: Vec<PolicyCounts>) {
        self.0.store(Arc::new(counts));
    }
}

impl Collector for PolicyCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.0.load();
        let stores = || counts.iter().filter_map(|it| Some((it.policy.as_str(), it.key_value?)));

        let help = "Counters that policies keep.";
        let mut metric = encoder.encode_descriptor("policy_counter", help, None, MetricType::Counter)?;
        for counted in counts.iter() {
            for (name, value) in &counted.counters {
                let labels = [("policy", counted.policy.as_str()), ("name", name.as_str())];
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(value, None)?;
            }
        }
        let help = "What policies logged and counted beyond their bounds.";
        let mut metric = encoder.encode_descriptor("policy_dropped", help, None, MetricType::Counter)?;
        for counted in counts.iter() {
            for (what, value) in [("counter", counted.dropped_additions), ("log", counted.dropped_messages)] {
                let labels = [("policy", counted.policy.as_str()), ("what", what)];
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
        }
        let help = "Entries that policies keep.";
        let mut metric =
            encoder.encode_descriptor("policy_key_value_entries", help, None, MetricType::Gauge)?;
        for (policy, (entries, ..)) in stores() {
            metric.encode_family(&[("policy", policy)])?.encode_gauge(&count(entries))?;
        }
        let help = "What the entries that policies keep take.";
        let unit = Some(&Unit::Bytes);
        let mut metric = encoder.encode_descriptor("policy_key_value", help, unit, MetricType::Gauge)?;
        for (policy, (_, bytes, _)) in stores() {
            metric.encode_family(&[("policy", policy)])?.encode_gauge(&count(bytes))?;
        }
        let help = "Entries of policies that were forgotten before their time.";
        let mut metric =
            encoder.encode_descriptor("policy_key_value_evicted", help, None, MetricType::Counter)?;
        for (policy, (.., evicted)) in stores() {
            metric
                .encode_family(&[("policy", policy)])?
                .encode_counter::<NoLabelSet, _, u64>(&evicted, None)?;
        }
        Ok(())
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use crate::metrics::{Metrics, PolicyCounts};

    #[test]
    fn what_policies_count_is_written_and_goes_with_them() {
        let metrics = Metrics::new();
        metrics.policies(vec![PolicyCounts {
            policy: "p".to_owned(),
            counters: vec![("seen".to_owned(), 3)],
            dropped_additions: 1,
            dropped_messages: 2,
            key_value: Some((4, 5, 6)),
        }]);
        let text = metrics.text().unwrap();
        for line in [
            "handfast_policy_counter_total{policy=\"p\",name=\"seen\"} 3",
            "handfast_policy_dropped_total{policy=\"p\",what=\"counter\"} 1",
            "handfast_policy_dropped_total{policy=\"p\",what=\"log\"} 2",
            "handfast_policy_key_value_entries{policy=\"p\"} 4",
            "handfast_policy_key_value_bytes{policy=\"p\"} 5",
            "handfast_policy_key_value_evicted_total{policy=\"p\"} 6",
        ] {
            assert!(text.lines().any(|written| written == line), "{line}\n{text}");
        }
        metrics.policies(Vec::new());
        assert!(!metrics.text().unwrap().contains("policy=\"p\""));
    }
}
