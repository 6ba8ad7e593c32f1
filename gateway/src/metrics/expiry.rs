//! The gauges of what expires, written from one published value.
//!
//! One series for each of 100,000 certificates would make a scrape of some 10 MB, more than most scrapers take. So only
//! the soonest to expire have a series of their own (`certificate::expiry` says how many), and aggregates cover all of
//! them. A registered family would have to be cleared and filled at each change, with a scrape in between seeing half of
//! it; here a scrape writes out one immutable value.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// Which certificates come to their end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expiry {
    /// Whose validity has ended.
    pub expired: usize,
    /// For each horizon, as the configuration writes it, how many are valid and will not be when it has passed.
    pub within: Vec<(String, usize)>,
    /// Ids with the ends of their validity in seconds since 1970, the first to expire first. Bounded.
    pub soonest: Vec<(Arc<str>, i64)>,
}

/// Writes the newest [`Expiry`] at each scrape.
#[derive(Debug, Clone, Default)]
pub(super) struct ExpiryCollector(Arc<ArcSwap<Expiry>>);

impl ExpiryCollector {
    pub(super) fn publish(&self, expiry: Arc<Expiry>) {
        self.0.store(expiry);
    }
}

impl Collector for ExpiryCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let expiry = self.0.load();
        let mut gauge =
            |name, help, unit, samples: &[Sample<'_>]| write(&mut encoder, name, help, unit, samples);
        gauge(
            "certificates_expired",
            "Certificates whose validity has ended.",
            None,
            &[(None, count(expiry.expired))],
        )?;
        let within: Vec<_> = expiry
            .within
            .iter()
            .map(|(horizon, number)| (Some(("within", horizon.as_str())), count(*number)))
            .collect();
        gauge("certificates_expiring", "Valid certificates that will have expired then.", None, &within)?;
        let earliest: Vec<_> =
            expiry.soonest.first().map(|(_, not_after)| (None, *not_after)).into_iter().collect();
        gauge(
            "certificates_earliest_not_after",
            "When the first of all certificates expires or expired, since 1970.",
            Some(&Unit::Seconds),
            &earliest,
        )?;
        let soonest: Vec<_> =
            expiry.soonest.iter().map(|(id, not_after)| (Some(("certificate", &**id)), *not_after)).collect();
        gauge(
            "certificate_not_after",
            "When a certificate expires, since 1970, of those that expire first.",
            Some(&Unit::Seconds),
            &soonest,
        )
    }
}

/// A value and the label of its series, if there are several.
type Sample<'a> = (Option<(&'a str, &'a str)>, i64);

fn write(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    samples: &[Sample<'_>],
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (label, value) in samples {
        match label {
            Some(label) => metric.encode_family(&[*label])?.encode_gauge(value)?,
            None => metric.encode_gauge(value)?,
        }
    }
    Ok(())
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use crate::metrics::{Expiry, Metrics};

    #[test]
    fn what_expires_is_written_with_its_labels_escaped() {
        let metrics = Metrics::new();
        metrics.expiry(Expiry {
            expired: 1,
            within: vec![("30d".to_owned(), 4), ("1d".to_owned(), 2)],
            soonest: vec![("a \"b\"\\\n".into(), -5), ("c".into(), 7)],
        });
        let text = metrics.text().unwrap();
        for line in [
            "handfast_certificates_expired 1",
            "handfast_certificates_expiring{within=\"30d\"} 4",
            "handfast_certificates_expiring{within=\"1d\"} 2",
            "handfast_certificates_earliest_not_after_seconds -5",
            "handfast_certificate_not_after_seconds{certificate=\"a \\\"b\\\"\\\\\\n\"} -5",
            "handfast_certificate_not_after_seconds{certificate=\"c\"} 7",
        ] {
            assert!(text.lines().any(|written| written == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
