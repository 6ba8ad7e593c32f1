//! The hooks as traits, and short ways to write what they answer. Implemented by policies, called by what
//! [`export!`](crate::export) expands to.

use alloc::{string::String, vec::Vec};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{
    Alert, Attribute, Certificate, ClientHello, Connection, Decision, IpAddress, PeerChain, Rejection,
    SocketAddress, Verdict,
};

/// Chooses the certificate a client gets, or refuses it. Called on every ClientHello, resumed handshakes included.
pub trait Select {
    /// One handshake.
    fn select(&self, connection: &Connection, hello: &ClientHello) -> Decision;
}

/// Judges the certificate a client presented, once the gateway has verified its chain.
pub trait Validate {
    /// Accepts with facts about the client for the upstreams, or rejects.
    fn validate(
        &self,
        connection: &Connection,
        hello: &ClientHello,
        chain: &PeerChain,
    ) -> Result<Vec<Attribute>, Rejection>;
}

/// Judges a certificate of the gateway before any client gets it.
pub trait Admit {
    /// The error is the reason for the operator.
    fn admit(&self, certificate: &Certificate) -> Result<(), String>;
}

/// Makes the policy from its settings. A policy without settings needs [`Default`] instead.
pub trait Configure: Sized {
    /// `config` is the policy's `config` table as JSON text, `{}` where there is none. The error is for the operator, who
    /// wrote that table: the policy is not loaded, and a version of it that is running goes on.
    fn configure(config: &str) -> Result<Self, String>;
}

impl Decision {
    /// No opinion: the next policy decides.
    pub fn pass() -> Self {
        Verdict::Pass.into()
    }

    /// Answer with this certificate.
    pub fn certificate(certificate: &Certificate) -> Self {
        Verdict::Certificate(certificate.id()).into()
    }

    /// End the handshake with this alert.
    pub fn reject(alert: Alert) -> Self {
        Verdict::Reject(alert).into()
    }

    /// Close the connection without an answer.
    pub fn drop() -> Self {
        Verdict::Drop.into()
    }

    /// Do not terminate TLS: relay the bytes to the upstream of this name.
    pub fn passthrough(upstream: impl Into<String>) -> Self {
        Verdict::Passthrough(upstream.into()).into()
    }

    /// Adds the reason, for the decision log. At most 256 bytes are kept.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}

impl From<Verdict> for Decision {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, reason: None }
    }
}

impl Rejection {
    /// End the handshake with this alert.
    pub fn new(alert: Alert) -> Self {
        Self { alert, reason: None }
    }

    /// Adds the reason, for the decision log. At most 256 bytes are kept.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}

impl Attribute {
    /// The upstream gets it as the request header `x-client-<name>`.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

impl From<IpAddress> for IpAddr {
    fn from(address: IpAddress) -> Self {
        match address {
            IpAddress::Ipv4((a, b, c, d)) => Ipv4Addr::new(a, b, c, d).into(),
            IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => Ipv6Addr::new(a, b, c, d, e, f, g, h).into(),
        }
    }
}

impl From<IpAddr> for IpAddress {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::Ipv4(address.octets().into()),
            IpAddr::V6(address) => Self::Ipv6(address.segments().into()),
        }
    }
}

impl From<SocketAddress> for SocketAddr {
    fn from(address: SocketAddress) -> Self {
        Self::new(address.ip.into(), address.port)
    }
}

impl From<SocketAddr> for SocketAddress {
    fn from(address: SocketAddr) -> Self {
        Self { ip: address.ip().into(), port: address.port() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_there_and_back() {
        for text in ["192.0.2.7:4711", "[2001:db8::7]:443"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddr::from(SocketAddress::from(address)), address);
        }
    }

    #[test]
    fn a_mapped_address_becomes_the_ipv4_address_it_holds() {
        let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(IpAddress::from(mapped), IpAddress::Ipv4((192, 0, 2, 7)));
    }

    #[test]
    fn a_reason_goes_along_with_the_verdict() {
        let decision = Decision::reject(Alert::AccessDenied).because("not today");
        assert_eq!(decision.verdict, Verdict::Reject(Alert::AccessDenied));
        assert_eq!(decision.reason.as_deref(), Some("not today"));
    }
}
