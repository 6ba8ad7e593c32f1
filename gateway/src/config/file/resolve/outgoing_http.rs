//! The grant `http`: the list of hosts, and the bounds in `[policy.http]`.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;

use super::Context;
use crate::config::error::ConfigError;
use crate::config::file::grant::GrantWord;
use crate::config::file::outgoing_http::OutgoingHttpTable;
use crate::config::file::quantity::{Bytes, Wait};
use crate::config::{AllowedHost, HostPattern, OutgoingHttp};

/// What may be kept for how long, at most: nobody can take an answer back.
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Context<'_> {
    /// `timeout` is the policy's own.
    pub(super) fn outgoing_http(
        &self,
        grants: &[Spanned<GrantWord>],
        table: Option<Spanned<OutgoingHttpTable>>,
        timeout: Duration,
    ) -> Result<Option<OutgoingHttp>, ConfigError> {
        let granted = grants.iter().find_map(|grant| match grant.get_ref() {
            GrantWord::Http(hosts) => Some((grant.span(), hosts)),
            _ => None,
        });
        let Some((span, hosts)) = granted else {
            return match table {
                None => Ok(None),
                Some(table) => Err(self.at(
                    table.span(),
                    "these are the bounds of calls that the policy was not granted",
                    "write `grants = [{ http = [\"keys.example.com\"] }]` as well, or leave `http` out",
                )),
            };
        };
        if hosts.is_empty() {
            return Err(self.at(span, "the grant `http` lists no host", "list those that may be called"));
        }
        let hosts = hosts.iter().map(|host| self.allowed_host(host)).collect::<Result<Vec<_>, _>>()?;
        let table = table.map(Spanned::into_inner).unwrap_or_default();
        let call = match table.timeout {
            None => timeout / 2,
            Some(call) if call.get_ref().0 < timeout => call.into_inner().0,
            Some(call) => {
                return Err(self.at(
                    call.span(),
                    "a call's `timeout` must be below the policy's own, in which it waits",
                    "give the policy a longer `timeout`: what it waits for a response counts as running",
                ));
            }
        };
        let private_addresses = table.private_addresses;
        Ok(Some(OutgoingHttp {
            hosts,
            trust_anchors: table.trust_anchors.map(|path| self.absolute(path)),
            private_addresses,
            timeout: call,
            max_request_bytes: self.size("max-request-bytes", table.max_request_bytes, 0..=1 << 20)?,
            max_response_bytes: self.size(
                "max-response-bytes",
                table.max_response_bytes,
                1 << 10..=1 << 20,
            )?,
            max_concurrent: self.number("max-concurrent", table.max_concurrent, 1..=1_000)?,
            rate: self.number("rate", table.rate, 1..=100_000)?,
            cache_entries: self.number("cache-entries", table.cache_entries, 8..=1_000_000)?,
            cache_bytes: self.size("cache-bytes", table.cache_bytes, 64 << 10..=1 << 30)?,
            ttl: self.at_most_a_day("ttl", table.ttl)?,
            max_ttl: self.at_most_a_day("max-ttl", table.max_ttl)?,
            negative_ttl: self.at_most_a_day("negative-ttl", table.negative_ttl)?,
            failure_ttl: self.at_most_a_day("failure-ttl", table.failure_ttl)?,
            breaker_failures: self.number("breaker-failures", table.breaker_failures, 1..=1_000)?,
            breaker_pause: self.at_most_a_day("breaker-pause", table.breaker_pause)?,
        }))
    }

    fn allowed_host(&self, written: &Spanned<String>) -> Result<AllowedHost, ConfigError> {
        parse_host(written.get_ref()).ok_or_else(|| {
            self.at(
                written.span(),
                format!("`{}` is no host that can be granted", written.get_ref()),
                "write a name (`keys.example.com`), a wildcard of one label (`*.example.com`) or an address, with a port \
                 where it is not 443; `http://` before it allows it without TLS",
            )
        })
    }

    fn number<T: PartialOrd + std::fmt::Display + Copy>(
        &self,
        key: &str,
        number: Spanned<T>,
        bounds: RangeInclusive<T>,
    ) -> Result<T, ConfigError> {
        if bounds.contains(number.get_ref()) {
            return Ok(number.into_inner());
        }
        Err(self.at(
            number.span(),
            format!("`{key}` must be between {} and {}", bounds.start(), bounds.end()),
            "leave the key out for its default",
        ))
    }

    fn size(
        &self,
        key: &str,
        size: Spanned<Bytes>,
        bounds: RangeInclusive<usize>,
    ) -> Result<usize, ConfigError> {
        if bounds.contains(&size.get_ref().0) {
            return Ok(size.into_inner().0);
        }
        let shown = |bytes: usize| match bytes {
            0 => "0B".to_owned(),
            _ if bytes >= 1 << 30 => format!("{}GiB", bytes >> 30),
            _ if bytes >= 1 << 20 => format!("{}MiB", bytes >> 20),
            _ => format!("{}KiB", bytes >> 10),
        };
        Err(self.at(
            size.span(),
            format!("`{key}` must be between {} and {}", shown(*bounds.start()), shown(*bounds.end())),
            "leave the key out for its default",
        ))
    }

    fn at_most_a_day(&self, key: &str, time: Spanned<Wait>) -> Result<Duration, ConfigError> {
        match time.get_ref().0 {
            duration if duration <= DAY => Ok(duration),
            _ => Err(self.at(
                time.span(),
                format!("`{key}` must be between 0s and 1d"),
                "what is kept longer cannot be taken back",
            )),
        }
    }
}

/// `[scheme://]host[:port]`, and nothing behind it.
fn parse_host(text: &str) -> Option<AllowedHost> {
    let (secure, rest) = match text.split_once("://") {
        None => (true, text),
        Some(("https", rest)) => (true, rest),
        Some(("http", rest)) => (false, rest),
        Some(_) => return None,
    };
    let (host, port) = match rest.strip_prefix('[') {
        Some(bracketed) => {
            let (address, port) = bracketed.split_once(']')?;
            let address = address.parse::<Ipv6Addr>().ok()?;
            let port = if port.is_empty() { None } else { Some(port.strip_prefix(':')?) };
            (HostPattern::Address(IpAddr::V6(address)), port)
        }
        None => {
            let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
            (parse_pattern(host)?, port)
        }
    };
    let port = match port {
        None => AllowedHost::default_port(secure),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().ok().filter(|port| *port != 0)?
        }
        Some(_) => return None,
    };
    Some(AllowedHost { secure, host, port })
}

fn parse_pattern(host: &str) -> Option<HostPattern> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(HostPattern::Address(address));
    }
    let (wildcard, name) = host.strip_prefix("*.").map_or((false, host), |name| (true, name));
    // What some resolvers take for an address (`127.1`, `0x7f000001`) has a number for its last label, and no name has.
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    let ascii = idna::domain_to_ascii_strict(name).ok().filter(|ascii| !ascii.is_empty() && !numeric)?;
    Some(if wildcard { HostPattern::Wildcard(ascii) } else { HostPattern::Name(ascii) })
}

#[cfg(test)]
mod tests {
    use super::parse_host;

    #[test]
    fn hosts_are_https_on_443_unless_they_say_otherwise() {
        let shown = |text: &str| parse_host(text).map(|host| (host.to_string(), host.port));
        for (text, expected, port) in [
            ("Keys.Example.COM", "https://keys.example.com", 443),
            ("https://keys.example.com", "https://keys.example.com", 443),
            ("keys.example.com:8443", "https://keys.example.com:8443", 8443),
            ("http://keys.example.com", "http://keys.example.com", 80),
            ("*.münchen.example", "https://*.xn--mnchen-3ya.example", 443),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", 8080),
            ("[::1]:8080", "https://[::1]:8080", 8080),
            ("localhost", "https://localhost", 443),
        ] {
            assert_eq!(shown(text), Some((expected.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            "*",
            "*.",
            "a.*.example",
            "ftp://keys.example.com",
            "keys.example.com/path",
            "user@keys.example.com",
            "keys.example.com:0",
            "keys.example.com:",
            "keys.example.com:+80",
            "keys.example.com:99999",
            "[::1",
            "::1",
            "127.1",
            "0x7f000001",
            "2130706433",
            "a b",
        ] {
            assert_eq!(parse_host(text), None, "{text}");
        }
    }
}
