//! HTTP for one client connection: from the first byte after the handshake to the last before the close.
//!
//! `connection` calls [`serve`] with an established stream and what is known about the client. Requests are judged
//! ([`request`]), routed, sent on ([`forward`]) and answered; every one of them ends in exactly one [`RequestOutcome`],
//! those that hyper refuses by itself ([`refusal`]) too.
//! Nothing here knows TLS, certificates or policies, and nothing is ever buffered whole.
//!
//! # Memo: what hyper leaves to us
//! hyper parses, frames and multiplexes. Ours are: the judgement of authority and framing, hop-by-hop and forwarding
//! headers, and every clock. hyper's own header timeout is left off: it restarts at each request and can not tell an
//! idle connection from a slow head. One timer per connection ([`clock`]) knows which it is.
//!
//! # Memo: rest
//! hyper's HTTP/1.1 holds two buffers of 8 KiB for as long as a connection lives. One that is quiet for a second is
//! therefore taken back from it, and only the stream is kept and listened to; the next byte, the end of its time or a
//! drain makes a new one of it, which has forgotten nothing, since between two requests there is nothing to know. Measured
//! with 9,000 idle connections, KiB of memory for each: 25.9 without rest, 12.7 with it, of which 4 are rustls' buffer.
//! HTTP/2 has a state (HPACK tables, windows, stream numbers), so its connections stay what they are: 28.9 KiB, most of them
//! in buffers of h2 and rustls.
//!
//! # Memo: bounds per client
//! Buffers of 64 KiB each way, `max_concurrent_streams`, `max_upstream_connections` (requests beyond wait), 20 streams
//! reset before they were accepted (rapid reset, CVE-2023-44487), 32 streams reset for the client's errors (MadeYouReset,
//! CVE-2025-8671), and at most [`ABANDONED`] requests given up before their response when they are the majority.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::{HeaderName, HeaderValue, Version};
use hyper::server::conn::http1::UpgradeableConnection;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::config;
use crate::drain::DrainWatch;
use crate::route::Routing;
use crate::upstream;

pub mod answer;
pub mod body;
pub mod client_io;
pub mod clock;
pub mod forward;
pub mod frame_watch;
pub mod head_watch;
pub mod header;
pub mod outcome;
pub mod refusal;
pub mod relay;
pub mod request;
pub mod request_id;
pub mod session;
pub mod stream_guard;
pub mod tunnel;

pub use outcome::{ErrorKind, RequestOutcome};

use client_io::{ClientIo, Parted};
use session::{Driven, Ended, Session};

/// Requests that a client may give up before their response, if they are more than half of all.
pub const ABANDONED: u64 = 100;
/// hyper's buffers per connection and direction. A request head must fit, so a larger `max_header_bytes` raises it.
const BUFFER: usize = 64 << 10;
/// What HTTP/2 clients may send before we read: per stream, and per connection (Envoy's advice for the edge: 1 MiB).
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
const FRAME: u32 = 16 << 10;
/// Per stream: what is taken from the upstream before the client's window lets it go.
const SEND_BUFFER: usize = 32 << 10;
const MAX_PENDING_RESETS: usize = 20;
const MAX_ERROR_RESETS: usize = 32;
/// For the closing handshake of a connection that is over; a client that does not read gets no more.
const CLOSE: Duration = Duration::from_secs(1);

/// What a worker gives each of its connections.
#[derive(Clone)]
pub struct Context {
    /// Asked for every request, so that a new configuration reaches connections that live long.
    pub routing: Arc<dyn Fn() -> Arc<Routing> + Send + Sync>,
    /// This worker's own.
    pub pools: Arc<upstream::Pools>,
    pub observer: Arc<dyn Observer>,
}

/// Learns of every request when it is over: answered, refused or given up.
pub trait Observer: Send + Sync {
    fn request_finished(&self, client: &Client, outcome: &RequestOutcome);
}

/// Who is at the other end, as the stages before HTTP found out.
#[derive(Debug, Clone)]
pub struct Client {
    pub connection_id: u64,
    pub listener: String,
    pub address: SocketAddr,
    pub server_address: SocketAddr,
    /// From the ClientHello, lower case.
    pub server_name: Option<String>,
    /// The names of the certificate it was shown, lower case, `*.` wildcards among them.
    pub certificate_names: Vec<String>,
    /// On listeners that ask for client certificates: requests must be for the server name itself, since another name
    /// of the same certificate might be served under other rules.
    pub bound_to_server_name: bool,
    /// `x-client-…` headers of an authenticated client, added to each of its requests.
    pub attributes: Vec<(HeaderName, HeaderValue)>,
}

/// How a connection went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub requests: u64,
    pub end: End,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By the client, or as HTTP wants it after a response.
    Closed,
    /// The gateway drains.
    Drained,
    /// No request for `idle_timeout`.
    Idle,
    /// No complete head within `header_timeout`.
    HeaderTimeout,
    /// The client did not read for `body_timeout`.
    WriteTimeout,
    /// The client broke HTTP's rules, and hyper hung up.
    ProtocolError,
    /// Reset, or gone without a goodbye.
    ConnectionLost,
    /// A response could not be completed, and HTTP/1.1 has no other way to say so.
    ResponseCut,
    /// The client opened requests only to give them up.
    Abuse,
    /// The connection became a WebSocket, which is over.
    TunnelClosed,
}

impl End {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Drained => "drained",
            Self::Idle => "idle",
            Self::HeaderTimeout => "header_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::ProtocolError => "protocol_error",
            Self::ConnectionLost => "connection_lost",
            Self::ResponseCut => "response_cut",
            Self::Abuse => "abuse",
            Self::TunnelClosed => "tunnel_closed",
        }
    }
}

/// Serves one connection to its end. Must run on the worker that `context.pools` belongs to.
pub async fn serve<I>(
    io: I,
    protocol: config::Protocol,
    client: Arc<Client>,
    context: Context,
    drain: DrainWatch,
) -> Summary
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let bounds = (context.routing)().http.clone();
    let session = Arc::new(Session::new(protocol, client, context, bounds));
    // hyper drops the stream wherever an error finds it; it comes back through here for an orderly close.
    let returned = Arc::new(Mutex::new(None));
    // Boxed: each future on the way to hyper has a place for it.
    let io = TokioIo::new(Box::new(ClientIo::new(io, protocol, session.clone(), returned.clone())));
    let ended = match protocol {
        config::Protocol::Http1 => serve_http1(io, &session, drain).await,
        config::Protocol::Http2 => serve_http2(io, &session, drain).await,
    };
    let parted = returned.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(parted) = parted {
        refusal::of_connection(&session, &ended, &parted);
        close(parted, ended.end, &session).await;
    }
    Summary { requests: session.all_requests(), end: ended.end }
}

async fn serve_http1<I>(io: TokioIo<Box<ClientIo<I>>>, session: &Arc<Session>, drain: DrainWatch) -> Ended
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let requests = session.clone();
    let service = service_fn(move |request| forward::respond(requests.clone(), request));
    let builder = http1_builder(session.bounds.max_header_bytes);
    let (mut io, mut service, mut drain, mut may_rest) = (io, service, drain, true);
    let ended = loop {
        // What is hyper's ends with this block: its buffer of 8 KiB must not live as long as the rest does.
        {
            // Dropped before the tunnel is looked for, which would else wait for a connection that was given up.
            let mut connection = Box::new(builder.serve_connection(io, service).with_upgrades());
            let shut_down = |connection: Pin<&mut _>| UpgradeableConnection::graceful_shutdown(connection);
            match session::drive(Pin::new(&mut *connection), shut_down, session, &mut drain, may_rest).await {
                Driven::Ended(ended) => break ended,
                Driven::Quiet => {}
            }
            // Upgraded connections are over for `drive`, so there are always parts.
            let Some(parts) = connection.into_parts() else { break Ended { end: End::Closed, error: None } };
            // Between two requests there can be empty lines, and they may be lost (RFC 9112 section 2.2).
            let is_empty_line = |byte: &u8| matches!(byte, b'\r' | b'\n');
            (io, service) = (parts.io, parts.service);
            if !parts.read_buf.iter().all(is_empty_line) {
                io.inner_mut().unread(&parts.read_buf);
                may_rest = false;
                continue;
            }
        }
        session::rest(session, &mut drain, |context| io.inner_mut().poll_stir(context)).await;
    };
    match session.take_tunnel() {
        Some(tunnel) => Ended { end: tunnel.run(session.bounds.idle_timeout).await, error: None },
        None => ended,
    }
}

fn http1_builder(max_head: usize) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // A client may close its sending side first and still wait for the answer (gnutls-cli, some health checks);
        // one that is gone is noticed by `ClientIo`.
        .half_close(true)
        .keep_alive(true)
        .header_read_timeout(None)
        .max_buf_size(BUFFER.max(max_head))
        .max_header_size(max_head);
    builder
}

async fn serve_http2<I>(io: TokioIo<Box<ClientIo<I>>>, session: &Arc<Session>, mut drain: DrainWatch) -> Ended
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let requests = session.clone();
    let service = service_fn(move |request| {
        requests.count_delivered();
        forward::respond(requests.clone(), request)
    });
    let mut builder = http2::Builder::new(stream_guard::Streams::new(session.bounds.body_timeout));
    builder
        .max_concurrent_streams(session.bounds.max_concurrent_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(session.bounds.max_header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS);
    let mut connection = Box::pin(builder.serve_connection(io, service));
    loop {
        let shut_down = |connection: Pin<&mut http2::Connection<_, _, _>>| connection.graceful_shutdown();
        if let Driven::Ended(ended) =
            session::drive(connection.as_mut(), shut_down, session, &mut drain, false).await
        {
            return ended;
        }
    }
}

/// Says goodbye (for TLS: close_notify, without which the client can not tell the end from a cut).
///
/// A client that began a request head and never finished it gets a 408. One that sent nothing gets none: browsers open
/// connections ahead of need, and would take it for the answer to a later request.
async fn close<I: AsyncRead + AsyncWrite + Unpin>(parted: Parted<I>, end: End, session: &Session) {
    let Parted { mut io, heads, .. } = parted;
    let unfinished = end == End::HeaderTimeout && session.is_within_head();
    let mut answered = false;
    let request_id = request_id::generate();
    let goodbye = async {
        if unfinished {
            io.write_all(&answer::request_timeout(&request_id)).await?;
            io.flush().await?;
            answered = true;
        }
        io.shutdown().await
    };
    // Late or failed: the client is gone or does not read, and the socket is closed all the same.
    let _ = tokio::time::timeout(CLOSE, goodbye).await;
    if unfinished {
        refusal::of_unfinished_head(session, &heads, request_id, answered);
    }
}

/// Shown in logs.
fn protocol_name(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests;
