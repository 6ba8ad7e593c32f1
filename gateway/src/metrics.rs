//! Counters, gauges and histograms, in the OpenMetrics text format at `/metrics`.
//!
//! Every other module reports here; nothing is ever read back to decide anything. Names and labels are public: they
//! are listed in docs/observation.md, and a test fails when one of them is missing there.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

mod expiry;
mod policies;

pub use expiry::Expiry;
pub use policies::{HttpCounters, HttpUse, PolicyCounts};

use expiry::ExpiryCollector;
use policies::PolicyCollector;

type Labels = Vec<(&'static str, String)>;

/// What a certificate store counts.
#[derive(Debug, Clone, Copy)]
pub struct CertificateCounts {
    pub live: usize,
    /// Of those, the ones that are not what their files hold.
    pub kept: usize,
    pub not_served: usize,
    pub left_out: usize,
    pub replaced: u64,
    pub refused: u64,
    pub last_good: u64,
}

/// What is counted about OCSP staples.
#[derive(Debug, Clone, Copy)]
pub struct OcspCounts {
    pub fetched: u64,
    pub failed: u64,
    pub expired: u64,
}

/// Everything that is measured.
pub struct Metrics {
    registry: Registry,
    connections: Family<Labels, Counter>,
    open: Gauge,
    handshakes: Family<Labels, Counter>,
    handshake_duration: Histogram,
    policy_calls: Family<Labels, Counter>,
    policy_duration: Family<Labels, Histogram, PolicyBuckets>,
    policy_last_good: Family<Labels, Counter>,
    policy_http: Family<Labels, Counter>,
    policies: PolicyCollector,
    requests: Family<Labels, Counter>,
    request_duration: Family<Labels, Histogram, RequestBuckets>,
    reloads: Family<Labels, Counter>,
    certificates: Gauge,
    kept: Gauge,
    not_served: Gauge,
    left_out: Gauge,
    expiry: ExpiryCollector,
    last_good: Counter,
    ocsp_fetches: Family<Labels, Counter>,
    ocsp_expired: Counter,
    generation: Gauge<u64, AtomicU64>,
}

impl Metrics {
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("handfast"),
            connections: Family::default(),
            open: Gauge::default(),
            handshakes: Family::default(),
            handshake_duration: Histogram::new(HANDSHAKE_SECONDS),
            policy_calls: Family::default(),
            policy_duration: Family::new_with_constructor(PolicyBuckets),
            policy_last_good: Family::default(),
            policy_http: Family::default(),
            policies: PolicyCollector::default(),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(RequestBuckets),
            reloads: Family::default(),
            certificates: Gauge::default(),
            kept: Gauge::default(),
            not_served: Gauge::default(),
            left_out: Gauge::default(),
            expiry: ExpiryCollector::default(),
            last_good: Counter::default(),
            ocsp_fetches: Family::default(),
            ocsp_expired: Counter::default(),
            generation: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("connections", "Connections accepted", metrics.connections.clone());
        registry.register("connections_open", "Connections open now", metrics.open.clone());
        registry.register(
            "handshakes",
            "Connections by what became of their handshake",
            metrics.handshakes.clone(),
        );
        registry.register_with_unit(
            "handshake_duration",
            "From accept to the end of a completed handshake",
            Unit::Seconds,
            metrics.handshake_duration.clone(),
        );
        registry.register("policy_calls", "Calls of policy hooks by outcome", metrics.policy_calls.clone());
        registry.register_with_unit(
            "policy_call_duration",
            "Wall-clock time of one call of a policy hook",
            Unit::Seconds,
            metrics.policy_duration.clone(),
        );
        registry.register(
            "policy_last_good",
            "Calls that the last good version of a policy answered, the newest having no verdict",
            metrics.policy_last_good.clone(),
        );
        registry.register(
            "policy_http_calls",
            "Outgoing HTTP calls of policies by outcome",
            metrics.policy_http.clone(),
        );
        registry.register("requests", "Requests by upstream and status class", metrics.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "From the head of a request to the end of its response",
            Unit::Seconds,
            metrics.request_duration.clone(),
        );
        registry.register(
            "reloads",
            "Replacements by what was replaced and outcome",
            metrics.reloads.clone(),
        );
        registry.register("certificates", "Certificates that can be served", metrics.certificates.clone());
        registry.register(
            "certificates_kept",
            "Certificates that are the last good ones, since their files were refused or are gone",
            metrics.kept.clone(),
        );
        registry.register(
            "certificates_refused",
            "Pairs that nothing is served of, since they were refused",
            metrics.not_served.clone(),
        );
        registry.register(
            "certificates_left_out",
            "Keys and settings without a certificate, folders that cannot be listed, sources that cannot be scanned",
            metrics.left_out.clone(),
        );
        registry.register(
            "handshakes_with_last_good",
            "Handshakes answered with the last good pair although its files had changed",
            metrics.last_good.clone(),
        );
        registry.register(
            "ocsp_fetches",
            "Exchanges with OCSP responders by outcome",
            metrics.ocsp_fetches.clone(),
        );
        registry.register(
            "ocsp_staples_expired",
            "OCSP staples that ran out before there was another",
            metrics.ocsp_expired.clone(),
        );
        registry.register("generation", "Number of the newest published change", metrics.generation.clone());
        registry.register_collector(Box::new(metrics.expiry.clone()));
        registry.register_collector(Box::new(metrics.policies.clone()));
        metrics
    }

    /// The counters of one listener.
    pub fn listener(&self, listener: &str) -> ListenerCounters {
        let answered = |resumed| {
            self.handshakes.get_or_create_owned(&handshake_labels(listener, "certificate", resumed))
        };
        ListenerCounters {
            listener: listener.to_owned(),
            connections: self.connections.get_or_create_owned(&vec![("listener", listener.to_owned())]),
            open: self.open.clone(),
            answered: answered(false),
            answered_resumed: answered(true),
            duration: self.handshake_duration.clone(),
            handshakes: self.handshakes.clone(),
        }
    }

    /// The counters of one hook of one policy.
    pub fn policy(&self, policy: &str, hook: &'static str) -> PolicyCounters {
        let labels = vec![("policy", policy.to_owned()), ("hook", hook.to_owned())];
        PolicyCounters {
            succeeded: self.policy_calls.get_or_create_owned(&with_outcome(&labels, "ok")),
            duration: self.policy_duration.get_or_create_owned(&labels),
            last_good: self.policy_last_good.get_or_create_owned(&labels),
            calls: self.policy_calls.clone(),
            labels,
        }
    }

    /// The counters of one policy's outgoing HTTP.
    pub fn policy_http(&self, policy: &str) -> HttpCounters {
        HttpCounters::new(&self.policy_http, policy)
    }

    /// The counters of the requests to one upstream; an empty name for those that no upstream saw.
    pub fn upstream(&self, upstream: &str) -> RequestCounters {
        let labels = vec![("upstream", upstream.to_owned())];
        RequestCounters {
            duration: self.request_duration.get_or_create_owned(&labels),
            classes: Default::default(),
            requests: self.requests.clone(),
            labels,
        }
    }

    /// `what` is `configuration` or `policy`.
    pub fn reload(&self, what: &'static str, name: &str, succeeded: bool) {
        self.reloads.get_or_create(&reload_labels(what, name, succeeded)).inc();
    }

    /// Takes over what the certificate store has counted, before a scrape: it counts for all certificates together.
    pub fn certificates(&self, counted: CertificateCounts) {
        for (gauge, number) in [
            (&self.certificates, counted.live),
            (&self.kept, counted.kept),
            (&self.not_served, counted.not_served),
            (&self.left_out, counted.left_out),
        ] {
            gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        }
        self.last_good.inner().store(counted.last_good, Ordering::Relaxed);
        for (succeeded, count) in [(true, counted.replaced), (false, counted.refused)] {
            let counter = self.reloads.get_or_create(&reload_labels("certificate", "", succeeded));
            counter.inner().store(count, Ordering::Relaxed);
        }
    }

    /// The same for OCSP staples.
    pub fn ocsp(&self, counted: OcspCounts) {
        for (outcome, count) in [("fetched", counted.fetched), ("failed", counted.failed)] {
            let counter = self.ocsp_fetches.get_or_create(&vec![("outcome", outcome.to_owned())]);
            counter.inner().store(count, Ordering::Relaxed);
        }
        self.ocsp_expired.inner().store(counted.expired, Ordering::Relaxed);
    }

    /// Which certificates come to their end, as of the last look at all of them.
    pub fn expiry(&self, expiry: Expiry) {
        self.expiry.publish(Arc::new(expiry));
    }

    /// Takes over what the configured policies count and keep, before a scrape.
    pub fn policies(&self, counts: Vec<PolicyCounts>) {
        self.policies.publish(counts);
    }

    pub fn generation(&self, generation: u64) {
        self.generation.set(generation);
    }

    /// The text of `/metrics`.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Metrics")
    }
}

/// What is counted on the way of every connection of a listener. The series that nearly all of them end in are looked up
/// once: a look-up by labels allocates for each of them.
pub struct ListenerCounters {
    listener: String,
    connections: Counter,
    open: Gauge,
    answered: Counter,
    answered_resumed: Counter,
    duration: Histogram,
    handshakes: Family<Labels, Counter>,
}

impl ListenerCounters {
    pub fn connection_opened(&self) {
        self.connections.inc();
        self.open.inc();
    }

    pub fn connection_closed(&self) {
        self.open.dec();
    }

    /// `outcome` is the `verdict` of the connection's outcome line, or `failed` and `timeout`.
    pub fn handshake(&self, outcome: &'static str, resumed: bool, took: Duration) {
        match (outcome, resumed) {
            ("certificate", false) => self.answered.inc(),
            ("certificate", true) => self.answered_resumed.inc(),
            _ => self.handshakes.get_or_create(&handshake_labels(&self.listener, outcome, resumed)).inc(),
        };
        if outcome == "certificate" {
            self.duration.observe(took.as_secs_f64());
        }
    }
}

/// What is counted at every call of a hook.
pub struct PolicyCounters {
    succeeded: Counter,
    duration: Histogram,
    calls: Family<Labels, Counter>,
    last_good: Counter,
    labels: Labels,
}

impl PolicyCounters {
    /// `outcome` is `ok` or the kind of the error.
    pub fn call(&self, outcome: &'static str, took: Duration) {
        self.duration.observe(took.as_secs_f64());
        match outcome {
            "ok" => self.succeeded.inc(),
            _ => self.calls.get_or_create(&with_outcome(&self.labels, outcome)).inc(),
        };
    }

    /// The last good version is asked in the place of the newest.
    pub fn last_good(&self) {
        self.last_good.inc();
    }
}

/// What is counted at the end of every request to an upstream.
pub struct RequestCounters {
    duration: Histogram,
    /// By the first digit of the status, each made when it is first needed.
    classes: [OnceLock<Counter>; 10],
    requests: Family<Labels, Counter>,
    labels: Labels,
}

impl RequestCounters {
    /// `status` is shortened to its class (`2xx`): one series a status and upstream would be too many. 0 where the client
    /// got none.
    pub fn request(&self, status: u16, took: Duration) {
        self.duration.observe(took.as_secs_f64());
        let class = status / 100;
        let Some(counter) = self.classes.get(usize::from(class)) else { return };
        let create = || {
            let mut labels = self.labels.clone();
            labels.push(("status", format!("{class}xx")));
            self.requests.get_or_create_owned(&labels)
        };
        counter.get_or_init(create).inc();
    }
}

fn handshake_labels(listener: &str, outcome: &'static str, resumed: bool) -> Labels {
    let resumed = if resumed { "true" } else { "false" };
    vec![("listener", listener.to_owned()), ("outcome", outcome.to_owned()), ("resumed", resumed.to_owned())]
}

fn with_outcome(labels: &Labels, outcome: &'static str) -> Labels {
    let mut labels = labels.clone();
    labels.push(("outcome", outcome.to_owned()));
    labels
}

fn reload_labels(what: &'static str, name: &str, succeeded: bool) -> Labels {
    let outcome = if succeeded { "replaced" } else { "kept" };
    vec![("what", what.to_owned()), ("name", name.to_owned()), ("outcome", outcome.to_owned())]
}

const HANDSHAKE_SECONDS: [f64; 10] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
const POLICY_SECONDS: [f64; 10] =
    [0.000_005, 0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.01, 0.1, 1.0];
const REQUEST_SECONDS: [f64; 10] = [0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

#[derive(Clone)]
struct PolicyBuckets;

impl MetricConstructor<Histogram> for PolicyBuckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(POLICY_SECONDS)
    }
}

#[derive(Clone)]
struct RequestBuckets;

impl MetricConstructor<Histogram> for RequestBuckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(REQUEST_SECONDS)
    }
}
