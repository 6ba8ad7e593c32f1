//! One configured policy and its plugin file, kept as fresh as a certificate is.
//!
//! Each handshake compares the file with what was compiled from it and, after a change, waits (at most `reload-wait`)
//! for the one compilation that all share. A file that is no policy, a policy that refuses its configuration, or one that
//! would let everybody in ([`super::unasked`], [`super::replacement`]) changes nothing: the last good one keeps judging.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use handfast_plugin_host::{self as plugin_host, CallError, Hooks, LoadError};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::config::{self, OnError};
use crate::freshness::{Change, Contents, Fresh, Load, LoadFuture, Reason, Refusal};
use crate::generation::Generation;
use crate::metrics::{Metrics, PolicyCounters, PolicyCounts};
use crate::telemetry::{Throttle, error_chain};

use super::http_client::Client;
use super::last_good::{LastGood, Version};
use super::replacement::InUse;
use super::unasked;

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
#[error("the policy `{}` ({}) does not load from {}", policy.name, policy.place, policy.plugin.display())]
pub struct SlotError {
    policy: Arc<config::Policy>,
    source: Reason,
}

impl SlotError {
    /// The file that is no policy. `None` where it is one, and what the configuration says of it is wrong.
    pub fn plugin(&self) -> Option<&Path> {
        let configuration = matches!(
            self.source.downcast_ref::<LoadError>(),
            Some(LoadError::Configuration(_) | LoadError::NoConfigure)
        );
        (!configuration).then_some(&self.policy.plugin)
    }
}

/// A policy and the file it comes from.
pub struct Slot {
    config: Arc<config::Policy>,
    unasking: Option<String>,
    loaded: Arc<Fresh<Version>>,
    last_good: Arc<LastGood>,
    /// Who makes the policy's calls. Of the configuration and not of the plugin: another plugin finds what is cached.
    http: Option<Arc<Client>>,
    counters: HookCounters,
    complaints: Throttle,
}

/// A function that a policy may export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    Select,
    Validate,
    Admit,
}

impl Hook {
    /// As logs and metrics call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Validate => "validate",
            Self::Admit => "admit",
        }
    }

    fn is_among(self, hooks: Hooks) -> bool {
        match self {
            Self::Select => hooks.select,
            Self::Validate => hooks.validate,
            Self::Admit => hooks.admit,
        }
    }
}

/// What came of a call.
pub struct Asked<T> {
    pub answer: Result<T, CallError>,
    /// Who answered, or failed to.
    pub by: Arc<Version>,
    /// Why the newest version had no verdict, where `by` is the last good one in its place.
    pub instead_of: Option<CallError>,
}

struct HookCounters {
    select: PolicyCounters,
    validate: PolicyCounters,
    admit: PolicyCounters,
}

impl Slot {
    /// `unasking` is a listener of the policy that asks for no client certificates.
    pub async fn load(
        host: &plugin_host::Host,
        config: Arc<config::Policy>,
        unasking: Option<&str>,
        background: Handle,
        metrics: Arc<Metrics>,
        generation: Arc<Generation>,
    ) -> Result<Self, SlotError> {
        let files = vec![config.plugin.clone()];
        let of = |hook| metrics.policy(&config.name, hook);
        let counters = HookCounters { select: of("select"), validate: of("validate"), admit: of("admit") };
        let http = http_client(&config, &background, &metrics).await?;
        let last_good = Arc::new(LastGood::default());
        let loader = Arc::new(Loader {
            host: host.clone(),
            config: Arc::clone(&config),
            unasking: unasking.map(str::to_owned),
            metrics,
            generation,
            last_good: Arc::clone(&last_good),
            http: http.clone(),
            in_use: InUse::default(),
            unstarted: Mutex::default(),
        });
        let loading = Fresh::<Version>::load(files, LARGEST_PLUGIN, Arc::clone(&loader) as _, background);
        let loaded = loading
            .await
            .map_err(|failed| SlotError { policy: Arc::clone(&config), source: failed.reason })?;
        loader.in_use.set(loaded.current().hooks());
        let unasking = unasking.map(str::to_owned);
        Ok(Self { config, unasking, loaded, last_good, http, counters, complaints: Throttle::new() })
    }

    pub fn name(&self) -> &str {
        &self.config.name
    }

    pub fn config(&self) -> &config::Policy {
        &self.config
    }

    /// Whether it is what [`load`](Self::load) would make.
    pub fn is_of(&self, config: &config::Policy, unasking: Option<&str>) -> bool {
        *self.config == *config && self.unasking.as_deref() == unasking
    }

    pub fn on_error(&self) -> OnError {
        self.config.on_error
    }

    /// The newest good plugin, without a look at its file.
    pub fn current(&self) -> Arc<Version> {
        self.loaded.current()
    }

    /// The plugin that the file holds now, or the last good one. One `stat` where nothing changed.
    pub async fn fresh(&self) -> Arc<Version> {
        // What became of the reload was logged and counted where it happened.
        let _ = self.loaded.ensure(self.config.reload_wait).await;
        self.loaded.current()
    }

    /// Asks `version`, and in its place the last good one where it has no verdict and the operator wants that. Both
    /// together take no longer, by the wall clock, than the first alone may.
    pub async fn ask<T, F>(
        &self,
        hook: Hook,
        version: Arc<Version>,
        call: impl Fn(Arc<Version>) -> F,
    ) -> Asked<T>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let called = Instant::now();
        let answer = call(Arc::clone(&version)).await;
        self.counters.of(hook).call(outcome(&answer), called.elapsed());
        let error = match answer {
            Ok(answer) => {
                version.gave_a_verdict();
                return Asked { answer: Ok(answer), by: version, instead_of: None };
            }
            Err(error) => error,
        };
        let Some(standby) = self.standby(hook, &version, &error) else {
            return Asked { answer: Err(error), by: version, instead_of: None };
        };
        self.tell_of_stand_in(hook, &version, &standby, &error);
        self.counters.of(hook).last_good();
        let begun = Instant::now();
        let most = self.config.timeout.saturating_mul(WALL_CLOCK).saturating_sub(called.elapsed());
        // Boxed: every handshake would carry the room for a second call otherwise.
        let answer = tokio::time::timeout(most, Box::pin(call(Arc::clone(&standby)))).await;
        let answer = answer.unwrap_or(Err(CallError::Timeout { limit: self.config.timeout }));
        self.counters.of(hook).call(outcome(&answer), begun.elapsed());
        Asked { answer, by: standby, instead_of: Some(error) }
    }

    /// One without the hook would let everybody in that the newest version was to judge.
    fn standby(&self, hook: Hook, failed: &Arc<Version>, error: &CallError) -> Option<Arc<Version>> {
        if self.config.on_error != OnError::LastGood {
            return None;
        }
        self.last_good.instead_of(failed, error).filter(|standby| hook.is_among(standby.hooks()))
    }

    /// Once for each version that fails; each call is counted, and each connection's line has the digest that judged.
    fn tell_of_stand_in(&self, hook: Hook, failed: &Version, standby: &Version, error: &CallError) {
        if failed.is_first_failure() {
            warn!(
                policy = self.name(),
                hook = hook.as_str(),
                digest = failed.digest(),
                judges = standby.digest(),
                error = %error_chain(error),
                "policy had no verdict; the last good one judges where it has none",
            );
        }
    }

    /// What the policy counts and keeps, whatever its plugin.
    pub fn counts(&self) -> PolicyCounts {
        let counted = self.current().counted();
        PolicyCounts {
            policy: self.name().to_owned(),
            counters: counted.counters,
            dropped_additions: counted.dropped_additions,
            dropped_messages: counted.dropped_messages,
            limited_messages: counted.limited_messages,
            key_value: counted.key_value.map(|used| (used.entries, used.bytes, used.evicted)),
            http: self.http.as_ref().map(|client| client.usage()),
        }
    }

    /// Logs a call without a verdict, at most once a second.
    pub fn report(&self, error: &CallError, hook: Hook) {
        if let Some(suppressed) = self.complaints.pass() {
            let hook = hook.as_str();
            warn!(policy = self.name(), hook, error = %error_chain(error), suppressed, "policy had no verdict");
        }
    }
}

impl HookCounters {
    fn of(&self, hook: Hook) -> &PolicyCounters {
        match hook {
            Hook::Select => &self.select,
            Hook::Validate => &self.validate,
            Hook::Admit => &self.admit,
        }
    }
}

/// How a call went, in one word for metrics.
pub(super) fn outcome<T>(answer: &Result<T, CallError>) -> &'static str {
    answer.as_ref().map_or_else(CallError::kind, |_| "ok")
}

/// How many times a policy's `timeout` a call may take by the wall clock; `plugin-host` has the reasons.
const WALL_CLOCK: u32 = 10;

/// Compiles and configures a plugin.
struct Loader {
    host: plugin_host::Host,
    config: Arc<config::Policy>,
    unasking: Option<String>,
    metrics: Arc<Metrics>,
    generation: Arc<Generation>,
    last_good: Arc<LastGood>,
    http: Option<Arc<Client>>,
    in_use: InUse,
    /// A plugin that compiled and did not start, for a reason that may pass: it is tried again, not compiled again.
    unstarted: Mutex<Option<plugin_host::Plugin>>,
}

impl Load<Version> for Loader {
    fn load(&self, files: Vec<Contents>) -> LoadFuture<'_, Version> {
        Box::pin(async move {
            let bytes = files.into_iter().next().map(|mut file| std::mem::take(&mut *file.bytes));
            let bytes = bytes.unwrap_or_default();
            let plugin = match self.unstarted(None).filter(|plugin| plugin.is_of(&bytes)) {
                Some(plugin) => plugin,
                None => self.compiled(bytes).await?,
            };
            unasked::check(&self.config.name, self.unasking.as_deref(), plugin.hooks())?;
            let mut settings = settings(&self.config);
            settings.http = self.http.clone().map(|client| client as _);
            let policy = plugin_host::Policy::new(&plugin, settings).await;
            if let Err(LoadError::Start(_)) = &policy {
                self.unstarted(Some(plugin));
            }
            let policy = policy.map_err(|error| self.refusal(error))?;
            // Last: one that is no policy at all is told that.
            self.in_use.check(policy.hooks())?;
            Ok(Arc::new(Version::new(policy)))
        })
    }

    fn changed(&self, change: Change<'_, Version>) {
        let policy = self.config.name.as_str();
        match change {
            Change::Replaced { old, new } => {
                self.in_use.set(new.hooks());
                if self.config.on_error == OnError::LastGood {
                    self.last_good.replaced(old, new);
                }
                let generation = self.generation.next();
                self.metrics.reload("policy", policy, true);
                info!(policy, digest = new.digest(), generation, "policy replaced");
            }
            Change::Refused { kept, reason, .. } => {
                self.metrics.reload("policy", policy, false);
                let (file, error) = (self.config.plugin.display(), error_chain(reason.as_ref()));
                warn!(policy, %file, error, kept = kept.digest(), "policy not replaced");
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

    /// A start that failed for want of time, a free instance, memory or a process may succeed later; all else is the file's.
    fn refusal(&self, error: LoadError) -> Refusal {
        const AGAIN: Duration = Duration::from_secs(1);
        let passing = matches!(
            &error,
            LoadError::Start(CallError::Timeout { .. } | CallError::Busy(_) | CallError::NoRoom { .. })
                | LoadError::Compiler { .. }
        );
        Refusal { reason: Arc::new(error), retry: passing.then_some(AGAIN) }
    }
}

/// The policy's own, if it has the grant. Trust anchors are files, so it is made where waiting for a disk holds up nobody.
async fn http_client(
    config: &Arc<config::Policy>,
    background: &Handle,
    metrics: &Metrics,
) -> Result<Option<Arc<Client>>, SlotError> {
    let Some(settings) = config.http.clone() else { return Ok(None) };
    let (name, counters, background) =
        (config.name.clone(), metrics.policy_http(&config.name), background.clone());
    let made = spawn_blocking(move || Client::new(&name, settings, background, counters)).await;
    let source: Reason = match made {
        Ok(Ok(client)) => return Ok(Some(Arc::new(client))),
        Ok(Err(error)) => Arc::new(error),
        Err(panic) => Arc::new(io::Error::other(panic)),
    };
    Err(SlotError { policy: Arc::clone(config), source })
}

/// What a policy runs under in the gateway, and when it is tried without one.
pub fn settings(config: &config::Policy) -> plugin_host::PolicySettings {
    plugin_host::PolicySettings {
        name: config.name.clone(),
        config: config.config.clone(),
        limits: plugin_host::Limits {
            timeout: config.timeout,
            memory: config.memory,
            concurrency: config.concurrency,
            log_rate: config.log_rate,
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
        http: None,
    }
}

fn grant_of(grant: config::Grant) -> plugin_host::Grant {
    match grant {
        config::Grant::Counter => plugin_host::Grant::Counter,
        config::Grant::KeyValue => plugin_host::Grant::KeyValue,
        config::Grant::Http => plugin_host::Grant::Http,
    }
}

/// Idle instances kept: as many calls as can be under way at once on a large machine.
const REUSED_INSTANCES: u32 = 64;
/// Calls after which a reused instance makes way for a fresh one: what a guest leaks stays bounded.
const CALLS_PER_INSTANCE: u32 = 10_000;
