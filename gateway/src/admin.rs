//! The admin listener: `/metrics`, `/healthz`, `/readyz`, in plain HTTP/1.1, on loopback unless configured otherwise.
//!
//! It lives on the background runtime: a scrape never takes time from a worker. It only reads.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::drain::Drain;
use crate::metrics::{CertificateCounts, Metrics};
use crate::snapshot::Snapshots;

/// OpenMetrics 1.0.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections served at once: enough for several scrapers, too few to be a burden.
const CONNECTIONS: usize = 64;

const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until the runtime ends: while the gateway drains, `/readyz` still says so.
pub async fn serve(socket: TcpListener, metrics: Arc<Metrics>, snapshots: Arc<Snapshots>, drain: Arc<Drain>) {
    let limit = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&limit).acquire_owned().await else { return };
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept on the admin listener");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let metrics = Arc::clone(&metrics);
        let snapshots = Arc::clone(&snapshots);
        let drain = Arc::clone(&drain);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&request, &metrics, &snapshots, drain.has_started());
                async move { Ok::<_, Infallible>(response) }
            });
            // A scraper that goes away mid-answer is not worth a line.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(permit);
        });
    }
}

fn answer(
    request: &Request<Incoming>,
    metrics: &Metrics,
    snapshots: &Snapshots,
    draining: bool,
) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    match request.uri().path() {
        "/metrics" => match scrape(metrics, snapshots) {
            Ok(metrics) => {
                let mut response = text(StatusCode::OK, metrics);
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS));
                response
            }
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n"),
        },
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" if draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        "/readyz" => text(StatusCode::OK, "ready\n"),
        _ => text(StatusCode::NOT_FOUND, "try /metrics, /healthz or /readyz\n"),
    }
}

fn scrape(metrics: &Metrics, snapshots: &Snapshots) -> Result<String, fmt::Error> {
    let certificates = &snapshots.current().certificates;
    let counters = certificates.counters();
    metrics.certificates(CertificateCounts {
        live: certificates.len(),
        replaced: counters.replaced,
        refused: counters.refused,
        last_good: counters.kept,
    });
    metrics.generation(snapshots.generation());
    metrics.text()
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
