//! What can be measured under a load, and the servers that get it.

use super::report::Heading;
use super::server::{
    HANDFAST, HANDFAST_CUSTOM, HANDFAST_NO_POLICY, HAPROXY, HITCH, NGINX, NGINX_LUA, Subject,
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
    /// Requests over kept connections, by h2load.
    Requests { protocol: &'static str, path: &'static str },
    /// Connections that had one request and are kept. The figure is what each costs in memory.
    Idle { protocol: &'static str },
}

const TLS13: [&str; 3] = ["--version=1.3", "--group=x25519", "--cipher=aes128"];

/// Peers that only end TLS are left out where requests are made, those without a hook where hooks are compared.
pub(super) const FIGURES: &[Figure] = &[
    Figure {
        name: "tls13-full-ecdsa",
        title: "A full TLS 1.3 handshake: ECDSA P-256, X25519, AES-128-GCM",
        keys: Keys::EcdsaP256,
        work: Work::Connections(&TLS13),
        subjects: &[&HANDFAST, &HANDFAST_NO_POLICY, &NGINX, &NGINX_LUA, &HAPROXY, &HITCH],
    },
    Figure {
        name: "tls13-full-rsa",
        title: "A full TLS 1.3 handshake: RSA-2048, X25519, AES-128-GCM",
        keys: Keys::Rsa2048,
        work: Work::Connections(&TLS13),
        subjects: &[&HANDFAST, &NGINX, &HAPROXY, &HITCH],
    },
    Figure {
        name: "tls13-resumed-ecdsa",
        title: "A resumed TLS 1.3 handshake: X25519, AES-128-GCM",
        keys: Keys::EcdsaP256,
        work: Work::Connections(&["--version=1.3", "--group=x25519", "--cipher=aes128", "--resume"]),
        subjects: &[&HANDFAST, &HANDFAST_NO_POLICY, &NGINX, &HAPROXY],
    },
    Figure {
        name: "tls12-full-ecdsa",
        // X25519 alone would be refused: OpenSSL wants the certificate's curve among the groups too (RFC 8422 section 5.1).
        title: "A full TLS 1.2 handshake: ECDSA P-256, ECDHE P-256, AES-128-GCM",
        keys: Keys::EcdsaP256,
        work: Work::Connections(&["--version=1.2", "--group=secp256r1", "--cipher=aes128"]),
        subjects: &[&HANDFAST, &NGINX, &HAPROXY, &HITCH],
    },
    Figure {
        name: "tls13-full-mlkem",
        title: "A full TLS 1.3 handshake: ECDSA P-256, X25519MLKEM768 (which the peers' OpenSSL 3.0 lacks)",
        keys: Keys::EcdsaP256,
        work: Work::Connections(&["--version=1.3", "--group=x25519mlkem768", "--cipher=aes128"]),
        subjects: &[&HANDFAST, &HANDFAST_NO_POLICY],
    },
    Figure {
        name: "connection-one-request",
        title: "A connection: full TLS 1.3 handshake, one HTTP/1.1 request to an upstream, close",
        keys: Keys::EcdsaP256,
        work: Work::Connections(&["--version=1.3", "--group=x25519", "--cipher=aes128", "--request"]),
        subjects: &[&HANDFAST, &NGINX, &HAPROXY],
    },
    Figure {
        name: "h1-keepalive",
        title: "An HTTP/1.1 request over a kept connection, to an upstream",
        keys: Keys::EcdsaP256,
        work: Work::Requests { protocol: "http/1.1", path: "/" },
        subjects: &[&HANDFAST, &NGINX, &HAPROXY],
    },
    Figure {
        name: "h2-keepalive",
        title: "An HTTP/2 request over a kept connection, to an HTTP/1.1 upstream",
        keys: Keys::EcdsaP256,
        work: Work::Requests { protocol: "h2", path: "/" },
        subjects: &[&HANDFAST, &NGINX, &HAPROXY],
    },
    Figure {
        name: "body-1mib",
        title: "A response of 1 MiB over HTTP/1.1, from an upstream",
        keys: Keys::EcdsaP256,
        work: Work::Requests { protocol: "http/1.1", path: "/1mib" },
        subjects: &[&HANDFAST, &NGINX, &HAPROXY],
    },
    Figure {
        name: "idle-memory",
        title: "An idle HTTP/1.1 connection that had one request",
        keys: Keys::EcdsaP256,
        work: Work::Idle { protocol: "http/1.1" },
        subjects: &[&HANDFAST, &NGINX, &HAPROXY],
    },
    Figure {
        name: "idle-memory-h2",
        title: "An idle HTTP/2 connection that had one request",
        keys: Keys::EcdsaP256,
        work: Work::Idle { protocol: "h2" },
        subjects: &[&HANDFAST, &NGINX, &HAPROXY],
    },
    Figure {
        name: "policy-none",
        title: "A full TLS 1.3 handshake without a policy",
        keys: Keys::EcdsaP256,
        work: Work::Connections(&TLS13),
        subjects: &[&HANDFAST_NO_POLICY],
    },
    Figure {
        name: "policy-embedded",
        title: "The same with the embedded policy",
        keys: Keys::EcdsaP256,
        work: Work::Connections(&TLS13),
        subjects: &[&HANDFAST, &HANDFAST_NO_POLICY, &NGINX_LUA],
    },
    Figure {
        name: "policy-rust",
        title: "The same with examples/custom-policy (Rust, JSON configuration) before the embedded one",
        keys: Keys::EcdsaP256,
        work: Work::Connections(&TLS13),
        subjects: &[&HANDFAST_CUSTOM, &HANDFAST_NO_POLICY, &NGINX_LUA],
    },
];

impl Work {
    /// Handshakes alone get no further than the server.
    pub(super) fn needs_upstream(self) -> bool {
        match self {
            Self::Connections(options) => options.contains(&"--request"),
            Self::Requests { .. } | Self::Idle { .. } => true,
        }
    }
}

impl Figure {
    pub(super) fn heading(&self) -> Heading {
        let unit = match self.work {
            Work::Idle { .. } => "KiB per connection",
            Work::Connections(_) | Work::Requests { .. } => "server CPU µs per operation",
        };
        Heading { name: self.name.to_owned(), title: self.title.to_owned(), unit }
    }
}
