//! The gateway's own answers: a status, a line of text and the request's id, so that a user can quote it.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::body::Body;
use super::outcome::{ErrorKind, Record};

/// For a client that did not finish its request head; hyper, which waits for the rest of it, can not answer.
pub(super) fn request_timeout(request_id: &HeaderValue) -> Vec<u8> {
    let head = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\nx-request-id: ";
    [head, request_id.as_bytes(), b"\r\n\r\n"].concat()
}

/// What to answer with instead of asking an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub text: &'static str,
    /// `None`: this is no failure.
    pub error: Option<ErrorKind>,
    /// Over HTTP/1.1, hang up afterwards: what follows on the connection can not be trusted.
    pub close: bool,
}

impl Answer {
    pub const fn error(status: StatusCode, error: ErrorKind, text: &'static str) -> Self {
        Self { status, text, error: Some(error), close: false }
    }

    /// 400 and the end of the connection.
    pub const fn bad_request(text: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text, error: Some(ErrorKind::BadRequest), close: true }
    }

    /// 204, to `OPTIONS` for the gateway itself.
    pub const OPTIONS: Self = Self { status: StatusCode::NO_CONTENT, text: "", error: None, close: false };

    pub(super) fn into_response(
        self,
        mut record: Box<Record>,
        method: &Method,
        http1: bool,
    ) -> Response<Body> {
        record.outcome.status = Some(self.status);
        if let Some(error) = self.error {
            record.failed(error);
        }
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(&super::header::X_REQUEST_ID, record.request_id().clone());
        if (self.close || record.closes_connection()) && http1 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if matches!(self.status, StatusCode::METHOD_NOT_ALLOWED) || self.error.is_none() {
            headers.insert(
                header::ALLOW,
                HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            );
        }
        let mut text = Bytes::new();
        if self.error.is_some() {
            let id = record.outcome.request_id().unwrap_or_default();
            text = format!("{} {}\nrequest id: {id}\n", self.status.as_str(), self.text).into();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if *method == Method::HEAD {
            text.clear();
        }
        let mut response = Response::new(Body::text(text, record));
        *response.status_mut() = self.status;
        *response.headers_mut() = headers;
        response
    }
}
