//! What is decided about a server name without asking a policy: the listener's own rules, and the end of validity.
//!
//! [`Chain::select`](super::Chain::select) comes here first and last. First, since a listener that rejects clients without
//! a server name, or with one that no certificate has, spares its policies those connections. Last, since a policy names a
//! certificate or finds none usable, and only the gateway knows that the reason was its end: such a client is told
//! `certificate_expired`, and the reason in the connection's outcome line names the certificate. The embedded policy has
//! no part in that; it sees a certificate that no client can use.

use std::time::Instant;

use handfast_plugin_host::{Certificate, Certificates, ClientHello};

use super::decision::{Decision, Failures};
use super::{Admission, PROTOCOL_VERSION, Selected, Selection, UNRECOGNIZED_NAME, is_too_old, native};
use crate::config::{EMBEDDED_POLICY, LISTENER_RULES, Listener, NameRule};

/// RFC 8446 section 6.2.
const HANDSHAKE_FAILURE: u8 = 40;
/// RFC 8446 section 6.2: meant for a client's certificate, and what clients show best when it is the server's.
const CERTIFICATE_EXPIRED: u8 = 45;

/// The rules of one listener.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    missing: NameRule,
    unknown: NameRule,
}

impl Rules {
    pub(super) fn of(listener: &Listener) -> Self {
        Self { missing: listener.no_server_name, unknown: listener.unknown_server_name }
    }

    /// The verdict of the listener's rules. `None`: the policies decide.
    pub(super) async fn select(
        self,
        hello: &dyn ClientHello,
        certificates: &dyn Certificates,
        begun: Instant,
    ) -> Option<Selection> {
        let (rule, why) = match hello.server_name() {
            None => (self.missing, "the client sent no server name"),
            Some(_) if self.unknown == NameRule::Policy => return None,
            Some(name) if !certificates.find(name).is_empty() || certificates.refresh(name).await => {
                return None;
            }
            Some(_) => (self.unknown, "no certificate has this server name"),
        };
        let (verdict, reason) = match rule {
            NameRule::Policy => return None,
            NameRule::Reject => (reject(UNRECOGNIZED_NAME), why.to_owned()),
            NameRule::Default => default_certificate(hello, certificates, why),
        };
        let decision = Decision::new(LISTENER_RULES, None, Some(reason), begun, Failures::default());
        Some(Selection { verdict, decision })
    }
}

fn default_certificate(
    hello: &dyn ClientHello,
    certificates: &dyn Certificates,
    why: &str,
) -> (Selected, String) {
    let Some(certificate) = certificates.fallback() else {
        return (reject(UNRECOGNIZED_NAME), format!("{why}, and the default certificate was withdrawn"));
    };
    if certificate.usable_by(hello) {
        let admission = Admission { certificate: certificate.id().to_owned() };
        return (Selected::Admitted(admission), why.to_owned());
    }
    if certificate.has_expired_for(hello) {
        return (reject(CERTIFICATE_EXPIRED), expired(certificate.as_ref()));
    }
    let alert = if is_too_old(hello) { PROTOCOL_VERSION } else { HANDSHAKE_FAILURE };
    (reject(alert), format!("{why}, and the client cannot use the default certificate"))
}

/// What the policies decided, unless a certificate has expired: one that they named is not served, and where they found
/// none it may be for that.
pub(super) fn unless_expired(
    selection: Selection,
    hello: &dyn ClientHello,
    certificates: &dyn Certificates,
) -> Selection {
    let by_default = is_by_default(&selection);
    let certificate = match &selection.verdict {
        Selected::Admitted(admission) => certificates.by_id(admission.certificate()),
        // A policy of the operator's means what it says.
        Selected::Rejected { alert: HANDSHAKE_FAILURE | UNRECOGNIZED_NAME } if by_default => {
            let named = hello.server_name().map(|name| certificates.find(name)).unwrap_or_default();
            match named.is_empty() {
                true => certificates.fallback(),
                false => named.into_iter().find(|certificate| certificate.has_expired_for(hello)),
            }
        }
        _ => None,
    };
    match certificate.filter(|certificate| certificate.has_expired_for(hello)) {
        Some(certificate) => Selection {
            verdict: reject(CERTIFICATE_EXPIRED),
            decision: Decision { reason: Some(expired(certificate.as_ref())), ..selection.decision },
        },
        None => selection,
    }
}

fn is_by_default(selection: &Selection) -> bool {
    [EMBEDDED_POLICY, native::NAME].contains(&selection.decision.policy.as_str())
}

fn reject(alert: u8) -> Selected {
    Selected::Rejected { alert }
}

fn expired(certificate: &dyn Certificate) -> String {
    format!("the certificate {} has expired", certificate.id())
}

#[cfg(test)]
mod tests {
    use std::future::{Future, ready};
    use std::pin::Pin;
    use std::sync::Arc;

    use handfast_plugin_host::KeyAlgorithm;

    use super::*;

    struct Hello(Option<&'static str>);

    struct One {
        id: &'static str,
        usable: bool,
        expired: bool,
    }

    /// Certificates for `a.example`, and the default one.
    struct Known {
        named: Vec<Arc<One>>,
        fallback: Option<Arc<One>>,
    }

    fn one(id: &'static str, usable: bool, expired: bool) -> Arc<One> {
        Arc::new(One { id, usable, expired })
    }

    async fn by_rule(rules: Rules, name: Option<&'static str>, known: &Known) -> Option<String> {
        let selection = rules.select(&Hello(name), known, Instant::now()).await?;
        assert_eq!(selection.decision.policy, LISTENER_RULES);
        assert!(selection.decision.reason.is_some());
        Some(show(&selection))
    }

    fn show(selection: &Selection) -> String {
        match &selection.verdict {
            Selected::Admitted(admission) => admission.certificate().to_owned(),
            Selected::Rejected { alert } => alert.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_listener_can_decide_about_missing_and_unknown_names_alone() {
        let known = Known { named: vec![one("a", true, false)], fallback: Some(one("default", true, false)) };
        let rules = |missing, unknown| Rules { missing, unknown };
        let (policy, default, reject) = (NameRule::Policy, NameRule::Default, NameRule::Reject);
        for name in [None, Some("a.example"), Some("b.example")] {
            assert_eq!(by_rule(rules(policy, policy), name, &known).await, None);
        }
        assert_eq!(by_rule(rules(default, reject), None, &known).await.as_deref(), Some("default"));
        assert_eq!(by_rule(rules(default, reject), Some("b.example"), &known).await.as_deref(), Some("112"));
        assert_eq!(by_rule(rules(reject, default), None, &known).await.as_deref(), Some("112"));
        let unknown = by_rule(rules(reject, default), Some("b.example"), &known).await;
        assert_eq!(unknown.as_deref(), Some("default"));
        assert_eq!(by_rule(rules(reject, reject), Some("a.example"), &known).await, None, "a known name");
    }

    #[tokio::test]
    async fn a_default_certificate_that_cannot_be_served_is_not() {
        let rules = Rules { missing: NameRule::Default, unknown: NameRule::Default };
        for (fallback, alert) in [
            (None, "112"),
            (Some(one("default", false, false)), "40"),
            (Some(one("default", false, true)), "45"),
        ] {
            let known = Known { named: Vec::new(), fallback };
            assert_eq!(by_rule(rules, None, &known).await.as_deref(), Some(alert));
        }
    }

    #[test]
    fn an_expired_certificate_is_the_reason_where_it_is_one() {
        let judge = |policy: &str, verdict, name, known: &Known| {
            let decision = Decision::new(policy, None, None, Instant::now(), Failures::default());
            show(&unless_expired(Selection { verdict, decision }, &Hello(name), known))
        };
        let admitted = |id: &str| Selected::Admitted(Admission { certificate: id.to_owned() });
        let name = Some("a.example");
        let known = Known {
            named: vec![one("good", true, false), one("old", false, true)],
            fallback: Some(one("fallen", false, true)),
        };
        assert_eq!(judge("custom", admitted("good"), name, &known), "good");
        assert_eq!(judge("custom", admitted("old"), name, &known), "45", "a policy cannot have it served");
        assert_eq!(judge("custom", reject(40), name, &known), "40", "a policy's own verdict");
        assert_eq!(judge(EMBEDDED_POLICY, reject(40), name, &known), "45");
        assert_eq!(judge(EMBEDDED_POLICY, reject(112), None, &known), "45", "the default certificate");
        assert_eq!(judge(EMBEDDED_POLICY, reject(80), name, &known), "80");
        let known = Known { named: vec![one("other kind", false, false)], ..known };
        assert_eq!(judge(EMBEDDED_POLICY, reject(40), name, &known), "40", "not for its end");
    }

    impl ClientHello for Hello {
        fn server_name(&self) -> Option<&str> {
            self.0
        }

        fn alpn(&self) -> Vec<Vec<u8>> {
            Vec::new()
        }

        fn protocol_versions(&self) -> Vec<u16> {
            vec![0x0304]
        }

        fn cipher_suites(&self) -> Vec<u16> {
            Vec::new()
        }

        fn signature_schemes(&self) -> Vec<u16> {
            Vec::new()
        }

        fn named_groups(&self) -> Vec<u16> {
            Vec::new()
        }

        fn extensions(&self) -> Vec<u16> {
            Vec::new()
        }

        fn ja3(&self) -> String {
            String::new()
        }

        fn ja4(&self) -> String {
            String::new()
        }

        fn raw(&self) -> Vec<u8> {
            Vec::new()
        }

        fn offers_resumption(&self) -> bool {
            false
        }
    }

    impl Certificates for Known {
        fn find(&self, name: &str) -> Vec<Arc<dyn Certificate>> {
            let named = self.named.iter().filter(|_| name == "a.example");
            named.map(|one| Arc::clone(one) as Arc<dyn Certificate>).collect()
        }

        fn refresh<'a>(&'a self, _: &'a str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
            Box::pin(ready(false))
        }

        fn by_id(&self, id: &str) -> Option<Arc<dyn Certificate>> {
            let one = self.named.iter().find(|one| one.id == id)?;
            Some(Arc::clone(one) as Arc<dyn Certificate>)
        }

        fn tagged(&self, _: &str, _: &str) -> Vec<Arc<dyn Certificate>> {
            Vec::new()
        }

        fn fallback(&self) -> Option<Arc<dyn Certificate>> {
            Some(Arc::clone(self.fallback.as_ref()?) as Arc<dyn Certificate>)
        }
    }

    impl Certificate for One {
        fn id(&self) -> &str {
            self.id
        }

        fn names(&self) -> Vec<String> {
            vec!["a.example".to_owned()]
        }

        fn key_algorithm(&self) -> KeyAlgorithm {
            KeyAlgorithm::EcdsaP256
        }

        fn key_bits(&self) -> u32 {
            256
        }

        fn not_before(&self) -> i64 {
            0
        }

        fn not_after(&self) -> i64 {
            0
        }

        fn issuer(&self) -> String {
            String::new()
        }

        fn serial(&self) -> String {
            String::new()
        }

        fn fingerprint(&self) -> String {
            String::new()
        }

        fn der(&self) -> Vec<u8> {
            Vec::new()
        }

        fn tags(&self) -> Vec<(String, String)> {
            Vec::new()
        }

        fn usable_by(&self, _: &dyn ClientHello) -> bool {
            self.usable
        }

        fn has_expired_for(&self, _: &dyn ClientHello) -> bool {
            self.expired
        }
    }
}
