//! The composition root: builds everything, owns every task and thread, and ends them in order.
//!
//! One worker thread a core, each with a current-thread runtime, its own sockets and its own upstream connections: a
//! request never crosses a thread. Beside them one small background runtime for whatever may take long: compiling,
//! reading files, the admin listener, signals.
//!
//! The end: on SIGTERM or SIGINT the listeners stop, connections finish what they have ([`crate::drain`]), and after
//! `drain-timeout` the rest is closed. A second signal ends at once.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use handfast_plugin_host::wake_promptly;
use rustls::crypto::CryptoProvider;
use tokio::runtime::{Builder as RuntimeBuilder, Handle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::admin;
use crate::certificate::expiry::{self, Horizons, Watched};
use crate::certificate::unix_now;
use crate::config::{Config, Listener};
use crate::connection::{self, Worker};
use crate::drain::{Drain, DrainWatch};
use crate::generation::Generation;
use crate::http;
use crate::listener::clients::Clients;
use crate::listener::{self, BindError};
use crate::metrics::Metrics;
use crate::policy::Last;
use crate::reload::{BuildError, Builder, InstanceBounds, Reloader};
use crate::request_log::RequestLog;
use crate::snapshot::{Snapshot, Snapshots};
use crate::telemetry::{error_chain, one_line};
use crate::tls::server_config::ServerConfigs;
use crate::transport::Transport;
use crate::upstream::Pools;

mod descriptors;
mod secrecy;

/// Threads of the background runtime: one may compile while the other answers.
const BACKGROUND_THREADS: usize = 2;

/// How often plugins that no handshake asked for are compared with their files, and what was replaced is let go.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("listener `{name}`: {cause}")]
    Bind { name: String, cause: BindError },
    #[error(
        "admin listener: cannot listen on {address}: {cause}\n  = hint: another program may listen there, `ss -ltnp` shows which; change `address` in [admin]"
    )]
    Admin { address: SocketAddr, cause: io::Error },
    #[error("the system refuses a thread, a runtime or a signal handler")]
    System(#[source] io::Error),
}

/// How the gateway is started.
pub struct Start {
    pub config: Config,
    /// Read again on SIGHUP.
    pub path: PathBuf,
    pub last: Last,
}

/// Where a gateway listens: the ports that the system chose where the configuration says 0.
pub struct Addresses {
    /// By the name of the listener.
    pub listeners: HashMap<String, SocketAddr>,
    pub admin: Option<SocketAddr>,
}

/// Runs the gateway until a signal ends it. `ready` is called once, when every listener accepts.
pub fn run(start: Start, ready: impl FnOnce(&Addresses)) -> Result<(), ServerError> {
    if !start.config.core_dumps {
        secrecy::keep_memory_private();
    }
    let background = RuntimeBuilder::new_multi_thread()
        .worker_threads(BACKGROUND_THREADS)
        .thread_name("background")
        .enable_all()
        .build()
        .map_err(ServerError::System)?;
    let handle = background.handle().clone();
    let result = background.block_on(Gateway::run(start, handle, ready));
    // A compilation that is still under way has nobody left to wait for it.
    background.shutdown_background();
    result
}

/// Builds everything a configuration names without listening: `handfast check`.
pub fn check(config: Config) -> Result<Snapshot, ServerError> {
    let background = RuntimeBuilder::new_multi_thread()
        .worker_threads(BACKGROUND_THREADS)
        .enable_all()
        .build()
        .map_err(ServerError::System)?;
    let handle = background.handle().clone();
    background.block_on(async {
        let builder = builder(&config, handle, Arc::default(), Arc::default(), Last::Embedded).await?;
        Ok(builder.build(Arc::new(config), None).await?)
    })
}

async fn builder(
    config: &Config,
    background: Handle,
    metrics: Arc<Metrics>,
    generation: Arc<Generation>,
    last: Last,
) -> Result<Builder, ServerError> {
    let state = config.state_directory.clone();
    let bounds = InstanceBounds { instances: config.max_policy_instances, memory: config.max_policy_memory };
    Ok(Builder::new(state, bounds, background, metrics, generation, last).await?)
}

/// A running gateway.
struct Gateway {
    reloader: Reloader,
    snapshots: Arc<Snapshots>,
    metrics: Arc<Metrics>,
    workers: Vec<WorkerThread>,
    listening: HashMap<String, Listening>,
}

/// An address that is accepted on.
struct Listening {
    configured: SocketAddr,
    address: SocketAddr,
    /// The listener's, for connections from now on: a reload may hand the sockets to another.
    name: Arc<ArcSwap<String>>,
    stop: CancellationToken,
}

impl Gateway {
    async fn run(
        start: Start,
        background: Handle,
        ready: impl FnOnce(&Addresses),
    ) -> Result<(), ServerError> {
        let mut signals = Signals::new().map_err(ServerError::System)?;
        let metrics = Arc::new(Metrics::new());
        let generation = Arc::new(Generation::default());
        let Start { config, path, last } = start;
        let builder =
            builder(&config, background, Arc::clone(&metrics), Arc::clone(&generation), last).await?;
        let first = builder.build(Arc::new(config), None).await?;
        builder.stapler().start();
        let plan = bind(&first, &HashMap::new())?;
        let config = Arc::clone(&first.config);
        let snapshots = Arc::new(Snapshots::new(first, generation));
        let (drain, watch) = Drain::new();
        let drain = Arc::new(drain);

        let mut admin = None;
        if let Some(configured) = &config.admin {
            let failed = |cause| ServerError::Admin { address: configured.address, cause };
            let socket = tokio::net::TcpListener::bind(configured.address).await.map_err(failed)?;
            let address = socket.local_addr().map_err(failed)?;
            info!(%address, "admin listening");
            admin = Some(address);
            tokio::spawn(admin::serve(
                socket,
                configured.hosts.clone(),
                Arc::clone(&metrics),
                Arc::clone(&snapshots),
                Arc::clone(&drain),
            ));
        }

        let watched = Arc::clone(&snapshots);
        let watched = move || {
            let snapshot = watched.current();
            let horizons = Horizons::new(&snapshot.config.certificates.expiry_warnings);
            Watched { store: Arc::clone(&snapshot.certificates), horizons }
        };
        tokio::spawn(expiry::watch(watched, unix_now, Arc::clone(&metrics)));

        let limit = Arc::new(Semaphore::new(descriptors::connections(config.max_connections)));
        let shared = Shared {
            snapshots: Arc::clone(&snapshots),
            metrics: Arc::clone(&metrics),
            limit,
            clients: Arc::default(),
        };
        let workers =
            (0..config.workers).map(|number| WorkerThread::start(number, shared.clone(), watch.clone()));
        let workers = workers.collect::<Result<Vec<_>, _>>().map_err(ServerError::System)?;
        drop(watch);
        let reloader = Reloader { builder, snapshots: Arc::clone(&snapshots), path };
        let mut gateway = Self { reloader, snapshots, metrics, workers, listening: HashMap::new() };
        gateway.listen(plan);
        info!(generation = gateway.snapshots.current().generation, workers = config.workers, "ready");
        ready(&gateway.addresses(admin));

        gateway.tend(&mut signals).await;
        gateway.drain(&drain, &mut signals).await;
        Ok(())
    }

    /// Reloads and housekeeping, until a signal asks for the end.
    async fn tend(&mut self, signals: &mut Signals) {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::End => return,
                    Asked::Reload => self.reload().await,
                },
                _ = housekeeping.tick() => self.keep_house().await,
            }
        }
    }

    async fn reload(&mut self) {
        let built = match self.reloader.build().await {
            Ok(snapshot) => bind(&snapshot, &self.listening).map(|plan| (snapshot, plan)),
            Err(error) => Err(error.into()),
        };
        let succeeded = match built {
            Ok((snapshot, plan)) => {
                let generation = snapshot.generation;
                warn_of_restart(&self.snapshots.current().config, &snapshot.config);
                self.snapshots.publish(snapshot);
                self.listen(plan);
                info!(generation, "configuration reloaded");
                let snapshot = self.snapshots.current();
                snapshot.certificates.retry_refused().await;
                true
            }
            Err(error) => {
                warn!(error = %one_line(&error_chain(&error)), "configuration not reloaded");
                false
            }
        };
        self.metrics.reload("configuration", "", succeeded);
    }

    async fn keep_house(&self) {
        let snapshot = self.snapshots.current();
        for slot in snapshot.policies.slots() {
            slot.fresh().await;
        }
    }

    /// Hands each worker its sockets, those that go on to another listener that one's name, and closes the rest.
    fn listen(&mut self, plan: Vec<Planned>) {
        let mut before = std::mem::take(&mut self.listening);
        let is_kept = |name: &String| plan.iter().any(|planned| planned.listener.name == *name);
        for name in before.keys().filter(|name| !is_kept(name)) {
            info!(listener = name, "no longer listening");
        }
        for Planned { listener, address, origin } in plan {
            let name = listener.name.clone();
            let listening = match origin {
                Origin::Listener(from) => before.remove(&from).map(|listening| {
                    if from != name {
                        listening.name.store(Arc::new(name.clone()));
                        info!(listener = name, %address, "listening");
                    }
                    Listening { configured: listener.address, ..listening }
                }),
                Origin::Sockets(sockets) => {
                    let (stop, shared) =
                        (CancellationToken::new(), Arc::new(ArcSwap::from_pointee(name.clone())));
                    for (worker, socket) in self.workers.iter().zip(sockets) {
                        worker.accept(Arc::clone(&shared), socket, stop.clone());
                    }
                    info!(listener = name, %address, "listening");
                    Some(Listening { configured: listener.address, address, name: shared, stop })
                }
            };
            self.listening.extend(listening.map(|listening| (name, listening)));
        }
        before.into_values().for_each(|listening| listening.stop.cancel());
    }

    fn addresses(&self, admin: Option<SocketAddr>) -> Addresses {
        let listeners = self.listening.iter().map(|(name, listening)| (name.clone(), listening.address));
        Addresses { listeners: listeners.collect(), admin }
    }

    async fn drain(self, drain: &Drain, signals: &mut Signals) {
        let timeout = self.snapshots.current().config.drain_timeout;
        for listening in self.listening.values() {
            listening.stop.cancel();
        }
        drain.start();
        info!(timeout_ms = millis(timeout), "draining");
        drop(self.workers);
        tokio::select! {
            () = drain.finished() => {}
            () = tokio::time::sleep(timeout) => {
                warn!(open = drain.under_way(), "connections closed at the drain timeout");
            }
            () = signals.end() => warn!(open = drain.under_way(), "connections closed by a second signal"),
        }
        info!("stopped");
    }
}

/// SIGHUP, and SIGTERM or SIGINT.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next signal of any kind.
    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// Returns when the end is asked for; a reload no longer matters.
    async fn end(&mut self) {
        while self.next().await != Asked::End {}
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Reload,
    End,
}

/// What every worker holds a handle on.
#[derive(Clone)]
struct Shared {
    snapshots: Arc<Snapshots>,
    metrics: Arc<Metrics>,
    limit: Arc<Semaphore>,
    clients: Arc<Clients>,
}

/// The way to talk to a worker thread. Once it is dropped the worker takes no further sockets; its thread lives until
/// the process ends, which the drain decides.
struct WorkerThread {
    sockets: mpsc::UnboundedSender<Assigned>,
}

/// A socket that a worker shall accept on.
struct Assigned {
    listener: Arc<ArcSwap<String>>,
    socket: StdListener,
    stop: CancellationToken,
}

impl WorkerThread {
    fn start(number: usize, shared: Shared, drain: DrainWatch) -> io::Result<Self> {
        let runtime = RuntimeBuilder::new_current_thread().enable_all().build()?;
        let (sockets, receiver) = mpsc::unbounded_channel();
        std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            wake_promptly();
            runtime.block_on(work(shared, drain, receiver));
        })?;
        Ok(Self { sockets })
    }

    fn accept(&self, listener: Arc<ArcSwap<String>>, socket: StdListener, stop: CancellationToken) {
        // Fails only if the worker's thread has panicked, which has been printed.
        let _ = self.sockets.send(Assigned { listener, socket, stop });
    }
}

/// The body of a worker thread.
async fn work(shared: Shared, drain: DrainWatch, mut sockets: mpsc::UnboundedReceiver<Assigned>) {
    let routing = Arc::clone(&shared.snapshots);
    let worker = Arc::new(Worker {
        snapshots: shared.snapshots,
        metrics: Arc::clone(&shared.metrics),
        server_configs: ServerConfigs::new(provider()),
        http: http::Context {
            routing: Arc::new(move || Arc::clone(&routing.current().routing)),
            pools: Arc::new(Pools::new()),
            observer: Arc::new(RequestLog::new(shared.metrics)),
        },
        drain,
        clients: shared.clients,
        followed: AtomicU64::new(0),
    });
    tokio::spawn(heartbeat());
    while let Some(Assigned { listener, socket, stop }) = sockets.recv().await {
        let worker = Arc::clone(&worker);
        let limit = Arc::clone(&shared.limit);
        tokio::spawn(async move {
            // Looked up again only for another name.
            let counters = |name: &str| (name.to_owned(), Arc::new(worker.metrics.listener(name)));
            let last = Mutex::new(counters(&listener.load()));
            let serve = |transport: Transport, permit| {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.0 != transport.ends().listener {
                    *last = counters(&transport.ends().listener);
                }
                let counters = Arc::clone(&last.1);
                drop(last);
                tokio::spawn(connection::serve(Arc::clone(&worker), counters, transport, permit));
            };
            if let Err(error) = listener::accept(&listener, socket, limit, stop, serve).await {
                error!(listener = %listener.load(), %error, "the listener ended");
            }
        });
    }
    // Each accept loop and each connection holds the worker, and with it the drain's watch, until it is done.
    drop(worker);
    std::future::pending::<()>().await;
}

/// A timer that is always about to pass. The runtime wakes itself, by a write to a file of its own, for each timer that is
/// set before all others, and without this one that is each new connection's: half a microsecond.
async fn heartbeat() {
    /// Sooner than any timer of a connection.
    const BEAT: Duration = Duration::from_millis(500);
    loop {
        tokio::time::sleep(BEAT).await;
    }
}

fn provider() -> Arc<CryptoProvider> {
    match CryptoProvider::get_default() {
        Some(provider) => Arc::clone(provider),
        None => Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
    }
}

/// Where a listener is to get its connections from.
struct Planned {
    listener: Arc<Listener>,
    address: SocketAddr,
    origin: Origin,
}

enum Origin {
    /// The one that has the address now, under its own name or another.
    Listener(String),
    /// One for each worker.
    Sockets(Vec<StdListener>),
}

/// Binds what a snapshot listens on and `listening` does not. All or nothing.
///
/// An address that stays in use keeps its sockets, whichever listener has it: to close one and bind another would reset
/// the connections that the kernel completes on the first before it is closed.
fn bind(snapshot: &Snapshot, listening: &HashMap<String, Listening>) -> Result<Vec<Planned>, ServerError> {
    let mut plan = Vec::new();
    let ours: Vec<_> = listening.values().map(|existing| existing.address).collect();
    let listeners = &snapshot.config.listeners;
    let stays = |name: &str, existing: &Listening| {
        listeners.iter().any(|listener| listener.name == name && listener.address == existing.configured)
    };
    for listener in listeners {
        let own = listening.get_key_value(&listener.name);
        let kept = own.filter(|(_, existing)| existing.configured == listener.address).or_else(|| {
            let is_free = |(name, existing): &(&String, &Listening)| {
                existing.address == listener.address && !stays(name, existing)
            };
            listening.iter().find(is_free)
        });
        let (address, origin) = match kept {
            Some((name, existing)) => (existing.address, Origin::Listener(name.clone())),
            None => {
                let bound = listener::bind(listener.address, snapshot.config.workers, &ours);
                let (address, sockets) =
                    bound.map_err(|cause| ServerError::Bind { name: listener.name.clone(), cause })?;
                (address, Origin::Sockets(sockets))
            }
        };
        plan.push(Planned { listener: Arc::clone(listener), address, origin });
    }
    Ok(plan)
}

/// Settings that only a start applies.
fn warn_of_restart(old: &Config, new: &Config) {
    let changed = [
        ("workers", old.workers != new.workers),
        ("max-connections", old.max_connections != new.max_connections),
        ("max-policy-instances", old.max_policy_instances != new.max_policy_instances),
        ("max-policy-memory", old.max_policy_memory != new.max_policy_memory),
        ("state-directory", old.state_directory != new.state_directory),
        ("[admin]", old.admin != new.admin),
        ("[log]", old.log != new.log),
    ];
    for (setting, _) in changed.iter().filter(|(_, changed)| *changed) {
        warn!(setting, "this change needs a restart; the old value stays");
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
