//! One structured line and one count for each request.

use std::sync::Arc;

use tracing::{Level, enabled, info};

use crate::http::{Client, ErrorKind, Observer, RequestOutcome};
use crate::metrics::Metrics;
use crate::telemetry::Excerpt;

/// Where the HTTP side of a worker reports to.
pub struct RequestLog {
    metrics: Arc<Metrics>,
}

impl RequestLog {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }
}

impl Observer for RequestLog {
    fn request_finished(&self, client: &Client, outcome: &RequestOutcome) {
        let upstream = outcome.upstream.as_ref().map_or("", |upstream| upstream.name.as_str());
        let status = outcome.status.map_or(0, |status| status.as_u16());
        self.metrics.request(upstream, status, outcome.duration);
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
            status,
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
