//! The grant `http` of a policy: which hosts it may call, and what that may cost.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What a policy may do with outgoing HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingHttp {
    /// At least one.
    pub hosts: Vec<AllowedHost>,
    /// A PEM file of the certificates that a host's chain must lead to. `None`: the machine's own.
    pub trust_anchors: Option<PathBuf>,
    /// Whether names may lead to private and loopback addresses.
    pub private_addresses: bool,
    /// From the start of a call to the last byte of its response. Below the policy's own.
    pub timeout: Duration,
    pub max_request_bytes: usize,
    pub max_response_bytes: usize,
    /// Calls under way at once.
    pub max_concurrent: usize,
    /// Calls a second for each of `hosts`, and how many at once after a pause.
    pub rate: u32,
    /// Answers kept.
    pub cache_entries: usize,
    /// Requests, answers and 256 bytes for each.
    pub cache_bytes: usize,
    /// For answers that do not say how long they hold.
    pub ttl: Duration,
    /// The longest that any answer is kept.
    pub max_ttl: Duration,
    /// For 404 and 410.
    pub negative_ttl: Duration,
    /// For calls that failed. Zero: not kept.
    pub failure_ttl: Duration,
    /// Failures in a row from which on a host is left alone.
    pub breaker_failures: u32,
    /// For how long.
    pub breaker_pause: Duration,
}

/// An entry of the list of a grant: `https` on port 443, unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    /// `https`, or else `http`.
    pub secure: bool,
    pub host: HostPattern,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// As A-labels in lower case.
    Name(String),
    /// One label more than this name.
    Wildcard(String),
    Address(IpAddr),
}

impl AllowedHost {
    /// The port of a scheme where none is written.
    pub fn default_port(secure: bool) -> u16 {
        if secure { 443 } else { 80 }
    }

    /// As the list of a grant has it: `https` goes without saying.
    pub fn written(&self) -> String {
        let shown = self.to_string();
        shown.strip_prefix("https://").map_or_else(|| shown.clone(), str::to_owned)
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.secure { "https://" } else { "http://" })?;
        match &self.host {
            HostPattern::Name(name) => formatter.write_str(name)?,
            HostPattern::Wildcard(name) => write!(formatter, "*.{name}")?,
            HostPattern::Address(IpAddr::V4(address)) => write!(formatter, "{address}")?,
            HostPattern::Address(IpAddr::V6(address)) => write!(formatter, "[{address}]")?,
        }
        if self.port == Self::default_port(self.secure) {
            return Ok(());
        }
        write!(formatter, ":{}", self.port)
    }
}
