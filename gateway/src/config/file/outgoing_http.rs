//! The table `[policy.http]` as the operator wrote it.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::quantity::{Bytes, Span, Wait};

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct OutgoingHttpTable {
    pub(super) trust_anchors: Option<PathBuf>,
    pub(super) private_addresses: bool,
    /// Half of the policy's own where nothing is written.
    pub(super) timeout: Option<Spanned<Span>>,
    pub(super) max_request_bytes: Spanned<Bytes>,
    pub(super) max_response_bytes: Spanned<Bytes>,
    pub(super) max_concurrent: Spanned<usize>,
    pub(super) rate: Spanned<u32>,
    pub(super) cache_entries: Spanned<usize>,
    pub(super) cache_bytes: Spanned<Bytes>,
    pub(super) ttl: Spanned<Wait>,
    pub(super) max_ttl: Spanned<Wait>,
    pub(super) negative_ttl: Spanned<Wait>,
    pub(super) failure_ttl: Spanned<Wait>,
    pub(super) breaker_failures: Spanned<u32>,
    pub(super) breaker_pause: Spanned<Wait>,
}

impl Default for OutgoingHttpTable {
    fn default() -> Self {
        let wait = |seconds: u64| Spanned::new(0..0, Wait(Duration::from_secs(seconds)));
        let bytes = |bytes: usize| Spanned::new(0..0, Bytes(bytes));
        Self {
            trust_anchors: None,
            private_addresses: false,
            timeout: None,
            max_request_bytes: bytes(16 << 10),
            max_response_bytes: bytes(64 << 10),
            max_concurrent: Spanned::new(0..0, 16),
            rate: Spanned::new(0..0, 100),
            cache_entries: Spanned::new(0..0, 10_000),
            cache_bytes: bytes(8 << 20),
            ttl: wait(30),
            max_ttl: wait(600),
            negative_ttl: wait(10),
            failure_ttl: wait(1),
            breaker_failures: Spanned::new(0..0, 5),
            breaker_pause: wait(5),
        }
    }
}
