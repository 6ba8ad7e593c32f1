//! Who decides, and what they may: `[[policy]]`.

use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::Context;
use crate::config::error::{ConfigError, nearest};
use crate::config::file::grant::{self, GrantWord};
use crate::config::file::{InstancesWord, KeyValueTable, OnErrorWord, PolicyTable, quantity};
use crate::config::{EMBEDDED_POLICY, Grant, Instances, KeyValue, LISTENER_RULES, OnError, Policy};

impl Context<'_> {
    pub(super) fn policies(&self, tables: Vec<PolicyTable>) -> Result<Vec<Arc<Policy>>, ConfigError> {
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
                place: self.place(table.name.span()),
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
                GrantWord::HttpWithoutHosts => {
                    return Err(self.at(
                        word.span(),
                        "the grant `http` does not say to which hosts",
                        grant::HTTP,
                    ));
                }
                GrantWord::NoSuchTable => {
                    return Err(self.at(word.span(), "this table is no grant", grant::KNOWN));
                }
                GrantWord::Unknown(name) => {
                    let hint = match nearest(name, ["counter", "key-value", "http"]) {
                        Some("http") => grant::HTTP.to_owned(),
                        Some(nearest) => format!("did you mean `\"{nearest}\"`?"),
                        None => grant::KNOWN.to_owned(),
                    };
                    return Err(self.at(word.span(), format!("unknown grant `{name}`"), hint));
                }
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
}
