//! Everything a handshake or a request is decided with, as one immutable value.
//!
//! `reload` builds and publishes a [`Snapshot`]; a connection takes the current one at its start and finishes on it;
//! a request takes the routing of the moment. Whatever is replaced stays alive until its last user lets go.
//!
//! Two parts renew themselves inside a snapshot, each behind a pointer of its own that is swapped whole: a certificate
//! pair and a plugin. One of 100,000 pairs can so be replaced in O(1), and the rule is the same: a handshake holds the
//! pair and the plugin it began with.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::certificate::source::watch::Watch;
use crate::certificate::store::CertificateStore;
use crate::config::{Config, Listener};
use crate::generation::Generation;
use crate::policy::{Chain, Policies};
use crate::route::Routing;
use crate::trust::Trust;

pub mod admit;

use admit::AdmitGate;

/// The whole of what was configured, loaded and checked.
pub struct Snapshot {
    pub generation: u64,
    pub config: Arc<Config>,
    pub policies: Arc<Policies>,
    pub certificates: Arc<CertificateStore>,
    pub routing: Arc<Routing>,
    /// What the store asks before a certificate goes live.
    pub gate: Arc<AdmitGate>,
    /// Keeps the store warm; it ends with the last snapshot that has the store.
    pub watch: Arc<Watch>,
    /// By the name of the listener.
    pub trust: HashMap<String, Arc<Trust>>,
}

/// What a connection of one listener needs.
#[derive(Clone)]
pub struct ListenerView {
    pub config: Arc<Listener>,
    pub chain: Arc<Chain>,
    pub trust: Arc<Trust>,
}

impl Snapshot {
    /// The listener of a connection that was accepted under a name, on an address. Its socket may be older than this
    /// snapshot: if a reload has given the address to another name, that one's rules are for it. `None` once a reload
    /// has removed both.
    pub fn listener(&self, name: &str, address: SocketAddr) -> Option<ListenerView> {
        let listeners = &self.config.listeners;
        let config = listeners
            .iter()
            .find(|listener| listens_on(listener.address, address))
            .or_else(|| listeners.iter().find(|listener| listener.name == name))?;
        let name = config.name.as_str();
        Some(ListenerView {
            config: Arc::clone(config),
            chain: Arc::clone(self.policies.chain(name)?),
            trust: Arc::clone(self.trust.get(name)?),
        })
    }
}

/// Whether connections to `address` reach a socket on `configured`; no two listeners overlap. With port 0 it is known
/// by its name only.
fn listens_on(configured: SocketAddr, address: SocketAddr) -> bool {
    configured.port() == address.port()
        && (configured.ip().is_unspecified() || configured.ip().to_canonical() == address.ip())
}

/// The current snapshot.
pub struct Snapshots {
    current: ArcSwap<Snapshot>,
    generation: Arc<Generation>,
}

impl Snapshots {
    pub fn new(first: Snapshot, generation: Arc<Generation>) -> Self {
        first.gate.judge_with(&first.policies);
        Self { current: ArcSwap::from_pointee(first), generation }
    }

    /// The number of the newest change: this snapshot, or a pair or plugin that was renewed in it.
    pub fn generation(&self) -> u64 {
        self.generation.current()
    }

    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Makes a snapshot the current one, for every handshake and request that begins after this returns.
    pub fn publish(&self, snapshot: Snapshot) {
        snapshot.gate.judge_with(&snapshot.policies);
        self.current.store(Arc::new(snapshot));
    }
}
