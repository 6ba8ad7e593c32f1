//! Outgoing HTTP of one policy: which calls are made, which are answered from memory, and which are refused.
//!
//! A policy with the grant `http` gets one of these (`slot` makes it, and keeps it over replacements of the plugin); the
//! sandbox calls it when a guest asks. It runs on the background runtime and never blocks the worker that a guest waits on.
//!
//! # What a client that makes up names can cost
//!
//! A policy that asks an endpoint about a server name asks what a stranger chose. Each of these is bounded whatever the names
//! are, and none by another:
//!
//! - *memory*: the [`cache`] has entries and bytes, and what does not exist (404, failures) at most a quarter of both, so
//!   that made-up names push out each other and not the answers about real ones; a call under way holds at most one
//!   request and one response; [`QUEUED`] calls wait for their turn, further ones are refused;
//! - *calls to the endpoint*: [`traffic`] has a token bucket for each entry of the operator's list, and a breaker for
//!   each host; at most `max-concurrent` are under way; a request that is under way already is joined;
//! - *threads*: a name that is being resolved holds its place among `max-concurrent` until the resolver is done, even if
//!   the call gave up long before; and of all policies together, 64 names are resolved at once.
//!
//! What is left: with the bucket empty, an honest name that is not in the cache is refused as well. Who can be told apart
//! by address should be limited before that, with `key-value`.
//!
//! # Order
//!
//! The list comes first, since nothing about a host that is not in it is remembered or counted by name. Cache, flights and
//! the number of calls are behind one lock, so that a call that lands between a look at one and a look at the other can
//! not be missed and made twice. Breaker and bucket are asked only for calls that would be made.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use handfast_plugin_host::{HttpClient, HttpError, HttpExchange, HttpRequest, HttpResponse};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tracing::{info, warn};

use crate::config::OutgoingHttp;
use crate::metrics::{HttpCounters, HttpUse};
use crate::telemetry::{Excerpt, Throttle, error_chain};

mod address;
mod allowed;
mod cache;
mod exchange;
mod lifetime;
mod roots;
mod traffic;

use allowed::Target;
use cache::{Cache, Kind};
use exchange::{Exchanger, Failure};
use lifetime::Lifetime;
use traffic::{Refusal, Traffic};

/// Distinct requests that wait for one of the places of `max-concurrent`; each at most as long as a call may take.
const QUEUED: usize = 256;

/// Why a policy cannot have its calls.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    #[error("the trust anchors {} for outgoing HTTP cannot be used", path.display())]
    TrustAnchors { path: PathBuf, source: io::Error },
    #[error(
        "outgoing HTTPS has no trust anchors: the machine has no store of certificates; install one (`ca-certificates`), \
         or name a PEM file as `trust-anchors` in [policy.http]"
    )]
    NoTrustAnchors,
    #[error("outgoing HTTPS does not start")]
    Tls(#[source] rustls::Error),
}

/// Makes the calls of one policy.
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    policy: String,
    settings: OutgoingHttp,
    exchanger: Exchanger,
    memory: Mutex<Memory>,
    traffic: Mutex<Traffic>,
    places: Arc<Semaphore>,
    background: Handle,
    counters: HttpCounters,
    complaints: Throttle,
    refusals: Throttle,
    breakers: Throttle,
}

/// What is known, and what is being found out.
struct Memory {
    cache: Cache,
    flights: HashMap<Arc<[u8]>, Flight>,
    /// Calls under way and waiting, those that nobody can join included.
    under_way: usize,
}

type Outcome = Result<Arc<HttpResponse>, HttpError>;
type Flight = watch::Receiver<Option<Outcome>>;

impl Client {
    /// Reads the trust anchors, where there is a host that needs any: not for a worker.
    pub fn new(
        policy: &str,
        settings: OutgoingHttp,
        background: Handle,
        counters: HttpCounters,
    ) -> Result<Self, HttpClientError> {
        let exchanger = Exchanger::new(&settings)?;
        let memory = Memory {
            cache: Cache::new(settings.cache_entries, settings.cache_bytes),
            flights: HashMap::new(),
            under_way: 0,
        };
        let shared = Shared {
            policy: policy.to_owned(),
            exchanger,
            memory: Mutex::new(memory),
            traffic: Mutex::new(Traffic::new(&settings)),
            places: Arc::new(Semaphore::new(settings.max_concurrent)),
            background,
            counters,
            complaints: Throttle::new(),
            refusals: Throttle::new(),
            breakers: Throttle::new(),
            settings,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What it holds now.
    pub fn usage(&self) -> HttpUse {
        let (cache_entries, cache_bytes) = lock(&self.shared.memory).cache.usage();
        let breakers_open = lock(&self.shared.traffic).open(Instant::now());
        HttpUse { cache_entries, cache_bytes, breakers_open }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("policy", &self.shared.policy).finish_non_exhaustive()
    }
}

impl HttpClient for Client {
    fn hosts(&self) -> Vec<String> {
        self.shared.settings.hosts.iter().map(|host| host.written()).collect()
    }

    fn max_request_bytes(&self) -> usize {
        self.shared.settings.max_request_bytes
    }

    fn max_response_bytes(&self) -> usize {
        self.shared.settings.max_response_bytes
    }

    fn send(&self, request: HttpRequest) -> HttpExchange {
        let patience = request.patience;
        match self.shared.begin(request) {
            Begun::Done(outcome) => Box::pin(std::future::ready(outcome)),
            Begun::UnderWay(flight) => Box::pin(wait(flight, patience)),
        }
    }
}

/// What `send` finds.
enum Begun {
    Done(Outcome),
    UnderWay(Flight),
}

async fn wait(mut flight: Flight, patience: Option<Duration>) -> Outcome {
    let landed = async {
        match flight.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone().unwrap_or(Err(HttpError::Broken)),
            // The runtime ends, or the call panicked.
            Err(_gone) => Err(HttpError::Broken),
        }
    };
    match patience {
        None => landed.await,
        Some(patience) => tokio::time::timeout(patience, landed).await.unwrap_or(Err(HttpError::TimedOut)),
    }
}

impl Shared {
    fn begin(self: &Arc<Self>, request: HttpRequest) -> Begun {
        if request.body.len() > self.settings.max_request_bytes {
            return self.refused("failed", HttpError::RequestTooLarge);
        }
        let target = match Target::of(&request, &self.settings.hosts) {
            Ok(target) => target,
            Err(error) => {
                self.tell_of_refusal(&request, error);
                return self.refused("refused", error);
            }
        };
        let asked = lifetime::Asked::of(&request);
        let key = asked.may_join.then(|| key(&request, &target));
        let mut memory = lock(&self.memory);
        if let Some(key) = &key {
            if asked.may_be_old
                && let Some(known) = memory.cache.get(key, Instant::now())
            {
                self.counters.count("cached");
                return Begun::Done(known);
            }
            if let Some(flight) = memory.flights.get(key) {
                self.counters.count("joined");
                return Begun::UnderWay(flight.clone());
            }
        }
        if memory.under_way >= self.settings.max_concurrent + QUEUED {
            return self.refused("limited", HttpError::Limited);
        }
        match lock(&self.traffic).pass(&target, Instant::now()) {
            Ok(()) => {}
            Err(Refusal::Rate) => return self.refused("limited", HttpError::Limited),
            Err(Refusal::Open) => return self.refused("breaker-open", HttpError::BreakerOpen),
        }
        let (sender, flight) = watch::channel(None);
        if let Some(key) = &key
            && let Entry::Vacant(vacant) = memory.flights.entry(Arc::clone(key))
        {
            vacant.insert(flight.clone());
        }
        memory.under_way += 1;
        drop(memory);
        let landing =
            Landing { shared: Arc::clone(self), key, may_keep: asked.may_be_kept, sender, landed: false };
        self.background.spawn(Arc::clone(self).fly(request, target, landing));
        Begun::UnderWay(flight)
    }

    async fn fly(self: Arc<Self>, request: HttpRequest, target: Target, landing: Landing) {
        let deadline = tokio::time::Instant::now() + self.settings.timeout;
        let place = tokio::time::timeout_at(deadline, Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            // That says nothing about the host.
            lock(&self.traffic).give_up(&target);
            self.counters.count("limited");
            return landing.land(Err(HttpError::Limited), Lifetime::NONE);
        };
        let place = Arc::new(place);
        let call = self.exchanger.call(&request, &target, Arc::clone(&place));
        let result = tokio::time::timeout_at(deadline, call).await.unwrap_or(Err(Failure::TimedOut));
        drop(place);
        self.settle(&target, &result);
        let lifetime = lifetime::of(&request.method, result.as_deref(), &self.settings);
        landing.land(result.map_err(|failure| failure.for_guest()), lifetime);
    }

    /// Counts and tells what became of a call, and lets the breaker know.
    fn settle(&self, target: &Target, result: &Result<Arc<HttpResponse>, Failure>) {
        self.counters.count(match result {
            Ok(_) => "ok",
            Err(Failure::TimedOut) => "timed-out",
            Err(Failure::Address(_)) => "refused",
            Err(_) => "failed",
        });
        // 500 to 504: the host, or what is behind it, does not work. A response that is too large is one all the same.
        let healthy = match result {
            Ok(response) => Some(!(500..=504).contains(&response.status)),
            Err(Failure::TooLarge) => Some(true),
            Err(Failure::Address(_) | Failure::Request(_)) => None,
            Err(_) => Some(false),
        };
        let mut traffic = lock(&self.traffic);
        let change = match healthy {
            Some(healthy) => traffic.settle(target, healthy, Instant::now()),
            None => {
                traffic.give_up(target);
                None
            }
        };
        drop(traffic);
        if let Err(failure) = result
            && let Some(suppressed) = self.complaints.pass()
        {
            let (policy, host) = (self.policy.as_str(), target.to_string());
            let error = error_chain(failure);
            warn!(policy, host, error, suppressed, "policy's outgoing HTTP failed");
        }
        let Some(opened) = change else { return };
        let Some(suppressed) = self.breakers.pass() else { return };
        let (policy, host) = (self.policy.as_str(), target.to_string());
        if opened {
            let pause_ms = u64::try_from(self.settings.breaker_pause.as_millis()).unwrap_or(u64::MAX);
            warn!(
                policy,
                host, pause_ms, suppressed, "policy's outgoing HTTP: host left alone after failures"
            );
        } else {
            info!(policy, host, suppressed, "policy's outgoing HTTP: host works again");
        }
    }

    fn refused(&self, outcome: &'static str, error: HttpError) -> Begun {
        self.counters.count(outcome);
        Begun::Done(Err(error))
    }

    fn tell_of_refusal(&self, request: &HttpRequest, error: HttpError) {
        if let Some(suppressed) = self.refusals.pass() {
            let scheme = if request.secure { "https" } else { "http" };
            let url = format!("{scheme}://{}", request.authority.escape_debug());
            let (policy, url) = (self.policy.as_str(), Excerpt(&url).to_string());
            let hint = match error {
                HttpError::NotAllowed => {
                    "a host that it may call stands in the list of the policy's grant `http`"
                }
                _ => {
                    "the policy makes a URL of which host or path are none: it must escape what clients write into it"
                }
            };
            warn!(policy, url, error = %error, suppressed, hint, "policy's outgoing HTTP refused");
        }
    }
}

/// The end of a call, however it ends: also by a panic, or with the runtime.
struct Landing {
    shared: Arc<Shared>,
    key: Option<Arc<[u8]>>,
    may_keep: bool,
    sender: watch::Sender<Option<Outcome>>,
    landed: bool,
}

impl Landing {
    fn land(mut self, outcome: Outcome, lifetime: Lifetime) {
        self.leave(Some((&outcome, lifetime)));
        self.sender.send_replace(Some(outcome));
    }

    /// Keeps what may be kept, and makes room for the next call.
    fn leave(&mut self, kept: Option<(&Outcome, Lifetime)>) {
        if std::mem::replace(&mut self.landed, true) {
            return;
        }
        let mut memory = lock(&self.shared.memory);
        memory.under_way = memory.under_way.saturating_sub(1);
        let Some(key) = &self.key else { return };
        memory.flights.remove(key);
        if let Some((outcome, lifetime)) = kept
            && self.may_keep
        {
            let kind = if lifetime.negative { Kind::Negative } else { Kind::Positive };
            memory.cache.put(key, outcome.clone(), kind, lifetime.time, Instant::now());
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.leave(None);
    }
}

/// What two requests have in common that one answer is for: everything that is sent. So a field that a response varies by
/// (RFC 9111 section 4.1) never matters.
fn key(request: &HttpRequest, target: &Target) -> Arc<[u8]> {
    let mut key = Vec::with_capacity(128);
    let mut add = |part: &[u8]| {
        key.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        key.extend_from_slice(part);
    };
    add(request.method.as_bytes());
    add(target.to_string().as_bytes());
    add(request.path.as_bytes());
    for (name, value) in &request.fields {
        add(name.as_bytes());
        add(value);
    }
    key.into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
