//! How a verdict came about, for the outcome line of a connection.

use std::time::{Duration, Instant};

use handfast_plugin_host::CallError;

/// Who decided, with which version, why, and how long it took.
#[derive(Debug)]
pub struct Decision {
    pub policy: String,
    /// SHA-256 of the component, in hexadecimal. `None` for the native choice of the benchmark.
    pub digest: Option<String>,
    pub reason: Option<String>,
    /// From the first policy asked to the verdict, waits for reloads included.
    pub took: Duration,
    pub failures: Failures,
}

impl Decision {
    pub(super) fn new(
        policy: &str,
        digest: Option<&str>,
        reason: Option<String>,
        begun: Instant,
        failures: Failures,
    ) -> Self {
        Self {
            policy: policy.to_owned(),
            digest: digest.map(str::to_owned),
            reason,
            took: begun.elapsed(),
            failures,
        }
    }
}

/// The policies that had no verdict on the way, as `name:kind`, comma-separated. Empty for most connections.
#[derive(Debug, Default)]
pub struct Failures(String);

impl Failures {
    pub(super) fn add(&mut self, policy: &str, error: &CallError) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(policy);
        self.0.push(':');
        self.0.push_str(error.kind());
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}
