//! By which names the admin listener is asked; the memo in [`super`] says why that matters.

use std::net::{IpAddr, Ipv6Addr};

use hyper::Request;
use hyper::header::HOST;

/// The names that the operator listed, in lower case.
pub(super) struct Hosts(Vec<String>);

impl Hosts {
    pub(super) fn new(listed: Vec<String>) -> Self {
        Self(listed)
    }

    /// Whether all names that a request is for are known.
    pub(super) fn allow<B>(&self, request: &Request<B>) -> bool {
        let in_header = request.headers().get_all(HOST).iter().map(|host| host.to_str().ok());
        // In absolute form, the target names a host as well.
        let in_target = request.uri().authority().map(|authority| Some(authority.as_str()));
        in_header.chain(in_target).all(|host| host.is_some_and(|host| self.knows(host)))
    }

    fn knows(&self, host: &str) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            // What is within brackets is no port.
            Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
            _ => (host, None),
        };
        if port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return false;
        }
        if let Some(address) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            return address.parse::<Ipv6Addr>().is_ok();
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        // Browsers take the names below it for this machine as well, and ask no server about them (RFC 6761 section 6.3).
        let is_local = name == "localhost" || name.ends_with(".localhost");
        is_local || matches!(name.parse(), Ok(IpAddr::V4(_))) || self.0.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_local_names_and_listed_names_are_known_and_no_others() {
        let hosts = Hosts::new(vec!["gateway.internal".to_owned()]);
        for known in [
            "127.0.0.1",
            "10.1.2.3:9901",
            "[::1]",
            "[2001:db8::1]:9901",
            "localhost",
            "LocalHost:80",
            "localhost.",
            "a.localhost",
            "gateway.internal",
            "Gateway.Internal:9901",
        ] {
            assert!(hosts.knows(known), "{known}");
        }
        for unknown in [
            "attacker.example",
            "127.0.0.1.attacker.example",
            "localhost.attacker.example",
            "gateway.internal.example",
            "",
            ":80",
            "[::1",
            "::1",
            "[localhost]",
            "localhost:x",
            "notlocalhost",
            "0x7f000001",
            "user@localhost",
        ] {
            assert!(!hosts.knows(unknown), "{unknown}");
        }
    }

    #[test]
    fn every_name_of_a_request_counts_and_none_is_good() {
        let hosts = Hosts::new(Vec::new());
        let allowed = |target: &str, named: &[&str]| {
            let request =
                named.iter().fold(Request::get(target), |request, host| request.header(HOST, *host));
            hosts.allow(&request.body(()).unwrap())
        };
        assert!(allowed("/metrics", &[]) && allowed("/metrics", &["localhost"]));
        assert!(!allowed("/metrics", &["attacker.example"]));
        assert!(!allowed("/metrics", &["localhost", "attacker.example"]));
        assert!(!allowed("http://attacker.example/metrics", &["localhost"]));
    }
}
