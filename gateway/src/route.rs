//! Which upstream a request goes to, by host and path.
//!
//! `http` builds a [`Routes`] per configuration (inside its `Routing`) and asks it once per request, with the host from
//! the authority and the path that [`path::resolve`] returned, which is also the path that is forwarded: what is
//! compared is what the upstream gets to see. Nothing here opens a connection or decides about access.
//!
//! # Memo: the order of the choice
//! The host decides first and alone: exact name, else a wildcard of one label, else `*`. Among that host's routes the
//! longest path wins, and when none covers the path there is no route, even if `*` has one. nginx (`server` blocks) and
//! Envoy (virtual hosts) do the same; falling through to `*` was rejected because a host with a few routes of its own
//! would silently expose whatever the catch-all leads to.
//!
//! # Memo: how paths compare
//! As nginx and Envoy's edge settings do it: segment by segment, empty segments (`//`) ignored and percent-escapes
//! decoded, except `%2F`, which is data and no boundary. Letter case counts. The comparison never changes the path;
//! `//` and escapes reach the upstream as they came.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::config;

pub mod path;

/// All routes of one configuration, ready to be asked.
#[derive(Debug, Default)]
pub struct Routes {
    exact: HashMap<Box<str>, Vec<Route>>,
    /// Keyed by what follows `*.`.
    wildcard: HashMap<Box<str>, Vec<Route>>,
    any: Vec<Route>,
}

/// The part of a configuration that requests need.
#[derive(Debug)]
pub struct Routing {
    pub routes: Routes,
    pub http: config::Http,
}

/// A path prefix and where its requests go.
#[derive(Debug, Clone)]
pub struct Route {
    /// Without a slash at its end; empty for `/`.
    prefix: Box<str>,
    pub upstream: Arc<config::Upstream>,
}

impl Routes {
    pub fn new(routes: &[config::Route]) -> Self {
        let mut all = Self::default();
        for route in routes {
            let prefix = route.path.trim_end_matches('/').into();
            let made = Route { prefix, upstream: route.upstream.clone() };
            for host in &route.hosts {
                let host = canonical(host);
                let list = match (&*host, host.strip_prefix("*.")) {
                    ("*", _) => &mut all.any,
                    (_, Some(parent)) => all.wildcard.entry(parent.into()).or_default(),
                    (name, None) => all.exact.entry(name.into()).or_default(),
                };
                list.push(made.clone());
            }
        }
        let lists = all.exact.values_mut().chain(all.wildcard.values_mut()).chain([&mut all.any]);
        for list in lists {
            // Stable: of two routes with the same host and path the one written first wins.
            list.sort_by_key(|route| std::cmp::Reverse(path::depth(&route.prefix)));
        }
        all
    }

    /// The route for a host (without port) and a resolved path (without query).
    pub fn find(&self, host: &str, path: &str) -> Option<&Route> {
        self.of_host(&canonical(host)).iter().find(|route| path::covers(&route.prefix, path))
    }

    fn of_host(&self, host: &str) -> &[Route] {
        if let Some(list) = self.exact.get(host) {
            return list;
        }
        let parent = host.split_once('.').filter(|(label, _)| !label.is_empty());
        match parent.and_then(|(_, parent)| self.wildcard.get(parent)) {
            Some(list) => list,
            None => &self.any,
        }
    }
}

/// Lower case, without the dot of a fully qualified name.
fn canonical(host: &str) -> Cow<'_, str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn routes(entries: &[(&str, &str, &str)]) -> Routes {
        let routes: Vec<_> = entries
            .iter()
            .map(|(host, path, name)| config::Route {
                hosts: vec![(*host).to_owned()],
                path: (*path).to_owned(),
                upstream: Arc::new(config::Upstream {
                    name: (*name).to_owned(),
                    endpoints: vec!["127.0.0.1:1".to_owned()],
                    protocol: config::Protocol::Http1,
                    connect_timeout: Duration::from_secs(1),
                    response_timeout: Duration::from_secs(1),
                    idle_timeout: Duration::from_secs(1),
                    max_idle: 1,
                }),
            })
            .collect();
        Routes::new(&routes)
    }

    #[track_caller]
    fn check(routes: &Routes, host: &str, path: &str, expected: Option<&str>) {
        assert_eq!(routes.find(host, path).map(|route| &*route.upstream.name), expected, "{host}{path}");
    }

    #[test]
    fn an_exact_host_is_preferred_to_a_wildcard_and_a_wildcard_to_any() {
        let routes =
            routes(&[("*", "/", "any"), ("*.example.com", "/", "wildcard"), ("a.example.com", "/", "exact")]);
        check(&routes, "a.example.com", "/", Some("exact"));
        check(&routes, "A.Example.COM.", "/", Some("exact"));
        check(&routes, "b.example.com", "/", Some("wildcard"));
        check(&routes, "c.b.example.com", "/", Some("any"));
        check(&routes, "example.com", "/", Some("any"));
        check(&routes, ".example.com", "/", Some("any"));
        check(&routes, "[::1]", "/", Some("any"));
    }

    #[test]
    fn the_longest_prefix_on_a_segment_boundary_wins() {
        let routes = routes(&[("*", "/", "root"), ("*", "/api/", "api"), ("*", "/api/v2", "v2")]);
        check(&routes, "x", "/", Some("root"));
        check(&routes, "x", "/api", Some("api"));
        check(&routes, "x", "/api/", Some("api"));
        check(&routes, "x", "/apis", Some("root"));
        check(&routes, "x", "/api/v1", Some("api"));
        check(&routes, "x", "/api/v2/users", Some("v2"));
        check(&routes, "x", "/api/v22", Some("api"));
        check(&routes, "x", "/API/v2", Some("root"));
    }

    #[test]
    fn a_host_without_a_covering_route_does_not_fall_through() {
        let routes = routes(&[("*", "/", "any"), ("a.example", "/only", "a")]);
        check(&routes, "a.example", "/only/this", Some("a"));
        check(&routes, "a.example", "/other", None);
    }

    #[test]
    fn other_spellings_of_a_path_find_the_same_route() {
        let routes = routes(&[("*", "/", "root"), ("*", "/admin/users", "admin")]);
        for path in ["/admin/users", "//admin///users", "/%61dmin/users", "/%61%64min//%75sers/7"] {
            check(&routes, "x", path, Some("admin"));
        }
        check(&routes, "x", "/admin%2fusers", Some("root"));
    }

    #[test]
    fn of_two_equal_routes_the_first_wins() {
        check(&routes(&[("*", "/a", "first"), ("*", "/a/", "second")]), "x", "/a", Some("first"));
    }
}
