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
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Unit;

use super::Labels;

/// What one policy counted and keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyCounts {
    pub policy: String,
    /// Of the policy's own, by name.
    pub counters: Vec<(String, u64)>,
    pub dropped_additions: u64,
    /// Beyond those that one call may log.
    pub dropped_messages: u64,
    /// Beyond those that the policy may log in a second.
    pub limited_messages: u64,
    /// Entries, bytes and evictions of its store, if it has one.
    pub key_value: Option<(usize, usize, u64)>,
    /// With outgoing HTTP.
    pub http: Option<HttpUse>,
}

/// What a policy with outgoing HTTP holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HttpUse {
    pub cache_entries: usize,
    pub cache_bytes: usize,
    /// Hosts that are left alone after failures.
    pub breakers_open: usize,
}

/// What became of a policy's calls; docs/observation.md says what each means.
const HTTP_OUTCOMES: [&str; 8] =
    ["ok", "cached", "joined", "refused", "limited", "breaker-open", "timed-out", "failed"];

/// The counters of one policy's outgoing HTTP, each there from the start.
pub struct HttpCounters([(&'static str, Counter); 8]);

impl HttpCounters {
    pub(super) fn new(calls: &Family<Labels, Counter>, policy: &str) -> Self {
        Self(HTTP_OUTCOMES.map(|outcome| {
            let labels = vec![("policy", policy.to_owned()), ("outcome", outcome.to_owned())];
            (outcome, calls.get_or_create_owned(&labels))
        }))
    }

    pub fn count(&self, outcome: &'static str) {
        if let Some((_, counter)) = self.0.iter().find(|(name, _)| *name == outcome) {
            counter.inc();
        }
    }
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
            for (what, value) in [
                ("counter", counted.dropped_additions),
                ("log", counted.dropped_messages),
                ("log-rate", counted.limited_messages),
            ] {
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
        encode_http(&mut encoder, &counts)
    }
}

fn encode_http(encoder: &mut DescriptorEncoder<'_>, counts: &[PolicyCounts]) -> fmt::Result {
    let clients = || counts.iter().filter_map(|it| Some((it.policy.as_str(), it.http?)));
    let help = "Answers of outgoing HTTP that are kept for policies.";
    let mut metric = encoder.encode_descriptor("policy_http_cache_entries", help, None, MetricType::Gauge)?;
    for (policy, used) in clients() {
        metric.encode_family(&[("policy", policy)])?.encode_gauge(&count(used.cache_entries))?;
    }
    let help = "What the answers that are kept for policies take.";
    let unit = Some(&Unit::Bytes);
    let mut metric = encoder.encode_descriptor("policy_http_cache", help, unit, MetricType::Gauge)?;
    for (policy, used) in clients() {
        metric.encode_family(&[("policy", policy)])?.encode_gauge(&count(used.cache_bytes))?;
    }
    let help = "Hosts that policies are not let call after failures.";
    let mut metric = encoder.encode_descriptor("policy_http_breakers_open", help, None, MetricType::Gauge)?;
    for (policy, used) in clients() {
        metric.encode_family(&[("policy", policy)])?.encode_gauge(&count(used.breakers_open))?;
    }
    Ok(())
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use crate::metrics::{HttpUse, Metrics, PolicyCounts};

    #[test]
    fn what_policies_count_is_written_and_goes_with_them() {
        let metrics = Metrics::new();
        metrics.policies(vec![PolicyCounts {
            policy: "p".to_owned(),
            counters: vec![("seen".to_owned(), 3)],
            dropped_additions: 1,
            dropped_messages: 2,
            limited_messages: 7,
            key_value: Some((4, 5, 6)),
            http: Some(HttpUse { cache_entries: 7, cache_bytes: 8, breakers_open: 9 }),
        }]);
        let text = metrics.text().unwrap();
        for line in [
            "handfast_policy_counter_total{policy=\"p\",name=\"seen\"} 3",
            "handfast_policy_dropped_total{policy=\"p\",what=\"counter\"} 1",
            "handfast_policy_dropped_total{policy=\"p\",what=\"log\"} 2",
            "handfast_policy_dropped_total{policy=\"p\",what=\"log-rate\"} 7",
            "handfast_policy_key_value_entries{policy=\"p\"} 4",
            "handfast_policy_key_value_bytes{policy=\"p\"} 5",
            "handfast_policy_key_value_evicted_total{policy=\"p\"} 6",
            "handfast_policy_http_cache_entries{policy=\"p\"} 7",
            "handfast_policy_http_cache_bytes{policy=\"p\"} 8",
            "handfast_policy_http_breakers_open{policy=\"p\"} 9",
        ] {
            assert!(text.lines().any(|written| written == line), "{line}\n{text}");
        }
        metrics.policies(Vec::new());
        assert!(!metrics.text().unwrap().contains("policy=\"p\""));
    }
}
