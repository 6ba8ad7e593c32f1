//! What became of a connection: filled in by the stages, logged once at the end, counted once after the handshake.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use handfast_wire::AlertDescription;
use tracing::{Level, enabled, info};

use super::passthrough::Ended;
use crate::certificate::{Certificate, unix_now};
use crate::metrics::ListenerCounters;
use crate::policy::decision::Decision;
use crate::policy::{Selected, Selection, Validated};
use crate::telemetry::{Excerpt, error_chain};
use crate::tls::client_hello::Hello;
use crate::tls::{Parameters, alert};
use crate::transport::Ends;

/// Why a connection did not get to HTTP, other than by a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Timeout,
    ListenerRemoved,
    ProxyHeader,
    ClientLimit,
    ClientHello,
    Handshake,
    ClientCertificate,
}

impl Ending {
    fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "handshake-timeout",
            Self::ListenerRemoved => "listener-removed",
            Self::ProxyHeader => "proxy-header-invalid",
            Self::ClientLimit => CLIENT_LIMIT,
            Self::ClientHello => "client-hello-invalid",
            Self::Handshake => "handshake-failed",
            Self::ClientCertificate => "client-certificate-refused",
        }
    }
}

const CLIENT_LIMIT: &str = "client-limit";

/// The facts of one connection.
pub(super) struct Outcome {
    connection: u64,
    ends: Arc<Ends>,
    /// The newest published change at the time of the verdict; 0 before one.
    generation: u64,
    /// Until the handshake is over.
    hello: Option<Arc<Hello>>,
    server_name: Option<String>,
    ja4: Option<String>,
    parameters: Option<Parameters>,
    certificate: Option<Arc<Certificate>>,
    /// It was served although it has expired.
    is_expired: bool,
    /// Ids of those that were not, since they have.
    passed_over: String,
    verdict: Option<&'static str>,
    policy: Option<String>,
    digest: Option<String>,
    reason: Option<String>,
    policy_took: Duration,
    failures: String,
    validated_by: String,
    attributes: String,
    alert: Option<String>,
    error: Option<String>,
    handshake_took: Duration,
    requests: u64,
    relayed: Option<(u64, u64)>,
    end: Option<&'static str>,
}

impl Outcome {
    pub(super) fn new(connection: u64, ends: &Arc<Ends>) -> Self {
        Self {
            connection,
            ends: Arc::clone(ends),
            generation: 0,
            hello: None,
            server_name: None,
            ja4: None,
            parameters: None,
            certificate: None,
            is_expired: false,
            passed_over: String::new(),
            verdict: None,
            policy: None,
            digest: None,
            reason: None,
            policy_took: Duration::ZERO,
            failures: String::new(),
            validated_by: String::new(),
            attributes: String::new(),
            alert: None,
            error: None,
            handshake_took: Duration::ZERO,
            requests: 0,
            relayed: None,
            end: None,
        }
    }

    /// Of the newest change that the connection can see.
    pub(super) fn generation(&mut self, generation: u64) {
        self.generation = generation;
    }

    pub(super) fn ends(&mut self, ends: &Arc<Ends>) {
        self.ends = Arc::clone(ends);
    }

    pub(super) fn hello(&mut self, hello: &Arc<Hello>) {
        self.hello = Some(Arc::clone(hello));
    }

    /// A later round of the choice overwrites an earlier one.
    pub(super) fn decided(&mut self, selection: &Selection, generation: u64) {
        self.generation = generation;
        self.verdict = Some(match &selection.verdict {
            Selected::Admitted(_) => "certificate",
            Selected::Rejected { .. } => "reject",
            Selected::Dropped => "drop",
            Selected::Passthrough(_) => "passthrough",
        });
        self.decision(&selection.decision);
    }

    /// `validate` refused the client that `select` had let in.
    pub(super) fn refused(&mut self, decision: &Decision) {
        self.verdict = Some("reject");
        self.decision(decision);
    }

    /// Every policy with something to say about it has let the client in.
    pub(super) fn validated(&mut self, validated: &Validated) {
        self.validated_by = validated.policies().join(",");
        self.attributes = validated.names().collect::<Vec<_>>().join(",");
    }

    fn decision(&mut self, decision: &Decision) {
        self.policy = Some(decision.policy.clone());
        self.digest.clone_from(&decision.digest);
        self.reason.clone_from(&decision.reason);
        self.policy_took += decision.took;
        self.failures.clear();
        self.failures.push_str(decision.failures.as_str());
    }

    pub(super) fn certificate(&mut self, certificate: &Arc<Certificate>) {
        self.is_expired = certificate.chain_not_after() < unix_now();
        self.certificate = Some(Arc::clone(certificate));
    }

    /// What the client could have been given, but for its end: ids, comma-separated.
    pub(super) fn passed_over(&mut self, ids: String) {
        self.passed_over = ids;
    }

    pub(super) fn parameters(&mut self, parameters: Parameters) {
        self.parameters = Some(parameters);
    }

    pub(super) fn alert_sent(&mut self, alert: AlertDescription) {
        self.alert = Some(alert.to_string());
    }

    pub(super) fn ended(&mut self, ending: Ending) {
        self.end = Some(ending.as_str());
    }

    pub(super) fn failed(&mut self, ending: Ending, error: &dyn Error) {
        self.ended(ending);
        self.error = Some(error_chain(error));
    }

    /// The client or the network ended the handshake, or rustls did and sent an alert.
    pub(super) fn handshake_failed(&mut self, error: &io::Error) {
        self.ended(Ending::Handshake);
        match alert::in_error(error) {
            Some(rustls::Error::AlertReceived(received)) => {
                self.alert = Some(format!("{} (received)", alert::named(*received)));
            }
            Some(error) => {
                if let Some(sent) = alert::sent_for(error) {
                    self.alert_sent(sent);
                }
            }
            None => {}
        }
        self.error = Some(error_chain(error));
    }

    /// Of the ClientHello only what the line shows is kept: the connection may stay for days. JA4 is computed here, so that a
    /// gateway that logs less does not pay for it.
    pub(super) fn handshake_over(&mut self, took: Duration) {
        self.handshake_took = took;
        if let Some(hello) = self.hello.take()
            && is_logged()
        {
            self.server_name = hello.server_name().map(str::to_owned);
            self.ja4 = Some(hello.ja4().to_owned());
        }
    }

    pub(super) fn served(&mut self, requests: u64, end: &'static str) {
        self.requests = requests;
        self.end = Some(end);
    }

    pub(super) fn relayed(&mut self, ended: &Ended) {
        self.relayed = Some((ended.bytes_in, ended.bytes_out));
        self.end = Some(ended.end);
    }

    /// Counts the handshake.
    pub(super) fn count(&self, counters: &ListenerCounters) {
        let outcome = match (self.end, self.verdict) {
            (Some("handshake-timeout"), _) => "timeout",
            (Some(CLIENT_LIMIT), _) => "over-limit",
            (Some(_), _) => "failed",
            (None, Some(verdict)) => verdict,
            (None, None) => "failed",
        };
        let resumed = self.parameters.is_some_and(|parameters| parameters.resumed);
        counters.handshake(outcome, resumed, self.handshake_took);
    }

    /// The one line. A connection that its client had too many of has none: those are told together, once a second, where
    /// they are refused.
    pub(super) fn log(&self) {
        if self.end == Some(CLIENT_LIMIT) || !is_logged() {
            return;
        }
        let parameters = self.parameters;
        info!(
            target: "handfast::connection",
            connection = self.connection,
            listener = self.ends.listener,
            client = %self.ends.client,
            server_name = self.server_name,
            ja4 = self.ja4,
            tls = parameters.map(|parameters| parameters.version),
            cipher = parameters.map(|parameters| parameters.cipher),
            alpn = parameters.map(|parameters| if parameters.http2 { "h2" } else { "http/1.1" }),
            resumed = parameters.map(|parameters| parameters.resumed),
            certificate = self.certificate.as_ref().map(|certificate| certificate.id()),
            expired = self.is_expired.then_some(true),
            passed_over = known(&self.passed_over).map(display),
            policy = self.policy,
            digest = self.digest,
            verdict = self.verdict.unwrap_or("error"),
            alert = self.alert,
            reason = self.reason,
            policy_errors = known(&self.failures).map(display),
            validated_by = known(&self.validated_by).map(display),
            attributes = known(&self.attributes).map(display),
            error = self.error,
            policy_us = micros(self.policy_took),
            handshake_us = micros(self.handshake_took),
            requests = self.requests,
            bytes_in = self.relayed.map(|(bytes, _)| bytes),
            bytes_out = self.relayed.map(|(_, bytes)| bytes),
            end = self.end.unwrap_or("answered"),
            generation = self.generation,
            "connection"
        );
    }
}

fn is_logged() -> bool {
    enabled!(target: "handfast::connection", Level::INFO)
}

/// Left out of the line where there is none.
fn known(text: &str) -> Option<Excerpt<'_>> {
    (!text.is_empty()).then_some(Excerpt(text))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
