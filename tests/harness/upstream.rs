//! Upstreams: real HTTP servers behind the gateway that say what they received and misbehave on request.
//!
//! The path of a request chooses what happens; [`Upstream`] lists the choices. [`scripted`] is for what no HTTP library
//! would send, [`tls`] for connections that the gateway passes through.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::DEADLINE;
use crate::pki::{Pair, fingerprint};
use crate::wait::Watched;

/// A server that answers by path:
///
/// - `/hold`: answers `held` once the test calls [`Upstream::release`]
/// - `/large/<n>`: `n` bytes of [`pattern`]
/// - `/cut/<n>`: the same, but the connection breaks half way; `/cut-chunked/<n>`: without a `content-length`
/// - `/mirror`: the request's body, as it comes
/// - `/trailers`: 13 bytes of [`pattern`] and the trailer `x-checksum`
/// - `/connection-fields`: fields that belong to one hop, `x-hop` among them by name in `connection`
/// - `/upgrade`: switches protocols as asked for and echoes bytes
/// - `/status/<n>`: an empty response of that status
/// - anything else: what was received, as JSON
pub struct Upstream {
    address: SocketAddr,
    seen: Watched<Seen>,
    release: watch::Sender<bool>,
    stop: watch::Sender<bool>,
}

/// What has reached an upstream.
#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    /// Method and path of each request.
    requests: Vec<String>,
}

impl Upstream {
    pub fn http1() -> Self {
        Self::start(Version::HTTP_11)
    }

    /// HTTP/2 without TLS, with prior knowledge.
    pub fn http2() -> Self {
        Self::start(Version::HTTP_2)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets all requests to `/hold` be answered.
    pub fn release(&self) {
        self.release.send_replace(true);
    }

    /// Method and path of each request so far: `GET /a`.
    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().requests.clone()
    }

    pub fn connections(&self) -> usize {
        self.seen.lock().connections
    }

    /// Waits until this request has arrived.
    #[track_caller]
    pub fn wait_for_request(&self, request: &str) {
        let seen = self.seen.wait(|seen| seen.requests.iter().any(|seen| seen == request).then_some(()));
        assert!(seen.is_some(), "waited {DEADLINE:?} in vain for {request}; seen: {:?}", self.requests());
    }

    fn start(version: Version) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("an option is set");
        let address = listener.local_addr().expect("a bound socket has an address");
        let seen = Watched::new(Seen::default());
        let (release, released) = watch::channel(false);
        let (stop, mut stopped) = watch::channel(false);
        let server = Server { version, seen: seen.clone(), released };
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = server.accept(listener) => {}
                    _ = stopped.changed() => {}
                }
            });
        });
        Self { address, seen, release, stop }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// An address whose connections each go to `serve`, on a thread of their own, until the test process ends.
pub fn scripted(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// An upstream that reads a request head and answers with exactly these bytes, then closes.
pub fn answering(bytes: &'static [u8]) -> SocketAddr {
    scripted(move |mut stream| {
        read_head(&mut stream);
        let _ = stream.write_all(bytes);
    })
}

/// A TLS server with this pair, which answers every request with `answer`.
pub fn tls(pair: &Pair, answer: &'static str) -> SocketAddr {
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("the provider's versions");
    let config = builder
        .with_no_client_auth()
        .with_single_cert(pair.chain(), pair.key())
        .expect("a pair that matches");
    let config = Arc::new(config);
    scripted(move |stream| {
        let connection = ServerConnection::new(config.clone()).expect("a server is made");
        let mut stream = StreamOwned::new(connection, stream);
        read_head(&mut stream);
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
        let _ = stream.write_all(response.as_bytes());
        stream.conn.send_close_notify();
        let _ = stream.flush();
    })
}

/// An address that refuses connections for as long as the value lives: bound, so that nobody else gets the port, but
/// not listening.
pub struct Nobody {
    _socket: tokio::net::TcpSocket,
    address: SocketAddr,
}

impl Nobody {
    pub fn new() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = socket.local_addr().expect("a bound socket has an address");
        Self { _socket: socket, address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Default for Nobody {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes that no two places of a transfer have in common for long.
pub fn pattern(length: u64) -> Vec<u8> {
    (0..length).map(pattern_at).collect()
}

fn pattern_at(position: u64) -> u8 {
    (position ^ (position >> 8).wrapping_mul(31) ^ (position >> 16).wrapping_mul(7)) as u8
}

type Failure = Box<dyn std::error::Error + Send + Sync>;
type BoxBody = UnsyncBoxBody<Bytes, Failure>;

#[derive(Clone)]
struct Server {
    version: Version,
    seen: Watched<Seen>,
    released: watch::Receiver<bool>,
}

impl Server {
    async fn accept(self, listener: tokio::net::TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            self.seen.change(|seen| seen.connections += 1);
            let server = self.clone();
            tokio::spawn(async move {
                let stream = TokioIo::new(stream);
                let version = server.version;
                let service = service_fn(move |request| {
                    let server = server.clone();
                    async move { server.answer(request).await }
                });
                // A connection that the gateway breaks off is its business, not the upstream's.
                if version == Version::HTTP_2 {
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(stream, service).await;
                } else {
                    let builder = hyper::server::conn::http1::Builder::new();
                    let _ = builder.serve_connection(stream, service).with_upgrades().await;
                }
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<BoxBody>, Infallible> {
        let path = request.uri().path().to_owned();
        self.seen.change(|seen| seen.requests.push(format!("{} {path}", request.method())));
        let mut segments = path.trim_start_matches('/').split('/');
        let choice = segments.next().unwrap_or_default();
        let number = segments.next().and_then(|number| number.parse::<u64>().ok()).unwrap_or_default();
        Ok(match choice {
            "hold" => {
                let _ = self.released.clone().wait_for(|released| *released).await;
                Response::new(full("held"))
            }
            "large" => Response::new(Pattern::new(number).boxed_unsync()),
            "cut" => Response::new(Pattern::new(number).broken(true).boxed_unsync()),
            "cut-chunked" => Response::new(Pattern::new(number).broken(false).boxed_unsync()),
            "mirror" => Response::new(request.into_body().map_err(Into::into).boxed_unsync()),
            "trailers" => trailers(),
            "connection-fields" => connection_fields(),
            "upgrade" => upgrade(request),
            "status" => {
                let mut response = Response::new(full(""));
                let status = u16::try_from(number).ok().and_then(|number| StatusCode::from_u16(number).ok());
                *response.status_mut() = status.unwrap_or(StatusCode::BAD_REQUEST);
                response
            }
            _ => received(request).await,
        })
    }
}

/// What arrived, as JSON: fields as a list of pairs, so that order and repetition are seen.
async fn received(request: Request<Incoming>) -> Response<BoxBody> {
    let (head, body) = request.into_parts();
    let (body, complete) = match body.collect().await {
        Ok(body) => (body.to_bytes(), true),
        Err(_) => (Bytes::new(), false),
    };
    let headers: Vec<[String; 2]> = head
        .headers
        .iter()
        .map(|(name, value)| [name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()])
        .collect();
    let report = serde_json::json!({
        "method": head.method.as_str(),
        "uri": head.uri.to_string(),
        "version": format!("{:?}", head.version),
        "headers": headers,
        "body_length": body.len(),
        "body_sha256": fingerprint(&body),
        "body_complete": complete,
    });
    let mut response = Response::new(full(report.to_string()));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}

fn trailers() -> Response<BoxBody> {
    let name = http::HeaderName::from_static("x-checksum");
    let fields = HeaderMap::from_iter([(name, HeaderValue::from_static("abc"))]);
    let body = Pattern { announced: false, trailers: Some(fields), ..Pattern::new(13) };
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert("trailer", HeaderValue::from_static("x-checksum"));
    response
}

fn connection_fields() -> Response<BoxBody> {
    let mut response = Response::new(full("hop"));
    let fields = [("connection", "x-hop"), ("x-hop", "1"), ("keep-alive", "timeout=7"), ("x-end", "1")];
    for (name, value) in fields {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn upgrade(request: Request<Incoming>) -> Response<BoxBody> {
    let Some(protocol) = request.headers().get("upgrade").cloned() else {
        let mut response = Response::new(full("nothing to upgrade to"));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let mut stream = TokioIo::new(upgraded);
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            if stream.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
    response.headers_mut().insert("upgrade", protocol);
    response
}

fn full(text: impl Into<Bytes>) -> BoxBody {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body of [`pattern`] in pieces of 16 KiB, which may break half way or end with trailers.
struct Pattern {
    position: u64,
    end: u64,
    breaks_at: Option<u64>,
    announced: bool,
    trailers: Option<HeaderMap>,
}

impl Pattern {
    fn new(length: u64) -> Self {
        Self { position: 0, end: length, breaks_at: None, announced: true, trailers: None }
    }

    fn broken(self, announced: bool) -> Self {
        Self { breaks_at: Some(self.end / 2), announced, ..self }
    }
}

impl Body for Pattern {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let end = self.breaks_at.unwrap_or(self.end).min(self.position + 16 * 1024);
        if end > self.position {
            let piece: Vec<u8> = (self.position..end).map(pattern_at).collect();
            self.position = end;
            return Poll::Ready(Some(Ok(Frame::data(piece.into()))));
        }
        if self.breaks_at.is_some() {
            return Poll::Ready(Some(Err("broken off, as asked for".into())));
        }
        Poll::Ready(self.trailers.take().map(|fields| Ok(Frame::trailers(fields))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.announced { SizeHint::with_exact(self.end - self.position) } else { SizeHint::default() }
    }
}

fn read_head(stream: &mut impl Read) -> Vec<u8> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    head
}
