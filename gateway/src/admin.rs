//! The admin listener: `/metrics`, `/healthz`, `/readyz` and `/certificates`, in plain HTTP/1.1, on loopback unless
//! configured otherwise.
//!
//! It lives on the background runtime: a scrape never takes time from a worker. It only reads.
//!
//! # Memo: names
//! A page in a browser on the same machine, or in the same network, can ask any address by a name of its own that its author
//! points there (DNS rebinding), and read what it gets as from its own server. What it cannot do is to ask without that name
//! in `Host`. So that has to be an address, `localhost`, or one of the names in `[admin] hosts`; nothing else is answered,
//! whatever the address of the listener. Scrapers that ask by a name need it in the configuration. One that sends no
//! `Host` is no browser.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
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
use crate::metrics::{CertificateCounts, Metrics, OcspCounts};
use crate::snapshot::Snapshots;

pub mod certificates;
mod hosts;
mod readiness;

use certificates::Query;
use hosts::Hosts;
use readiness::Readiness;

/// OpenMetrics 1.0.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections served at once: enough for several scrapers, too few to be a burden.
const CONNECTIONS: usize = 64;

/// For a connection and its one request, from accept to close. Peers that say nothing or do not read can thus keep the
/// places of all others for so long only, which is less than a scraper waits (Prometheus: 10 s).
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Listings of certificates that are put together at once. One that was begun goes on when its client has gone, so the
/// bound on connections is none on this work, and it takes threads that reloads need.
const LISTINGS: usize = 2;

/// Serves until the runtime ends: while the gateway drains, `/readyz` still says so.
pub async fn serve(
    socket: TcpListener,
    hosts: Vec<String>,
    metrics: Arc<Metrics>,
    snapshots: Arc<Snapshots>,
    drain: Arc<Drain>,
) {
    let listings = Arc::new(Semaphore::new(LISTINGS));
    let hosts = Hosts::new(hosts);
    let shown =
        Arc::new(Shown { hosts, metrics, snapshots, drain, readiness: Readiness::default(), listings });
    let respond = move |request| {
        let shown = Arc::clone(&shown);
        async move { answer(&request, &shown).await }
    };
    accept(socket, CONNECTION_TIMEOUT, Arc::new(respond)).await;
}

/// What answers are made from.
struct Shown {
    hosts: Hosts,
    metrics: Arc<Metrics>,
    snapshots: Arc<Snapshots>,
    drain: Arc<Drain>,
    readiness: Readiness,
    listings: Arc<Semaphore>,
}

async fn accept<R, F>(socket: TcpListener, connection_timeout: Duration, respond: Arc<R>)
where
    R: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
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
                let response = respond(request);
                async move { Ok::<_, Infallible>(response.await) }
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

async fn answer(request: &Request<Incoming>, shown: &Shown) -> Response<Full<Bytes>> {
    if !shown.hosts.allow(request) {
        let text_of_refusal = "ask by address or as localhost, or list this name in `hosts` of [admin]\n";
        return text(StatusCode::MISDIRECTED_REQUEST, text_of_refusal);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    match request.uri().path() {
        "/metrics" => match scrape(&shown.metrics, &shown.snapshots) {
            Ok(metrics) => typed(OPENMETRICS, metrics),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n"),
        },
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" if shown.drain.has_started() => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        "/readyz" => match shown.readiness.judge(&shown.snapshots.current().certificates) {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(reasons) => text(StatusCode::SERVICE_UNAVAILABLE, reasons),
        },
        "/certificates" => certificates(request.uri().query().unwrap_or_default(), shown).await,
        _ => text(StatusCode::NOT_FOUND, "try /metrics, /healthz, /readyz or /certificates\n"),
    }
}

fn scrape(metrics: &Metrics, snapshots: &Snapshots) -> Result<String, fmt::Error> {
    let snapshot = snapshots.current();
    metrics.policies(snapshot.policies.slots().iter().map(|slot| slot.counts()).collect());
    let certificates = &snapshot.certificates;
    let counters = certificates.counters();
    let (not_served, left_out) = certificates.not_served();
    metrics.certificates(CertificateCounts {
        live: certificates.len(),
        kept: certificates.kept_last_good(),
        not_served,
        left_out,
        replaced: counters.replaced,
        refused: counters.refused,
        last_good: counters.kept,
    });
    let ocsp = certificates.ocsp_counters();
    metrics.ocsp(OcspCounts { fetched: ocsp.fetched, failed: ocsp.failed, expired: ocsp.stale });
    metrics.generation(snapshots.generation());
    metrics.text()
}

async fn certificates(query: &str, shown: &Shown) -> Response<Full<Bytes>> {
    let query = match Query::parse(query) {
        Ok(query) => query,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    let snapshot = shown.snapshots.current();
    let listing = in_turn(&shown.listings, move || {
        serde_json::to_vec(&certificates::answer(&snapshot.certificates, &query))
    });
    match listing.await {
        Some(Ok(json)) => typed("application/json", json),
        _ => text(StatusCode::INTERNAL_SERVER_ERROR, "the certificates could not be written\n"),
    }
}

/// Blocking work that keeps its turn to its end, whoever has stopped waiting for it. `None` if it panicked, which was
/// printed, or the runtime is ending.
async fn in_turn<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let turn = Arc::clone(turns).acquire_owned().await.ok()?;
    let worked = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(turn);
        done
    });
    worked.await.ok()
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = typed("text/plain; charset=utf-8", body);
    *response.status_mut() = status;
    response
}

fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
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
        let respond = |_| std::future::ready(text(StatusCode::OK, "ok\n"));
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

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_more_keeps_its_turn() {
        let turns = Arc::new(Semaphore::new(1));
        let (begin, begun) = tokio::sync::oneshot::channel();
        let (release, released) = std::sync::mpsc::channel();
        let first = in_turn(&turns, move || {
            begin.send(()).unwrap();
            released.recv().unwrap();
        });
        tokio::select! {
            _ = first => panic!("it waits to be released"),
            begun = begun => begun.unwrap(),
        }
        assert_eq!(turns.available_permits(), 0);
        release.send(()).unwrap();
        assert_eq!(in_turn(&turns, || "next").await, Some("next"));
    }
}
