//! The configuration that the gateway runs on: complete, resolved and checked.
//!
//! [`file`] is what the operator wrote; the types here are what the program needs. A value of [`Config`] is proof that
//! every name it mentions exists, that every duration and size is within its bounds and that paths are absolute (a
//! relative one counts from the configuration file's folder). Nothing here opens a certificate, a plugin or a socket:
//! that is `reload`'s work, so `handfast check` and the running gateway share it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub mod error;
pub mod file;
pub mod outgoing_http;

pub use error::ConfigError;
pub use outgoing_http::{AllowedHost, HostPattern, OutgoingHttp};

/// The policy in the binary: asked after the last configured one. No configured policy can have its name.
pub const EMBEDDED_POLICY: &str = "server-name";

/// In the place of a policy's name where a listener's own rules about server names decided. No policy can have it either.
pub const LISTENER_RULES: &str = "listener";

/// Everything the operator decided. Immutable; a reload makes a new one.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Worker threads, each with a runtime and sockets of its own. At least 1.
    pub workers: usize,
    /// From `accept` to the end of `validate`: PROXY header, ClientHello, policies and handshake together.
    pub handshake_timeout: Duration,
    /// How long a draining gateway waits for its connections before it closes them.
    pub drain_timeout: Duration,
    /// Open client connections over all workers; further ones wait in the kernel's accept queue.
    pub max_connections: usize,
    /// Instances of policies alive at once, of all policies.
    pub max_policy_instances: u32,
    /// Bytes of memory of all policies' instances together, without the first MiB of each. At least twice what one instance of
    /// any policy may have.
    pub max_policy_memory: usize,
    /// Where compiled plugins are kept between runs. `None`: compiled anew at each start.
    pub state_directory: Option<PathBuf>,
    /// Whether the system may write the gateway's memory, keys among it, to a file, and others of its user look into it.
    pub core_dumps: bool,
    pub listeners: Vec<Arc<Listener>>,
    pub certificate_sources: Vec<Arc<CertificateSource>>,
    pub certificates: Certificates,
    pub policies: Vec<Arc<Policy>>,
    pub upstreams: Vec<Arc<Upstream>>,
    pub routes: Vec<Route>,
    pub http: Http,
    pub admin: Option<Admin>,
    pub log: Log,
}

impl Config {
    /// Reads and checks a configuration file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
        Self::parse(path, &text)
    }

    /// Checks the text of a configuration file. `path` is used in messages and as the base of relative paths.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        file::File::parse(path, text)?.resolve(path, text)
    }
}

/// Where clients connect.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Unique among listeners.
    pub name: String,
    pub address: SocketAddr,
    /// The names of the policies asked, in order. The embedded `server-name` policy follows the last.
    pub policies: Vec<String>,
    /// The protocols offered by ALPN (RFC 7301), most preferred first. At least one.
    pub alpn: Vec<Protocol>,
    /// The id of the certificate for clients without a server name or with an unknown one.
    pub default_certificate: Option<String>,
    /// For clients that send no server name.
    pub no_server_name: NameRule,
    /// For server names that no certificate has.
    pub unknown_server_name: NameRule,
    /// Networks whose connections must begin with a PROXY header. Empty: none is expected.
    pub proxy_protocol: Vec<ipnet::IpNet>,
    pub client_certificates: Option<ClientCertificates>,
    /// The oldest TLS version accepted.
    pub minimum_tls: TlsVersion,
    /// Connections that one client may have open: an IPv4 address, or an IPv6 network of 64 bits.
    pub max_connections_per_client: Option<usize>,
}

/// Who answers a client whose server name says nothing about the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// The policies, as for every other client; the embedded one takes the default certificate if there is one.
    Policy,
    /// The listener's default certificate, and no policy is asked. Only where there is one.
    Default,
    /// The alert `unrecognized_name`, and no policy is asked.
    Reject,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    /// The identifier in the IANA registry of ALPN protocol ids.
    pub fn alpn_id(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    pub mode: ClientCertificateMode,
    /// A PEM file of the certificates that client chains must lead to.
    pub trust_anchors: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificateMode {
    /// Ask; a client without one is let in unauthenticated.
    Request,
    /// Ask; a client without one gets the alert `certificate_required`.
    Require,
}

/// A folder tree of PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSource {
    /// Unique among sources. A certificate's id is its path below the folder without the extension; with several
    /// sources the name and a colon come before it.
    pub name: String,
    pub path: PathBuf,
    /// Accept private keys that group or others can read.
    pub allow_readable_keys: bool,
    /// How long a handshake waits for the reload of a changed pair before it is answered with the last good one.
    pub reload_wait: Duration,
    pub freshness: Freshness,
    /// How often all files are looked at without an event.
    pub scan_interval: Duration,
    pub on_delete: OnDelete,
    /// Go on serving certificates whose validity has ended.
    pub serve_expired: bool,
    /// Ids of certificates without which the gateway is not ready. Further ones say so beside their files.
    pub required: Vec<String>,
    pub ocsp: Ocsp,
    /// Given to every certificate of the source.
    pub tags: BTreeMap<String, String>,
}

/// When a pair is compared with its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Before each handshake that is answered with it.
    Strict,
    /// When the file system reports a change, and at each scan: no handshake waits for the file system. For those whose
    /// `stat` may block.
    Events,
}

/// What becomes of a live pair whose files are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDelete {
    /// It serves until it expires.
    Keep,
    /// It is gone for every handshake that begins after the deletion.
    Withdraw,
}

/// Where OCSP staples come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ocsp {
    Off,
    /// `.ocsp` files beside the pairs.
    Files,
    /// Files where there are some, else the responder that the certificate names.
    Fetch,
}

/// What concerns the certificates of all sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    /// How long before the end of a certificate's validity to warn: longest first, each once.
    pub expiry_warnings: Vec<Duration>,
    /// Signing keys kept parsed, at most.
    pub key_cache: usize,
}

/// A configured plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Unique among policies.
    pub name: String,
    /// Of its name.
    pub place: Place,
    /// The component: binary, or WebAssembly text.
    pub plugin: PathBuf,
    /// What `configure` is given: the policy's `config` table as JSON.
    pub config: String,
    /// How long the guest may run in one call. Ten times this is the bound by the wall clock.
    pub timeout: Duration,
    /// Bytes of linear memory of one instance.
    pub memory: usize,
    pub instances: Instances,
    /// Calls under way at once, on all workers.
    pub concurrency: u32,
    /// Lines of the policy that reach the log in a second.
    pub log_rate: u32,
    pub on_error: OnError,
    /// How long a handshake waits for the reload of a changed plugin before the last good one judges it.
    pub reload_wait: Duration,
    /// What the plugin may import beyond what every plugin may. Each once.
    pub grants: Vec<Grant>,
    /// For the grant `key-value`.
    pub key_value: KeyValue,
    /// For the grant `http`, and only with it.
    pub http: Option<OutgoingHttp>,
}

/// Where in a configuration file something stands, for whoever has to change it. Where it stands changes nothing else: any two
/// are equal.
#[derive(Debug, Clone)]
pub struct Place {
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file.display(), self.line)
    }
}

/// An interface of `handfast:policy` that a policy has by the operator's leave only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Counters of the policy's own at `/metrics`.
    Counter,
    /// A store that all instances of the policy share.
    KeyValue,
    /// Calls to hosts of a list.
    Http,
}

/// How much a policy may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyValue {
    pub max_entries: usize,
    /// Keys, values and 192 bytes for each entry.
    pub max_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instances {
    /// A fresh instance for every call: nothing of one connection can reach another.
    Fresh,
    /// A bounded set of instances, each used for many calls: for runtimes that are slow to start.
    Reuse,
}

/// What happens to a handshake whose policy had no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The alert `internal_error`: fail closed.
    Reject,
    /// The next policy decides, as if this one had passed.
    Next,
    /// The last version before it that gave a verdict decides; without one, as with `Reject`.
    LastGood,
}

/// A named set of endpoints that speak HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Unique among upstreams.
    pub name: String,
    /// `host:port` each; at least one. Names are resolved when a connection is opened.
    pub endpoints: Vec<String>,
    pub protocol: Protocol,
    pub connect_timeout: Duration,
    /// From the end of the request to the head of the response.
    pub response_timeout: Duration,
    /// Idle connections older than this are closed rather than used again.
    pub idle_timeout: Duration,
    /// Idle connections kept per worker and endpoint.
    pub max_idle: usize,
}

/// Requests of a host and path prefix go to an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Exact names, `*.` wildcards of one label, or `*` for every host. At least one.
    pub hosts: Vec<String>,
    /// A path prefix on segment boundaries: `/api` covers `/api` and `/api/v1`, not `/apis`.
    pub path: String,
    pub upstream: Arc<Upstream>,
}

/// Bounds of the HTTP side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// From the first byte of a request (or the start of the connection) to the end of its head.
    pub header_timeout: Duration,
    /// The longest pause while a request or response body is being transferred.
    pub body_timeout: Duration,
    /// How long a connection may stay without a request.
    pub idle_timeout: Duration,
    /// Bytes of a request head.
    pub max_header_bytes: usize,
    /// HTTP/2 streams open at once on one connection.
    pub max_concurrent_streams: u32,
    /// Upstream connections that one client connection may have open at once.
    pub max_upstream_connections: usize,
}

/// `/metrics`, `/healthz` and `/readyz`, in plain HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    pub address: SocketAddr,
    /// Host names that it may be asked by, in lower case, beside addresses and `localhost`.
    pub hosts: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// A `tracing` filter: `info`, or `handfast=debug,warn`.
    pub filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[cfg(test)]
mod tests;
