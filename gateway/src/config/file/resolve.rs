//! From what was written to what the program needs: every reference and bound checked, paths made absolute.
//!
//! Each check says where it failed in the file and what to write instead. Nothing here has a default: those stand with
//! the tables.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{
    AdminTable, CertificateSourceTable, CertificatesTable, ClientCertificateModeWord, File, GrantWord,
    HttpTable, InstancesWord, KeyValueTable, ListenerTable, LogFormatWord, NameRuleWord, OnErrorWord,
    PolicyTable, RouteTable, TlsVersionWord, UpstreamTable, quantity,
};
use crate::config::error::{ConfigError, suggest};
use crate::config::{
    Admin, CertificateSource, Certificates, ClientCertificateMode, ClientCertificates, Config,
    EMBEDDED_POLICY, Grant, Http, Instances, KeyValue, LISTENER_RULES, Listener, Log, LogFormat, NameRule,
    OnError, Policy, Protocol, Route, TlsVersion, Upstream,
};

mod outgoing_http;

impl File {
    /// Checks every reference and bound and makes paths absolute.
    pub(in crate::config) fn resolve(self, path: &Path, text: &str) -> Result<Config, ConfigError> {
        let context = Context::new(path, text);
        let certificate_sources = context.certificate_sources(self.certificate_sources)?;
        let policies = context.policies(self.policies)?;
        let listeners = context.listeners(self.listeners, &policies)?;
        let upstreams = context.upstreams(self.upstreams)?;
        let routes = context.routes(self.routes, &upstreams)?;
        let admin = context.admin(self.admin, &listeners)?;
        let http = context.http(self.http)?;
        if listeners.is_empty() {
            return Err(context.whole(
                "no [[listener]] is configured",
                "add one, for example:\n\n        [[listener]]\n        name = \"https\"\n        address = \"0.0.0.0:443\"",
            ));
        }
        if certificate_sources.is_empty() {
            return Err(context.whole(
                "no [[certificate-source]] is configured",
                "add one, for example:\n\n        [[certificate-source]]\n        kind = \"directory\"\n        path = \"certificates\"",
            ));
        }
        Ok(Config {
            workers: context.workers(self.gateway.workers)?,
            handshake_timeout: self.gateway.handshake_timeout.0,
            drain_timeout: self.gateway.drain_timeout.0,
            max_connections: context.at_least_one("max-connections", self.gateway.max_connections)?,
            max_policy_instances: context.policy_instances(self.gateway.max_policy_instances)?,
            state_directory: self.gateway.state_directory.map(|directory| context.absolute(directory)),
            core_dumps: self.gateway.core_dumps,
            listeners,
            certificate_sources,
            certificates: context.certificates(self.certificates)?,
            policies,
            upstreams,
            routes,
            http,
            admin,
            log: Log {
                format: match self.log.format {
                    LogFormatWord::Text => LogFormat::Text,
                    LogFormatWord::Json => LogFormat::Json,
                },
                filter: context.log_filter(self.log.filter)?,
            },
        })
    }
}

/// For files that are no configurations and have parts of one: the cases of `handfast policy test`.
impl File {
    /// The keys of a policy's table, without the two that such a file need not say.
    pub(crate) fn policy_alone<'a>(
        path: &Path,
        text: &str,
        mut table: Spanned<DeTable<'a>>,
        name: &'a str,
        plugin: &'a Path,
    ) -> Result<Arc<Policy>, ConfigError> {
        for (key, value) in [("name", name.into()), ("plugin", plugin.to_string_lossy())] {
            let value = Spanned::new(0..0, DeValue::String(value));
            table.get_mut().insert(Spanned::new(0..0, key.into()), value);
        }
        let table: PolicyTable = Self::table(path, text, table)?;
        let context = Context::new(path, text);
        let resolved = context.policies(vec![table])?.into_iter().next();
        resolved.ok_or_else(|| context.whole("no policy is configured", "write one"))
    }

    /// A table that was parsed from `text`, as a type.
    pub(crate) fn table<T: DeserializeOwned>(
        path: &Path,
        text: &str,
        table: Spanned<DeTable<'_>>,
    ) -> Result<T, ConfigError> {
        T::deserialize(toml::Deserializer::from(table)).map_err(|error| {
            let (message, hint) = super::explain(error.message());
            ConfigError::at(path, text, error.span().unwrap_or(0..0), message, hint)
        })
    }
}

impl Policy {
    /// The same policy with another `config` table.
    pub(crate) fn with_config(&self, config: toml::Table) -> Self {
        Self { config: quantity::json(toml::Value::Table(config)).to_string(), ..self.clone() }
    }
}

/// What every check needs to say where it failed.
struct Context<'a> {
    path: &'a Path,
    text: &'a str,
    /// The folder that relative paths count from.
    base: PathBuf,
}

impl<'a> Context<'a> {
    fn new(path: &'a Path, text: &'a str) -> Self {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let base = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        Self { path, text, base }
    }

    fn at(&self, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) -> ConfigError {
        ConfigError::at(self.path, self.text, span, message, Some(hint.into()))
    }

    fn whole(&self, message: &str, hint: &str) -> ConfigError {
        ConfigError::Whole { path: self.path.to_owned(), message: message.to_owned(), hint: hint.to_owned() }
    }

    fn absolute(&self, path: PathBuf) -> PathBuf {
        self.base.join(path)
    }

    fn workers(&self, workers: Option<Spanned<usize>>) -> Result<usize, ConfigError> {
        match workers {
            None => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
            Some(workers) if (1..=1024).contains(workers.get_ref()) => Ok(workers.into_inner()),
            Some(workers) => Err(self.at(
                workers.span(),
                "`workers` must be between 1 and 1024",
                "leave the key out to get one worker per core",
            )),
        }
    }

    /// Each worker has a few under way even where nothing is wrong; more than the most find no room in the address space.
    fn policy_instances(&self, instances: Spanned<u32>) -> Result<u32, ConfigError> {
        if (8..=10_000).contains(instances.get_ref()) {
            return Ok(instances.into_inner());
        }
        Err(self.at(
            instances.span(),
            "`max-policy-instances` must be between 8 and 10000",
            "each takes 12 GiB of address space, though no memory before it is used; 1000 is the default",
        ))
    }

    fn at_least_one(&self, key: &str, number: Spanned<usize>) -> Result<usize, ConfigError> {
        let span = number.span();
        match number.into_inner() {
            0 => {
                Err(self.at(span, format!("`{key}` must be at least 1"), "leave the key out for its default"))
            }
            number => Ok(number),
        }
    }

    /// Directives of `tracing_subscriber::EnvFilter`. A word without `=` must be a level: taken as a target, a mistyped
    /// one would silence the whole log.
    fn log_filter(&self, filter: Spanned<String>) -> Result<String, ConfigError> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let is_level = |word: &str| LEVELS.contains(&word.to_ascii_lowercase().as_str());
        let sound = |directive: &str| match directive.trim().rsplit_once('=') {
            Some((target, level)) => !target.is_empty() && is_level(level),
            None => is_level(directive.trim()),
        };
        if filter.get_ref().split(',').all(sound) {
            return Ok(filter.into_inner());
        }
        Err(self.at(
            filter.span(),
            format!("`{}` is not a log filter", filter.get_ref()),
            "write a level (`info`: off, error, warn, info, debug, trace), or levels by target (`handfast=debug,warn`)",
        ))
    }

    fn unique(&self, seen: &mut Vec<String>, name: &Spanned<String>, what: &str) -> Result<(), ConfigError> {
        if name.get_ref().is_empty() {
            return Err(self.at(name.span(), format!("a {what} needs a name that is not empty"), "name it"));
        }
        if seen.contains(name.get_ref()) {
            return Err(self.at(
                name.span(),
                format!("two {what} tables are named `{}`", name.get_ref()),
                "names appear in logs and metrics: give each its own",
            ));
        }
        seen.push(name.get_ref().clone());
        Ok(())
    }

    fn listeners(
        &self,
        tables: Vec<ListenerTable>,
        policies: &[Arc<Policy>],
    ) -> Result<Vec<Arc<Listener>>, ConfigError> {
        let mut names = Vec::new();
        let mut listeners: Vec<Arc<Listener>> = Vec::new();
        for table in tables {
            self.unique(&mut names, &table.name, "listener")?;
            let address = *table.address.get_ref();
            if let Some(other) = listeners.iter().find(|other| clash(other.address, address)) {
                return Err(self.at(
                    table.address.span(),
                    format!("{address} is taken by the listener `{}` on {}", other.name, other.address),
                    "give each its own port, or make them one listener",
                ));
            }
            for (position, policy) in table.policies.iter().enumerate() {
                if table.policies.iter().take(position).any(|other| other.get_ref() == policy.get_ref()) {
                    return Err(self.at(
                        policy.span(),
                        format!("the policy `{}` is named twice", policy.get_ref()),
                        "its second verdict would be its first: leave one out",
                    ));
                }
                let known = policies.iter().map(|policy| policy.name.as_str());
                if !known.clone().any(|name| name == policy.get_ref()) {
                    return Err(self.at(
                        policy.span(),
                        format!("unknown policy `{}`", policy.get_ref()),
                        suggest(policy.get_ref(), "[[policy]]", known),
                    ));
                }
            }
            let alpn = match table.alpn {
                None => vec![Protocol::Http2, Protocol::Http1],
                Some(alpn) if alpn.get_ref().is_empty() => {
                    return Err(self.at(
                        alpn.span(),
                        "`alpn` is empty",
                        "list at least one of \"h2\", \"http/1.1\"",
                    ));
                }
                Some(alpn) => alpn.into_inner().into_iter().map(Protocol::from).collect(),
            };
            if let Some(limit) =
                table.max_connections_per_client.as_ref().filter(|limit| *limit.get_ref() == 0)
            {
                return Err(self.at(
                    limit.span(),
                    "`max-connections-per-client` must be at least 1",
                    "leave the key out for no such bound",
                ));
            }
            listeners.push(Arc::new(Listener {
                name: table.name.into_inner(),
                address,
                policies: table.policies.into_iter().map(Spanned::into_inner).collect(),
                alpn,
                no_server_name: self.name_rule(&table.no_server_name, &table.default_certificate)?,
                unknown_server_name: self
                    .name_rule(&table.unknown_server_name, &table.default_certificate)?,
                default_certificate: table.default_certificate,
                proxy_protocol: table.proxy_protocol,
                client_certificates: table.client_certificates.map(|clients| ClientCertificates {
                    mode: match clients.mode {
                        ClientCertificateModeWord::Request => ClientCertificateMode::Request,
                        ClientCertificateModeWord::Require => ClientCertificateMode::Require,
                    },
                    trust_anchors: self.absolute(clients.trust_anchors),
                }),
                minimum_tls: match table.minimum_tls {
                    TlsVersionWord::Tls12 => TlsVersion::Tls12,
                    TlsVersionWord::Tls13 => TlsVersion::Tls13,
                },
                max_connections_per_client: table.max_connections_per_client.map(Spanned::into_inner),
            }));
        }
        Ok(listeners)
    }

    fn name_rule(
        &self,
        rule: &Spanned<NameRuleWord>,
        default_certificate: &Option<String>,
    ) -> Result<NameRule, ConfigError> {
        match NameRule::from(*rule.get_ref()) {
            NameRule::Default if default_certificate.is_none() => Err(self.at(
                rule.span(),
                "\"default\" needs a `default-certificate`, and this listener has none",
                "add `default-certificate = \"ID\"` with an id that `handfast certificate list` shows",
            )),
            rule => Ok(rule),
        }
    }

    fn admin(
        &self,
        table: Option<AdminTable>,
        listeners: &[Arc<Listener>],
    ) -> Result<Option<Admin>, ConfigError> {
        let Some(table) = table else { return Ok(None) };
        let address = *table.address.get_ref();
        let mut hosts = Vec::new();
        for host in table.hosts {
            match idna::domain_to_ascii_strict(host.get_ref()) {
                Ok(ascii) if !ascii.is_empty() => hosts.push(ascii),
                _ => {
                    return Err(self.at(
                        host.span(),
                        format!("`{}` is not a host name", host.get_ref()),
                        "write the name by which a scraper asks, as in \"gateway.internal\", without a port",
                    ));
                }
            }
        }
        match listeners.iter().find(|listener| clash(listener.address, address)) {
            None => Ok(Some(Admin { address, hosts })),
            Some(other) => Err(self.at(
                table.address.span(),
                format!("{address} is taken by the listener `{}` on {}", other.name, other.address),
                "give the admin listener a port of its own, such as \"127.0.0.1:9901\"",
            )),
        }
    }

    fn http(&self, table: HttpTable) -> Result<Http, ConfigError> {
        let max_header_bytes = table.max_header_bytes.get_ref().0;
        if !(1 << 10..=1 << 20).contains(&max_header_bytes) {
            return Err(self.at(
                table.max_header_bytes.span(),
                "`max-header-bytes` must be between 1KiB and 1MiB",
                "32KiB is the default",
            ));
        }
        if !(1..=10_000).contains(table.max_concurrent_streams.get_ref()) {
            return Err(self.at(
                table.max_concurrent_streams.span(),
                "`max-concurrent-streams` must be between 1 and 10000",
                "100 is the default",
            ));
        }
        Ok(Http {
            header_timeout: table.header_timeout.0,
            body_timeout: table.body_timeout.0,
            idle_timeout: table.idle_timeout.0,
            max_header_bytes,
            max_concurrent_streams: table.max_concurrent_streams.into_inner(),
            max_upstream_connections: self
                .at_least_one("max-upstream-connections", table.max_upstream_connections)?,
        })
    }

    fn certificate_sources(
        &self,
        tables: Vec<CertificateSourceTable>,
    ) -> Result<Vec<Arc<CertificateSource>>, ConfigError> {
        let several = tables.len() > 1;
        let mut sources: Vec<Arc<CertificateSource>> = Vec::new();
        for table in tables {
            if sources.iter().any(|other| other.name == table.name) {
                return Err(self.at(
                    table.path.span(),
                    format!("two certificate sources are named `{}`", table.name),
                    "with several sources each needs a `name` of its own: it begins the ids of its certificates",
                ));
            }
            let scan_interval = table.scan_interval.get_ref().0;
            if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&scan_interval) {
                return Err(self.at(
                    table.scan_interval.span(),
                    "`scan-interval` must be between 1s and 1h",
                    "60s is the default; with `freshness = \"strict\"` nothing waits for a scan",
                ));
            }
            for id in &table.required {
                let prefix = format!("{}:", table.name);
                if several && !id.get_ref().starts_with(&prefix) {
                    return Err(self.at(
                        id.span(),
                        format!("no certificate of this source can have the id `{}`", id.get_ref()),
                        format!(
                            "with several sources the source's name comes first: \"{prefix}{}\"",
                            id.get_ref()
                        ),
                    ));
                }
            }
            sources.push(Arc::new(CertificateSource {
                name: table.name,
                path: self.absolute(table.path.into_inner()),
                allow_readable_keys: table.allow_readable_keys,
                reload_wait: table.reload_wait.0,
                freshness: table.freshness.into(),
                scan_interval,
                on_delete: table.on_delete.into(),
                serve_expired: table.serve_expired,
                required: table.required.into_iter().map(Spanned::into_inner).collect(),
                ocsp: table.ocsp.into(),
                tags: table.tags,
            }));
        }
        Ok(sources)
    }

    fn certificates(&self, table: CertificatesTable) -> Result<Certificates, ConfigError> {
        const HOUR: Duration = Duration::from_secs(3600);
        const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);
        let mut expiry_warnings = Vec::new();
        for horizon in table.expiry_warnings {
            if !(HOUR..=YEAR).contains(&horizon.get_ref().0) {
                return Err(self.at(
                    horizon.span(),
                    "each of `expiry-warnings` must be between 1h and 366d",
                    "[\"30d\", \"7d\", \"1d\"] is the default; [] warns of nothing",
                ));
            }
            expiry_warnings.push(horizon.into_inner().0);
        }
        expiry_warnings.sort_unstable_by(|one, other| other.cmp(one));
        expiry_warnings.dedup();
        if !(1..=1_000_000).contains(table.key_cache.get_ref()) {
            return Err(self.at(
                table.key_cache.span(),
                "`key-cache` must be between 1 and 1000000",
                "10000 is the default; a parsed key takes 1 to 4 KiB",
            ));
        }
        Ok(Certificates { expiry_warnings, key_cache: table.key_cache.into_inner() })
    }

    fn policies(&self, tables: Vec<PolicyTable>) -> Result<Vec<Arc<Policy>>, ConfigError> {
        let mut names = Vec::new();
        let mut policies = Vec::new();
        for table in tables {
            if [EMBEDDED_POLICY, LISTENER_RULES].contains(&table.name.get_ref().as_str()) {
                return Err(self.at(
                    table.name.span(),
                    format!("the policy name `{}` is the gateway's own", table.name.get_ref()),
                    "names appear in logs and metrics: choose another",
                ));
            }
            self.unique(&mut names, &table.name, "policy")?;
            let timeout = table.timeout.get_ref().0;
            if timeout < Duration::from_millis(10) || timeout > Duration::from_secs(10) {
                return Err(self.at(
                    table.timeout.span(),
                    "a policy's `timeout` must be between 10ms and 10s",
                    "on a busy machine a shorter one ends innocent calls; a longer one outlives the handshake",
                ));
            }
            let memory = table.memory.get_ref().0;
            if !(1 << 16..=64 << 20).contains(&memory) {
                return Err(self.at(
                    table.memory.span(),
                    "a policy's `memory` must be between 64KiB and 64MiB",
                    "16MiB is the default; interpreters need about that",
                ));
            }
            let concurrency = *table.concurrency.get_ref();
            if !(1..=1_000).contains(&concurrency) {
                return Err(self.at(
                    table.concurrency.span(),
                    "a policy's `concurrency` must be between 1 and 1000",
                    "100 is the default; all policies share 1000 instances",
                ));
            }
            let log_rate = *table.log_rate.get_ref();
            if !(1..=100_000).contains(&log_rate) {
                return Err(self.at(
                    table.log_rate.span(),
                    "a policy's `log-rate` must be between 1 and 100000 lines a second",
                    "100 is the default; to hear nothing of policies, write `filter = \"info,handfast::policy=off\"`",
                ));
            }
            let grants = self.grants(&table.grants)?;
            let key_value = self.key_value(table.key_value, &grants)?;
            let http = self.outgoing_http(&table.grants, table.http, timeout)?;
            policies.push(Arc::new(Policy {
                name: table.name.into_inner(),
                plugin: self.absolute(table.plugin),
                config: quantity::json(toml::Value::Table(table.config)).to_string(),
                timeout,
                memory,
                instances: match table.instances {
                    InstancesWord::Fresh => Instances::Fresh,
                    InstancesWord::Reuse => Instances::Reuse,
                },
                concurrency,
                log_rate,
                on_error: match table.on_error {
                    OnErrorWord::Reject => OnError::Reject,
                    OnErrorWord::Next => OnError::Next,
                    OnErrorWord::LastGood => OnError::LastGood,
                },
                reload_wait: table.reload_wait.0,
                grants,
                key_value,
                http,
            }));
        }
        Ok(policies)
    }

    fn grants(&self, words: &[Spanned<GrantWord>]) -> Result<Vec<Grant>, ConfigError> {
        let mut grants = Vec::new();
        for word in words {
            let grant = match word.get_ref() {
                GrantWord::Counter => Grant::Counter,
                GrantWord::KeyValue => Grant::KeyValue,
                GrantWord::Http(_) => Grant::Http,
            };
            if grants.contains(&grant) {
                return Err(self.at(word.span(), "this is granted twice", "name each grant once"));
            }
            grants.push(grant);
        }
        Ok(grants)
    }

    fn key_value(
        &self,
        table: Option<Spanned<KeyValueTable>>,
        grants: &[Grant],
    ) -> Result<KeyValue, ConfigError> {
        if let Some(table) = &table
            && !grants.contains(&Grant::KeyValue)
        {
            return Err(self.at(
                table.span(),
                "these are the bounds of a store that the policy was not granted",
                "write `grants = [\"key-value\"]` as well, or leave `key-value` out",
            ));
        }
        let table = table.map(Spanned::into_inner).unwrap_or_default();
        let (entries, bytes) = (*table.max_entries.get_ref(), table.max_bytes.get_ref().0);
        if !(1..=10_000_000).contains(&entries) {
            return Err(self.at(
                table.max_entries.span(),
                "`max-entries` must be between 1 and 10000000",
                "100000 is the default; beyond the bound, entries that were not used lately are forgotten",
            ));
        }
        if !(128 << 10..=4 << 30).contains(&bytes) {
            return Err(self.at(
                table.max_bytes.span(),
                "`max-bytes` must be between 128KiB and 4GiB",
                "32MiB is the default; an entry takes its key, its value and 192 bytes",
            ));
        }
        Ok(KeyValue { max_entries: entries, max_bytes: bytes })
    }

    fn upstreams(&self, tables: Vec<UpstreamTable>) -> Result<Vec<Arc<Upstream>>, ConfigError> {
        let mut names = Vec::new();
        let mut upstreams = Vec::new();
        for table in tables {
            self.unique(&mut names, &table.name, "upstream")?;
            if table.endpoints.get_ref().is_empty() {
                return Err(self.at(
                    table.endpoints.span(),
                    format!("the upstream `{}` has no endpoints", table.name.get_ref()),
                    "list at least one `\"host:port\"`",
                ));
            }
            for endpoint in table.endpoints.get_ref() {
                if !is_endpoint(endpoint.get_ref()) {
                    return Err(self.at(
                        endpoint.span(),
                        format!("`{}` is not an endpoint", endpoint.get_ref()),
                        "write `\"host:port\"`, for example `\"127.0.0.1:8080\"` or `\"[::1]:8080\"`",
                    ));
                }
            }
            upstreams.push(Arc::new(Upstream {
                name: table.name.into_inner(),
                endpoints: table.endpoints.into_inner().into_iter().map(Spanned::into_inner).collect(),
                protocol: table.protocol.into(),
                connect_timeout: table.connect_timeout.0,
                response_timeout: table.response_timeout.0,
                idle_timeout: table.idle_timeout.0,
                max_idle: table.max_idle,
            }));
        }
        Ok(upstreams)
    }

    fn routes(
        &self,
        tables: Vec<RouteTable>,
        upstreams: &[Arc<Upstream>],
    ) -> Result<Vec<Route>, ConfigError> {
        let mut routes = Vec::new();
        let mut taken = HashSet::new();
        for table in tables {
            if table.hosts.get_ref().is_empty() {
                return Err(self.at(
                    table.hosts.span(),
                    "a route without hosts",
                    "use `hosts = [\"*\"]` for all",
                ));
            }
            let mut hosts = Vec::new();
            for host in table.hosts.get_ref() {
                hosts.push(self.route_host(host)?);
            }
            if !table.path.get_ref().starts_with('/') {
                return Err(self.at(
                    table.path.span(),
                    "a route's `path` must begin with `/`",
                    format!("write \"/{}\"", table.path.get_ref()),
                ));
            }
            let path = table.path.get_ref();
            // What a request's path never is: queries are no part of it, and dot segments are resolved before.
            if path.contains(['?', '#']) || path.split('/').any(|segment| matches!(segment, "." | "..")) {
                return Err(self.at(
                    table.path.span(),
                    format!("no request has a path below `{path}`"),
                    "write it without `?`, `#` and the segments `.` and `..`",
                ));
            }
            for (written, host) in table.hosts.get_ref().iter().zip(&hosts) {
                if !taken.insert((host.clone(), path.trim_end_matches('/').to_owned())) {
                    return Err(self.at(
                        written.span(),
                        format!("two routes are for `{host}` and the path `{path}`"),
                        "the second would never be taken: leave the host out of one, or give one a longer `path`",
                    ));
                }
            }
            let name = table.upstream.get_ref();
            let Some(upstream) = upstreams.iter().find(|upstream| upstream.name == *name) else {
                let known = upstreams.iter().map(|upstream| upstream.name.as_str());
                return Err(self.at(
                    table.upstream.span(),
                    format!("unknown upstream `{name}`"),
                    suggest(name, "[[upstream]]", known),
                ));
            };
            routes.push(Route { hosts, path: table.path.into_inner(), upstream: Arc::clone(upstream) });
        }
        Ok(routes)
    }

    /// A host pattern in the form that requests are compared in: lower case, A-labels (RFC 5891 section 2.3.2.1).
    fn route_host(&self, host: &Spanned<String>) -> Result<String, ConfigError> {
        let text = host.get_ref();
        if text == "*" {
            return Ok(text.clone());
        }
        let (prefix, name) = text.strip_prefix("*.").map_or(("", text.as_str()), |name| ("*.", name));
        match idna::domain_to_ascii_strict(name) {
            Ok(ascii) if !ascii.is_empty() => Ok(format!("{prefix}{ascii}")),
            _ => Err(self.at(
                host.span(),
                format!("`{text}` is not a host name"),
                "write a name (`shop.example`), a wildcard of one label (`*.example`), or `*`, without a port",
            )),
        }
    }
}

/// `host:port`, the host a name or an address; an IPv6 address stands in brackets.
fn is_endpoint(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        }
    };
    host && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// Whether sockets on both can not exist at once: the same port of the same address, or of all addresses.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |ip: IpAddr| ip.is_unspecified();
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || covers(one.ip()) || covers(other.ip()))
}
