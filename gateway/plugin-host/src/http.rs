//! Outgoing HTTP of policies, as this crate sees it: who makes the calls, and what goes in and comes out.
//!
//! The gateway implements [`HttpClient`] for each policy with the grant and hands it in with the policy's settings;
//! `imports/http.rs` calls it when a guest asks. Nothing in this crate opens a connection, resolves a name or keeps an
//! answer: which hosts there are, what is bounded, remembered and refused is the implementation's to decide, once, for
//! all guests of a policy.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Who makes the calls of one policy.
pub trait HttpClient: fmt::Debug + Send + Sync {
    /// The hosts that may be called, as an operator writes them.
    fn hosts(&self) -> Vec<String>;

    /// Bytes of a request's body that are taken from a guest.
    fn max_request_bytes(&self) -> usize;

    /// Bytes of a response's body that a guest can be given.
    fn max_response_bytes(&self) -> usize;

    /// Begins a call. Returns at once, and never blocks; the call goes on without anybody polling the future, and may go
    /// on when the future is dropped.
    fn send(&self, request: HttpRequest) -> HttpExchange;
}

/// A call under way.
pub type HttpExchange = Pin<Box<dyn Future<Output = Result<Arc<HttpResponse>, HttpError>> + Send>>;

/// A request of a guest. Names and values of the fields are well-formed, and none belongs to one hop; all else is as the
/// guest gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    pub method: String,
    /// `https`, or else `http`.
    pub secure: bool,
    /// A host, and perhaps a port.
    pub authority: String,
    /// With its query.
    pub path: String,
    /// Names in lower case, in the guest's order.
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// How long the guest wants to wait, if it says so.
    pub patience: Option<Duration>,
}

/// A response, complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpResponse {
    pub status: u16,
    /// Names in lower case.
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// Why there is no response. A guest gets the nearest of the error codes of `wasi:http`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    #[error("the host, scheme or port is not in the list of the policy's grant")]
    NotAllowed,
    #[error("the host's address is one that policies are not let near")]
    AddressRefused,
    #[error("the request is not well-formed")]
    Invalid,
    #[error("the request is larger than its bound")]
    RequestTooLarge,
    #[error("too many calls at once, or in this second")]
    Limited,
    #[error("the host failed again and again, and is left alone for a while")]
    BreakerOpen,
    #[error("there was no response in time")]
    TimedOut,
    #[error("the host has no address")]
    NoAddress,
    #[error("no connection is made to the host")]
    Unreachable,
    #[error("the host's certificate or its TLS is not good")]
    Tls,
    #[error("the connection broke, or what came is no HTTP")]
    Broken,
    #[error("the response is larger than its bound")]
    ResponseTooLarge,
}
