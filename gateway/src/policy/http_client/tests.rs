//! Calls to a server of a few lines, on this machine.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore as Gate;

use super::*;
use crate::config::{AllowedHost, HostPattern};
use crate::metrics::Metrics;

/// As a policy has them that says nothing, but for the time: the machine that runs the tests is busy.
pub(super) fn settings() -> OutgoingHttp {
    OutgoingHttp {
        hosts: vec![AllowedHost { secure: true, host: HostPattern::Wildcard("example".into()), port: 443 }],
        trust_anchors: None,
        private_addresses: false,
        timeout: Duration::from_secs(20),
        max_request_bytes: 16 << 10,
        max_response_bytes: 64 << 10,
        max_concurrent: 16,
        rate: 100,
        cache_entries: 10_000,
        cache_bytes: 8 << 20,
        ttl: Duration::from_secs(30),
        max_ttl: Duration::from_secs(600),
        negative_ttl: Duration::from_secs(10),
        failure_ttl: Duration::from_secs(1),
        breaker_failures: 5,
        breaker_pause: Duration::from_secs(5),
    }
}

/// Answers each request with these bytes, once it may.
struct Server {
    port: u16,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    gate: Arc<Gate>,
}

impl Server {
    async fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, connections) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let gate = Arc::new(Gate::new(1_000_000));
        let (seen, accepted, open) = (Arc::clone(&requests), Arc::clone(&connections), Arc::clone(&gate));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let (seen, open) = (Arc::clone(&seen), Arc::clone(&open));
                tokio::spawn(async move {
                    let mut bytes = [0; 4096];
                    while let Ok(1..) = stream.read(&mut bytes).await {
                        seen.fetch_add(1, Ordering::SeqCst);
                        open.acquire().await.unwrap().forget();
                        let _ = stream.write_all(answer.as_bytes()).await;
                        if answer.contains("connection: close") {
                            return;
                        }
                    }
                });
            }
        });
        Self { port, requests, connections, gate }
    }

    fn settings(&self) -> OutgoingHttp {
        let host = HostPattern::Address("127.0.0.1".parse().unwrap());
        OutgoingHttp { hosts: vec![AllowedHost { secure: false, host, port: self.port }], ..settings() }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn request(&self, path: &str) -> HttpRequest {
        HttpRequest {
            method: "GET".into(),
            secure: false,
            authority: format!("127.0.0.1:{}", self.port),
            path: path.into(),
            fields: Vec::new(),
            body: Vec::new(),
            patience: None,
        }
    }
}

fn client(settings: OutgoingHttp) -> (Client, Metrics) {
    let metrics = Metrics::new();
    let client = Client::new("p", settings, Handle::current(), metrics.policy_http("p")).unwrap();
    (client, metrics)
}

fn counted(metrics: &Metrics, outcome: &str) -> usize {
    let series = format!("handfast_policy_http_calls_total{{policy=\"p\",outcome=\"{outcome}\"}} ");
    let text = metrics.text().unwrap();
    text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or_default()
}

const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx-a: b\r\n\r\nacme";

#[tokio::test]
async fn an_answer_is_fetched_once_and_then_remembered() {
    let server = Server::start(GOOD).await;
    let (client, metrics) = client(server.settings());
    for _ in 0..3 {
        let response = client.send(server.request("/a")).await.unwrap();
        assert_eq!((response.status, response.body.as_slice()), (200, &b"acme"[..]));
        assert!(response.fields.contains(&("x-a".into(), b"b".to_vec())));
    }
    let mut other = server.request("/a");
    other.fields.push(("x".into(), b"y".to_vec()));
    client.send(other).await.unwrap();
    assert_eq!((server.requests(), counted(&metrics, "ok"), counted(&metrics, "cached")), (2, 2, 2));
    assert_eq!(client.usage().cache_entries, 2);
}

#[tokio::test]
async fn equal_requests_at_once_are_one_and_a_gone_waiter_ends_nothing() {
    let server = Server::start(GOOD).await;
    server.gate.forget_permits(1_000_000);
    let (client, metrics) = client(server.settings());
    let calls: Vec<_> = (0..20).map(|_| client.send(server.request("/a"))).collect();
    drop(client.send(server.request("/a")));
    assert_eq!(counted(&metrics, "joined"), 20);
    server.gate.add_permits(1_000);
    for call in calls {
        assert_eq!(call.await.unwrap().status, 200);
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_connection_is_used_again_and_a_closed_one_is_replaced() {
    let server = Server::start(GOOD).await;
    let (kept, _) = client(server.settings());
    for number in 0..20 {
        kept.send(server.request(&format!("/{number}"))).await.unwrap();
        // Until the connection is free again it cannot be used again.
        while lock(kept.shared.exchanger.idle_connections()).is_empty() {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    let closing = Server::start("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let (client, metrics) = client(closing.settings());
    for number in 0..20 {
        client.send(closing.request(&format!("/{number}"))).await.unwrap();
    }
    assert_eq!((closing.requests(), counted(&metrics, "failed")), (20, 0));
}

#[tokio::test]
async fn a_response_is_bounded_in_head_and_body_and_never_followed() {
    let large = "HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n";
    let endless: &'static str =
        Box::leak(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(70_000)).into_boxed_str());
    let fields: &'static str =
        Box::leak(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(20_000)).into_boxed_str());
    for (answer, error) in [
        (large, HttpError::ResponseTooLarge),
        (endless, HttpError::ResponseTooLarge),
        (fields, HttpError::Broken),
        ("nonsense\r\n\r\n", HttpError::Broken),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\nx", HttpError::Broken),
    ] {
        let server = Server::start(answer).await;
        let (client, metrics) = client(server.settings());
        assert_eq!(client.send(server.request("/")).await, Err(error), "{answer:.80}");
        assert_eq!(counted(&metrics, "failed"), 1);
    }
    let moved = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let server = Server::start(moved).await;
    let (client, _) = client(server.settings());
    assert_eq!(client.send(server.request("/")).await.unwrap().status, 302);
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn made_up_names_neither_grow_memory_nor_hammer_a_dead_endpoint() {
    // Bound and not listening: nobody else gets the port.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let host = HostPattern::Address("127.0.0.1".parse().unwrap());
    let port = socket.local_addr().unwrap().port();
    let settings = OutgoingHttp {
        hosts: vec![AllowedHost { secure: false, host, port }],
        breaker_pause: Duration::from_secs(3600),
        cache_entries: 100,
        ..settings()
    };
    let (client, metrics) = client(settings);
    for number in 0..10_000 {
        let request = HttpRequest {
            method: "GET".into(),
            secure: false,
            authority: format!("127.0.0.1:{port}"),
            path: format!("/{number}"),
            fields: Vec::new(),
            body: Vec::new(),
            patience: None,
        };
        assert!(client.send(request).await.is_err());
    }
    let made = counted(&metrics, "failed");
    assert_eq!((made, counted(&metrics, "breaker-open")), (5, 10_000 - 5));
    assert_eq!(client.usage().breakers_open, 1);
    assert!(client.usage().cache_entries <= 25);
    let memory = lock(&client.shared.memory);
    assert_eq!((memory.flights.len(), memory.under_way), (0, 0));
}

#[tokio::test]
async fn made_up_names_are_asked_for_at_the_rate_and_their_answers_take_a_part_of_the_cache() {
    let server = Server::start("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    let settings = OutgoingHttp { rate: 50, cache_entries: 40, ..server.settings() };
    let (client, metrics) = client(settings);
    let begun = Instant::now();
    for number in 0..5_000 {
        let _ = client.send(server.request(&format!("/{number}"))).await;
    }
    let most = 50 + 50 * (begun.elapsed().as_secs() as usize + 1);
    assert!(server.requests() <= most, "{} of {most}", server.requests());
    assert_eq!(counted(&metrics, "ok") + counted(&metrics, "limited"), 5_000);
    assert!(client.usage().cache_entries <= 10);
}

#[tokio::test]
async fn more_calls_than_places_wait_and_more_than_may_wait_are_refused() {
    let server = Server::start(GOOD).await;
    server.gate.forget_permits(1_000_000);
    let settings = OutgoingHttp { max_concurrent: 4, rate: 10_000, ..server.settings() };
    let (client, metrics) = client(settings);
    let calls: Vec<_> = (0..400).map(|number| client.send(server.request(&format!("/{number}")))).collect();
    assert_eq!(counted(&metrics, "limited"), 400 - 4 - QUEUED);
    while server.requests() < 4 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 4);
    server.gate.add_permits(1_000_000);
    let mut good = 0;
    for call in calls {
        good += usize::from(call.await.is_ok());
    }
    assert_eq!(good, 4 + QUEUED);
}

#[tokio::test]
async fn a_slow_endpoint_ends_with_the_timeout_or_with_the_guests_own_patience() {
    let server = Server::start(GOOD).await;
    server.gate.forget_permits(1_000_000);
    let (brief, metrics) = client(OutgoingHttp { timeout: Duration::from_millis(50), ..server.settings() });
    assert_eq!(brief.send(server.request("/")).await, Err(HttpError::TimedOut));
    assert_eq!(brief.send(server.request("/")).await, Err(HttpError::TimedOut));
    assert_eq!((counted(&metrics, "timed-out"), counted(&metrics, "cached")), (1, 1), "a failure is kept");

    let (patient, _) = client(server.settings());
    let request = HttpRequest { patience: Some(Duration::from_millis(20)), ..server.request("/") };
    assert_eq!(patient.send(request).await, Err(HttpError::TimedOut));
}

#[tokio::test]
async fn a_name_that_leads_inwards_is_refused_unless_that_is_allowed() {
    let server = Server::start(GOOD).await;
    let host =
        || AllowedHost { secure: false, host: HostPattern::Name("localhost".into()), port: server.port };
    let request = || HttpRequest { authority: format!("localhost:{}", server.port), ..server.request("/") };
    let (refusing, metrics) = client(OutgoingHttp { hosts: vec![host()], ..settings() });
    assert_eq!(refusing.send(request()).await, Err(HttpError::AddressRefused));
    assert_eq!((server.requests(), counted(&metrics, "refused")), (0, 1));
    let (allowing, _) = client(OutgoingHttp { hosts: vec![host()], private_addresses: true, ..settings() });
    assert_eq!(allowing.send(request()).await.unwrap().status, 200);
}

#[tokio::test]
async fn what_is_not_in_the_list_is_refused_and_so_is_a_request_that_is_too_large() {
    let server = Server::start(GOOD).await;
    let (client, metrics) = client(server.settings());
    let elsewhere = HttpRequest { authority: "evil.example".into(), ..server.request("/") };
    assert_eq!(client.send(elsewhere).await, Err(HttpError::NotAllowed));
    let large = HttpRequest { method: "POST".into(), body: vec![0; (16 << 10) + 1], ..server.request("/") };
    assert_eq!(client.send(large).await, Err(HttpError::RequestTooLarge));
    assert_eq!((counted(&metrics, "refused"), server.requests()), (1, 0));
}
