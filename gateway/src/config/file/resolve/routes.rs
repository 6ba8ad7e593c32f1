//! Where requests go: `[[upstream]]` and `[[route]]`.

use std::collections::HashSet;
use std::net::Ipv6Addr;
use std::sync::Arc;

use toml::Spanned;

use super::Context;
use crate::config::error::{ConfigError, suggest};
use crate::config::file::{RouteTable, UpstreamTable};
use crate::config::{Route, Upstream};

impl Context<'_> {
    pub(super) fn upstreams(&self, tables: Vec<UpstreamTable>) -> Result<Vec<Arc<Upstream>>, ConfigError> {
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

    pub(super) fn routes(
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
