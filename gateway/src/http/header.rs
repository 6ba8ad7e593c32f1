//! Header fields: what stays on one side of the gateway, what is added, and what clients may not claim.
//!
//! # Memo: forwarding
//! The gateway is the edge, so what a client says about its own address is worth nothing: `forwarded`, `x-forwarded-*`,
//! `x-real-ip` and `x-client-*` from it are removed, and `x-forwarded-for` holds the one address that was seen (from the
//! PROXY header where the listener trusts it), never a list. `x-request-id` is always our own. No `via` (RFC 9110
//! section 7.6.3 asks for it): nginx and IIS as upstreams switch compression off when they see one, and neither nginx,
//! HAProxy nor Envoy sends it.
//!
//! # Memo: hop-by-hop
//! RFC 9110 section 7.6.1 both ways, with everything that Connection names. The fields that frame the body are removed
//! with them and made anew from what was parsed, so no two parsers can disagree about a copied one.

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Version};
use http_body::Body;

use super::answer::Answer;
use super::request::{self, Authority};
use super::session::Session;
use crate::config;
use crate::upstream::RequestBody;

pub(super) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");
static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// What a look at all names of a request found.
#[derive(Debug, Default)]
pub(super) struct Found {
    hop_by_hop: bool,
    /// Names that only the gateway may send.
    claimed: Vec<HeaderName>,
    pub websocket: bool,
}

/// Looks at every name once. Most requests have nothing to remove.
pub(super) fn inspect(head: &Parts) -> Result<Found, Answer> {
    let mut found = Found::default();
    // RFC 9113 section 8.2.1 forbids it; in HTTP/1.1 it is no part of the value, and was left out by the parser.
    if head.version == Version::HTTP_2 && head.headers.values().any(has_white_edge) {
        return Err(Answer::bad_request("a field value that begins or ends with white space"));
    }
    for name in head.headers.keys() {
        let text = name.as_str();
        match text.as_bytes().first() {
            Some(b'c') => found.hop_by_hop |= text == "connection",
            Some(b'f') if text == "forwarded" => found.claimed.push(name.clone()),
            Some(b'e') => found.hop_by_hop |= text == "expect",
            Some(b'h') => found.hop_by_hop |= text == "http2-settings",
            Some(b'k') => found.hop_by_hop |= text == "keep-alive",
            Some(b'p') => found.hop_by_hop |= text.starts_with("proxy-"),
            Some(b't') => found.hop_by_hop |= matches!(text, "te" | "transfer-encoding"),
            Some(b'u') if text == "upgrade" => {
                found.hop_by_hop = true;
                found.websocket = asks_for_websocket(head);
            }
            Some(b'x')
                if text.starts_with("x-forwarded")
                    || text.starts_with("x-client-")
                    || text == "x-real-ip" =>
            {
                found.claimed.push(name.clone());
            }
            _ => {}
        }
        if text.contains('_') {
            return Err(Answer::bad_request("a field name with an underscore"));
        }
    }
    Ok(found)
}

fn has_white_edge(value: &HeaderValue) -> bool {
    let edges = [value.as_bytes().first(), value.as_bytes().last()];
    edges.into_iter().flatten().any(|byte| matches!(byte, b' ' | b'\t'))
}

/// RFC 6455 section 4.1; any other protocol is not offered to the upstream, h2c above all.
fn asks_for_websocket(head: &Parts) -> bool {
    let mut protocols = head.headers.get_all(header::UPGRADE).iter();
    let websocket = protocols.next().is_some_and(is_websocket) && protocols.next().is_none();
    let body = head.headers.contains_key(header::CONTENT_LENGTH)
        || head.headers.contains_key(header::TRANSFER_ENCODING);
    websocket
        && !body
        && head.method == Method::GET
        && head.version == Version::HTTP_11
        && lists(&head.headers, header::CONNECTION, "upgrade")
}

fn is_websocket(value: &HeaderValue) -> bool {
    value.as_bytes().eq_ignore_ascii_case(b"websocket")
}

/// Makes the request's header what the upstream gets.
pub(super) fn to_upstream(
    head: &mut Parts,
    found: Found,
    authority: &Authority,
    request_id: HeaderValue,
    body: &RequestBody,
    protocol: config::Protocol,
    session: &Session,
) {
    let headers = &mut head.headers;
    let trailers = found.hop_by_hop && lists(headers, header::TE, "trailers");
    if found.hop_by_hop {
        remove_hop_by_hop(headers);
        headers.remove(header::EXPECT);
        headers.remove(&HTTP2_SETTINGS);
        headers.remove(header::PROXY_AUTHORIZATION);
    }
    for name in found.claimed {
        headers.remove(name);
    }
    if head.method == Method::OPTIONS
        && let Some(left) = request::max_forwards(headers)
    {
        headers.insert(header::MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
    }
    join_cookies(headers);
    headers.insert(&X_FORWARDED_FOR, session.forwarded_for.clone());
    headers.insert(&X_FORWARDED_PROTO, HeaderValue::from_static("https"));
    headers.insert(&X_FORWARDED_HOST, authority.value.clone());
    headers.insert(&X_REQUEST_ID, request_id);
    for (name, value) in &session.client.attributes {
        headers.append(name, value.clone());
    }
    let http1 = protocol == config::Protocol::Http1;
    if http1 {
        headers.insert(header::HOST, authority.value.clone());
    } else {
        headers.remove(header::HOST);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if found.websocket && http1 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, WEBSOCKET);
    } else if trailers && http1 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    frame(headers, &head.method, body, http1);
}

/// Content-Length if the length is known, else chunks. HTTP/2 frames need neither.
fn frame(headers: &mut HeaderMap, method: &Method, body: &RequestBody, http1: bool) {
    match body.size_hint().exact() {
        _ if body.is_empty() => {
            if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            } else {
                headers.remove(header::CONTENT_LENGTH);
            }
        }
        Some(length) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        None => {
            headers.remove(header::CONTENT_LENGTH);
            // Said here because hyper would leave the body of a GET out otherwise.
            if http1 {
                headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
        }
    }
}

/// HTTP/2 clients may send the crumbs one by one (RFC 9113 section 8.2.3); HTTP/1.1 knows one Cookie field only.
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // Valid values joined by a valid separator are valid.
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// A response that no two readers could agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ResponseError {
    #[error("the upstream's response has a Transfer-Encoding other than chunked")]
    Coding,
    #[error("the upstream's response has both Content-Length and Transfer-Encoding")]
    BothFramings,
    #[error("the upstream's response has an invalid Content-Length")]
    Length,
    #[error("the upstream switched protocols unasked, or to another one than asked for")]
    Switch,
}

/// Makes the response's header what the client gets.
pub(super) fn to_client(
    status: StatusCode,
    headers: &mut HeaderMap,
    request_id: HeaderValue,
    close: bool,
) -> Result<(), ResponseError> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(ResponseError::Coding);
        }
        if headers.contains_key(header::CONTENT_LENGTH) {
            return Err(ResponseError::BothFramings);
        }
    }
    match request::content_length(headers) {
        Err(()) => return Err(ResponseError::Length),
        Ok(Some(_)) if status == StatusCode::NO_CONTENT || status.is_informational() => {
            headers.remove(header::CONTENT_LENGTH);
        }
        Ok(Some(length)) if headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(_) => {}
    }
    if headers.keys().any(is_hop_by_hop) {
        remove_hop_by_hop(headers);
        headers.remove(header::PROXY_AUTHENTICATE);
        headers.remove(&PROXY_AUTHENTICATION_INFO);
    }
    headers.insert(&X_REQUEST_ID, request_id);
    if close {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(())
}

/// The fields of a 101, which name the protocol again. It must be the one that was asked for.
pub(super) fn to_client_switching(
    headers: &mut HeaderMap,
    request_id: HeaderValue,
) -> Result<(), ResponseError> {
    let asked_for = headers.get(header::UPGRADE).is_some_and(is_websocket);
    remove_hop_by_hop(headers);
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(&X_REQUEST_ID, request_id);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, WEBSOCKET);
    if asked_for { Ok(()) } else { Err(ResponseError::Switch) }
}

/// Gives each value memory of its own, where HTTP/2 sends them on.
///
/// They are slices of the buffer that they were read into, of 8 KiB or more, and the table of HPACK keeps those that may
/// come again (RFC 7541 section 2.3.2): every idle connection held such a buffer, and one whose responses differ about a
/// hundred. What the table counts for an entry is now what that holds.
pub(super) fn detach(headers: &mut HeaderMap) {
    for value in headers.values_mut().filter(|value| !value.is_sensitive()) {
        // A copy of a valid value is valid.
        if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
            *value = copy;
        }
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    is_of_one_hop(name) || name.as_str().starts_with("proxy-")
}

fn is_of_one_hop(name: &HeaderName) -> bool {
    matches!(*name, header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE | header::TE)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let mut values = headers.get_all(header::CONNECTION).iter();
    let first = values.next().cloned();
    let others: Vec<HeaderValue> = values.cloned().collect();
    for value in first.iter().chain(&others) {
        // Not the two that most responses have: they name no field, or one that is removed below.
        let named = tokens(value).filter(|option| !matches!(*option, b"keep-alive" | b"close"));
        // What is no field name can not be the name of a field that is there.
        for name in named.filter_map(|option| HeaderName::from_bytes(option).ok()) {
            headers.remove(name);
        }
    }
    // Most have one of them: a look at each name is cheaper than six look-ups by hash.
    let present: Vec<HeaderName> = headers.keys().filter(|name| is_of_one_hop(name)).cloned().collect();
    for name in present {
        headers.remove(name);
    }
}

fn lists(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    let mut tokens = headers.get_all(name).iter().flat_map(tokens);
    tokens.any(|token| token.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// By bytes: one that is not ASCII must not hide the tokens beside it.
fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn fields_that_connection_names_are_removed_with_it() {
        let mut headers = map(&[
            ("connection", "close, X-Private"),
            ("connection", " other ,,b@d,"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("x-private", "1"),
            ("other", "2"),
            ("kept", "3"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(names(&headers), ["kept"]);
    }

    #[test]
    fn a_byte_beyond_ascii_in_connection_hides_none_of_the_names_beside_it() {
        let mut headers = map(&[("x-private", "1"), ("other", "2"), ("upgrade", "h2c"), ("kept", "3")]);
        let value = HeaderValue::from_bytes(b"caf\xe9, X-Private,\xff,other , Upgrade").unwrap();
        headers.insert(header::CONNECTION, value);
        assert!(lists(&headers, header::CONNECTION, "upgrade"));
        remove_hop_by_hop(&mut headers);
        assert_eq!(names(&headers), ["kept"]);
    }

    #[test]
    fn cookies_become_one_field() {
        let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2; c=3"), ("cookie", "d=4")]);
        join_cookies(&mut headers);
        let cookies: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3; d=4"]);
    }

    #[test]
    fn responses_with_doubtful_framing_are_refused() {
        let judge = |fields: &[(&'static str, &'static str)]| {
            to_client(StatusCode::OK, &mut map(fields), HeaderValue::from_static("id"), false)
        };
        assert_eq!(judge(&[("transfer-encoding", "chunked")]), Ok(()));
        assert_eq!(judge(&[("transfer-encoding", "gzip, chunked")]), Err(ResponseError::Coding));
        assert_eq!(
            judge(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]),
            Err(ResponseError::Coding)
        );
        assert_eq!(
            judge(&[("transfer-encoding", "chunked"), ("content-length", "1")]),
            Err(ResponseError::BothFramings)
        );
        assert_eq!(judge(&[("content-length", "5x")]), Err(ResponseError::Length));
        assert_eq!(judge(&[("content-length", "5"), ("content-length", "6")]), Err(ResponseError::Length));
    }

    #[test]
    fn detached_values_do_not_hold_the_buffer_they_were_read_into() {
        let buffer = Bytes::from(b"the value of a field".repeat(400));
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_maybe_shared(buffer.slice(..20)).unwrap();
        headers.append(header::SERVER, value.clone());
        headers.append(header::SERVER, value);
        assert!(!buffer.is_unique());
        detach(&mut headers);
        assert!(buffer.is_unique());
        assert!(headers.get_all(header::SERVER).iter().all(|value| value == "the value of a field"));
    }

    #[test]
    fn equal_content_lengths_become_one_and_one_on_204_none() {
        let mut headers = map(&[("content-length", "5"), ("content-length", "5")]);
        to_client(StatusCode::OK, &mut headers, HeaderValue::from_static("id"), true).unwrap();
        assert_eq!(headers.get_all("content-length").iter().count(), 1);
        assert_eq!(headers["connection"], "close");
        assert_eq!(headers["x-request-id"], "id");
        to_client(StatusCode::NO_CONTENT, &mut headers, HeaderValue::from_static("id"), false).unwrap();
        assert_eq!(names(&headers), ["x-request-id"]);
    }
}
