//! Whether a request goes to a host of the operator's list, and to which connection that leads.
//!
//! The list decides by the request's authority and scheme, which are also what is connected to, what the certificate must
//! be for, and what the `Host` field says: a guest cannot name one host and reach another.

use std::fmt;
use std::net::IpAddr;

use handfast_plugin_host::{HttpError, HttpRequest};
use http::uri::PathAndQuery;

use crate::config::{AllowedHost, HostPattern};

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) secure: bool,
    pub(super) host: Host,
    pub(super) port: u16,
    /// The position of the entry that allows it.
    pub(super) entry: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Host {
    /// In lower case.
    Name(String),
    /// Named in the list itself, so that it may be connected to whatever network it is in.
    Address(IpAddr),
}

impl Target {
    pub(super) fn of(request: &HttpRequest, allowed: &[AllowedHost]) -> Result<Self, HttpError> {
        // Its form, strictly: what is sent is made of these very bytes.
        let path = request.path.parse::<PathAndQuery>().map_err(|_| HttpError::Invalid)?;
        if !path.as_str().starts_with('/') || !request.path.is_ascii() || request.path.contains('#') {
            return Err(HttpError::Invalid);
        }
        let secure = request.secure;
        let (host, port) = parse(&request.authority).ok_or(HttpError::Invalid)?;
        let port = port.unwrap_or(AllowedHost::default_port(secure));
        let allows =
            |entry: &AllowedHost| entry.secure == secure && entry.port == port && matches(&entry.host, &host);
        let entry = allowed.iter().position(allows).ok_or(HttpError::NotAllowed)?;
        Ok(Self { secure, host, port, entry })
    }

    /// What `Host` says (RFC 9110 section 7.2): without the scheme's own port.
    pub(super) fn authority(&self) -> String {
        let host = match &self.host {
            Host::Name(name) => name.clone(),
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Host::Address(address) => address.to_string(),
        };
        if self.port == AllowedHost::default_port(self.secure) {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(formatter, "{scheme}://{}", self.authority())
    }
}

/// No userinfo, and no form of an address but the usual one: others are names, which no list has.
fn parse(authority: &str) -> Option<(Host, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
            (Host::Address(IpAddr::V6(address.parse().ok()?)), port)
        }
        None => {
            let (host, port) = authority.split_once(':').map_or((authority, None), |(h, p)| (h, Some(p)));
            let host = match host.parse::<IpAddr>() {
                Ok(address) => Host::Address(address),
                Err(_) if is_name(host) => Host::Name(host.to_ascii_lowercase()),
                Err(_) => return None,
            };
            (host, port)
        }
    };
    let port = match port {
        None => None,
        Some(port) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(port.parse().ok()?)
        }
        Some(_) => return None,
    };
    Some((host, port))
}

/// RFC 1035 section 2.3.4 for the lengths; letters, digits, hyphens, and underscores, which some internal names have.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn matches(pattern: &HostPattern, host: &Host) -> bool {
    match (pattern, host) {
        (HostPattern::Name(pattern), Host::Name(name)) => pattern == name,
        (HostPattern::Wildcard(parent), Host::Name(name)) => {
            name.split_once('.').is_some_and(|(_, rest)| rest == parent)
        }
        (HostPattern::Address(pattern), Host::Address(address)) => pattern == address,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(secure: bool, host: HostPattern, port: u16) -> AllowedHost {
        AllowedHost { secure, host, port }
    }

    fn target(secure: bool, authority: &str, path: &str) -> Result<Target, HttpError> {
        let allowed = [
            entry(true, HostPattern::Name("keys.example.com".into()), 443),
            entry(true, HostPattern::Wildcard("tenants.example".into()), 8443),
            entry(false, HostPattern::Address("127.0.0.1".parse().unwrap()), 8080),
            entry(true, HostPattern::Address("::1".parse().unwrap()), 443),
        ];
        let request = HttpRequest {
            method: "GET".into(),
            secure,
            authority: authority.into(),
            path: path.into(),
            fields: Vec::new(),
            body: Vec::new(),
            patience: None,
        };
        Target::of(&request, &allowed)
    }

    #[test]
    fn a_request_goes_where_the_list_says_and_nowhere_else() {
        for (secure, authority, shown) in [
            (true, "KEYS.example.com", "https://keys.example.com"),
            (true, "keys.example.com:443", "https://keys.example.com"),
            (true, "a.tenants.example:8443", "https://a.tenants.example:8443"),
            (false, "127.0.0.1:8080", "http://127.0.0.1:8080"),
            (true, "[0:0::1]", "https://[::1]"),
        ] {
            assert_eq!(target(secure, authority, "/").unwrap().to_string(), shown, "{authority}");
        }
        for (secure, authority) in [
            (false, "keys.example.com"),
            (true, "keys.example.com:80"),
            (true, "keys.example.com.evil.example"),
            (true, "evil.example"),
            (true, "tenants.example:8443"),
            (true, "a.b.tenants.example:8443"),
            (true, "a.tenants.example"),
            (true, "127.0.0.1:8080"),
            (false, "127.0.0.1"),
            (false, "2130706433:8080"),
            (false, "0x7f.1:8080"),
            (false, "[::ffff:127.0.0.1]:8080"),
            (false, "localhost:8080"),
        ] {
            assert_eq!(target(secure, authority, "/"), Err(HttpError::NotAllowed), "{authority}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_invalid() {
        for authority in [
            "",
            "user@keys.example.com",
            "keys.example.com@127.0.0.1",
            "keys.example.com:",
            "keys.example.com:+443",
            "keys.example.com:443:443",
            "keys.example.com.",
            "keys.example.com/",
            "keys.example.com\\",
            "keys.example.com#",
            "keys example.com",
            "keys.example.com\r\nhost: evil",
            "[::1",
            "[::1%lo]",
        ] {
            assert_eq!(target(true, authority, "/"), Err(HttpError::Invalid), "{authority}");
        }
        for path in ["", "a", "/a b", "/a\r\n", "http://evil.example/", "/a#b", "*", "/\u{e4}"] {
            assert_eq!(target(true, "keys.example.com", path), Err(HttpError::Invalid), "{path:?}");
        }
        assert!(target(true, "keys.example.com", "/a?b=%20/../c").is_ok());
    }
}
