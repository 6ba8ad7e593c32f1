//! Handshakes that can be measured: a load, and the servers that get it.

use super::report::Heading;
use super::server::{self, Subject};

/// One line of the results.
#[derive(Debug)]
pub(super) struct Figure {
    /// Public: the JSON and the command line have it.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// What the load generator is told beside where the server is.
    pub(super) load: &'static [&'static str],
    /// The gateway first; the others are its peers.
    pub(super) subjects: &'static [&'static Subject],
}

pub(super) const FIGURES: &[Figure] = &[Figure {
    name: "tls13-full-ecdsa",
    title: "A full TLS 1.3 handshake: ECDSA P-256, X25519, AES-128-GCM",
    load: &["--version=1.3", "--group=x25519", "--cipher=aes128"],
    subjects: &[&server::HANDFAST, &server::HANDFAST_NO_POLICY, &server::NGINX],
}];

impl Figure {
    pub(super) fn heading(&self) -> Heading {
        Heading {
            name: self.name.to_owned(),
            title: self.title.to_owned(),
            unit: "server CPU µs per operation",
        }
    }
}
