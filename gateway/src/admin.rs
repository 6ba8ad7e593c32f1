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
use hyper_util::rt::TokioIo;
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

/// For a connection and its one request, from accept to close. Peers that say nothing or do not read can thus keep the
/// places of all others for so long only, which is less than a scraper waits (Prometheus: 10 s).
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until the runtime ends: while the gateway drains, `/readyz` still says so.
pub async fn serve(socket: TcpListener, metrics: Arc<Metrics>, snapshots: Arc<Snapshots>, drain: Arc<Drain>) {
    let respond =
        move |request: &Request<Incoming>| answer(request, &metrics, &snapshots, drain.has_started());
    accept(socket, CONNECTION_TIMEOUT, Arc::new(respond)).await;
}

async fn accept<R>(socket: TcpListener, connection_timeout: Duration, respond: Arc<R>)
where
    R: Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static,
{
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
        let respond = Arc::clone(&respond);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = respond(&request);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .header_read_timeout(None)
                .serve_connection(TokioIo::new(stream), service);
            // A scraper that goes away mid-answer is not worth a line.
            let _ = tokio::time::timeout(connection_timeout, connection).await;
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn peers_that_say_nothing_do_not_keep_a_scraper_out() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let respond = |_: &Request<Incoming>| text(StatusCode::OK, "ok\n");
        tokio::spawn(accept(socket, Duration::from_millis(100), Arc::new(respond)));
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut scraper = TcpStream::connect(address).await.unwrap();
        scraper.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        let read = scraper.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(10), read).await.expect("the scraper has its turn").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
        drop(silent);
    }
}
