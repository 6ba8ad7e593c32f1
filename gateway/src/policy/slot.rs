//! One configured policy and its plugin file, kept as fresh as a certificate is.
//!
//! Each handshake compares the file with what was compiled from it and, after a change, waits (at most `reload-wait`)
//! for the one compilation that all share. A file that is no policy, or a policy that refuses its configuration,
//! changes nothing: the last good one keeps judging.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use handfast_plugin_host::{self as plugin_host, CallError, LoadError};
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::config::{self, OnError};
use crate::freshness::{Change, Contents, Fresh, Load, LoadFuture, Reason, Refusal};
use crate::generation::Generation;
use crate::metrics::{Metrics, PolicyCounters, PolicyCounts};
use crate::telemetry::{Throttle, error_chain};

/// Bytes of a component that are read. The host refuses less than this by itself.
const LARGEST_PLUGIN: usize = 64 << 20;

/// The hidden subcommand that compiles a plugin: the gateway starts itself with it.
pub const COMPILE_COMMAND: &str = "compile-plugin";

/// Who compiles plugins: a process of its own for each, with bounds on its memory and time.
pub fn compiler() -> plugin_host::Compiler {
    plugin_host::Compiler::this_program(COMPILE_COMMAND)
}

/// Why a policy could not be loaded at all.
#[derive(Debug, thiserror::Error)]
#[error("the policy `{policy}` does not load from {}", plugin.display())]
pub struct SlotError {
    policy: String,
    plugin: PathBuf,
    source: Reason,
}

impl SlotError {
    /// The file that is no policy.
    pub fn plugin(&self) -> &Path {
        &self.plugin
    }
}

/// A policy and the file it comes from.
pub struct Slot {
    config: Arc<config::Policy>,
    loaded: Arc<Fresh<plugin_host::Policy>>,
    counters: HookCounters,
    complaints: Throttle,
}

/// The counters of a policy's hooks.
pub struct HookCounters {
    pub select: PolicyCounters,
    pub validate: PolicyCounters,
    pub admit: PolicyCounters,
}

impl Slot {
    pub async fn load(
        host: &plugin_host::Host,
        config: Arc<config::Policy>,
        background: Handle,
        metrics: Arc<Metrics>,
        generation: Arc<Generation>,
    ) -> Result<Self, SlotError> {
        let files = vec![config.plugin.clone()];
        let of = |hook| metrics.policy(&config.name, hook);
        let counters = HookCounters { select: of("select"), validate: of("validate"), admit: of("admit") };
        let loader = Arc::new(Loader {
            host: host.clone(),
            config: Arc::clone(&config),
            metrics,
            generation,
            unstarted: Mutex::default(),
        });
        let loaded = Fresh::load(files, LARGEST_PLUGIN, loader, background).await.map_err(|failed| {
            SlotError { policy: config.name.clone(), plugin: config.plugin.clone(), source: failed.reason }
        })?;
        Ok(Self { config, loaded, counters, complaints: Throttle::new() })
    }

    pub fn name(&self) -> &str {
        &self.config.name
    }

    pub fn config(&self) -> &config::Policy {
        &self.config
    }

    pub fn counters(&self) -> &HookCounters {
        &self.counters
    }

    pub fn on_error(&self) -> OnError {
        self.config.on_error
    }

    /// The newest good plugin, without a look at its file.
    pub fn current(&self) -> Arc<plugin_host::Policy> {
        self.loaded.current()
    }

    /// The plugin that the file holds now, or the last good one. One `stat` where nothing changed.
    pub async fn fresh(&self) -> Arc<plugin_host::Policy> {
        // What became of the reload was logged and counted where it happened.
        let _ = self.loaded.ensure(self.config.reload_wait).await;
        self.loaded.current()
    }

    /// What the policy counts and keeps, whatever its plugin.
    pub fn counts(&self) -> PolicyCounts {
        let counted = self.current().counted();
        PolicyCounts {
            policy: self.name().to_owned(),
            counters: counted.counters,
            dropped_additions: counted.dropped_additions,
            dropped_messages: counted.dropped_messages,
            key_value: counted.key_value.map(|used| (used.entries, used.bytes, used.evicted)),
        }
    }

    /// Logs a call without a verdict, at most once a second.
    pub fn report(&self, error: &CallError, hook: &'static str) {
        if let Some(suppressed) = self.complaints.pass() {
            warn!(policy = self.name(), hook, error = %error_chain(error), suppressed, "policy had no verdict");
        }
    }
}

/// Compiles and configures a plugin.
struct Loader {
    host: plugin_host::Host,
    config: Arc<config::Policy>,
    metrics: Arc<Metrics>,
    generation: Arc<Generation>,
    /// A plugin that compiled and did not start, for a reason that may pass: it is tried again, not compiled again.
    unstarted: Mutex<Option<plugin_host::Plugin>>,
}

impl Load<plugin_host::Policy> for Loader {
    fn load(&self, files: Vec<Contents>) -> LoadFuture<'_, plugin_host::Policy> {
        Box::pin(async move {
            let bytes = files.into_iter().next().map(|file| file.bytes).unwrap_or_default();
            let plugin = match self.unstarted(None).filter(|plugin| plugin.is_of(&bytes)) {
                Some(plugin) => plugin,
                None => self.compiled(bytes).await?,
            };
            let policy = plugin_host::Policy::new(&plugin, settings(&self.config)).await;
            if let Err(LoadError::Start(_)) = &policy {
                self.unstarted(Some(plugin));
            }
            policy.map(Arc::new).map_err(|error| self.refusal(error))
        })
    }

    fn changed(&self, change: Change<'_, plugin_host::Policy>) {
        let policy = self.config.name.as_str();
        match change {
            Change::Replaced { new, .. } => {
                let generation = self.generation.next();
                self.metrics.reload("policy", policy, true);
                info!(policy, digest = new.digest(), generation, "policy replaced");
            }
            Change::Refused { kept, reason, .. } => {
                self.metrics.reload("policy", policy, false);
                let error = error_chain(reason.as_ref());
                warn!(policy, error, kept = kept.digest(), "policy not replaced");
            }
            Change::Restored { value } => info!(policy, digest = value.digest(), "policy file is good again"),
        }
    }
}

impl Loader {
    async fn compiled(&self, bytes: Vec<u8>) -> Result<plugin_host::Plugin, Refusal> {
        let (host, name) = (self.host.clone(), self.config.name.clone());
        let plugin = tokio::task::spawn_blocking(move || host.load(&name, &bytes)).await;
        let plugin = plugin.map_err(|panic| Refusal::from(io::Error::other(panic)))?;
        plugin.map_err(|error| self.refusal(error))
    }

    /// Takes the plugin that did not start out, and puts another in its place.
    fn unstarted(&self, next: Option<plugin_host::Plugin>) -> Option<plugin_host::Plugin> {
        std::mem::replace(&mut *self.unstarted.lock().unwrap_or_else(PoisonError::into_inner), next)
    }

    /// A start that failed for want of time, a free instance or a process may succeed later; all else is the file's.
    fn refusal(&self, error: LoadError) -> Refusal {
        const AGAIN: Duration = Duration::from_secs(1);
        let passing = matches!(
            &error,
            LoadError::Start(CallError::Timeout { .. } | CallError::Busy(_)) | LoadError::Compiler { .. }
        );
        Refusal { reason: Arc::new(error), retry: passing.then_some(AGAIN) }
    }
}

/// What a policy runs under in the gateway, and when it is tried without one.
pub fn settings(config: &config::Policy) -> plugin_host::PolicySettings {
    plugin_host::PolicySettings {
        name: config.name.clone(),
        config: config.config.clone(),
        limits: plugin_host::Limits {
            timeout: config.timeout,
            memory: config.memory,
            ..plugin_host::Limits::default()
        },
        instances: match config.instances {
            config::Instances::Fresh => plugin_host::Instances::Fresh,
            config::Instances::Reuse => {
                plugin_host::Instances::Reuse { max_idle: REUSED_INSTANCES, calls: CALLS_PER_INSTANCE }
            }
        },
        grants: config.grants.iter().map(|grant| grant_of(*grant)).collect(),
        key_value: plugin_host::KeyValueBounds {
            max_entries: config.key_value.max_entries,
            max_bytes: config.key_value.max_bytes,
        },
    }
}

fn grant_of(grant: config::Grant) -> plugin_host::Grant {
    match grant {
        config::Grant::Counter => plugin_host::Grant::Counter,
        config::Grant::KeyValue => plugin_host::Grant::KeyValue,
    }
}

/// Idle instances kept: as many calls as can be under way at once on a large machine.
const REUSED_INSTANCES: u32 = 64;
/// Calls after which a reused instance makes way for a fresh one: what a guest leaks stays bounded.
const CALLS_PER_INSTANCE: u32 = 10_000;
