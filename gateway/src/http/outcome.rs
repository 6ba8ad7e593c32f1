//! What became of one request, told once.
//!
//! A [`Record`] begins with the request and travels with its response body; when that is dropped, delivered or not, the
//! observer hears of it. So no path through the code can forget to report, nor report twice.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Uri, Version};
use tokio::time::Instant;

use super::protocol_name;
use super::session::Session;
use crate::config;
use crate::telemetry::error_chain;
use crate::upstream::request_body::Progress;

/// For the log line and the counters of one request.
#[derive(Debug, Clone)]
pub struct RequestOutcome {
    /// `None` where no head could be read.
    pub method: Option<Method>,
    /// What the client was sent; `None` if it was sent no response.
    pub status: Option<StatusCode>,
    /// `None` when no route was found, or none looked for.
    pub upstream: Option<Arc<config::Upstream>>,
    /// The `host:port` that answered.
    pub endpoint: Option<Arc<str>>,
    /// Content, without heads and framing.
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// From the end of the request's head to the last of the response.
    pub duration: Duration,
    /// `None`: answered as the upstream wished, whatever its status.
    pub error: Option<ErrorKind>,
    /// The error with its causes, for the operator's eyes.
    pub detail: Option<String>,
    pub version: Version,
    uri: Option<Uri>,
    authority: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
}

/// What is known of a request that never became one.
pub(super) struct Refusal {
    pub version: Version,
    pub method: Option<Method>,
    pub uri: Option<Uri>,
    pub authority: Option<HeaderValue>,
    /// `None` where hyper answered: its answers have no room for one.
    pub request_id: Option<HeaderValue>,
    pub status: Option<StatusCode>,
    pub error: ErrorKind,
    pub detail: Option<String>,
}

impl Refusal {
    /// Tells the observer of it.
    pub(super) fn report(self, session: &Session) {
        session.count_refused();
        let outcome = RequestOutcome {
            method: self.method,
            status: self.status,
            upstream: None,
            endpoint: None,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            error: Some(self.error),
            detail: self.detail,
            version: self.version,
            uri: self.uri,
            authority: self.authority,
            request_id: self.request_id,
        };
        session.context.observer.request_finished(&session.client, &outcome);
    }
}

/// What went wrong, and by that whose fault it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request breaks HTTP's rules or ours. 400, 405 or 417.
    BadRequest,
    /// 431, or 414 where it is the target alone.
    HeadTooLarge,
    /// HTTP/2 was broken on this stream, or on the whole connection. Nothing was answered.
    ProtocolError,
    /// For a host that this connection was not opened for. 421.
    Misdirected,
    NoRoute,
    /// The client has as many upstream connections (503) or streams (nothing was answered) as it may have.
    Limit,
    NoEndpoint,
    ConnectFailed,
    ConnectTimeout,
    ResponseTimeout,
    /// The upstream broke off before its response, or sent what is none. 502.
    UpstreamBroken,
    /// The upstream broke off, or stood still, within its response.
    ResponseCut,
    /// The client's request stood still, in its head or in its body. 408.
    ClientTimeout,
    /// The client broke off within its request or did not wait for the response.
    ClientGone,
}

impl ErrorKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::HeadTooLarge => "head_too_large",
            Self::ProtocolError => "protocol_error",
            Self::Misdirected => "misdirected",
            Self::NoRoute => "no_route",
            Self::Limit => "limit",
            Self::NoEndpoint => "no_endpoint",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::ResponseTimeout => "response_timeout",
            Self::UpstreamBroken => "upstream_broken",
            Self::ResponseCut => "response_cut",
            Self::ClientTimeout => "client_timeout",
            Self::ClientGone => "client_gone",
        }
    }
}

impl RequestOutcome {
    /// As the client sent it, with a port if there was one. Empty if it was missing or invalid.
    pub fn host(&self) -> &str {
        self.authority.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// As the client sent it. The query is left out: it is where secrets are. Empty if no head could be read.
    pub fn path(&self) -> &str {
        self.uri.as_ref().map(Uri::path).unwrap_or_default()
    }

    /// `None` if the client was not told one: hyper refused its request.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_ref().and_then(|id| id.to_str().ok())
    }

    pub fn protocol(&self) -> &'static str {
        protocol_name(self.version)
    }
}

/// A request under way. Dropping it reports it.
pub(super) struct Record {
    pub outcome: RequestOutcome,
    request_id: HeaderValue,
    /// The response was delivered to its end.
    pub complete: bool,
    pub request_body: Option<Arc<Progress>>,
    started: Instant,
    session: Arc<Session>,
}

impl Record {
    pub(super) fn new(session: &Arc<Session>, head: &Parts, request_id: HeaderValue) -> Box<Self> {
        let started = session.begin_request();
        let outcome = RequestOutcome {
            method: Some(head.method.clone()),
            status: None,
            upstream: None,
            endpoint: None,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            error: None,
            detail: None,
            version: head.version,
            uri: Some(head.uri.clone()),
            authority: None,
            request_id: Some(request_id.clone()),
        };
        Box::new(Self {
            outcome,
            request_id,
            complete: false,
            request_body: None,
            started,
            session: session.clone(),
        })
    }

    pub(super) fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    pub(super) fn closes_connection(&self) -> bool {
        self.session.closes_after_response()
    }

    pub(super) fn set_authority(&mut self, authority: &HeaderValue) {
        self.outcome.authority = Some(authority.clone());
    }

    /// Notes what went wrong; what went wrong first stays.
    pub(super) fn failed(&mut self, error: ErrorKind) {
        self.outcome.error.get_or_insert(error);
    }

    pub(super) fn failed_with(&mut self, error: ErrorKind, cause: &dyn Error) {
        self.failed(error);
        self.outcome.detail = Some(error_chain(cause));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.complete {
            self.failed(ErrorKind::ClientGone);
        }
        if let Some(body) = &self.request_body {
            self.outcome.bytes_in = body.bytes();
        }
        self.outcome.duration = self.session.end_request(self.started, self.outcome.status.is_none());
        self.session.context.observer.request_finished(&self.session.client, &self.outcome);
    }
}
