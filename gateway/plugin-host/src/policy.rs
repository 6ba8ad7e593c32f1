//! A configured plugin, and the calls of its hooks.
//!
//! # Why `configure` runs in every fresh instance
//!
//! A fresh instance has forgotten its configuration. There are two ways to give it back: to call `configure` in each
//! instance before the hook, or to snapshot an instance after `configure` (wasmtime-wizer) and start from that.
//!
//! Calling it costs 0.4 µs and what the guest does: whole calls, p50, take 4.3 µs without `configure` and 4.6 µs with
//! an empty one; the default policy, in Rust without `configure`, 5.0 µs, the example policy, in Rust and parsing
//! JSON, 6.7 µs (`benches/call.rs`). A snapshot would save most of that difference and of an interpreter's start,
//! but it freezes what the guest's random generator had drawn, for every later instance alike; it refuses some
//! components altogether (QuickJS with WASI stubbed, tables changed at run time); it adds seconds to the load
//! of an interpreter; and each change of a configuration would compile a new component. So `configure` is called: a
//! component that does not export it pays nothing, and where it is too slow, `reuse` pays for it once in many calls.
//!
//! # Why fresh instances are not made in advance
//!
//! In a handshake a policy costs three times what its call takes in a loop, and it was thought that the code that makes an
//! instance has to be fetched anew each time. A stock of 4, 8, 16 or 32, made in a row when the last was taken, should then
//! be cheaper. Beside the cryptography in the same profile, as a yardstick on a noisy machine, a handshake without a policy
//! took 121 µs, in a reused instance 136, in a fresh one 144, and out of a stock 144 to 158: what each instance touches is
//! then no longer in the cache when it is called. Text on huge pages changed nothing that could be measured either. Two thirds of
//! the cost are there with a reused instance too: a call that evicts, and what it evicted.
//!
//! Where the 26 µs are, by timers around the parts of a handshake with the embedded policy and without one: `select` takes 15 to
//! 18 µs instead of 1.5 (7 in a loop, 9 to 10 after work that evicts half a megabyte), and 10 µs are outside of it. The
//! cryptography is not where: X25519 takes 34 to 35 µs instead of 33 to 34, though samples make it look 5 µs slower, and beside a
//! call in a loop a signature is 0.8 µs slower, an agreement 0.2. System calls are the same twelve. Three policies in a chain cost
//! 10 µs each beyond the first. So it is the code and data that a call touches, more than its instructions, that a cheaper call
//! would have to have less of.

mod hook;
mod idle;
mod measure;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::Store;
use wasmtime::component::Instance;

use self::hook::{Admit, Hook, Select, Validate};
use self::idle::Idle;
pub(crate) use self::idle::Waiting;
use crate::component::{Hooks, needed_grant};
use crate::error::{CallError, LoadError, Stop, call_error, is_pool_full};
use crate::grant::{self, Grant};
use crate::http::HttpClient;
use crate::imports::{State, Subject};
use crate::kept::{Counted, Ledger};
use crate::key_value::{KeyValue, KeyValueBounds};
use crate::limits::{HANDLES, HOST_CALL_BYTES, Limits, PATIENCE, on_tick};
use crate::memory::{Charge, FREE};
use crate::overtime::Ended;
use crate::plugin::Plugin;
use crate::text::printable;
use crate::verdict::{Decision, Validation};
use crate::views::{Certificate, Certificates, ClientHello, Connection, PeerCertificate};

#[derive(Debug, Clone)]
pub struct PolicySettings {
    /// What the policy is called in logs, and what it keeps is found by.
    pub name: String,
    /// Its `config` table as JSON; `{}` where there is none.
    pub config: String,
    pub limits: Limits,
    pub instances: Instances,
    /// What it may import beyond what every policy may.
    pub grants: Vec<Grant>,
    /// For the grant `key-value`.
    pub key_value: KeyValueBounds,
    /// For the grant `http`: who makes the calls. With the grant and without this one, each call fails.
    pub http: Option<Arc<dyn HttpClient>>,
}

/// How long an instance lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instances {
    /// For one call: nothing of one connection can be there for the next.
    Fresh,
    /// For up to `calls` calls, one after the other, until an error. Up to `max_idle` instances wait for the next
    /// call; under load there may be more, which end with their call. Meant for interpreters, whose start costs more
    /// than their call.
    Reuse { max_idle: u32, calls: u32 },
}

/// A configured plugin, shared by all workers. Its calls need a tokio runtime with time enabled.
pub struct Policy {
    shared: Arc<Shared>,
}

/// A call that takes long outlives the poll of its caller, hence owns a share of what it needs.
struct Shared {
    plugin: Plugin,
    config: String,
    limits: Limits,
    /// A call holds a permit as long as it holds an instance.
    turns: Arc<Semaphore>,
    idle: Option<Arc<Idle>>,
    ledger: Arc<Ledger>,
    /// Bytes of memory that an instance has when it is ready for its first call.
    start_memory: AtomicUsize,
    key_value: Option<Arc<KeyValue>>,
    http: Option<Arc<dyn HttpClient>>,
}

/// JSON that a policy gets; `wit/v1`, interface `configure`.
const CONFIG_BYTES: usize = 1 << 20;
/// Bytes kept of what `configure` answers; `wit/v1`, interface `configure`.
const CONFIG_ERROR_BYTES: usize = 1_024;

impl Policy {
    /// Makes an instance and configures it within the limits of a call, so that a policy that cannot start is refused
    /// here and not on a handshake.
    pub async fn new(plugin: &Plugin, settings: PolicySettings) -> Result<Self, LoadError> {
        let PolicySettings { name, config, limits, instances, grants, key_value, http } = settings;
        limits.check()?;
        check_grants(plugin, &grants, http.as_deref())?;
        if config.len() > CONFIG_BYTES {
            return Err(LoadError::ConfigTooLarge { size: config.len(), most: CONFIG_BYTES });
        }
        // A table that nobody reads was written for another plugin, and what that one was to keep out would come in.
        if plugin.exports().configure.is_none() && !is_empty_table(&config) {
            return Err(LoadError::NoConfigure);
        }
        let registry = plugin.host().registry();
        let ledger = registry.ledger(&name);
        let idle = match instances {
            Instances::Fresh => None,
            Instances::Reuse { max_idle: 0, .. } | Instances::Reuse { calls: 0, .. } => {
                return Err(LoadError::NoReuse);
            }
            Instances::Reuse { max_idle, calls } => {
                let memory = Arc::clone(&ledger.memory);
                Some(registry.waiting().with(Idle::new(memory, max_idle, calls)))
            }
        };
        let key_value = grants.contains(&Grant::KeyValue).then(|| registry.key_value(&name, key_value));
        let http = http.filter(|_| grants.contains(&Grant::Http));
        let turns = registry.turns(&name, limits.concurrency);
        let plugin = plugin.clone();
        let start_memory = AtomicUsize::new(0);
        let shared = Shared { plugin, config, limits, turns, idle, ledger, start_memory, key_value, http };
        let policy = Self { shared: Arc::new(shared) };

        let shared = Arc::clone(&policy.shared);
        let start = Box::pin(async move {
            let _ticking = shared.plugin.host().clock().tick();
            let mut lease = shared.new_lease(None);
            let instance = shared.start(&mut lease).await;
            let instance = shared.settle(&mut lease, instance)?;
            Ok((lease, instance))
        });
        match policy.within_bounds(start).await {
            Ok((mut lease, instance)) => {
                policy.shared.check_types(&mut lease, &instance)?;
                let memory = lease.store.data().account.memory();
                policy.shared.start_memory.store(memory, Ordering::Relaxed);
                policy.shared.keep(lease);
                Ok(policy)
            }
            Err(CallError::Configure(text)) => Err(LoadError::Configuration(text)),
            Err(error) => Err(LoadError::Start(error)),
        }
    }

    pub fn hooks(&self) -> Hooks {
        self.shared.plugin.hooks()
    }

    pub fn name(&self) -> &str {
        &self.shared.ledger.policy
    }

    /// SHA-256 of the plugin's file, in hexadecimal.
    pub fn digest(&self) -> &str {
        self.shared.plugin.digest()
    }

    /// What was counted under the policy's name, by this plugin and those before it.
    pub fn counted(&self) -> Counted {
        Counted {
            counters: self.shared.ledger.counters.values(),
            dropped_additions: self.shared.ledger.counters.dropped(),
            dropped_messages: self.shared.ledger.dropped_messages(),
            limited_messages: self.shared.ledger.limited_messages(),
            key_value: self.shared.key_value.as_ref().map(|store| store.usage()),
        }
    }

    /// Ends the instances that wait for a call: for a policy that may have none for long. It makes new ones when it has.
    pub fn forget_idle_instances(&self) {
        if let Some(idle) = &self.shared.idle {
            idle.forget();
        }
    }

    /// Which certificate the client gets, or whether it gets one. `pass` where the plugin does not export the hook.
    pub async fn select(
        &self,
        connection: Arc<dyn Connection>,
        hello: Arc<dyn ClientHello>,
        certificates: Arc<dyn Certificates>,
    ) -> Result<Decision, CallError> {
        self.select_if(connection, hello, certificates, |_| Ok(())).await
    }

    /// The same where a decision may still be none for reasons that only the caller knows: what `check` refuses is an error of
    /// the call like any other, after which the instance is not used again.
    pub async fn select_if(
        &self,
        connection: Arc<dyn Connection>,
        hello: Arc<dyn ClientHello>,
        certificates: Arc<dyn Certificates>,
        check: impl FnOnce(&Decision) -> Result<(), CallError> + Send + 'static,
    ) -> Result<Decision, CallError> {
        let Some(hook) = self.shared.plugin.exports().select.clone() else { return Ok(Decision::PASS) };
        let subject = Subject {
            connection: Some(connection),
            hello: Some(hello),
            certificates: Some(certificates),
            chain: Vec::new(),
        };
        self.call(Select(hook), subject, check).await
    }

    /// Whether the client's certificate is good enough. Accepts without attributes where the plugin does not export
    /// the hook.
    pub async fn validate(
        &self,
        connection: Arc<dyn Connection>,
        hello: Arc<dyn ClientHello>,
        certificates: Arc<dyn Certificates>,
        chain: Vec<Arc<dyn PeerCertificate>>,
    ) -> Result<Validation, CallError> {
        let Some(hook) = self.shared.plugin.exports().validate.clone() else {
            return Ok(Validation::Accept(Vec::new()));
        };
        let subject = Subject {
            connection: Some(connection),
            hello: Some(hello),
            certificates: Some(certificates),
            chain,
        };
        self.call(Validate(hook), subject, |_| Ok(())).await
    }

    /// Whether a certificate may go live; the inner error is the policy's reason, printable, at most 256 bytes.
    pub async fn admit(
        &self,
        certificate: Arc<dyn Certificate>,
        certificates: Arc<dyn Certificates>,
    ) -> Result<Result<(), String>, CallError> {
        let Some(hook) = self.shared.plugin.exports().admit.clone() else { return Ok(Ok(())) };
        let subject = Subject { certificates: Some(certificates), ..Subject::default() };
        self.call(Admit(hook, certificate), subject, |_| Ok(())).await
    }

    /// One call, from its turn to its verdict.
    async fn call<H: Hook>(
        &self,
        hook: H,
        subject: Subject,
        check: impl FnOnce(&H::Verdict) -> Result<(), CallError> + Send + 'static,
    ) -> Result<H::Verdict, CallError> {
        let (shared, turn) = (Arc::clone(&self.shared), self.turn().await?);
        let place = self.place().await?;
        let call = Box::pin(async move {
            let _ticking = shared.plugin.host().clock().tick();
            let mut lease = shared.lease(place, turn, subject);
            let answer = async {
                let instance = shared.start(&mut lease).await?;
                hook.call(&mut lease, &instance).await
            };
            let answer = answer.await;
            let verdict = shared.settle(&mut lease, answer).and_then(H::verdict)?;
            check(&verdict)?;
            shared.keep(lease);
            Ok(verdict)
        });
        self.within_bounds(call).await
    }

    /// A place among the calls under way. Waits as long as a call may take; the clock is set only if it has to wait.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, CallError> {
        let Shared { turns, limits, .. } = &*self.shared;
        if let Ok(turn) = Arc::clone(turns).try_acquire_owned() {
            return Ok(turn);
        }
        let waiting = Arc::clone(turns).acquire_owned();
        match tokio::time::timeout(limits.timeout.saturating_mul(PATIENCE), waiting).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(CallError::Busy(format!("{} calls of this policy are under way", limits.concurrency))),
        }
    }

    /// An instance that waits for a call, or room for a new one. Waits for either as long as for a turn.
    async fn place(&self) -> Result<Place, CallError> {
        let Shared { ledger, limits, .. } = &*self.shared;
        if let Some(place) = self.shared.place() {
            return Ok(place);
        }
        let waiting = ledger.memory.wait_for(|| self.shared.place());
        let most = limits.timeout.saturating_mul(PATIENCE);
        let place = tokio::time::timeout(most, waiting).await;
        place.map_err(|_elapsed| CallError::NoRoom { most: ledger.memory.all().most() })
    }

    /// Runs what makes an instance or calls one, on this thread or, where it takes long, on others. It is ended when it has
    /// run or waited for too long, or is not waited for any more. Boxed by who makes it: it has some KiB to move.
    async fn within_bounds<T: Send + 'static>(
        &self,
        call: Pin<Box<impl Future<Output = Result<T, CallError>> + Send + 'static>>,
    ) -> Result<T, CallError> {
        let host = self.shared.plugin.host();
        let running = host.overtime().run(self.name(), call, || host.clock().run());
        // Polls the call before the time: one that finishes in its first poll is never late (see `limits`).
        let limit = self.shared.limits.timeout;
        match tokio::time::timeout(limit.saturating_mul(PATIENCE), running).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(Ended)) => Err(CallError::Busy("the gateway is about to end".to_owned())),
            Err(_elapsed) => Err(CallError::Timeout { limit }),
        }
    }
}

impl Shared {
    fn place(&self) -> Option<Place> {
        if let Some(lease) = self.idle.as_ref().and_then(|idle| idle.take()) {
            return Some(Place::Waiting(Box::new(lease)));
        }
        match self.start_memory.load(Ordering::Relaxed).saturating_sub(FREE) {
            0 => Some(Place::New(None)),
            beyond => self.ledger.memory.start(beyond).map(|charge| Place::New(Some(charge))),
        }
    }

    /// An instance for one call: one that waited, or the makings of a new one.
    fn lease(&self, place: Place, turn: OwnedSemaphorePermit, subject: Subject) -> Lease {
        let mut lease = match place {
            Place::Waiting(lease) => *lease,
            Place::New(charge) => self.new_lease(charge),
        };
        lease.store.data_mut().subject = subject;
        lease.calls = lease.calls.saturating_add(1);
        lease.turn = Some(turn);
        lease
    }

    fn new_lease(&self, charge: Option<Charge>) -> Lease {
        Lease { store: self.new_store(charge), instance: None, calls: 0, charge: None, turn: None }
    }

    fn new_store(&self, charge: Option<Charge>) -> Store<State> {
        let mut state =
            State::new(self.limits, Arc::clone(&self.ledger), self.key_value.clone(), self.http.clone());
        state.account.begin_with(charge);
        let mut store = Store::new(self.plugin.host().engine(), state);
        store.limiter(|state| &mut state.account);
        store.set_hostcall_fuel(HOST_CALL_BYTES);
        store.set_max_component_handles(HANDLES);
        store.epoch_deadline_callback(on_tick);
        store
    }

    /// The lease's instance, made and configured if it is not yet there.
    async fn start(&self, lease: &mut Lease) -> wasmtime::Result<Instance> {
        if let Some(instance) = lease.instance {
            return Ok(instance);
        }
        let instance = loop {
            lease.begin();
            match self.plugin.linked().instantiate_async(&mut lease.store).await {
                // Instances that wait for a call would be in the way of this one for as long as none comes.
                Err(error) if is_pool_full(&error) && self.plugin.host().registry().waiting().end_one() => {
                    let subject = std::mem::take(&mut lease.store.data_mut().subject);
                    let charge = lease.store.data_mut().account.take_charge();
                    // The old one has what there was room for.
                    lease.store = self.new_store(charge);
                    lease.store.data_mut().subject = subject;
                }
                made => break made?,
            }
        };
        if let Some(hook) = &self.plugin.exports().configure {
            let guest = hook.load(&mut lease.store, &instance)?;
            // Not there yet, in no instance: `Policy::new` has none to show, and a configuration that depends on
            // the certificates of the moment would be another one in each instance.
            let certificates = lease.store.data_mut().subject.certificates.take();
            if let Err(text) = guest.call_configure(&mut lease.store, &self.config).await? {
                return Err(Stop::Configure(printable(&text, CONFIG_ERROR_BYTES)).into());
            }
            lease.store.data_mut().subject.certificates = certificates;
        }
        lease.instance = Some(instance);
        Ok(instance)
    }

    /// Types are compared when a function is looked up in an instance. Once it went well it always will.
    fn check_types(&self, lease: &mut Lease, instance: &Instance) -> Result<(), LoadError> {
        let exports = self.plugin.exports();
        let store = &mut lease.store;
        let check = |interface, loaded: Option<wasmtime::Result<()>>| match loaded {
            Some(Err(error)) => Err(LoadError::ExportType { interface, source: error.into() }),
            Some(Ok(())) | None => Ok(()),
        };
        check("select", exports.select.as_ref().map(|it| it.load(&mut *store, instance).map(drop)))?;
        check("validate", exports.validate.as_ref().map(|it| it.load(&mut *store, instance).map(drop)))?;
        check("admit", exports.admit.as_ref().map(|it| it.load(&mut *store, instance).map(drop)))
    }

    fn settle<T>(&self, lease: &mut Lease, answer: wasmtime::Result<T>) -> Result<T, CallError> {
        lease.store.data_mut().end_lines();
        if lease.store.data().account.held_its_thread() {
            self.plugin.host().clock().hurry();
        }
        answer.map_err(|error| {
            let said = lease.store.data_mut().said();
            call_error(error, &lease.store.data().account, said)
        })
    }

    /// Ends the instance of a call that went well, or lets it wait for another. After an error nothing comes here:
    /// the lease is dropped where the error is returned, or with the call that is not waited for any more.
    fn keep(&self, mut lease: Lease) {
        if let Some(idle) = &self.idle {
            lease.store.data_mut().subject = Subject::default();
            lease.turn = None;
            idle.give(lease);
            self.ledger.memory.tell();
        }
    }
}

/// What a call begins with.
enum Place {
    Waiting(Box<Lease>),
    /// What a new instance is charged for from the start, if anything.
    New(Option<Charge>),
}

/// A store, and the instance in it once it is made.
struct Lease {
    store: Store<State>,
    instance: Option<Instance>,
    calls: u32,
    /// Given back after the store, too. Until then it is the account's, which grows it.
    charge: Option<Charge>,
    /// Given back after the store, which is declared and so dropped before it, has left the pool.
    turn: Option<OwnedSemaphorePermit>,
}

impl Lease {
    /// Whether memory comes free if it ends.
    fn is_charged(&self) -> bool {
        self.store.data().account.is_charged()
    }

    /// Starts the account of the next call into the guest.
    fn begin(&mut self) {
        self.store.data_mut().begin();
        self.store.set_epoch_deadline(1);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.charge = self.store.data_mut().account.take_charge();
        // A call that was ended from without, by the wall clock or since nobody waits for it, has not come to `settle`.
        self.store.data_mut().end_lines();
    }
}

/// JSON that the gateway wrote, or a test: `{}` in any spelling.
fn is_empty_table(config: &str) -> bool {
    config.chars().all(|character| matches!(character, '{' | '}') || character.is_whitespace())
}

fn check_grants(plugin: &Plugin, grants: &[Grant], http: Option<&dyn HttpClient>) -> Result<(), LoadError> {
    let missing = |import: &&String| needed_grant(import).is_some_and(|grant| !grants.contains(&grant));
    let Some(import) = plugin.imports().iter().find(missing) else { return Ok(()) };
    let hosts = http.map(HttpClient::hosts).unwrap_or_default();
    let line = grant::line(grants, plugin.grants(), &hosts);
    Err(LoadError::NotGranted { import: import.clone(), line })
}
