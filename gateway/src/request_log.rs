//! One structured line and one count for each request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{Level, enabled, info};

use crate::http::{Client, ErrorKind, Observer, RequestOutcome};
use crate::metrics::{Metrics, RequestCounters};
use crate::telemetry::Excerpt;

/// Where the HTTP side of one worker reports to.
pub struct RequestLog {
    metrics: Arc<Metrics>,
    /// By the name of the upstream, so that none is looked up by its labels for each request. As many as the
    /// configurations of this process have named.
    counters: Mutex<HashMap<String, RequestCounters>>,
}

impl RequestLog {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, counters: Mutex::default() }
    }

    fn count(&self, upstream: &str, outcome: &RequestOutcome) {
        let status = outcome.status.map_or(0, |status| status.as_u16());
        // A poisoned lock means a panic elsewhere; the map behind it is whole at every step.
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = counters.get(upstream) {
            return known.request(status, outcome.duration);
        }
        let new = counters.entry(upstream.to_owned()).or_insert_with(|| self.metrics.upstream(upstream));
        new.request(status, outcome.duration);
    }
}

impl Observer for RequestLog {
    fn request_finished(&self, client: &Client, outcome: &RequestOutcome) {
        let upstream = outcome.upstream.as_ref().map_or("", |upstream| upstream.name.as_str());
        self.count(upstream, outcome);
        if !enabled!(target: "handfast::request", Level::INFO) {
            return;
        }
        info!(
            target: "handfast::request",
            connection = client.connection_id,
            listener = client.listener,
            client = %client.address,
            request_id = outcome.request_id(),
            protocol = outcome.protocol(),
            method = outcome.method.as_ref().map(|method| display(Excerpt(method.as_str()))),
            host = known(outcome.host()).map(display),
            path = known(outcome.path()).map(display),
            status = outcome.status.map_or(0, |status| status.as_u16()),
            upstream,
            endpoint = outcome.endpoint.as_deref(),
            bytes_in = outcome.bytes_in,
            bytes_out = outcome.bytes_out,
            duration_us = u64::try_from(outcome.duration.as_micros()).unwrap_or(u64::MAX),
            error = outcome.error.map(ErrorKind::as_str),
            detail = outcome.detail.as_deref().map(Excerpt).map(display),
            "request"
        );
    }
}

/// Left out of the line where nothing is known.
fn known(text: &str) -> Option<Excerpt<'_>> {
    (!text.is_empty()).then_some(Excerpt(text))
}
