//! The embedded policy's choice in native code, without a sandbox.
//!
//! Only the benchmark switches it on (`handfast run --bench-native-choice`), to put a figure on what the sandbox
//! costs. It mirrors `plugins/server-name`; a gateway in production never runs it.

use handfast_plugin_host::{Certificates, ClientHello, Decision, Verdict};

/// The name it has in the outcome line.
pub const NAME: &str = "native";

const HANDSHAKE_FAILURE: u8 = 40;
const UNRECOGNIZED_NAME: u8 = 112;

pub async fn select(hello: &dyn ClientHello, certificates: &dyn Certificates) -> Decision {
    let mut found = Vec::new();
    if let Some(name) = hello.server_name() {
        found = certificates.find(name);
        if found.is_empty() && certificates.refresh(name).await {
            found = certificates.find(name);
        }
    }
    let unusable = if found.is_empty() { UNRECOGNIZED_NAME } else { HANDSHAKE_FAILURE };
    if found.is_empty() {
        found.extend(certificates.fallback());
    }
    let usable = found.iter().find(|certificate| certificate.usable_by(hello));
    let verdict =
        usable.map_or(Verdict::Reject(unusable), |chosen| Verdict::Certificate(chosen.id().to_owned()));
    Decision { verdict, reason: None }
}
