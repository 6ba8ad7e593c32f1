//! The endpoints of an upstream: which one is next, and a socket to it.
//!
//! # Memo: the choice
//! Fewest outstanding requests, ties in turn. Counts are the worker's own, so nothing is shared between cores; over all
//! workers this tends to the same balance. An endpoint that refused a connection is passed over for
//! [`FAILURE_PAUSE`], unless every other has failed too: then it is better to try than to refuse. Watching the health
//! of endpoints that get no requests is not done here.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::connection::http1::Http1;
use super::connection::http2::Shared;
use super::{SendError, lock};

/// How long an endpoint that could not be reached is passed over.
const FAILURE_PAUSE: Duration = Duration::from_secs(2);

/// All endpoints of one upstream.
pub struct Endpoints {
    all: Vec<Arc<Endpoint>>,
    turn: AtomicUsize,
}

/// One `host:port`, and this worker's resting connections to it.
pub struct Endpoint {
    name: Arc<str>,
    /// Set when the host is an address and needs no resolver.
    address: Option<SocketAddr>,
    outstanding: AtomicUsize,
    since: Instant,
    /// Milliseconds after `since` until which the endpoint is passed over.
    failed_until: AtomicU64,
    /// The one used last is at the end and taken first, so that spare ones grow old and close.
    pub(super) resting: Mutex<Vec<Http1>>,
    pub(super) shared: Mutex<Vec<Shared>>,
    /// One HTTP/2 connect at a time; the requests that wait share its result.
    pub(super) connecting: tokio::sync::Semaphore,
}

/// A request's claim on an endpoint, counted as outstanding until dropped.
pub struct Lease {
    endpoint: Arc<Endpoint>,
}

impl Endpoints {
    pub(super) fn new(names: &[String]) -> Self {
        let all = names.iter().map(|name| Arc::new(Endpoint::new(name))).collect();
        Self { all, turn: AtomicUsize::new(0) }
    }

    /// The best endpoint that is not among `tried`.
    pub(super) fn choose(&self, tried: &[Arc<Endpoint>]) -> Result<Lease, SendError> {
        if let ([only], []) = (&*self.all, tried) {
            return Ok(Lease::new(only));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(self.all.len()).unwrap_or(0);
        let (before, after) = self.all.split_at_checked(turn).unwrap_or_default();
        let candidates = after.iter().chain(before);
        let candidates =
            candidates.filter(|endpoint| !tried.iter().any(|other| Arc::ptr_eq(other, endpoint)));
        let best = candidates.min_by_key(|endpoint| (endpoint.has_failed(), endpoint.outstanding()));
        best.map(Lease::new).ok_or(SendError::NoEndpoint)
    }

    pub(super) fn sweep(&self, idle_timeout: Duration) {
        for endpoint in &self.all {
            // Taken out of the lock while they are looked at; requests meanwhile open new ones or find these again.
            let mut resting = std::mem::take(&mut *lock(&endpoint.resting));
            resting.retain_mut(|connection| connection.is_usable(idle_timeout));
            let mut list = lock(&endpoint.resting);
            resting.append(&mut list);
            *list = resting;
            drop(list);
            lock(&endpoint.shared).retain(|connection| connection.is_usable(idle_timeout));
        }
    }
}

impl Endpoint {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            address: name.parse().ok(),
            outstanding: AtomicUsize::new(0),
            since: Instant::now(),
            failed_until: AtomicU64::new(0),
            resting: Mutex::default(),
            shared: Mutex::default(),
            connecting: tokio::sync::Semaphore::new(1),
        }
    }

    /// As the configuration has it: `host:port`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    pub(super) fn mark_failed(&self) {
        let until = self.since.elapsed() + FAILURE_PAUSE;
        self.failed_until.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn has_failed(&self) -> bool {
        let until = self.failed_until.load(Ordering::Relaxed);
        until != 0 && self.since.elapsed() < Duration::from_millis(until)
    }

    /// A new connection, within the timeout, name resolution included.
    pub(super) async fn connect(&self, timeout: Duration) -> Result<TcpStream, SendError> {
        let connected = tokio::time::timeout(timeout, async {
            match self.address {
                Some(address) => self.connect_to(&[address]).await,
                None => {
                    let resolved = tokio::net::lookup_host(&*self.name).await;
                    let resolved = resolved
                        .map_err(|source| SendError::Resolve { endpoint: self.name.clone(), source })?;
                    self.connect_to(&resolved.collect::<Vec<_>>()).await
                }
            }
        });
        let late = |_| SendError::ConnectTimeout { endpoint: self.name.clone(), timeout };
        let stream = connected.await.map_err(late)??;
        // Requests are written whole; waiting for more to send with them would only delay them. A failure costs speed.
        let _ = stream.set_nodelay(true);
        self.failed_until.store(0, Ordering::Relaxed);
        Ok(stream)
    }

    async fn connect_to(&self, addresses: &[SocketAddr]) -> Result<TcpStream, SendError> {
        let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(SendError::Connect { endpoint: self.name.clone(), source: last })
    }
}

impl Lease {
    fn new(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.outstanding.fetch_add(1, Ordering::Relaxed);
        Self { endpoint: endpoint.clone() }
    }

    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints() -> Endpoints {
        Endpoints::new(&["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned(), "localhost:3".to_owned()])
    }

    fn name(lease: &Lease) -> &str {
        lease.endpoint().name()
    }

    #[test]
    fn idle_endpoints_take_turns_and_busy_ones_are_spared() {
        let endpoints = endpoints();
        let mut leases: Vec<_> = (0..3).map(|_| endpoints.choose(&[]).unwrap()).collect();
        let mut names: Vec<_> = leases.iter().map(name).collect();
        names.sort_unstable();
        assert_eq!(names, ["127.0.0.1:1", "127.0.0.1:2", "localhost:3"]);
        let freed = leases.remove(1).endpoint().clone();
        assert_eq!(name(&endpoints.choose(&[]).unwrap()), &**freed.name());
    }

    #[test]
    fn a_failed_endpoint_is_passed_over_until_all_have_failed() {
        let endpoints = endpoints();
        endpoints.all[0].mark_failed();
        for _ in 0..6 {
            assert_ne!(name(&endpoints.choose(&[]).unwrap()), "127.0.0.1:1");
        }
        endpoints.all[1].mark_failed();
        endpoints.all[2].mark_failed();
        assert!(endpoints.choose(&[]).is_ok());
        assert!(matches!(endpoints.choose(&endpoints.all), Err(SendError::NoEndpoint)));
    }
}
