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
use crate::upstream::request_body::Progress;

/// For the log line and the counters of one request.
#[derive(Debug, Clone)]
pub struct RequestOutcome {
    pub method: Method,
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
    uri: Uri,
    authority: Option<HeaderValue>,
    request_id: HeaderValue,
}

/// What went wrong, and by that whose fault it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request breaks HTTP's rules or ours. 400, 405 or 417.
    BadRequest,
    /// For a host that this connection was not opened for. 421.
    Misdirected,
    NoRoute,
    /// The client has as many upstream connections as it may have. 503.
    Limit,
    NoEndpoint,
    ConnectFailed,
    ConnectTimeout,
    ResponseTimeout,
    /// The upstream broke off before its response, or sent what is none. 502.
    UpstreamBroken,
    /// The upstream broke off, or stood still, within its response.
    ResponseCut,
    /// The client's request body stood still. 408.
    ClientTimeout,
    /// The client broke off within its request or did not wait for the response.
    ClientGone,
}

impl ErrorKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
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

    /// As the client sent it. The query is left out: it is where secrets are.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    pub fn request_id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }

    pub fn protocol(&self) -> &'static str {
        protocol_name(self.version)
    }
}

/// A request under way. Dropping it reports it.
pub(super) struct Record {
    pub outcome: RequestOutcome,
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
            method: head.method.clone(),
            status: None,
            upstream: None,
            endpoint: None,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            error: None,
            detail: None,
            version: head.version,
            uri: head.uri.clone(),
            authority: None,
            request_id,
        };
        Box::new(Self { outcome, complete: false, request_body: None, started, session: session.clone() })
    }

    pub(super) fn request_id(&self) -> &HeaderValue {
        &self.outcome.request_id
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
        let mut detail = cause.to_string();
        let mut source = cause.source();
        while let Some(cause) = source {
            detail.push_str(": ");
            detail.push_str(&cause.to_string());
            source = cause.source();
        }
        self.outcome.detail = Some(detail);
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
