//! One call: a connection, a request, a response of bounded size.
//!
//! HTTP/1.1, over TLS 1.2 or 1.3 where the scheme is `https`. No redirect is followed, no cookie kept, nothing decompressed.
//! A connection that is free again is kept for the next call to the same host.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use handfast_plugin_host::{HttpError, HttpRequest, HttpResponse};
use http::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;

use super::allowed::{Host, Target};
use super::{HttpClientError, address, lock, roots};
use crate::config::OutgoingHttp;

/// Of the head of a response.
const HEAD_BYTES: usize = 16 << 10;
const HEAD_FIELDS: usize = 64;
/// Addresses of a name that are tried, one after the other.
const ADDRESSES: usize = 4;
/// Names that are looked up at once, for all policies together. Each holds a thread for as long as the resolver likes, and
/// the runtime has 512, which changed certificates and plugins are read on too. Lookups that hang can make those of other
/// policies wait, and nothing else.
const RESOLVED_AT_ONCE: usize = 64;
/// How long a connection without a call is kept; shorter than the idle timeouts of common servers.
const IDLE: Duration = Duration::from_secs(30);
/// How long a connection may take to be free again once its response is there.
const PARTING: Duration = Duration::from_secs(1);

/// Fields that concern one hop (RFC 9110 section 7.6.1).
const HOP: [&str; 7] =
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// Why there is no response, for the operator's log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no complete response within the call's `timeout`")]
    TimedOut,
    #[error(
        "its name leads to {0}, where policies are not let; if that is meant, list the address itself, or for a private one \
         write `private-addresses = true` in [policy.http]"
    )]
    Address(IpAddr),
    #[error("its name has no address")]
    NoAddress(#[source] io::Error),
    #[error("no connection to it")]
    Connect(#[source] io::Error),
    #[error("no TLS with it")]
    Tls(#[source] io::Error),
    #[error("no HTTP with it")]
    Http(#[source] hyper::Error),
    #[error("its response broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("its response is larger than `max-response-bytes`")]
    TooLarge,
    #[error("the request cannot be written")]
    Request(#[source] http::Error),
}

impl Failure {
    pub(super) fn for_guest(&self) -> HttpError {
        match self {
            Self::TimedOut => HttpError::TimedOut,
            Self::Address(_) => HttpError::AddressRefused,
            Self::NoAddress(_) => HttpError::NoAddress,
            Self::Connect(_) => HttpError::Unreachable,
            Self::Tls(_) => HttpError::Tls,
            Self::Http(_) | Self::Body(_) => HttpError::Broken,
            Self::TooLarge => HttpError::ResponseTooLarge,
            Self::Request(_) => HttpError::Invalid,
        }
    }
}

/// Makes calls.
pub(super) struct Exchanger {
    tls: Option<TlsConnector>,
    private: bool,
    max_response: usize,
    /// For one address, where there are several.
    connect: Duration,
    resolvers: Arc<Semaphore>,
    idle: Arc<Pool>,
}

type Sender = SendRequest<Full<Bytes>>;

static RESOLVERS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(RESOLVED_AT_ONCE)));

impl Exchanger {
    pub(super) fn new(settings: &OutgoingHttp) -> Result<Self, HttpClientError> {
        let tls = match settings.hosts.iter().any(|host| host.secure) {
            true => Some(TlsConnector::from(Arc::new(tls(settings)?))),
            false => None,
        };
        Ok(Self {
            tls,
            private: settings.private_addresses,
            max_response: settings.max_response_bytes,
            connect: settings.timeout / 2,
            resolvers: Arc::clone(&RESOLVERS),
            idle: Arc::new(Pool { most: settings.max_concurrent, connections: Mutex::default() }),
        })
    }

    /// `place` is held by a name that is being resolved for as long as that takes, whatever becomes of the call.
    pub(super) async fn call(
        &self,
        request: &HttpRequest,
        target: &Target,
        place: Arc<OwnedSemaphorePermit>,
    ) -> Result<Arc<HttpResponse>, Failure> {
        let written = written(request, target)?;
        if let Some(sender) = self.idle.take(target) {
            match self.ask(sender, written.clone(), target).await {
                // The server may have closed it just now. What is safe to say twice is said again, what was never said too.
                Err(Failure::Http(error)) if error.is_canceled() || written.method().is_safe() => {}
                answer => return answer,
            }
        }
        let sender = self.connect(target, place).await?;
        self.ask(sender, written, target).await
    }

    async fn ask(
        &self,
        mut sender: Sender,
        request: Request<Full<Bytes>>,
        target: &Target,
    ) -> Result<Arc<HttpResponse>, Failure> {
        let response = sender.send_request(request).await.map_err(Failure::Http)?;
        let response = self.read(response).await?;
        let (pool, target) = (Arc::clone(&self.idle), target.clone());
        tokio::spawn(async move {
            if let Ok(Ok(())) = tokio::time::timeout(PARTING, sender.ready()).await {
                pool.give(target, sender);
            }
        });
        Ok(Arc::new(response))
    }

    async fn read(&self, response: Response<Incoming>) -> Result<HttpResponse, Failure> {
        let (head, body) = response.into_parts();
        let most = u64::try_from(self.max_response).unwrap_or(u64::MAX);
        if body.size_hint().lower() > most {
            return Err(Failure::TooLarge);
        }
        let body = Limited::new(body, self.max_response).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { Failure::TooLarge } else { Failure::Body(error) }
        })?;
        let fields = head.headers.iter().filter(|(name, _)| !HOP.contains(&name.as_str()));
        let fields = fields.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
        Ok(HttpResponse {
            status: head.status.as_u16(),
            fields: fields.collect(),
            body: body.to_bytes().into(),
        })
    }

    async fn connect(&self, target: &Target, place: Arc<OwnedSemaphorePermit>) -> Result<Sender, Failure> {
        let stream = self.reach(target, place).await?;
        // Small requests, each waited for.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            Some(tls) if target.secure => {
                let name = match &target.host {
                    Host::Name(name) => ServerName::try_from(name.clone())
                        .map_err(|error| Failure::Tls(io::Error::new(io::ErrorKind::InvalidInput, error)))?,
                    Host::Address(address) => ServerName::IpAddress((*address).into()),
                };
                handshake(tls.connect(name, stream).await.map_err(Failure::Tls)?).await
            }
            _ => handshake(stream).await,
        }
    }

    async fn reach(&self, target: &Target, place: Arc<OwnedSemaphorePermit>) -> Result<TcpStream, Failure> {
        let addresses = match &target.host {
            Host::Address(address) => vec![SocketAddr::new(*address, target.port)],
            Host::Name(name) => self.resolve(name.clone(), target.port, place).await?,
        };
        let several = addresses.len() > 1;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            let connecting = TcpStream::connect(address);
            let connected = match several {
                true => tokio::time::timeout(self.connect, connecting)
                    .await
                    .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into())),
                false => connecting.await,
            };
            match connected {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(Failure::Connect(last))
    }

    /// The resolver is the system's and cannot be interrupted: it runs on a thread of its own and holds the call's place, and
    /// one of those that all policies share.
    async fn resolve(
        &self,
        name: String,
        port: u16,
        place: Arc<OwnedSemaphorePermit>,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let resolver = Arc::clone(&self.resolvers).acquire_owned().await;
        let resolver = resolver.map_err(|closed| Failure::NoAddress(io::Error::other(closed)))?;
        let resolving = spawn_blocking(move || {
            let found = (name.as_str(), port).to_socket_addrs().map(Vec::from_iter);
            drop((place, resolver));
            found
        });
        let found = resolving.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        let found = found.map_err(Failure::NoAddress)?;
        let is_permitted = |address: &&SocketAddr| address::is_permitted(address.ip(), self.private);
        let permitted: Vec<_> = found.iter().filter(is_permitted).take(ADDRESSES).copied().collect();
        match (permitted.is_empty(), found.first()) {
            (false, _) => Ok(permitted),
            (true, Some(refused)) => Err(Failure::Address(refused.ip())),
            (true, None) => Err(Failure::NoAddress(io::ErrorKind::NotFound.into())),
        }
    }
}

async fn handshake<S>(stream: S) -> Result<Sender, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES).max_headers(HEAD_FIELDS);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(Failure::Http)?;
    // It ends with its sender. What goes wrong reaches the call.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// What goes over the wire: `Host` says who is connected to, and the length is that of the body.
fn written(request: &HttpRequest, target: &Target) -> Result<Request<Full<Bytes>>, Failure> {
    let method = Method::from_bytes(request.method.as_bytes());
    let method = method.map_err(|error| Failure::Request(error.into()))?;
    let mut written = Request::builder()
        .method(method)
        .uri(request.path.as_str())
        .header(HOST, target.authority())
        .body(Full::from(request.body.clone()))
        .map_err(Failure::Request)?;
    let headers = written.headers_mut();
    for (name, value) in &request.fields {
        let name = HeaderName::try_from(name).map_err(|error| Failure::Request(error.into()))?;
        if name != HOST && name != CONTENT_LENGTH && !HOP.contains(&name.as_str()) {
            let value = HeaderValue::from_bytes(value).map_err(|error| Failure::Request(error.into()))?;
            headers.append(name, value);
        }
    }
    if !headers.contains_key(USER_AGENT) {
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("handfast/", env!("CARGO_PKG_VERSION"))));
    }
    Ok(written)
}

fn tls(settings: &OutgoingHttp) -> Result<ClientConfig, HttpClientError> {
    let roots = roots::load(settings.trust_anchors.as_deref())?;
    let provider = rustls::crypto::CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(HttpClientError::Tls)?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
impl Exchanger {
    pub(super) fn idle_connections(&self) -> &Mutex<Vec<Idle>> {
        &self.idle.connections
    }
}

/// Connections without a call.
struct Pool {
    most: usize,
    connections: Mutex<Vec<Idle>>,
}

pub(super) struct Idle {
    target: Target,
    sender: Sender,
    since: Instant,
}

impl Pool {
    /// The one that was used last: the others may end.
    fn take(&self, target: &Target) -> Option<Sender> {
        let mut connections = lock(&self.connections);
        forget_old(&mut connections);
        let position = connections.iter().rposition(|idle| idle.target == *target)?;
        Some(connections.remove(position).sender)
    }

    fn give(&self, target: Target, sender: Sender) {
        let mut connections = lock(&self.connections);
        forget_old(&mut connections);
        if connections.len() >= self.most && !connections.is_empty() {
            connections.remove(0);
        }
        connections.push(Idle { target, sender, since: Instant::now() });
    }
}

fn forget_old(connections: &mut Vec<Idle>) {
    connections.retain(|idle| idle.since.elapsed() < IDLE && !idle.sender.is_closed());
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    /// Without a bound, names that hang took every thread of the background.
    #[tokio::test]
    async fn a_name_is_looked_up_once_one_of_the_shared_threads_is_free() {
        let settings = OutgoingHttp { hosts: Vec::new(), private_addresses: true, ..settings() };
        let mut exchanger = Exchanger::new(&settings).unwrap();
        assert_eq!(exchanger.resolvers.available_permits(), RESOLVED_AT_ONCE);
        exchanger.resolvers = Arc::new(Semaphore::new(0));
        let place = Arc::new(Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap());
        let mut resolving = Box::pin(exchanger.resolve("localhost".to_owned(), 80, place));
        let waited = tokio::time::timeout(Duration::from_millis(100), &mut resolving).await;
        assert!(waited.is_err(), "{waited:?}");
        exchanger.resolvers.add_permits(1);
        assert!(!resolving.await.unwrap().is_empty());
        assert_eq!(exchanger.resolvers.available_permits(), 1);
    }
}
