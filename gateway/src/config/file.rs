//! The configuration as the operator wrote it: one struct per TOML table, unknown keys refused, every default in one
//! place. [`resolve`] turns it into the checked [`Config`](super::Config); nothing else reads these types.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;

use super::error::{ConfigError, suggest};
use super::{Freshness, NameRule, Ocsp, OnDelete, Protocol};

mod grant;
mod outgoing_http;
mod quantity;
mod resolve;

use grant::GrantWord;
use outgoing_http::OutgoingHttpTable;
use quantity::{Bytes, Span, Wait};

/// A whole configuration file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct File {
    #[serde(default)]
    gateway: GatewayTable,
    #[serde(default, rename = "listener")]
    listeners: Vec<ListenerTable>,
    #[serde(default, rename = "certificate-source")]
    certificate_sources: Vec<CertificateSourceTable>,
    #[serde(default)]
    certificates: CertificatesTable,
    #[serde(default, rename = "policy")]
    policies: Vec<PolicyTable>,
    #[serde(default, rename = "upstream")]
    upstreams: Vec<UpstreamTable>,
    #[serde(default, rename = "route")]
    routes: Vec<RouteTable>,
    #[serde(default)]
    http: HttpTable,
    admin: Option<AdminTable>,
    #[serde(default)]
    log: LogTable,
}

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct GatewayTable {
    workers: Option<Spanned<usize>>,
    handshake_timeout: Span,
    drain_timeout: Span,
    max_connections: Spanned<usize>,
    max_policy_instances: Spanned<u32>,
    max_policy_memory: Spanned<Bytes>,
    state_directory: Option<PathBuf>,
    core_dumps: bool,
}

impl Default for GatewayTable {
    fn default() -> Self {
        Self {
            workers: None,
            handshake_timeout: Span::seconds(10),
            drain_timeout: Span::seconds(30),
            max_connections: hundred_thousand(),
            max_policy_instances: Spanned::new(0..0, 1_000),
            max_policy_memory: Spanned::new(0..0, Bytes(256 << 20)),
            state_directory: None,
            core_dumps: false,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ListenerTable {
    name: Spanned<String>,
    address: Spanned<SocketAddr>,
    #[serde(default)]
    policies: Vec<Spanned<String>>,
    alpn: Option<Spanned<Vec<ProtocolWord>>>,
    default_certificate: Option<String>,
    #[serde(default = "by_policy")]
    no_server_name: Spanned<NameRuleWord>,
    #[serde(default = "by_policy")]
    unknown_server_name: Spanned<NameRuleWord>,
    #[serde(default)]
    proxy_protocol: Vec<ipnet::IpNet>,
    client_certificates: Option<ClientCertificatesTable>,
    #[serde(default)]
    minimum_tls: TlsVersionWord,
    max_connections_per_client: Option<Spanned<usize>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum ProtocolWord {
    #[serde(rename = "http/1.1", alias = "http1")]
    Http1,
    #[serde(rename = "h2", alias = "http2")]
    Http2,
}

impl From<ProtocolWord> for Protocol {
    fn from(word: ProtocolWord) -> Self {
        match word {
            ProtocolWord::Http1 => Self::Http1,
            ProtocolWord::Http2 => Self::Http2,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum NameRuleWord {
    Policy,
    Default,
    Reject,
}

impl From<NameRuleWord> for NameRule {
    fn from(word: NameRuleWord) -> Self {
        match word {
            NameRuleWord::Policy => Self::Policy,
            NameRuleWord::Default => Self::Default,
            NameRuleWord::Reject => Self::Reject,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
enum TlsVersionWord {
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ClientCertificatesTable {
    mode: ClientCertificateModeWord,
    trust_anchors: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ClientCertificateModeWord {
    Request,
    Require,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CertificateSourceTable {
    #[serde(default = "default_source_name")]
    name: String,
    #[allow(dead_code, reason = "the one kind so far; the key is required so that others can follow")]
    kind: SourceKindWord,
    path: Spanned<PathBuf>,
    #[serde(default)]
    allow_readable_keys: bool,
    #[serde(default = "two_seconds")]
    reload_wait: Wait,
    #[serde(default)]
    freshness: FreshnessWord,
    #[serde(default = "one_minute")]
    scan_interval: Spanned<Span>,
    #[serde(default)]
    on_delete: OnDeleteWord,
    #[serde(default)]
    serve_expired: bool,
    #[serde(default)]
    required: Vec<Spanned<String>>,
    #[serde(default)]
    ocsp: OcspWord,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SourceKindWord {
    Directory,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FreshnessWord {
    #[default]
    Strict,
    Events,
}

impl From<FreshnessWord> for Freshness {
    fn from(word: FreshnessWord) -> Self {
        match word {
            FreshnessWord::Strict => Self::Strict,
            FreshnessWord::Events => Self::Events,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OnDeleteWord {
    #[default]
    Keep,
    Withdraw,
}

impl From<OnDeleteWord> for OnDelete {
    fn from(word: OnDeleteWord) -> Self {
        match word {
            OnDeleteWord::Keep => Self::Keep,
            OnDeleteWord::Withdraw => Self::Withdraw,
        }
    }
}

/// Fetching makes connections to the outside, so it is not the default.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OcspWord {
    Off,
    #[default]
    Files,
    Fetch,
}

impl From<OcspWord> for Ocsp {
    fn from(word: OcspWord) -> Self {
        match word {
            OcspWord::Off => Self::Off,
            OcspWord::Files => Self::Files,
            OcspWord::Fetch => Self::Fetch,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct CertificatesTable {
    expiry_warnings: Vec<Spanned<Span>>,
    key_cache: Spanned<usize>,
}

impl Default for CertificatesTable {
    fn default() -> Self {
        let days = |days: u64| Spanned::new(0..0, Span::seconds(days * 24 * 3600));
        Self { expiry_warnings: vec![days(30), days(7), days(1)], key_cache: Spanned::new(0..0, 10_000) }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct PolicyTable {
    name: Spanned<String>,
    plugin: PathBuf,
    #[serde(default)]
    config: toml::Table,
    #[serde(default = "hundred_milliseconds")]
    timeout: Spanned<Span>,
    #[serde(default = "sixteen_mebibytes")]
    memory: Spanned<Bytes>,
    #[serde(default)]
    instances: InstancesWord,
    #[serde(default = "hundred")]
    concurrency: Spanned<u32>,
    #[serde(default = "hundred")]
    log_rate: Spanned<u32>,
    #[serde(default)]
    on_error: OnErrorWord,
    #[serde(default = "two_seconds")]
    reload_wait: Wait,
    #[serde(default)]
    grants: Vec<Spanned<GrantWord>>,
    key_value: Option<Spanned<KeyValueTable>>,
    http: Option<Spanned<OutgoingHttpTable>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct KeyValueTable {
    #[serde(default = "hundred_thousand")]
    max_entries: Spanned<usize>,
    #[serde(default = "thirty_two_mebibytes")]
    max_bytes: Spanned<Bytes>,
}

impl Default for KeyValueTable {
    fn default() -> Self {
        Self { max_entries: hundred_thousand(), max_bytes: thirty_two_mebibytes() }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum InstancesWord {
    #[default]
    Fresh,
    Reuse,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OnErrorWord {
    #[default]
    Reject,
    Next,
    LastGood,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct UpstreamTable {
    name: Spanned<String>,
    endpoints: Spanned<Vec<Spanned<String>>>,
    #[serde(default = "http1")]
    protocol: ProtocolWord,
    #[serde(default = "five_seconds")]
    connect_timeout: Span,
    #[serde(default = "sixty_seconds")]
    response_timeout: Span,
    #[serde(default = "sixty_seconds")]
    idle_timeout: Span,
    #[serde(default = "default_max_idle")]
    max_idle: usize,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RouteTable {
    hosts: Spanned<Vec<Spanned<String>>>,
    #[serde(default = "root_path")]
    path: Spanned<String>,
    upstream: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct HttpTable {
    header_timeout: Span,
    body_timeout: Span,
    idle_timeout: Span,
    max_header_bytes: Spanned<Bytes>,
    max_concurrent_streams: Spanned<u32>,
    max_upstream_connections: Spanned<usize>,
}

impl Default for HttpTable {
    fn default() -> Self {
        Self {
            header_timeout: Span::seconds(10),
            body_timeout: Span::seconds(60),
            idle_timeout: Span::seconds(75),
            max_header_bytes: Spanned::new(0..0, Bytes(32 << 10)),
            max_concurrent_streams: Spanned::new(0..0, 100),
            max_upstream_connections: Spanned::new(0..0, 100),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct AdminTable {
    address: Spanned<SocketAddr>,
    #[serde(default)]
    hosts: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct LogTable {
    format: LogFormatWord,
    filter: Spanned<String>,
}

impl Default for LogTable {
    fn default() -> Self {
        Self { format: LogFormatWord::Text, filter: Spanned::new(0..0, "info".to_owned()) }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LogFormatWord {
    Text,
    Json,
}

impl File {
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        parse(path, text)
    }
}

/// Reads TOML into a table whose keys are known. Errors point at the place and name the nearest known key.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let (message, hint) = explain(error.message());
        ConfigError::at(path, text, error.span().unwrap_or(0..0), message, hint)
    })
}

/// serde's wording of an error, as a message and a remedy.
fn explain(message: &str) -> (String, Option<String>) {
    for (kind, what) in [("unknown field", "key"), ("unknown variant", "value")] {
        let Some(rest) = message.strip_prefix(kind) else { continue };
        let mut words = rest.split('`').skip(1).step_by(2);
        let Some(word) = words.next() else { continue };
        let known: Vec<_> = words.collect();
        return (format!("unknown {what} `{word}`"), Some(suggest(word, &format!("{what}s"), known)));
    }
    if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return (format!("the key `{field}` is missing"), Some(format!("add `{field} = …` to this table")));
    }
    let found = ["invalid type: ", "invalid value: "].into_iter().find_map(|kind| message.strip_prefix(kind));
    if let Some((found, expected)) = found.and_then(|rest| rest.rsplit_once(", expected ")) {
        let (expected, hint) = in_toml(expected.trim_end());
        return (format!("expected {expected}, found {}", written(found)), hint.map(str::to_owned));
    }
    if message.contains("socket address") {
        return (message.to_owned(), Some(ADDRESS_HINT.to_owned()));
    }
    if message.contains("IP address syntax") {
        return ("not a network".to_owned(), Some(NETWORK_HINT.to_owned()));
    }
    // toml's words where a value should be one of a few.
    if message.starts_with("wanted string or table") {
        return ("expected text".to_owned(), Some("write it in quotes".to_owned()));
    }
    (message.trim_end().to_owned(), None)
}

const ADDRESS_HINT: &str = "write an address and a port in quotes, as in \"0.0.0.0:443\" or \"[::]:443\"";
const DIGITS: &str = "write digits, without quotes, sign or point";
const NETWORK_HINT: &str =
    "write an address and how many bits of it count, as in \"10.0.0.0/8\" or \"fd00::/8\"";

/// A kind of value as who writes TOML knows it, where serde names it after a type of Rust; and how it is written.
fn in_toml(expected: &str) -> (&str, Option<&'static str>) {
    match expected {
        "u8" => ("a whole number from 0 to 255", Some(DIGITS)),
        "u16" => {
            let hint =
                "write digits without quotes, sign or point, or as the registries of TLS do, as in 0x1301";
            ("a whole number from 0 to 65535", Some(hint))
        }
        "u32" => ("a whole number from 0 to 4294967295", Some(DIGITS)),
        "u64" | "usize" => ("a whole number of 0 or more", Some(DIGITS)),
        "a string" => ("text", Some("write it in quotes")),
        "path string" => ("a path", Some("write it in quotes")),
        "a boolean" => ("`true` or `false`", Some("write it without quotes")),
        "a sequence" => {
            ("a list", Some("a list stands in brackets; a table that may come again has two: `[[name]]`"))
        }
        "socket address" => ("an address and a port", Some(ADDRESS_HINT)),
        "a map" => ("a table", None),
        "a grant" => (expected, Some(grant::KNOWN)),
        _ if expected.starts_with("struct ") => ("a table", Some("write `[name]` and its keys below it")),
        _ => (expected, None),
    }
}

/// What stands there instead, in the same words.
fn written(found: &str) -> String {
    // serde names the type that a number beyond 64 bits was read as.
    let found = found.trim_end_matches(" as i128").trim_end_matches(" as u128");
    let kinds = [
        ("string ", "the text "),
        ("integer ", "the number "),
        ("floating point ", "the number "),
        ("boolean ", ""),
        ("map", "a table"),
        ("sequence", "a list"),
    ];
    let known =
        kinds.into_iter().find_map(|(kind, word)| Some(format!("{word}{}", found.strip_prefix(kind)?)));
    known.unwrap_or_else(|| found.to_owned())
}

fn default_source_name() -> String {
    "certificates".to_owned()
}

fn two_seconds() -> Wait {
    Wait(Duration::from_secs(2))
}

fn one_minute() -> Spanned<Span> {
    Spanned::new(0..0, Span::seconds(60))
}

fn by_policy() -> Spanned<NameRuleWord> {
    Spanned::new(0..0, NameRuleWord::Policy)
}

fn five_seconds() -> Span {
    Span::seconds(5)
}

fn sixty_seconds() -> Span {
    Span::seconds(60)
}

fn hundred_milliseconds() -> Spanned<Span> {
    Spanned::new(0..0, Span(Duration::from_millis(100)))
}

fn sixteen_mebibytes() -> Spanned<Bytes> {
    Spanned::new(0..0, Bytes(16 << 20))
}

fn thirty_two_mebibytes() -> Spanned<Bytes> {
    Spanned::new(0..0, Bytes(32 << 20))
}

fn hundred() -> Spanned<u32> {
    Spanned::new(0..0, 100)
}

fn hundred_thousand() -> Spanned<usize> {
    Spanned::new(0..0, 100_000)
}

fn default_max_idle() -> usize {
    512
}

fn http1() -> ProtocolWord {
    ProtocolWord::Http1
}

fn root_path() -> Spanned<String> {
    Spanned::new(0..0, "/".to_owned())
}
