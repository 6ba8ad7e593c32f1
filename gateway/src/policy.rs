//! The policies of a listener, asked in order.
//!
//! `reload` builds the [`Policies`] of a snapshot; `connection` asks a listener's [`Chain`] to select and to validate,
//! and the certificate store asks all policies to admit. What a policy says is law here: nothing in this module knows
//! how a certificate is chosen. The embedded `server-name` policy follows the last configured one, so a chain always
//! ends in a verdict.
//!
//! Its two results are proofs that later stages consume and nobody else can make: an [`Admission`] (some policy named
//! this certificate for this connection) and a [`Validated`] (the client's chain, or its absence, was judged).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use handfast_plugin_host::{
    self as plugin_host, CallError, Certificate, Certificates, ClientHello, Connection, PeerCertificate,
    Validation, Verdict,
};
use http::{HeaderName, HeaderValue};
use tracing::warn;

use crate::config::{EMBEDDED_POLICY, Listener, OnError};
use crate::metrics::{Metrics, PolicyCounters};

pub mod decision;
pub mod http_client;
pub mod last_good;
pub mod native;
pub mod replacement;
pub mod slot;
pub mod unasked;

mod server_name;

use decision::{Decision, Failures};
use last_good::Version;
use server_name::Rules;
use slot::{Asked, Hook, Slot, outcome};

/// RFC 8446 section 6.2: `internal_error`, for a policy that had no verdict.
const INTERNAL_ERROR: u8 = 80;
/// RFC 6066 section 3: `unrecognized_name`, where no policy had an opinion.
const UNRECOGNIZED_NAME: u8 = 112;
/// RFC 5246 appendix E.1, RFC 8446 section 4.2.1: `protocol_version`.
const PROTOCOL_VERSION: u8 = 70;
/// What the headers begin with that tell upstreams about a client.
const ATTRIBUTE: &str = "x-client-";

/// Every policy of a snapshot.
pub struct Policies {
    slots: Vec<Arc<Slot>>,
    embedded: Arc<plugin_host::Policy>,
    chains: HashMap<String, Arc<Chain>>,
}

impl Policies {
    /// `embedded` judges what the configured policies leave open.
    pub fn new(
        slots: Vec<Arc<Slot>>,
        embedded: Arc<plugin_host::Policy>,
        listeners: &[Arc<Listener>],
        last: Last,
        upstreams: Arc<[String]>,
        metrics: &Metrics,
    ) -> Self {
        let chains = listeners.iter().map(|listener| {
            let of = |name: &String| slots.iter().find(|slot| slot.name() == name).cloned();
            let chain = Chain {
                rules: Rules::of(listener),
                slots: listener.policies.iter().filter_map(of).collect(),
                embedded: Arc::clone(&embedded),
                embedded_calls: metrics.policy(EMBEDDED_POLICY, "select"),
                last,
                upstreams: Arc::clone(&upstreams),
            };
            (listener.name.clone(), Arc::new(chain))
        });
        let chains = chains.collect();
        Self { slots, embedded, chains }
    }

    /// The policies that judge the connections of a listener.
    pub fn chain(&self, listener: &str) -> Option<&Arc<Chain>> {
        self.chains.get(listener)
    }

    /// Every configured policy, for reloads and listings.
    pub fn slots(&self) -> &[Arc<Slot>] {
        &self.slots
    }

    pub fn embedded(&self) -> &Arc<plugin_host::Policy> {
        &self.embedded
    }

    /// Whether a certificate may go live: every configured policy that exports `admit` must accept it. A policy
    /// without a verdict refuses, unless its `on-error` is `next`.
    pub async fn admit(
        &self,
        certificate: Arc<dyn Certificate>,
        certificates: Arc<dyn Certificates>,
    ) -> Result<(), String> {
        for slot in &self.slots {
            let policy = slot.current();
            if !policy.hooks().admit {
                continue;
            }
            let call = |policy: Arc<Version>| {
                let (certificate, certificates) = (Arc::clone(&certificate), Arc::clone(&certificates));
                async move { policy.admit(certificate, certificates).await }
            };
            let asked = slot.ask(Hook::Admit, policy, call).await;
            match asked.answer {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => return Err(format!("the policy `{}` refuses it: {reason}", slot.name())),
                Err(error) => match slot.on_error() {
                    OnError::Next => slot.report(&error, Hook::Admit),
                    OnError::Reject | OnError::LastGood => {
                        return Err(format!("the policy `{}` had no verdict: {error}", slot.name()));
                    }
                },
            }
        }
        Ok(())
    }
}

/// Who decides when every configured policy passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// The embedded policy, in the sandbox.
    Embedded,
    /// The same choice in native code: only to measure what the sandbox costs.
    Native,
}

/// The policies of one listener.
pub struct Chain {
    rules: Rules,
    slots: Vec<Arc<Slot>>,
    embedded: Arc<plugin_host::Policy>,
    embedded_calls: PolicyCounters,
    last: Last,
    /// The names a `passthrough` may have.
    upstreams: Arc<[String]>,
}

/// What the chain decided about a ClientHello, and how.
#[derive(Debug)]
pub struct Selection {
    pub verdict: Selected,
    pub decision: Decision,
}

#[derive(Debug)]
pub enum Selected {
    Admitted(Admission),
    Rejected {
        alert: u8,
    },
    Dropped,
    /// To the upstream of this name, which exists in the configuration or not: the caller looks it up.
    Passthrough(String),
}

/// Proof that a policy chose this certificate for one connection. Spent on one handshake.
#[derive(Debug)]
pub struct Admission {
    certificate: String,
}

impl Admission {
    /// The id of the certificate.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }
}

/// Proof that the client of an established connection was judged.
#[derive(Debug)]
pub struct Validated {
    policies: Vec<String>,
    attributes: Vec<(HeaderName, HeaderValue)>,
}

impl Validated {
    /// Who judged. Empty for a client without a certificate, and where no policy has the hook.
    pub fn policies(&self) -> &[String] {
        &self.policies
    }

    /// The names of what they say, as they gave them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.attributes.iter().map(|(name, _)| name.as_str().strip_prefix(ATTRIBUTE).unwrap_or_default())
    }

    /// What the policies say of the client, as request headers for upstreams.
    pub fn into_attributes(self) -> Vec<(HeaderName, HeaderValue)> {
        self.attributes
    }
}

/// A client that a policy does not let in after its handshake.
#[derive(Debug)]
pub struct Refused {
    pub alert: u8,
    pub decision: Decision,
}

impl Chain {
    /// The listener's rules about server names first, then each policy until one has an opinion.
    pub async fn select(
        &self,
        connection: &Arc<dyn Connection>,
        hello: &Arc<dyn ClientHello>,
        certificates: &Arc<dyn Certificates>,
    ) -> Selection {
        let begun = Instant::now();
        if let Some(selection) = self.rules.select(hello.as_ref(), certificates.as_ref(), begun).await {
            return selection;
        }
        let selection = self.ask(connection, hello, certificates, begun).await;
        server_name::unless_expired(selection, hello.as_ref(), certificates.as_ref())
    }

    async fn ask(
        &self,
        connection: &Arc<dyn Connection>,
        hello: &Arc<dyn ClientHello>,
        certificates: &Arc<dyn Certificates>,
        begun: Instant,
    ) -> Selection {
        let mut failures = Failures::default();
        for slot in &self.slots {
            let policy = slot.fresh().await;
            if !policy.hooks().select {
                continue;
            }
            let call = |policy: Arc<Version>| {
                let (connection, hello) = (Arc::clone(connection), Arc::clone(hello));
                let (known, upstreams) = (Arc::clone(certificates), Arc::clone(&self.upstreams));
                let check = move |decision: &_| check(decision, known.as_ref(), &upstreams);
                async move { policy.select_if(connection, hello, Arc::clone(certificates), check).await }
            };
            let Asked { answer, by: policy, instead_of } = slot.ask(Hook::Select, policy, call).await;
            if let Some(error) = &instead_of {
                failures.add(slot.name(), error);
            }
            match answer {
                Ok(plugin_host::Decision { verdict: Verdict::Pass, .. }) => {}
                Ok(decision) => {
                    return selection(decision, slot.name(), Some(policy.digest()), begun, failures);
                }
                Err(error) => {
                    slot.report(&error, Hook::Select);
                    failures.add(slot.name(), &error);
                    if slot.on_error() != OnError::Next {
                        return without_verdict(slot.name(), policy.digest(), &error, begun, failures);
                    }
                }
            }
        }
        self.select_last(connection, hello, certificates, begun, failures).await
    }

    async fn select_last(
        &self,
        connection: &Arc<dyn Connection>,
        hello: &Arc<dyn ClientHello>,
        certificates: &Arc<dyn Certificates>,
        begun: Instant,
        failures: Failures,
    ) -> Selection {
        if is_too_old(hello.as_ref()) {
            // No certificate would do, and to say that none was found would blame the wrong side.
            let reason = Some("the client offers no version of TLS from 1.2 on".to_owned());
            let decision = Decision::new(EMBEDDED_POLICY, None, reason, begun, failures);
            return Selection { verdict: Selected::Rejected { alert: PROTOCOL_VERSION }, decision };
        }
        if self.last == Last::Native {
            let decision = native::select(hello.as_ref(), certificates.as_ref()).await;
            return selection(decision, native::NAME, None, begun, failures);
        }
        let called = Instant::now();
        let policy = &self.embedded;
        let answer = policy.select(Arc::clone(connection), Arc::clone(hello), Arc::clone(certificates)).await;
        let answer = answer.and_then(|decision| {
            check(&decision, certificates.as_ref(), &self.upstreams)?;
            Ok(decision)
        });
        self.embedded_calls.call(outcome(&answer), called.elapsed());
        match answer {
            Ok(decision) => selection(decision, EMBEDDED_POLICY, Some(policy.digest()), begun, failures),
            Err(error) => {
                warn!(policy = EMBEDDED_POLICY, error = %error, "the embedded policy had no verdict");
                let mut failures = failures;
                failures.add(EMBEDDED_POLICY, &error);
                without_verdict(EMBEDDED_POLICY, policy.digest(), &error, begun, failures)
            }
        }
    }

    /// Judges the chain of an authenticated client: every policy that exports `validate` must accept it. Without a
    /// chain (the listener asks for none, or the client had none and may go without) there is nothing to judge.
    pub async fn validate(
        &self,
        connection: &Arc<dyn Connection>,
        hello: &Arc<dyn ClientHello>,
        certificates: &Arc<dyn Certificates>,
        chain: &[Arc<dyn PeerCertificate>],
    ) -> Result<Validated, Refused> {
        if chain.is_empty() {
            return Ok(Validated { policies: Vec::new(), attributes: Vec::new() });
        }
        // Boxed: 3 KiB that every connection would carry otherwise, with a chain or without.
        Box::pin(self.judge(connection, hello, certificates, chain)).await
    }

    async fn judge(
        &self,
        connection: &Arc<dyn Connection>,
        hello: &Arc<dyn ClientHello>,
        certificates: &Arc<dyn Certificates>,
        chain: &[Arc<dyn PeerCertificate>],
    ) -> Result<Validated, Refused> {
        let begun = Instant::now();
        let mut attributes: Vec<(HeaderName, HeaderValue)> = Vec::new();
        let mut policies = Vec::new();
        let mut failures = Failures::default();
        for slot in &self.slots {
            let policy = slot.fresh().await;
            if !policy.hooks().validate {
                continue;
            }
            let call = |policy: Arc<Version>| {
                let (connection, hello) = (Arc::clone(connection), Arc::clone(hello));
                async move { policy.validate(connection, hello, Arc::clone(certificates), chain.to_vec()).await }
            };
            let Asked { answer, by: policy, instead_of } = slot.ask(Hook::Validate, policy, call).await;
            if let Some(error) = &instead_of {
                failures.add(slot.name(), error);
            }
            match answer {
                Ok(Validation::Accept(accepted)) => {
                    policies.push(slot.name().to_owned());
                    join(&mut attributes, accepted);
                }
                Ok(Validation::Reject { alert, reason }) => {
                    let decision = Decision::new(slot.name(), Some(policy.digest()), reason, begun, failures);
                    return Err(Refused { alert, decision });
                }
                Err(error) => {
                    slot.report(&error, Hook::Validate);
                    failures.add(slot.name(), &error);
                    if slot.on_error() != OnError::Next {
                        let reason = Some(error.to_string());
                        let decision =
                            Decision::new(slot.name(), Some(policy.digest()), reason, begun, failures);
                        return Err(Refused { alert: INTERNAL_ERROR, decision });
                    }
                }
            }
        }
        Ok(Validated { policies, attributes })
    }
}

/// A certificate or an upstream that does not exist is no verdict.
fn check(
    decision: &plugin_host::Decision,
    certificates: &dyn Certificates,
    upstreams: &[String],
) -> Result<(), CallError> {
    let (what, name) = match &decision.verdict {
        Verdict::Certificate(id) if certificates.by_id(id).is_none() => ("certificate", id),
        Verdict::Passthrough(name) if !upstreams.contains(name) => ("[[upstream]]", name),
        _ => return Ok(()),
    };
    Err(CallError::InvalidVerdict(format!("there is no {what} `{}`", name.escape_debug())))
}

/// Nothing here can end a connection of TLS 1.1 or before; a policy may still have passed it through. GREASE values
/// (RFC 8701) are no versions.
fn is_too_old(hello: &dyn ClientHello) -> bool {
    const TLS12: u16 = 0x0303;
    const GREASE: u16 = 0x0a0a;
    !hello.protocol_versions().into_iter().any(|version| version >= TLS12 && version & 0x0f0f != GREASE)
}

fn selection(
    answer: plugin_host::Decision,
    policy: &str,
    digest: Option<&str>,
    begun: Instant,
    failures: Failures,
) -> Selection {
    let verdict = match answer.verdict {
        Verdict::Certificate(certificate) => Selected::Admitted(Admission { certificate }),
        Verdict::Reject(alert) => Selected::Rejected { alert },
        Verdict::Drop => Selected::Dropped,
        Verdict::Passthrough(upstream) => Selected::Passthrough(upstream),
        Verdict::Pass => Selected::Rejected { alert: UNRECOGNIZED_NAME },
    };
    Selection { verdict, decision: Decision::new(policy, digest, answer.reason, begun, failures) }
}

fn without_verdict(
    policy: &str,
    digest: &str,
    error: &CallError,
    begun: Instant,
    failures: Failures,
) -> Selection {
    let decision = Decision::new(policy, Some(digest), Some(error.to_string()), begun, failures);
    Selection { verdict: Selected::Rejected { alert: INTERNAL_ERROR }, decision }
}

/// The first attribute of a name wins. Names are tokens by the interface, so every one makes a header name.
fn join(attributes: &mut Vec<(HeaderName, HeaderValue)>, accepted: Vec<plugin_host::Attribute>) {
    for attribute in accepted {
        let name = HeaderName::try_from(format!("{ATTRIBUTE}{}", attribute.name));
        let value = HeaderValue::try_from(attribute.value);
        if let (Ok(name), Ok(value)) = (name, value)
            && !attributes.iter().any(|(other, _)| *other == name)
        {
            attributes.push((name, value));
        }
    }
}
