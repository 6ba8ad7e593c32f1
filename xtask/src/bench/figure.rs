//! What can be measured under a load, and the servers that get it.

use super::report::Heading;
use super::server::{
    CADDY, FLOOR, FLOOR_MLKEM, FLOOR_P256, FLOOR_RESUMED, FLOOR_RESUMED_MLKEM, FLOOR_SILENT, FLOOR_TCP,
    HANDFAST, HANDFAST_C, HANDFAST_C_REUSED, HANDFAST_CHAIN, HANDFAST_CUSTOM, HANDFAST_GO, HANDFAST_GO_FRESH,
    HANDFAST_JAVASCRIPT, HANDFAST_JAVASCRIPT_FRESH, HANDFAST_NO_POLICY, HANDFAST_PYTHON,
    HANDFAST_PYTHON_FRESH, HANDFAST_RUST, HANDFAST_RUST_REUSED, HAPROXY, HITCH, NGINX, NGINX_LUA, RELAY,
    Subject,
};

/// One line of the results.
#[derive(Debug)]
pub(super) struct Figure {
    /// Public: the JSON and the command line have it.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) keys: Keys,
    pub(super) work: Work,
    /// The gateway first; the others are its peers.
    pub(super) subjects: &'static [&'static Subject],
}

/// The kind of the servers' keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    EcdsaP256,
    Rsa2048,
}

/// What a server is made to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// Connections by the load generator, with these options of its own: what the servers could choose is fixed by what
    /// it offers.
    Connections(&'static [&'static str]),
    /// Requests over kept connections, by h2load. The figure is what one costs.
    Requests { protocol: &'static str },
    /// The same, by h2load or wrk. The figure is how many there are in a second.
    Saturation { protocol: &'static str },
    /// Bodies of so many MiB over HTTP/1.1, by h2load. The figure is what a GiB costs.
    Bodies { mebibytes: usize, upload: bool },
    /// Connections that had one request and are kept. The figure is what each costs in memory.
    Idle { protocol: &'static str },
}

const TLS13: [&str; 3] = ["--version=1.3", "--group=x25519", "--cipher=aes128"];
const TLS13_RESUMED: [&str; 4] = ["--version=1.3", "--group=x25519", "--cipher=aes128", "--resume"];
const TLS13_REQUEST: [&str; 4] = ["--version=1.3", "--group=x25519", "--cipher=aes128", "--request"];
const MLKEM: [&str; 3] = ["--version=1.3", "--group=x25519mlkem768", "--cipher=aes128"];
const MLKEM_RESUMED: [&str; 4] = ["--version=1.3", "--group=x25519mlkem768", "--cipher=aes128", "--resume"];
/// X25519 alone would be refused: OpenSSL wants the certificate's curve among the groups too (RFC 8422 section 5.1).
const TLS12: [&str; 3] = ["--version=1.2", "--group=secp256r1", "--cipher=aes128"];
const TLS12_RESUMED: [&str; 4] = ["--version=1.2", "--group=secp256r1", "--cipher=aes128", "--resume"];

const fn figure(
    name: &'static str,
    title: &'static str,
    work: Work,
    subjects: &'static [&'static Subject],
) -> Figure {
    Figure { name, title, keys: Keys::EcdsaP256, work, subjects }
}

const fn figure_rsa(
    name: &'static str,
    title: &'static str,
    work: Work,
    subjects: &'static [&'static Subject],
) -> Figure {
    Figure { name, title, keys: Keys::Rsa2048, work, subjects }
}

/// Peers that only end TLS are left out where requests are made, those without a hook where hooks are compared, and all of
/// them where X25519MLKEM768 is, which OpenSSL 3.0 and Go 1.19 lack.
pub(super) const FIGURES: &[Figure] = &[
    figure(
        "tls13-full-ecdsa",
        "A full TLS 1.3 handshake: ECDSA P-256, X25519, AES-128-GCM",
        Work::Connections(&TLS13),
        &[
            &HANDFAST,
            &HANDFAST_NO_POLICY,
            &NGINX,
            &NGINX_LUA,
            &HAPROXY,
            &HITCH,
            &CADDY,
            &FLOOR,
            &FLOOR_SILENT,
            &FLOOR_TCP,
        ],
    ),
    figure_rsa(
        "tls13-full-rsa",
        "A full TLS 1.3 handshake: RSA-2048, X25519, AES-128-GCM",
        Work::Connections(&TLS13),
        &[&HANDFAST, &NGINX, &HAPROXY, &HITCH, &CADDY, &FLOOR],
    ),
    figure(
        "tls13-full-mlkem",
        "A full TLS 1.3 handshake: ECDSA P-256, X25519MLKEM768, AES-128-GCM",
        Work::Connections(&MLKEM),
        &[&HANDFAST, &HANDFAST_NO_POLICY, &FLOOR_MLKEM],
    ),
    figure_rsa(
        "tls13-full-rsa-mlkem",
        "A full TLS 1.3 handshake: RSA-2048, X25519MLKEM768, AES-128-GCM",
        Work::Connections(&MLKEM),
        &[&HANDFAST, &HANDFAST_NO_POLICY, &FLOOR_MLKEM],
    ),
    figure(
        "tls13-resumed-ecdsa",
        "A resumed TLS 1.3 handshake: X25519, AES-128-GCM",
        Work::Connections(&TLS13_RESUMED),
        &[&HANDFAST, &HANDFAST_NO_POLICY, &NGINX, &HAPROXY, &CADDY, &FLOOR_RESUMED],
    ),
    figure_rsa(
        "tls13-resumed-rsa",
        "A resumed TLS 1.3 handshake of a session with RSA-2048: X25519, AES-128-GCM",
        Work::Connections(&TLS13_RESUMED),
        &[&HANDFAST, &NGINX, &HAPROXY, &CADDY],
    ),
    figure(
        "tls13-resumed-mlkem",
        "A resumed TLS 1.3 handshake: X25519MLKEM768, AES-128-GCM",
        Work::Connections(&MLKEM_RESUMED),
        &[&HANDFAST, &HANDFAST_NO_POLICY, &FLOOR_RESUMED_MLKEM],
    ),
    figure(
        "tls12-full-ecdsa",
        "A full TLS 1.2 handshake: ECDSA P-256, ECDHE P-256, AES-128-GCM",
        Work::Connections(&TLS12),
        &[&HANDFAST, &NGINX, &HAPROXY, &HITCH, &CADDY, &FLOOR_P256],
    ),
    figure_rsa(
        "tls12-full-rsa",
        "A full TLS 1.2 handshake: RSA-2048, ECDHE P-256, AES-128-GCM",
        Work::Connections(&TLS12),
        &[&HANDFAST, &NGINX, &HAPROXY, &HITCH, &CADDY],
    ),
    figure(
        "tls12-resumed-ecdsa",
        "A resumed TLS 1.2 handshake: AES-128-GCM",
        Work::Connections(&TLS12_RESUMED),
        &[&HANDFAST, &NGINX, &HAPROXY, &CADDY],
    ),
    figure(
        "connection-one-request",
        "A connection: full TLS 1.3 handshake, one HTTP/1.1 request to an upstream, close",
        Work::Connections(&TLS13_REQUEST),
        &[&HANDFAST, &NGINX, &HAPROXY, &CADDY],
    ),
    figure(
        "h1-keepalive",
        "An HTTP/1.1 request over a kept connection, to an upstream",
        Work::Requests { protocol: "http/1.1" },
        &[&HANDFAST, &NGINX, &HAPROXY, &CADDY, &RELAY],
    ),
    figure(
        "h2-keepalive",
        "An HTTP/2 request over a kept connection, to an HTTP/1.1 upstream",
        Work::Requests { protocol: "h2" },
        &[&HANDFAST, &NGINX, &HAPROXY, &CADDY],
    ),
    figure(
        "h1-saturation",
        "HTTP/1.1 requests over kept connections at saturation (wrk)",
        Work::Saturation { protocol: "http/1.1" },
        &[&HANDFAST, &NGINX, &HAPROXY, &CADDY],
    ),
    figure(
        "h2-saturation",
        "HTTP/2 requests over kept connections at saturation (h2load)",
        Work::Saturation { protocol: "h2" },
        &[&HANDFAST, &NGINX, &HAPROXY, &CADDY],
    ),
    figure(
        "body-1mib",
        "Responses of 1 MiB over HTTP/1.1, from an upstream",
        Work::Bodies { mebibytes: 1, upload: false },
        &[&HANDFAST, &NGINX, &HAPROXY, &CADDY, &RELAY],
    ),
    figure(
        "body-1mib-upload",
        "Requests with 1 MiB over HTTP/1.1, to an upstream",
        Work::Bodies { mebibytes: 1, upload: true },
        &[&HANDFAST, &NGINX, &HAPROXY, &CADDY, &RELAY],
    ),
    figure(
        "body-100mib",
        "Responses of 100 MiB over HTTP/1.1, from an upstream",
        Work::Bodies { mebibytes: 100, upload: false },
        &[&HANDFAST, &NGINX, &HAPROXY, &CADDY, &RELAY],
    ),
    figure(
        "body-100mib-upload",
        "Requests with 100 MiB over HTTP/1.1, to an upstream",
        Work::Bodies { mebibytes: 100, upload: true },
        &[&HANDFAST, &NGINX, &HAPROXY, &CADDY, &RELAY],
    ),
    figure(
        "idle-memory",
        "An idle HTTP/1.1 connection that had one request",
        Work::Idle { protocol: "http/1.1" },
        &[&HANDFAST, &NGINX, &HAPROXY, &CADDY],
    ),
    figure(
        "idle-memory-h2",
        "An idle HTTP/2 connection that had one request",
        Work::Idle { protocol: "h2" },
        &[&HANDFAST, &NGINX, &HAPROXY, &CADDY],
    ),
    figure(
        "policy-none",
        "A full TLS 1.3 handshake without a policy",
        Work::Connections(&TLS13),
        &[&HANDFAST_NO_POLICY],
    ),
    figure(
        "policy-embedded",
        "A full TLS 1.3 handshake with the embedded policy",
        Work::Connections(&TLS13),
        &[&HANDFAST, &HANDFAST_NO_POLICY, &NGINX_LUA],
    ),
    figure(
        "policy-rust",
        "A full TLS 1.3 handshake with a policy in Rust",
        Work::Connections(&TLS13),
        &[&HANDFAST_RUST, &HANDFAST_RUST_REUSED, &HANDFAST_CUSTOM, &HANDFAST_NO_POLICY, &NGINX_LUA],
    ),
    figure(
        "policy-c",
        "A full TLS 1.3 handshake with a policy in C",
        Work::Connections(&TLS13),
        &[&HANDFAST_C, &HANDFAST_C_REUSED, &HANDFAST_NO_POLICY, &NGINX_LUA],
    ),
    figure(
        "policy-js",
        "A full TLS 1.3 handshake with a policy in JavaScript",
        Work::Connections(&TLS13),
        &[&HANDFAST_JAVASCRIPT, &HANDFAST_JAVASCRIPT_FRESH, &HANDFAST_NO_POLICY, &NGINX_LUA],
    ),
    figure(
        "policy-go",
        "A full TLS 1.3 handshake with a policy in Go",
        Work::Connections(&TLS13),
        &[&HANDFAST_GO, &HANDFAST_GO_FRESH, &HANDFAST_NO_POLICY, &NGINX_LUA],
    ),
    figure(
        "policy-python",
        "A full TLS 1.3 handshake with a policy in Python",
        Work::Connections(&TLS13),
        &[&HANDFAST_PYTHON, &HANDFAST_PYTHON_FRESH, &HANDFAST_NO_POLICY, &NGINX_LUA],
    ),
    figure(
        "policy-chain-3",
        "A full TLS 1.3 handshake with three policies, two of which pass",
        Work::Connections(&TLS13),
        &[&HANDFAST_CHAIN, &HANDFAST_NO_POLICY, &NGINX_LUA],
    ),
];

impl Work {
    /// Handshakes alone get no further than the server.
    pub(super) fn needs_upstream(self) -> bool {
        match self {
            Self::Connections(options) => options.contains(&"--request"),
            _ => true,
        }
    }

    /// The upstream of the other figures would not read a body.
    pub(super) fn uploads(self) -> bool {
        matches!(self, Self::Bodies { upload: true, .. })
    }
}

impl Figure {
    pub(super) fn heading(&self) -> Heading {
        let unit = match self.work {
            Work::Connections(_) | Work::Requests { .. } => "server CPU µs per operation",
            Work::Saturation { .. } => "requests a second on one server core",
            Work::Bodies { .. } => "server CPU seconds per GiB",
            Work::Idle { .. } => "KiB per connection",
        };
        Heading { name: self.name.to_owned(), title: self.title.to_owned(), unit }
    }
}
