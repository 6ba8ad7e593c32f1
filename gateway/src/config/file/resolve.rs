//! From what was written to what the program needs: every reference and bound checked, paths made absolute.
//!
//! Each check says where it failed in the file and what to write instead. Nothing here has a default: those stand with
//! the tables. The tables that come in lists have a module each; what concerns the process stands here.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::quantity::Bytes;
use super::{File, HttpTable, LogFormatWord, PolicyTable, quantity};
use crate::config::error::{ConfigError, line_of};
use crate::config::{Config, Http, Log, LogFormat, Place, Policy};

mod certificates;
mod listeners;
mod outgoing_http;
mod policies;
mod routes;

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
            max_policy_memory: context.policy_memory(self.gateway.max_policy_memory, &policies)?,
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

    fn place(&self, span: Range<usize>) -> Place {
        Place { file: self.path.to_owned(), line: line_of(self.text, span.start) }
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

    /// An instance of a policy that is alone may have half. The largest `memory` of an instance is 64 MiB, so the default does
    /// for all.
    fn policy_memory(&self, memory: Spanned<Bytes>, policies: &[Arc<Policy>]) -> Result<usize, ConfigError> {
        let bytes = memory.get_ref().0;
        if !(1 << 20..=1 << 40).contains(&bytes) {
            return Err(self.at(
                memory.span(),
                "`max-policy-memory` must be between 1MiB and 1024GiB",
                "the instances of all policies have it together, beside a MiB for each; 256MiB is the default",
            ));
        }
        match policies.iter().max_by_key(|policy| policy.memory) {
            Some(largest) if largest.memory > bytes / 2 => Err(self.at(
                memory.span(),
                format!("`max-policy-memory` has no room for the policy `{}`", largest.name),
                format!(
                    "it must be at least twice the `memory` of one instance, which is {} bytes there: write more, or a lower \
                     `memory` in its [[policy]] table",
                    largest.memory
                ),
            )),
            _ => Ok(bytes),
        }
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
}
