//! Connections to upstreams: pools, the choice of an endpoint, one request over one connection.
//!
//! Each worker owns one [`Pools`]; `http` asks it for the [`Pool`] of a route's upstream and sends requests through it.
//! Everything stays on the worker's current-thread runtime, because a socket belongs to the reactor it was opened on.
//! Nothing here reads configuration files, judges requests or rewrites headers: what is sent is what `http` made.
//!
//! # Memo: a pool of our own
//! hyper-util's client was the other choice. It drives each connection in a task of its own (two more wake-ups per
//! request), does not say which endpoint answered, can not avoid a failed one, and its retry rules are fixed. Here the
//! task that wants the response drives the HTTP/1.1 connection itself (see [`connection`]); a connection that rests in
//! the pool is driven by nobody and is looked at when it is taken out again. HTTP/2 connections are shared by many
//! requests, so each has its own task.
//!
//! # Memo: retries
//! A request is sent again at most once, on a new connection, and only if the connection had been used before and
//! either nothing of the request was written, or its method is idempotent (RFC 9110 section 9.2.2) and it has no body.
//! A failed connect is no attempt: another endpoint is tried, up to [`MAX_CONNECTS`] in all.
//!
//! # Memo: boxes
//! The future of a request has room for the largest of its branches, and hyper and tokio move it about ten times per
//! HTTP/2 stream: at 9 KiB that was a fifth of the instructions of such a request. What is rare (connecting, sending
//! again) or needs no speed from it (HTTP/2 upstreams, whose requests wait for another task anyway) is therefore boxed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::{Request, Response};

use crate::config;

pub mod alarm;
pub mod connection;
pub mod endpoint;
pub mod error;
pub mod request_body;
pub mod response_body;
mod socket;

pub use error::SendError;
pub use request_body::RequestBody;
pub use response_body::{BodyError, ResponseBody};

use connection::http1::{Failure, Http1};
use endpoint::{Endpoint, Endpoints, Lease};

/// Endpoints tried for one request when connecting fails.
const MAX_CONNECTS: usize = 3;
/// How often resting connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// One worker's connections to all its upstreams.
pub struct Pools {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// By name, which is unique; the value holds the configuration it was made for.
    pools: HashMap<String, Arc<Pool>>,
    sweeping: bool,
}

/// The connections of one upstream.
pub struct Pool {
    upstream: Arc<config::Upstream>,
    endpoints: Endpoints,
}

/// An upstream's answer.
pub enum Reply {
    Response {
        response: Response<ResponseBody>,
        endpoint: Arc<Endpoint>,
    },
    /// 101: the bytes that follow belong to another protocol.
    Switched {
        response: Response<()>,
        socket: connection::http1::Switched,
        endpoint: Arc<Endpoint>,
    },
}

impl Pools {
    pub fn new() -> Self {
        Self { shared: Arc::default() }
    }

    /// The pool of an upstream. An upstream equal to an earlier one of that name keeps its connections; a changed one
    /// begins with none, and the old connections close as their requests end.
    pub fn pool(&self, upstream: &Arc<config::Upstream>) -> Arc<Pool> {
        let mut shared = lock(&self.shared);
        if let Some(pool) = shared.pools.get(&upstream.name)
            && (Arc::ptr_eq(&pool.upstream, upstream) || pool.upstream == *upstream)
        {
            return pool.clone();
        }
        let pool =
            Arc::new(Pool { upstream: upstream.clone(), endpoints: Endpoints::new(&upstream.endpoints) });
        shared.pools.insert(upstream.name.clone(), pool.clone());
        if !std::mem::replace(&mut shared.sweeping, true) {
            tokio::spawn(sweep(Arc::downgrade(&self.shared)));
        }
        pool
    }

    /// Forgets the upstreams that are not among these. For after a configuration reload.
    pub fn retain(&self, upstreams: &[Arc<config::Upstream>]) {
        lock(&self.shared).pools.retain(|_, pool| upstreams.contains(&pool.upstream));
    }
}

impl Default for Pools {
    fn default() -> Self {
        Self::new()
    }
}

/// Closes connections that rested too long or that the upstream closed. Ends with its `Pools`.
async fn sweep(shared: Weak<Mutex<Shared>>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        let pools: Vec<_> = lock(&shared).pools.values().cloned().collect();
        for pool in pools {
            pool.endpoints.sweep(pool.upstream.idle_timeout);
        }
    }
}

impl Pool {
    pub fn upstream(&self) -> &Arc<config::Upstream> {
        &self.upstream
    }

    /// Sends a request and returns when the head of the response is there. `body_timeout` bounds the pauses of the
    /// request body; the upstream's own settings bound the rest.
    pub async fn send(
        &self,
        request: Request<RequestBody>,
        body_timeout: Duration,
    ) -> Result<Reply, SendError> {
        match self.upstream.protocol {
            config::Protocol::Http1 => self.send_http1(request, body_timeout).await,
            config::Protocol::Http2 => Box::pin(self.send_http2(request, body_timeout)).await,
        }
    }

    async fn send_http1(
        &self,
        request: Request<RequestBody>,
        body_timeout: Duration,
    ) -> Result<Reply, SendError> {
        let lease = self.endpoints.choose(&[])?;
        let (connection, lease) = match connection::http1::take(&lease, self.upstream.idle_timeout) {
            Some(connection) => (connection, lease),
            None => Box::pin(self.open_http1(lease)).await?,
        };
        let spare = if connection.is_reused() { replica(&request) } else { None };
        let timeouts = self.timeouts(body_timeout);
        let (request, error) =
            match connection.exchange(request, lease, self.upstream.max_idle, timeouts).await {
                Ok(reply) => return Ok(reply),
                Err(Failure { error, unsent }) => (unsent.map(|unsent| *unsent).or(spare), error),
            };
        let Some(request) = request.filter(|_| error.may_be_stale()) else { return Err(error) };
        Box::pin(self.send_http1_again(request, timeouts)).await
    }

    async fn send_http1_again(
        &self,
        request: Request<RequestBody>,
        timeouts: connection::Timeouts,
    ) -> Result<Reply, SendError> {
        let (connection, lease) = self.open_http1(self.endpoints.choose(&[])?).await?;
        let sent = connection.exchange(request, lease, self.upstream.max_idle, timeouts).await;
        sent.map_err(|Failure { error, .. }| error)
    }

    async fn open_http1(&self, lease: Lease) -> Result<(Http1, Lease), SendError> {
        let mut tried = Vec::new();
        let mut lease = lease;
        loop {
            let error = match connection::http1::open(&lease, self.upstream.connect_timeout).await {
                Ok(connection) => return Ok((connection, lease)),
                Err(error) => error,
            };
            lease = self.next_endpoint(lease, error, &mut tried)?;
        }
    }

    async fn send_http2(
        &self,
        request: Request<RequestBody>,
        body_timeout: Duration,
    ) -> Result<Reply, SendError> {
        let timeouts = self.timeouts(body_timeout);
        let spare = replica(&request);
        let (connection, lease) = self.open_http2(self.endpoints.choose(&[])?).await?;
        let reused = connection.is_reused();
        let (request, error) = match connection.exchange(request, lease, timeouts).await {
            Ok(reply) => return Ok(reply),
            Err(Failure { error, unsent }) => {
                (unsent.map(|unsent| *unsent).or(spare.filter(|_| reused)), error)
            }
        };
        let Some(request) = request.filter(|_| error.may_be_stale()) else { return Err(error) };
        let (connection, lease) = self.open_http2(self.endpoints.choose(&[])?).await?;
        connection.exchange(request, lease, timeouts).await.map_err(|Failure { error, .. }| error)
    }

    async fn open_http2(&self, lease: Lease) -> Result<(connection::http2::Http2, Lease), SendError> {
        let mut tried = Vec::new();
        let mut lease = lease;
        loop {
            let error = match connection::http2::take_or_open(&lease, self.upstream.connect_timeout).await {
                Ok(connection) => return Ok((connection, lease)),
                Err(error) => error,
            };
            lease = self.next_endpoint(lease, error, &mut tried)?;
        }
    }

    /// After a failed connect: another endpoint, or the error when there is none left to try.
    fn next_endpoint(
        &self,
        lease: Lease,
        error: SendError,
        tried: &mut Vec<Arc<Endpoint>>,
    ) -> Result<Lease, SendError> {
        lease.endpoint().mark_failed();
        tried.push(lease.endpoint().clone());
        if tried.len() >= MAX_CONNECTS {
            return Err(error);
        }
        self.endpoints.choose(tried).map_err(|_| error)
    }

    fn timeouts(&self, body_timeout: Duration) -> connection::Timeouts {
        connection::Timeouts { response: self.upstream.response_timeout, body: body_timeout }
    }
}

/// A copy of a request that may be sent twice.
fn replica(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    if !request.body().is_empty() || !request.method().is_idempotent() {
        return None;
    }
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}

/// A poisoned lock means a panic elsewhere on this worker; the lists behind these locks are whole at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
