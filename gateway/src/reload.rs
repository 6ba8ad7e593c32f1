//! From a configuration to a snapshot, at start and again at each SIGHUP: build everything, then swap, or keep.
//!
//! What did not change is carried over rather than built again: a policy with the same settings keeps its compiled
//! plugin, certificate sources with the same settings keep their store, trust anchors with the same bytes keep their
//! ticket keys (so a reload costs no client its resumption). Any error leaves the current snapshot as it is; the one
//! under construction is dropped whole.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use handfast_plugin_host as plugin_host;
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::certificate::ocsp::Stapler;
use crate::certificate::source::watch::Watch;
use crate::certificate::store::Severity;
use crate::certificate::{CertificateStore, Finding, Gate, StoreError};
use crate::config::error::suggest;
use crate::config::{Config, ConfigError, EMBEDDED_POLICY};
use crate::generation::Generation;
use crate::metrics::Metrics;
use crate::policy::slot::{Slot, SlotError, compiler};
use crate::policy::{Last, Policies, replacement, unasked};
use crate::route::{Routes, Routing};
use crate::snapshot::admit::AdmitGate;
use crate::snapshot::{Snapshot, Snapshots};
use crate::trust::{Trust, TrustError};

/// The component of the embedded policy; `cargo xtask plugins --check` keeps it equal to its source.
pub const EMBEDDED_PLUGIN: &[u8] = include_bytes!("../../plugins/server-name/dist/server-name.wasm");

/// Why a configuration that reads well cannot be put to work.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the sandbox for policies does not start")]
    Host(#[source] plugin_host::HostError),
    #[error("the embedded policy does not load")]
    Embedded(#[source] plugin_host::LoadError),
    #[error(transparent)]
    Policy(#[from] SlotError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no certificate of the configured sources is usable{}", list(findings))]
    NoCertificate { findings: Vec<Finding> },
    #[error(
        "the listener `{listener}` has the default certificate `{id}`, which no source has\n  = hint: {}",
        suggest(id, "certificates", ids.iter().map(String::as_str))
    )]
    DefaultCertificate { listener: String, id: String, ids: Vec<String> },
    #[error("the listener `{listener}` cannot verify client certificates")]
    Trust {
        listener: String,
        #[source]
        source: TrustError,
    },
}

/// What the instances of all policies have together.
#[derive(Debug, Clone, Copy)]
pub struct InstanceBounds {
    /// How many are alive at once.
    pub instances: u32,
    /// Bytes of memory, without the first MiB of each.
    pub memory: usize,
}

/// Builds snapshots.
pub struct Builder {
    host: plugin_host::Host,
    embedded: Arc<plugin_host::Policy>,
    stapler: Arc<Stapler>,
    background: Handle,
    metrics: Arc<Metrics>,
    generation: Arc<Generation>,
    last: Last,
}

impl Builder {
    /// Starts the sandbox and loads the embedded policy. `background` runs whatever may take long.
    pub async fn new(
        state_directory: Option<PathBuf>,
        bounds: InstanceBounds,
        background: Handle,
        metrics: Arc<Metrics>,
        generation: Arc<Generation>,
        last: Last,
    ) -> Result<Self, BuildError> {
        let stapler = Arc::new(Stapler::new(state_directory.as_deref()));
        let mut settings = plugin_host::HostSettings {
            code_cache: state_directory.map(|directory| directory.join("compiled-plugins")),
            compiler: Some(compiler()),
            max_instances: bounds.instances,
            max_memory: bounds.memory,
            ..Default::default()
        };
        if matches!(last, Last::Native) {
            // The switch is for measuring, under valgrind too, where the whole pool finds no room.
            settings.max_instances = 1;
        }
        let host = plugin_host::Host::new(settings).map_err(BuildError::Host)?;
        let plugin = host.load_trusted(EMBEDDED_POLICY, EMBEDDED_PLUGIN).map_err(BuildError::Embedded)?;
        let settings = plugin_host::PolicySettings {
            name: EMBEDDED_POLICY.to_owned(),
            config: "{}".to_owned(),
            limits: plugin_host::Limits::default(),
            instances: plugin_host::Instances::Fresh,
            grants: Vec::new(),
            key_value: plugin_host::KeyValueBounds::default(),
            http: None,
        };
        let embedded = plugin_host::Policy::new(&plugin, settings).await.map_err(BuildError::Embedded)?;
        Ok(Self { host, embedded: Arc::new(embedded), stapler, background, metrics, generation, last })
    }

    /// Keeps the staples of every store that is built here. It outlives them, so that no reload costs a staple.
    pub fn stapler(&self) -> &Arc<Stapler> {
        &self.stapler
    }

    /// Builds the snapshot of a configuration, with what `previous` can lend. Findings that do not stand in the way
    /// are logged.
    pub async fn build(
        &self,
        config: Arc<Config>,
        previous: Option<&Snapshot>,
    ) -> Result<Snapshot, BuildError> {
        let policies = Arc::new(self.policies(&config, previous).await?);
        for unasked in policies.unasked(config.listeners.iter().map(Arc::as_ref)) {
            warn!(finding = %unasked, "policy");
        }
        warn_of_lost_hooks(&policies, previous);
        let trust = trust(&config, previous)?;
        let Certificates { store: certificates, gate, watch } =
            self.certificates(&config, &policies, previous).await?;
        certificates.keep_keys(config.certificates.key_cache);
        for listener in &config.listeners {
            if let Some(id) = &listener.default_certificate
                && certificates.by_id(id).is_none()
            {
                return Err(BuildError::DefaultCertificate {
                    listener: listener.name.clone(),
                    id: id.clone(),
                    ids: certificates.list().into_iter().map(|status| status.id).collect(),
                });
            }
        }
        let routing = Routing { routes: Routes::new(&config.routes), http: config.http.clone() };
        let generation = self.generation.next();
        Ok(Snapshot {
            generation,
            config,
            policies,
            certificates,
            routing: Arc::new(routing),
            gate,
            watch,
            trust,
        })
    }

    async fn policies(&self, config: &Config, previous: Option<&Snapshot>) -> Result<Policies, BuildError> {
        let mut slots: Vec<Arc<Slot>> = Vec::with_capacity(config.policies.len());
        for policy in &config.policies {
            let unasking = unasked::listener_of(&policy.name, &config.listeners);
            let kept = previous.and_then(|snapshot| {
                snapshot.policies.slots().iter().find(|slot| slot.is_of(policy, unasking))
            });
            slots.push(match kept {
                Some(slot) => Arc::clone(slot),
                None => Arc::new(
                    Slot::load(
                        &self.host,
                        Arc::clone(policy),
                        unasking,
                        self.background.clone(),
                        Arc::clone(&self.metrics),
                        Arc::clone(&self.generation),
                    )
                    .await?,
                ),
            });
        }
        Ok(Policies::new(
            slots,
            Arc::clone(&self.embedded),
            &config.listeners,
            self.last,
            config.upstreams.iter().map(|upstream| upstream.name.clone()).collect(),
            &self.metrics,
        ))
    }

    async fn certificates(
        &self,
        config: &Config,
        policies: &Arc<Policies>,
        previous: Option<&Snapshot>,
    ) -> Result<Certificates, BuildError> {
        if let Some(previous) = previous
            && previous.config.certificate_sources == config.certificate_sources
        {
            return Ok(Certificates {
                store: Arc::clone(&previous.certificates),
                gate: Arc::clone(&previous.gate),
                watch: Arc::clone(&previous.watch),
            });
        }
        let gate = Arc::new(AdmitGate::new(policies));
        let asked = Arc::clone(&gate) as Arc<dyn Gate>;
        let (store, findings) = CertificateStore::open(
            &config.certificate_sources,
            asked,
            Arc::clone(&self.stapler),
            Arc::clone(&self.generation),
            self.background.clone(),
        )
        .await?;
        let findings = match previous {
            Some(previous) => store.inherit(&previous.certificates, findings).await,
            None => findings,
        };
        if store.is_empty() {
            return Err(BuildError::NoCertificate { findings });
        }
        for finding in &findings {
            match finding.severity {
                Severity::Note => info!(finding = %finding, "certificate source"),
                Severity::Warning | Severity::Error => warn!(finding = %finding, "certificate source"),
            }
        }
        gate.see(&store);
        let watch = Arc::new(Watch::start(&store));
        Ok(Certificates { store, gate, watch })
    }
}

/// A store and what belongs to it.
struct Certificates {
    store: Arc<CertificateStore>,
    gate: Arc<AdmitGate>,
    watch: Arc<Watch>,
}

/// Reloads the configuration file into a running gateway.
pub struct Reloader {
    pub builder: Builder,
    pub snapshots: Arc<Snapshots>,
    pub path: PathBuf,
}

impl Reloader {
    /// Builds a snapshot from the file as it is now. The caller publishes it, once it has bound new listeners.
    pub async fn build(&self) -> Result<Snapshot, BuildError> {
        let config = Arc::new(load(&self.path).await?);
        let current = self.snapshots.current();
        self.builder.build(config, Some(&current)).await
    }
}

/// Reads a configuration file without blocking a runtime thread.
async fn load(path: &Path) -> Result<Config, BuildError> {
    let owned = path.to_owned();
    let loaded = tokio::task::spawn_blocking(move || Config::load(&owned)).await;
    let loaded = loaded.unwrap_or_else(|error| {
        Err(ConfigError::Read { path: path.to_owned(), cause: std::io::Error::other(error) })
    });
    Ok(loaded?)
}

fn trust(config: &Config, previous: Option<&Snapshot>) -> Result<HashMap<String, Arc<Trust>>, BuildError> {
    let mut all = HashMap::new();
    for listener in &config.listeners {
        let clients = listener.client_certificates.clone();
        let trust = match (previous.and_then(|snapshot| snapshot.trust.get(&listener.name)), clients) {
            (Some(kept), clients) => Trust::reload(kept, clients),
            (None, Some(clients)) => Trust::load(clients),
            (None, None) => Trust::none(),
        };
        let failed = |source| BuildError::Trust { listener: listener.name.clone(), source };
        all.insert(listener.name.clone(), trust.map_err(failed)?);
    }
    Ok(all)
}

/// A new configuration may have another plugin in a policy's place, and one with fewer hooks may be meant. To tell it from a
/// mistake is for whoever reads this.
fn warn_of_lost_hooks(policies: &Policies, previous: Option<&Snapshot>) {
    let before = previous.map_or(&[][..], |snapshot| snapshot.policies.slots());
    for slot in policies.slots() {
        let Some(old) = before.iter().find(|old| old.name() == slot.name()) else { continue };
        if let Some(lost) = replacement::lost(old.current().hooks(), slot.current().hooks()) {
            let name = slot.name();
            warn!(finding = %format_args!("the plugin of the policy `{name}` does not export {lost}, as the one before did"), "policy");
        }
    }
}

fn list(findings: &[Finding]) -> String {
    const SHOWN: usize = 5;
    let mut text = String::new();
    for finding in findings.iter().take(SHOWN) {
        text.push_str("\n  - ");
        text.push_str(&finding.to_string());
    }
    match findings.len() {
        0 => text.push_str(
            "\n  = hint: the folders hold no pair: put `name.crt` beside `name.key`, or try `handfast demo`",
        ),
        more @ 6.. => text.push_str(&format!("\n  - and {} more", more - SHOWN)),
        _ => {}
    }
    text
}
