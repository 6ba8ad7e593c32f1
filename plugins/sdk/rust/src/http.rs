//! Calls to hosts that the operator lists: `grants = [{ http = ["keys.example.com"] }]`. A policy that calls none of this
//! imports none of it.
//!
//! ```
//! # use handfast_policy::http;
//! fn tenant(name: &str) -> Option<String> {
//!     let answer = http::get(&format!("https://keys.example.com/tenants/{name}")).ok()?;
//!     (answer.status == 200).then(|| String::from_utf8(answer.body).ok()).flatten()
//! }
//! ```
//!
//! The gateway bounds time and size of each call, remembers answers to `GET` and `HEAD`, and asks once for what several
//! instances want at the same time; a redirect is an answer like any other. The policy waits meanwhile, at the expense of
//! its `timeout`. A call that is refused or fails is an error here and no reason to panic: decide what the handshake gets
//! without an answer.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::gateway::http as gateway;

/// A request. `https` unless the URL says `http`, which the operator must have allowed in so many words.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Request {
    pub method: String,
    pub url: String,
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// How long to wait, if not as long as the operator allows.
    pub patience: Option<Duration>,
}

/// A response, complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// No URL with `http` or `https`, or no method, or a field that is not for a policy to set (`host`, `connection`, …).
    Request,
    /// The host is not in the operator's list, or its name leads to an address that policies are not let near.
    NotAllowed,
    /// Too many calls at once or in this second, or the host has failed so often that it is left alone for a while.
    Limited,
    /// There was no response in time.
    TimedOut,
    /// The request or the response is larger than the operator allows.
    TooLarge,
    /// No connection, no TLS, no HTTP.
    Failed,
}

/// Asks for a resource.
pub fn get(url: &str) -> Result<Response, Error> {
    Request::new("GET", url).send()
}

impl Request {
    /// One without fields and body.
    pub fn new(method: &str, url: &str) -> Self {
        Self {
            method: method.to_owned(),
            url: url.to_owned(),
            fields: Vec::new(),
            body: Vec::new(),
            patience: None,
        }
    }

    /// With one more field.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.as_bytes().to_vec()));
        self
    }

    /// With this body.
    pub fn body(self, body: &[u8]) -> Self {
        Self { body: body.to_vec(), ..self }
    }

    /// Waits no longer than this.
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// Sends it, and waits for the whole response.
    pub fn send(&self) -> Result<Response, Error> {
        gateway::send(self)
    }
}

impl Response {
    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let field = self.fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_slice())
    }
}

/// Over `wasi:http`.
#[cfg(target_arch = "wasm32")]
mod gateway {
    use alloc::vec::Vec;

    use super::{Error, Request, Response};
    use crate::bindings::http::wasi::http::outgoing_handler;
    use crate::bindings::http::wasi::http::types::{
        ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
    };
    use crate::bindings::http::wasi::io::streams::StreamError;

    /// Bytes that `wasi:io` lets be written or read at once.
    const WRITTEN: usize = 4_096;
    const READ: u64 = 64 << 10;

    pub(super) fn send(asked: &Request) -> Result<Response, Error> {
        let (scheme, rest) = match asked.url.split_once("://") {
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("http", rest)) => (Scheme::Http, rest),
            _ => return Err(Error::Request),
        };
        let (authority, path) = match rest.find(['/', '?']) {
            Some(end) => rest.split_at(end),
            None => (rest, "/"),
        };
        if !path.starts_with('/') {
            return Err(Error::Request);
        }
        let refused = |_| Error::Request;
        let request = OutgoingRequest::new(Fields::from_list(&asked.fields).map_err(|_| Error::Request)?);
        let method = match asked.method.as_str() {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            other => Method::Other(other.into()),
        };
        request.set_method(&method).map_err(refused)?;
        request.set_scheme(Some(&scheme)).map_err(refused)?;
        request.set_authority(Some(authority)).map_err(refused)?;
        request.set_path_with_query(Some(path)).map_err(refused)?;
        let options = asked.patience.map(|patience| {
            let options = RequestOptions::new();
            // Only the operator's own bound holds where this one cannot be set.
            let _ = options.set_first_byte_timeout(Some(patience.as_nanos().try_into().unwrap_or(u64::MAX)));
            options
        });
        let body = if asked.body.is_empty() { None } else { Some(request.body().map_err(refused)?) };
        let answer = outgoing_handler::handle(request, options).map_err(error)?;
        if let Some(body) = body {
            write(body, &asked.body)?;
        }
        let ready = answer.subscribe();
        let response = loop {
            ready.block();
            match answer.get() {
                Some(Ok(response)) => break response.map_err(error)?,
                Some(Err(())) => return Err(Error::Failed),
                None => {}
            }
        };
        read(&response)
    }

    fn write(body: OutgoingBody, bytes: &[u8]) -> Result<(), Error> {
        let stream = body.write().map_err(|()| Error::Failed)?;
        for chunk in bytes.chunks(WRITTEN) {
            stream.blocking_write_and_flush(chunk).map_err(|_| Error::TooLarge)?;
        }
        drop(stream);
        OutgoingBody::finish(body, None).map_err(error)
    }

    fn read(response: &IncomingResponse) -> Result<Response, Error> {
        let fields = response.headers().entries();
        let body = response.consume().map_err(|()| Error::Failed)?;
        let stream = body.stream().map_err(|()| Error::Failed)?;
        let mut bytes = Vec::new();
        loop {
            match stream.blocking_read(READ) {
                Ok(more) if bytes.is_empty() => bytes = more,
                Ok(more) => bytes.extend(more),
                Err(StreamError::Closed) => break,
                Err(StreamError::LastOperationFailed(_)) => return Err(Error::Failed),
            }
        }
        Ok(Response { status: response.status(), fields, body: bytes })
    }

    fn error(code: ErrorCode) -> Error {
        match code {
            ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => Error::NotAllowed,
            ErrorCode::ConnectionLimitReached | ErrorCode::DestinationUnavailable => Error::Limited,
            ErrorCode::HttpResponseTimeout | ErrorCode::ConnectionTimeout | ErrorCode::DnsTimeout => {
                Error::TimedOut
            }
            ErrorCode::HttpRequestBodySize(_)
            | ErrorCode::HttpResponseBodySize(_)
            | ErrorCode::HttpRequestHeaderSectionSize(_)
            | ErrorCode::HttpRequestUriTooLong => Error::TooLarge,
            ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestMethodInvalid => Error::Request,
            _ => Error::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Gateway;

    #[test]
    fn a_test_says_what_is_answered_and_sees_what_was_asked() {
        let mut gateway = Gateway {
            http: |request| match request.url.ends_with("/a") {
                true => Ok(Response { status: 200, body: b"acme".to_vec(), ..Response::default() }),
                false => Err(Error::NotAllowed),
            },
            ..Gateway::default()
        };
        let (first, second) = gateway.run(|| {
            let posted = Request::new("POST", "https://x/b").field("a", "b").body(b"c");
            (get("https://x/a"), posted.send())
        });
        assert_eq!((first.unwrap().body, second), (b"acme".to_vec(), Err(Error::NotAllowed)));
        let asked: Vec<_> = gateway.requests.iter().map(|it| (it.method.as_str(), it.url.as_str())).collect();
        assert_eq!(asked, [("GET", "https://x/a"), ("POST", "https://x/b")]);
        assert_eq!(Gateway::default().run(|| get("https://x/a")), Err(Error::NotAllowed));
    }
}
