//! The judgement of a request head: is it one, whom is it for, and may this connection ask for that?
//!
//! Pure functions. `forward` asks them in order; each refusal is an [`Answer`].
//!
//! # Memo: choices that RFC 9110 and 9112 leave open
//! * Host is asked for in HTTP/1.0 too: without it there is nothing to route by.
//! * An absolute-form target must agree with Host. The target would win (RFC 9112 section 3.2.2), but honest clients
//!   send the same twice, and whoever looks at Host behind us would see something else.
//! * HTTP/2: `:authority` wins over a `host` field, silently, since the field is replaced.
//! * Field names with underscores are refused: CGI and its heirs read `x_forwarded_for` as `x-forwarded-for`. nginx drops
//!   them; refusing is Envoy's advice for the edge, and the client learns of it.
//! * TRACE is refused whatever its Max-Forwards: it echoes credentials. CONNECT is for forward proxies.

use std::borrow::Cow;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};

use super::Client;
use super::answer::Answer;
use super::outcome::ErrorKind;
use crate::route::path;

/// Whom a request is for.
#[derive(Debug)]
pub(super) struct Authority {
    /// As received, port included: what the upstream gets as Host.
    pub value: HeaderValue,
    host: usize,
}

impl Authority {
    /// Without port; brackets of an IPv6 address stay.
    pub(super) fn host(&self) -> &str {
        self.value.to_str().ok().and_then(|text| text.get(..self.host)).unwrap_or_default()
    }
}

/// The host and path of a request whose head is in order.
pub(super) fn authority(head: &Parts) -> Result<Authority, Answer> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Answer::bad_request("more than one Host"));
    }
    let target = head.uri.authority();
    let value = match (head.version, host, target) {
        (Version::HTTP_2, _, Some(target)) => value_of(target.as_str())?,
        (_, None, _) => return Err(Answer::bad_request("no Host")),
        (_, Some(host), None) => host.clone(),
        // Authority-form is for CONNECT only.
        (_, Some(_), Some(_)) if head.uri.scheme().is_none() => {
            return Err(Answer::bad_request("a request target without a path"));
        }
        (_, Some(host), Some(target)) => {
            if !host.as_bytes().eq_ignore_ascii_case(target.as_str().as_bytes()) {
                return Err(Answer::bad_request("Host and the request target differ"));
            }
            host.clone()
        }
    };
    if head.uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(Answer::bad_request("an unknown scheme"));
    }
    let host = host_length(value.as_bytes()).ok_or(Answer::bad_request("an invalid Host"))?;
    Ok(Authority { value, host })
}

fn value_of(text: &str) -> Result<HeaderValue, Answer> {
    HeaderValue::from_str(text).map_err(|_| Answer::bad_request("an invalid Host"))
}

/// The length of the host in `host[:port]`, if that is what it is (RFC 3986 section 3.2, without user information and
/// without percent-escapes, which no name in DNS has).
fn host_length(authority: &[u8]) -> Option<usize> {
    let (host, port) = if authority.first() == Some(&b'[') {
        let end = authority.iter().position(|byte| *byte == b']')? + 1;
        let (host, port) = authority.split_at_checked(end)?;
        let address = std::str::from_utf8(host.get(1..end - 1)?).ok()?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        (host, port)
    } else {
        let end = authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len());
        let (host, port) = authority.split_at_checked(end)?;
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if host.is_empty() || !host.iter().all(plain) {
            return None;
        }
        (host, port)
    };
    match port {
        [] => Some(host.len()),
        // An empty port is allowed, and means none.
        [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => {
            let number = std::str::from_utf8(digits).ok()?;
            (number.is_empty() || number.parse::<u16>().is_ok()).then_some(host.len())
        }
        _ => None,
    }
}

/// Methods that are answered or refused here, and expectations that nobody can meet.
pub(super) fn method(head: &Parts) -> Result<(), Answer> {
    const REFUSED: Answer = Answer {
        status: StatusCode::METHOD_NOT_ALLOWED,
        text: "method not allowed",
        error: Some(ErrorKind::BadRequest),
        // After CONNECT a client may already be sending what it wanted tunnelled.
        close: true,
    };
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(REFUSED);
    }
    if let Some(expectation) = head.headers.get(header::EXPECT)
        && !expectation.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        let status = StatusCode::EXPECTATION_FAILED;
        return Err(Answer {
            close: true,
            ..Answer::error(status, ErrorKind::BadRequest, "an unknown expectation")
        });
    }
    match (head.uri.path(), &head.method) {
        ("*", &Method::OPTIONS) => Err(Answer::OPTIONS),
        ("*", _) => Err(Answer::bad_request("only OPTIONS may be for *")),
        (_, &Method::OPTIONS) if max_forwards(&head.headers) == Some(0) => Err(Answer::OPTIONS),
        _ => Ok(()),
    }
}

/// For OPTIONS (RFC 9110 section 7.6.2). What is not a number is ignored.
pub(super) fn max_forwards(headers: &HeaderMap) -> Option<u32> {
    headers.get(header::MAX_FORWARDS)?.to_str().ok()?.parse().ok()
}

/// Content-Length and Transfer-Encoding: at most one of them, once, and in the one form that everybody reads alike.
/// `conflict`: hyper saw both and shows only one.
pub(super) fn framing(head: &Parts, conflict: bool) -> Result<(), Answer> {
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if conflict || (coding.is_some() && head.headers.contains_key(header::CONTENT_LENGTH)) {
        return Err(Answer::bad_request("both Content-Length and Transfer-Encoding"));
    }
    if codings.next().is_some()
        || coding.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err(Answer::bad_request("a Transfer-Encoding other than chunked"));
    }
    content_length(&head.headers).map(drop).map_err(|()| Answer::bad_request("an invalid Content-Length"))
}

/// The length that all Content-Length fields agree on, or an error if they do not or one is no number.
pub(super) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, ()> {
    let mut agreed = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let digits = value.to_str().map_err(drop)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(());
        }
        let length: u64 = digits.parse().map_err(drop)?;
        if agreed.is_some_and(|agreed| agreed != length) {
            return Err(());
        }
        agreed = Some(length);
    }
    Ok(agreed)
}

/// Whether the connection was opened for this host. The port does not count: it is how the client got here.
pub(super) fn is_served(client: &Client, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Some(name) = &client.server_name {
        if name.eq_ignore_ascii_case(host) {
            return true;
        }
        if client.bound_to_server_name {
            return false;
        }
    }
    client.certificate_names.iter().any(|name| match name.strip_prefix("*.") {
        Some(parent) => {
            let rest = host.split_once('.').filter(|(label, _)| !label.is_empty());
            rest.is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
        }
        None => name.eq_ignore_ascii_case(host),
    })
}

/// The path to route and to forward.
pub(super) fn path(head: &Parts) -> Result<Cow<'_, str>, Answer> {
    path::resolve(head.uri.path()).map_err(|_| Answer::bad_request("an invalid path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_an_optional_port() {
        for (authority, host) in [
            ("example.com", "example.com"),
            ("a_b.Example.com.:8443", "a_b.Example.com."),
            ("127.0.0.1:", "127.0.0.1"),
            ("[::1]:443", "[::1]"),
        ] {
            assert_eq!(host_length(authority.as_bytes()), Some(host.len()), "{authority}");
        }
        for invalid in [
            "", ":443", "a b", "user@a", "a:b", "a:70000", "a:1:2", "[::1", "[x]", "[::1]x", "a,b", "a/b",
            "%61", "é",
        ] {
            assert_eq!(host_length(invalid.as_bytes()), None, "{invalid}");
        }
    }

    fn client(server_name: Option<&str>, names: &[&str], bound: bool) -> Client {
        Client {
            connection_id: 1,
            listener: String::new(),
            address: ([127, 0, 0, 1], 1).into(),
            server_address: ([127, 0, 0, 1], 2).into(),
            server_name: server_name.map(str::to_owned),
            certificate_names: names.iter().map(|name| (*name).to_owned()).collect(),
            bound_to_server_name: bound,
            attributes: Vec::new(),
        }
    }

    #[test]
    fn hosts_outside_the_names_of_the_connection_are_not_served() {
        let several = client(Some("a.example"), &["b.example", "*.c.example", "::1"], false);
        for host in ["a.example", "B.Example", "b.example.", "x.c.example", "[::1]"] {
            assert!(is_served(&several, host), "{host}");
        }
        for host in ["d.example", "c.example", "x.y.c.example", ".c.example", ""] {
            assert!(!is_served(&several, host), "{host}");
        }
    }

    #[test]
    fn a_connection_bound_to_its_server_name_serves_nothing_else() {
        let bound = client(Some("a.example"), &["a.example", "b.example"], true);
        assert!(is_served(&bound, "a.example"));
        assert!(!is_served(&bound, "b.example"));
    }

    #[test]
    fn without_a_server_name_the_certificate_decides() {
        for bound in [false, true] {
            let nameless = client(None, &["a.example"], bound);
            assert!(is_served(&nameless, "a.example"));
            assert!(!is_served(&nameless, "b.example"));
        }
    }

    #[test]
    fn content_lengths_must_be_plain_numbers_that_agree() {
        let parse = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            content_length(&headers)
        };
        assert_eq!(parse(&[]), Ok(None));
        assert_eq!(parse(&["5", "5"]), Ok(Some(5)));
        for invalid in
            [&["5", "6"][..], &["5x"], &["+5"], &["-1"], &[""], &["5, 5"], &["99999999999999999999"]]
        {
            assert_eq!(parse(invalid), Err(()), "{invalid:?}");
        }
    }
}
