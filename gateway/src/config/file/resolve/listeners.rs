//! Where the gateway listens: `[[listener]]` and `[admin]`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use toml::Spanned;

use super::Context;
use crate::config::error::{ConfigError, suggest};
use crate::config::file::{
    AdminTable, ClientCertificateModeWord, ListenerTable, NameRuleWord, TlsVersionWord,
};
use crate::config::{
    Admin, ClientCertificateMode, ClientCertificates, Listener, NameRule, Policy, Protocol, TlsVersion,
};

impl Context<'_> {
    pub(super) fn listeners(
        &self,
        tables: Vec<ListenerTable>,
        policies: &[Arc<Policy>],
    ) -> Result<Vec<Arc<Listener>>, ConfigError> {
        let mut names = Vec::new();
        let mut listeners: Vec<Arc<Listener>> = Vec::new();
        for table in tables {
            self.unique(&mut names, &table.name, "listener")?;
            let address = *table.address.get_ref();
            if let Some(other) = listeners.iter().find(|other| clash(other.address, address)) {
                return Err(self.at(
                    table.address.span(),
                    format!("{address} is taken by the listener `{}` on {}", other.name, other.address),
                    "give each its own port, or make them one listener",
                ));
            }
            for (position, policy) in table.policies.iter().enumerate() {
                if table.policies.iter().take(position).any(|other| other.get_ref() == policy.get_ref()) {
                    return Err(self.at(
                        policy.span(),
                        format!("the policy `{}` is named twice", policy.get_ref()),
                        "its second verdict would be its first: leave one out",
                    ));
                }
                let known = policies.iter().map(|policy| policy.name.as_str());
                if !known.clone().any(|name| name == policy.get_ref()) {
                    return Err(self.at(
                        policy.span(),
                        format!("unknown policy `{}`", policy.get_ref()),
                        suggest(policy.get_ref(), "[[policy]]", known),
                    ));
                }
            }
            let alpn = match table.alpn {
                None => vec![Protocol::Http2, Protocol::Http1],
                Some(alpn) if alpn.get_ref().is_empty() => {
                    return Err(self.at(
                        alpn.span(),
                        "`alpn` is empty",
                        "list at least one of \"h2\", \"http/1.1\"",
                    ));
                }
                Some(alpn) => alpn.into_inner().into_iter().map(Protocol::from).collect(),
            };
            if let Some(limit) =
                table.max_connections_per_client.as_ref().filter(|limit| *limit.get_ref() == 0)
            {
                return Err(self.at(
                    limit.span(),
                    "`max-connections-per-client` must be at least 1",
                    "leave the key out for no such bound",
                ));
            }
            listeners.push(Arc::new(Listener {
                name: table.name.into_inner(),
                address,
                policies: table.policies.into_iter().map(Spanned::into_inner).collect(),
                alpn,
                no_server_name: self.name_rule(&table.no_server_name, &table.default_certificate)?,
                unknown_server_name: self
                    .name_rule(&table.unknown_server_name, &table.default_certificate)?,
                default_certificate: table.default_certificate,
                proxy_protocol: table.proxy_protocol,
                client_certificates: table.client_certificates.map(|clients| ClientCertificates {
                    mode: match clients.mode {
                        ClientCertificateModeWord::Request => ClientCertificateMode::Request,
                        ClientCertificateModeWord::Require => ClientCertificateMode::Require,
                    },
                    trust_anchors: self.absolute(clients.trust_anchors),
                }),
                minimum_tls: match table.minimum_tls {
                    TlsVersionWord::Tls12 => TlsVersion::Tls12,
                    TlsVersionWord::Tls13 => TlsVersion::Tls13,
                },
                max_connections_per_client: table.max_connections_per_client.map(Spanned::into_inner),
            }));
        }
        Ok(listeners)
    }

    fn name_rule(
        &self,
        rule: &Spanned<NameRuleWord>,
        default_certificate: &Option<String>,
    ) -> Result<NameRule, ConfigError> {
        match NameRule::from(*rule.get_ref()) {
            NameRule::Default if default_certificate.is_none() => Err(self.at(
                rule.span(),
                "\"default\" needs a `default-certificate`, and this listener has none",
                "add `default-certificate = \"ID\"` with an id that `handfast certificate list` shows",
            )),
            rule => Ok(rule),
        }
    }

    pub(super) fn admin(
        &self,
        table: Option<AdminTable>,
        listeners: &[Arc<Listener>],
    ) -> Result<Option<Admin>, ConfigError> {
        let Some(table) = table else { return Ok(None) };
        let address = *table.address.get_ref();
        let mut hosts = Vec::new();
        for host in table.hosts {
            match idna::domain_to_ascii_strict(host.get_ref()) {
                Ok(ascii) if !ascii.is_empty() => hosts.push(ascii),
                _ => {
                    return Err(self.at(
                        host.span(),
                        format!("`{}` is not a host name", host.get_ref()),
                        "write the name by which a scraper asks, as in \"gateway.internal\", without a port",
                    ));
                }
            }
        }
        match listeners.iter().find(|listener| clash(listener.address, address)) {
            None => Ok(Some(Admin { address, hosts })),
            Some(other) => Err(self.at(
                table.address.span(),
                format!("{address} is taken by the listener `{}` on {}", other.name, other.address),
                "give the admin listener a port of its own, such as \"127.0.0.1:9901\"",
            )),
        }
    }
}

/// Whether sockets on both can not exist at once: the same port of the same address, or of all addresses.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |ip: IpAddr| ip.is_unspecified();
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || covers(one.ip()) || covers(other.ip()))
}
