//! Stand-ins for what the gateway hands in, and shorthands to call a policy with them.

use std::future::{Future, pending, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use handfast_plugin_host::{
    CallError, Certificate, Certificates, ClientHello, Connection, Decision, Host, HostSettings, Instances,
    KeyAlgorithm, KeyValueBounds, Limits, LoadError, PeerCertificate, Policy, PolicySettings,
};

pub(crate) fn host() -> Host {
    Host::new(HostSettings { max_instances: 8, ..HostSettings::default() }).unwrap()
}

/// Generous: the machine that runs the tests is busy, and only tests about time should depend on it.
pub(crate) fn settings() -> PolicySettings {
    PolicySettings {
        name: "under-test".into(),
        config: "{}".into(),
        limits: Limits { timeout: Duration::from_secs(20), ..Limits::default() },
        instances: Instances::Fresh,
        grants: Vec::new(),
        key_value: KeyValueBounds::default(),
        http: None,
    }
}

pub(crate) async fn policy(component: &[u8], settings: PolicySettings) -> Result<Policy, LoadError> {
    Policy::new(&host().load("under-test", component)?, settings).await
}

pub(crate) async fn select(policy: &Policy) -> Result<Decision, CallError> {
    select_with(policy, Hello::default(), Store::default()).await
}

pub(crate) async fn select_with(policy: &Policy, hello: Hello, store: Store) -> Result<Decision, CallError> {
    policy.select(Arc::new(Socket), Arc::new(hello), Arc::new(store)).await
}

pub(crate) struct Socket;

impl Connection for Socket {
    fn listener(&self) -> &str {
        "https"
    }

    fn client_address(&self) -> SocketAddr {
        "[::ffff:192.0.2.7]:4711".parse().unwrap()
    }

    fn server_address(&self) -> SocketAddr {
        "192.0.2.1:443".parse().unwrap()
    }

    fn proxied(&self) -> bool {
        false
    }

    fn proxy_tlvs(&self) -> Vec<(u8, Vec<u8>)> {
        Vec::new()
    }
}

#[derive(Default)]
pub(crate) struct Hello {
    pub(crate) server_name: Option<String>,
}

impl Hello {
    pub(crate) fn naming(name: &str) -> Self {
        Self { server_name: Some(name.into()) }
    }
}

impl ClientHello for Hello {
    fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    fn alpn(&self) -> Vec<Vec<u8>> {
        vec![b"h2".to_vec()]
    }

    fn protocol_versions(&self) -> Vec<u16> {
        vec![0x0304]
    }

    fn cipher_suites(&self) -> Vec<u16> {
        vec![0x1301]
    }

    fn signature_schemes(&self) -> Vec<u16> {
        vec![0x0403]
    }

    fn named_groups(&self) -> Vec<u16> {
        vec![0x001d]
    }

    fn extensions(&self) -> Vec<u16> {
        vec![0, 10, 13]
    }

    fn ja3(&self) -> String {
        "0".repeat(32)
    }

    fn ja4(&self) -> String {
        "t13d1516h2_8daaf6152771_e5627efa2ab1".into()
    }

    fn raw(&self) -> Vec<u8> {
        vec![1, 0, 0, 0]
    }

    fn offers_resumption(&self) -> bool {
        false
    }
}

pub(crate) struct Pair(pub(crate) String);

impl Certificate for Pair {
    fn id(&self) -> &str {
        &self.0
    }

    fn names(&self) -> Vec<String> {
        vec![self.0.clone()]
    }

    fn key_algorithm(&self) -> KeyAlgorithm {
        KeyAlgorithm::EcdsaP256
    }

    fn key_bits(&self) -> u32 {
        256
    }

    fn not_before(&self) -> i64 {
        0
    }

    fn not_after(&self) -> i64 {
        i64::MAX
    }

    fn issuer(&self) -> String {
        "CN=ca".into()
    }

    fn serial(&self) -> String {
        "1".into()
    }

    fn fingerprint(&self) -> String {
        "0".repeat(64)
    }

    fn der(&self) -> Vec<u8> {
        Vec::new()
    }

    fn tags(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn usable_by(&self, hello: &dyn ClientHello) -> bool {
        hello.signature_schemes().contains(&0x0403)
    }
}

pub(crate) struct Peer(pub(crate) String);

impl PeerCertificate for Peer {
    fn subject(&self) -> String {
        self.0.clone()
    }

    fn issuer(&self) -> String {
        "CN=ca".into()
    }

    fn serial(&self) -> String {
        "1".into()
    }

    fn fingerprint(&self) -> String {
        "0".repeat(64)
    }

    fn not_before(&self) -> i64 {
        0
    }

    fn not_after(&self) -> i64 {
        i64::MAX
    }

    fn dns_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn uris(&self) -> Vec<String> {
        Vec::new()
    }

    fn email_addresses(&self) -> Vec<String> {
        Vec::new()
    }

    fn organizational_units(&self) -> Vec<String> {
        Vec::new()
    }

    fn common_name(&self) -> Option<String> {
        None
    }

    fn der(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// A certificate for every name, or none, or one whose disk never answers.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) empty: bool,
    pub(crate) hangs: bool,
}

impl Certificates for Store {
    fn find(&self, name: &str) -> Vec<Arc<dyn Certificate>> {
        if self.hangs || self.empty { Vec::new() } else { vec![Arc::new(Pair(format!("for {name}")))] }
    }

    fn refresh<'a>(&'a self, _: &'a str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        if self.hangs { Box::pin(pending()) } else { Box::pin(ready(false)) }
    }

    fn by_id(&self, id: &str) -> Option<Arc<dyn Certificate>> {
        Some(Arc::new(Pair(id.into())))
    }

    fn tagged(&self, _: &str, _: &str) -> Vec<Arc<dyn Certificate>> {
        Vec::new()
    }

    fn fallback(&self) -> Option<Arc<dyn Certificate>> {
        Some(Arc::new(Pair("fallback".into())))
    }
}
