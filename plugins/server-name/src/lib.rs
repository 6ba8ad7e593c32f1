//! The embedded default policy: the certificate that fits the server name.
//!
//! It is the last policy of every chain, so it runs on most handshakes and always comes to a verdict: a certificate or an
//! alert. With a server name, the first certificate for it that the client can use (the gateway orders them: exact names
//! before wildcards, newest first). Without one, or with a name nobody holds a certificate for, the listener's default.
//!
//! Kept lean, for it is paid for on every handshake: no allocation beyond what crosses the boundary, no formatting, no panic
//! message, reasons for refusals only.

#![cfg_attr(target_arch = "wasm32", no_std)]

use handfast_policy::{Alert, ClientHello, Connection, Decision, Select, certificates};

#[derive(Default)]
struct ServerName;

handfast_policy::export!(ServerName: select; panic = trap);

impl Select for ServerName {
    fn select(&self, _: &Connection, hello: &ClientHello) -> Decision {
        let Some(name) = hello.server_name() else {
            return default_certificate(
                hello,
                "no server name, and no default certificate that the client can use",
            );
        };
        let candidates = certificates::find(&name);
        match candidates.iter().find(|candidate| candidate.usable_by(hello)) {
            Some(certificate) => Decision::certificate(certificate),
            None if candidates.is_empty() => default_certificate(
                hello,
                "no certificate for this name, and no default that the client can use",
            ),
            // Not the default certificate: the client could use it, but would be told about the wrong name instead of the
            // wrong algorithms.
            None => Decision::reject(Alert::HandshakeFailure)
                .because("none of the certificates for this name is one the client can use"),
        }
    }
}

/// `unrecognized_name` is what RFC 6066 section 3 has for a server that does not know the name; it fits a missing name
/// better than any other alert does, and is what the peers send.
fn default_certificate(hello: &ClientHello, otherwise: &str) -> Decision {
    match certificates::fallback() {
        Some(certificate) if certificate.usable_by(hello) => Decision::certificate(&certificate),
        _ => Decision::reject(Alert::UnrecognizedName).because(otherwise),
    }
}

#[cfg(test)]
mod tests {
    use handfast_policy::{
        KeyAlgorithm, Verdict,
        testing::{Certificate, Gateway},
    };

    use super::*;

    fn rsa(name: &str) -> Certificate {
        Certificate {
            id: format!("{name} (RSA)"),
            key_algorithm: KeyAlgorithm::Rsa,
            ..Certificate::named(name)
        }
    }

    fn verdict(gateway: &mut Gateway, hello: &ClientHello) -> Verdict {
        gateway.run(|| ServerName.select(&Connection::default(), hello)).verdict
    }

    fn hello(name: &str) -> ClientHello {
        ClientHello { server_name: Some(name.into()), ..ClientHello::default() }
    }

    fn two_key_types() -> Gateway {
        let certificates = vec![Certificate::named("a.example"), rsa("a.example")];
        Gateway { certificates, ..Gateway::default() }
    }

    #[test]
    fn the_first_usable_certificate_for_the_name_is_chosen() {
        let verdict = verdict(&mut two_key_types(), &hello("a.example"));
        assert_eq!(verdict, Verdict::Certificate("a.example".into()));
    }

    #[test]
    fn a_client_with_rsa_only_gets_the_rsa_certificate() {
        let hello = ClientHello { signature_schemes: vec![0x0804], ..hello("a.example") };
        assert_eq!(verdict(&mut two_key_types(), &hello), Verdict::Certificate("a.example (RSA)".into()));
    }

    #[test]
    fn a_client_that_can_use_none_is_told_so_even_with_a_default() {
        let mut gateway = Gateway {
            fallback: Some(Certificate {
                key_algorithm: KeyAlgorithm::Ed25519,
                ..Certificate::named("default")
            }),
            ..two_key_types()
        };
        let hello = ClientHello { signature_schemes: vec![0x0807], ..hello("a.example") };
        assert_eq!(verdict(&mut gateway, &hello), Verdict::Reject(Alert::HandshakeFailure));
    }

    #[test]
    fn an_unknown_name_gets_the_default_certificate() {
        let mut gateway = Gateway { fallback: Some(Certificate::named("default")), ..two_key_types() };
        assert_eq!(verdict(&mut gateway, &hello("b.example")), Verdict::Certificate("default".into()));
    }

    #[test]
    fn an_unknown_name_without_a_default_is_unrecognized() {
        assert_eq!(
            verdict(&mut two_key_types(), &hello("b.example")),
            Verdict::Reject(Alert::UnrecognizedName)
        );
    }

    #[test]
    fn a_default_that_the_client_cannot_use_does_not_help() {
        let mut gateway = Gateway { fallback: Some(rsa("default")), ..Gateway::default() };
        let hello = ClientHello { signature_schemes: vec![0x0403], ..hello("b.example") };
        assert_eq!(verdict(&mut gateway, &hello), Verdict::Reject(Alert::UnrecognizedName));
    }

    #[test]
    fn no_server_name_gets_the_default_certificate_or_is_unrecognized() {
        let mut gateway = two_key_types();
        assert_eq!(verdict(&mut gateway, &ClientHello::default()), Verdict::Reject(Alert::UnrecognizedName));
        gateway.fallback = Some(Certificate::named("default"));
        assert_eq!(verdict(&mut gateway, &ClientHello::default()), Verdict::Certificate("default".into()));
    }

    #[test]
    fn every_refusal_has_a_reason() {
        let mut gateway = two_key_types();
        let weak = ClientHello { signature_schemes: vec![], ..hello("a.example") };
        for hello in [ClientHello::default(), hello("b.example"), weak] {
            let decision = gateway.run(|| ServerName.select(&Connection::default(), &hello));
            assert!(decision.reason.is_some(), "{decision:?}");
        }
    }
}
