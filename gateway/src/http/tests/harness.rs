//! A gateway between a scripted client and a scripted upstream.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::drain::Drain;
use crate::http::{Client, Context, Observer, RequestOutcome, Routing, Summary, serve};
use crate::upstream::Pools;
use crate::{config, route};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("this takes too long")
}

/// What a test may change before it starts the gateway.
pub(super) struct Setup {
    pub http: config::Http,
    pub upstream: config::Upstream,
    pub client: Client,
    pub protocol: config::Protocol,
}

pub(super) fn setup(endpoint: SocketAddr) -> Setup {
    Setup {
        http: config::Http {
            header_timeout: PATIENCE,
            body_timeout: PATIENCE,
            idle_timeout: PATIENCE,
            max_header_bytes: 16 << 10,
            max_concurrent_streams: 100,
            max_upstream_connections: 32,
        },
        upstream: config::Upstream {
            name: "app".to_owned(),
            endpoints: vec![endpoint.to_string()],
            protocol: config::Protocol::Http1,
            connect_timeout: PATIENCE,
            response_timeout: PATIENCE,
            idle_timeout: PATIENCE,
            max_idle: 8,
        },
        client: Client {
            connection_id: 1,
            listener: "https".to_owned(),
            address: "192.0.2.7:4711".parse().unwrap(),
            server_address: "192.0.2.1:443".parse().unwrap(),
            server_name: Some("a.example".to_owned()),
            certificate_names: vec!["a.example".to_owned(), "*.w.example".to_owned()],
            bound_to_server_name: false,
            attributes: vec![(
                http::HeaderName::from_static("x-client-subject"),
                http::HeaderValue::from_static("CN=alice"),
            )],
        },
        protocol: config::Protocol::Http1,
    }
}

impl Setup {
    pub(super) fn http2(mut self) -> Self {
        self.protocol = config::Protocol::Http2;
        self
    }

    pub(super) fn http2_upstream(mut self) -> Self {
        self.upstream.protocol = config::Protocol::Http2;
        self
    }

    pub(super) async fn start(self) -> Gateway {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (outcomes, received_outcomes) = mpsc::unbounded_channel();
        let (summaries, received_summaries) = mpsc::unbounded_channel();
        let (drain, watch) = Drain::new();
        let routes = [config::Route {
            hosts: vec!["a.example".to_owned(), "*.w.example".to_owned()],
            path: "/".to_owned(),
            upstream: Arc::new(self.upstream),
        }];
        let routing =
            Arc::new(Mutex::new(Arc::new(Routing { routes: route::Routes::new(&routes), http: self.http })));
        let published = routing.clone();
        let context = Context {
            routing: Arc::new(move || published.lock().unwrap().clone()),
            pools: Arc::new(Pools::new()),
            observer: Arc::new(Recorder { outcomes }),
        };
        let (client, protocol) = (Arc::new(self.client), self.protocol);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = serve(stream, protocol, client.clone(), context.clone(), watch.clone());
                let summaries = summaries.clone();
                tokio::spawn(async move { summaries.send(served.await) });
            }
        });
        Gateway { address, routing, drain, outcomes: received_outcomes, summaries: received_summaries }
    }
}

struct Recorder {
    outcomes: mpsc::UnboundedSender<RequestOutcome>,
}

impl Observer for Recorder {
    fn request_finished(&self, _client: &Client, outcome: &RequestOutcome) {
        let _ = self.outcomes.send(outcome.clone());
    }
}

pub(super) struct Gateway {
    pub address: SocketAddr,
    pub routing: Arc<Mutex<Arc<Routing>>>,
    pub drain: Drain,
    outcomes: mpsc::UnboundedReceiver<RequestOutcome>,
    summaries: mpsc::UnboundedReceiver<Summary>,
}

impl Gateway {
    pub(super) async fn connect(&self) -> Peer {
        Peer::new(TcpStream::connect(self.address).await.unwrap())
    }

    pub(super) async fn outcome(&mut self) -> RequestOutcome {
        soon(self.outcomes.recv()).await.unwrap()
    }

    pub(super) async fn summary(&mut self) -> Summary {
        soon(self.summaries.recv()).await.unwrap()
    }

    /// Returns when a connection is over, whose summary can then be had.
    pub(super) async fn closed(&self) {
        while self.summaries.is_empty() {
            tokio::task::yield_now().await;
        }
    }

    /// One request on a connection of its own; the raw answer up to the close.
    pub(super) async fn exchange(&self, request: &str) -> String {
        let mut peer = self.connect().await;
        peer.send(request).await;
        peer.finish().await;
        peer.rest().await
    }

    pub(super) async fn connect_http2<B>(&self) -> hyper::client::conn::http2::SendRequest<B>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // hyper's own default.
        self.connect_http2_with_window(2 << 20).await
    }

    /// `window`: what the client takes of each response before it is read.
    pub(super) async fn connect_http2_with_window<B>(
        &self,
        window: u32,
    ) -> hyper::client::conn::http2::SendRequest<B>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

/// One end of a socket, read by heads, counts or to the end.
pub(super) struct Peer {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Peer {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(super) async fn send(&mut self, text: impl AsRef<[u8]>) {
        soon(self.stream.write_all(text.as_ref())).await.unwrap();
    }

    /// Ends the sending side.
    pub(super) async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Up to and including `end`; `None` if the stream ends first.
    pub(super) async fn until(&mut self, end: &str) -> Option<String> {
        soon(async {
            loop {
                if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end.as_bytes()) {
                    let text = self.buffer.drain(..at + end.len()).collect();
                    return Some(String::from_utf8(text).unwrap());
                }
                if !self.fill().await {
                    return None;
                }
            }
        })
        .await
    }

    pub(super) async fn head(&mut self) -> Option<String> {
        self.until("\r\n\r\n").await
    }

    pub(super) async fn exactly(&mut self, count: usize) -> String {
        soon(async {
            while self.buffer.len() < count {
                assert!(self.fill().await, "ended after {} bytes", self.buffer.len());
            }
            String::from_utf8(self.buffer.drain(..count).collect()).unwrap()
        })
        .await
    }

    /// All until the stream ends or breaks.
    pub(super) async fn rest(&mut self) -> String {
        soon(async { while self.fill().await {} }).await;
        String::from_utf8(std::mem::take(&mut self.buffer)).unwrap()
    }

    async fn fill(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.buffer).await, Ok(count) if count > 0)
    }
}

/// An upstream whose connections are each served by a function.
pub(super) struct Upstream {
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    heads: mpsc::UnboundedReceiver<String>,
}

pub(super) type Heads = mpsc::UnboundedSender<String>;

impl Upstream {
    /// `serve` gets the connection, its number from 1, and where to put the heads it reads.
    pub(super) async fn scripted<F, S>(serve: F) -> Self
    where
        F: Fn(Peer, usize, Heads) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, heads) = mpsc::unbounded_channel();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::Relaxed) + 1;
                tokio::spawn(serve(Peer::new(stream), number, sender.clone()));
            }
        });
        Self { address, accepted, heads }
    }

    /// Gives every request (without body) the same answer.
    pub(super) async fn fixed(answer: &'static str) -> Self {
        Self::scripted(move |mut peer, _, heads| async move {
            while let Some(head) = peer.head().await {
                let _ = heads.send(head);
                peer.send(answer).await;
            }
        })
        .await
    }

    /// HTTP/2 by prior knowledge.
    pub(super) async fn http2<F, S, B>(serve: F) -> Self
    where
        F: Fn(http::Request<hyper::body::Incoming>) -> S + Clone + Send + 'static,
        S: Future<Output = http::Response<B>> + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self::scripted(move |peer, _, heads| {
            let serve = serve.clone();
            let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let _ = heads.send(format!("{request:?}"));
                let response = serve(request);
                async move { Ok::<_, std::convert::Infallible>(response.await) }
            });
            async move {
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(peer.stream), service).await;
            }
        })
        .await
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(super) async fn received(&mut self) -> String {
        soon(self.heads.recv()).await.unwrap()
    }

    /// `None` if the other thing happens first.
    pub(super) async fn received_unless(&mut self, other: impl Future) -> Option<String> {
        soon(async {
            tokio::select! {
                biased;
                _ = other => None,
                head = self.heads.recv() => head,
            }
        })
        .await
    }

    pub(super) fn received_nothing(&mut self) -> bool {
        self.heads.try_recv().is_err()
    }
}

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
pub(super) const GET: &str = "GET / HTTP/1.1\r\nhost: a.example\r\n\r\n";

pub(super) fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

/// The values of a field, in order.
pub(super) fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.lines()
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':'))
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

pub(super) fn empty() -> Full<Bytes> {
    Full::default()
}

pub(super) async fn text(response: http::Response<hyper::body::Incoming>) -> String {
    let body = soon(response.into_body().collect()).await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}
