//! Requests that never reach an upstream.

use super::harness::*;
use crate::http::{End, ErrorKind};

#[tokio::test]
async fn malformed_or_misdirected_requests_are_refused_and_never_forwarded() {
    let mut upstream = Upstream::fixed(OK).await;
    let mut gateway = setup(upstream.address).start().await;
    for (request, expected) in [
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.0\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a.example\r\nhost: a.example\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a.example, b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost:\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: user@a.example\r\n\r\n", "400"),
        ("GET https://b.example/ HTTP/1.1\r\nhost: a.example\r\n\r\n", "400"),
        ("GET ftp://a.example/ HTTP/1.1\r\nhost: a.example\r\n\r\n", "400"),
        ("GET a.example:443 HTTP/1.1\r\nhost: a.example:443\r\n\r\n", "400"),
        ("GET * HTTP/1.1\r\nhost: a.example\r\n\r\n", "400"),
        ("CONNECT a.example:443 HTTP/1.1\r\nhost: a.example:443\r\n\r\n", "405"),
        ("TRACE / HTTP/1.1\r\nhost: a.example\r\nmax-forwards: 3\r\n\r\n", "405"),
        ("GET / HTTP/1.1\r\nhost: a.example\r\nx_forwarded_for: 1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a.example\r\nexpect: miracles\r\n\r\n", "417"),
        ("GET /a/../../b HTTP/1.1\r\nhost: a.example\r\n\r\n", "400"),
        ("GET /a/..%2fb HTTP/1.1\r\nhost: a.example\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: b.example\r\n\r\n", "421"),
        ("GET / HTTP/1.1\r\nhost: x.y.w.example\r\n\r\n", "421"),
    ] {
        let answer = gateway.exchange(request).await;
        assert_eq!(status(&answer), expected, "{request}{answer}");
        let ids = values(&answer, "x-request-id");
        assert_eq!(ids.len(), 1, "{answer}");
        assert!(answer.ends_with(&format!("request id: {}\n", ids[0])), "{answer}");
        let outcome = gateway.outcome().await;
        assert_eq!(outcome.request_id(), Some(ids[0]));
        assert_eq!(outcome.status.unwrap().as_str(), expected);
        let error = if expected == "421" { ErrorKind::Misdirected } else { ErrorKind::BadRequest };
        assert_eq!(outcome.error, Some(error), "{request}");
    }
    assert!(upstream.received_nothing());
}

#[tokio::test]
async fn contradictory_framing_is_refused_and_ends_the_connection() {
    let mut upstream = Upstream::fixed(OK).await;
    let gateway = setup(upstream.address).start().await;
    for framing in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: identity, chunked\r\n",
        "transfer-encoding: ,chunked\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: xchunked\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5,5\r\n",
        "content-length: +5\r\n",
        "content-length: 5x\r\n",
        "content-length:\r\n",
    ] {
        let request = format!("POST / HTTP/1.1\r\nhost: a.example\r\n{framing}\r\n0\r\n\r\n{GET}");
        let answer = gateway.exchange(&request).await;
        assert_eq!(status(&answer), "400", "{framing}{answer}");
        assert_eq!(values(&answer, "connection"), ["close"], "{framing}{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{framing}{answer}");
    }
    assert!(upstream.received_nothing());
}

#[tokio::test]
async fn control_characters_in_values_end_in_400() {
    let mut upstream = Upstream::fixed(OK).await;
    let mut gateway = setup(upstream.address).start().await;
    for value in ["a\0b", "a\rb", "a\x01b", "a\x7fb"] {
        let answer =
            gateway.exchange(&format!("GET / HTTP/1.1\r\nhost: a.example\r\nx: {value}\r\n\r\n")).await;
        assert_eq!(status(&answer), "400", "{value:?}");
        assert_eq!(gateway.summary().await.end, End::ProtocolError);
    }
    assert!(upstream.received_nothing());
}

#[tokio::test]
async fn options_for_the_gateway_itself_are_answered_here() {
    let mut upstream = Upstream::fixed(OK).await;
    let mut gateway = setup(upstream.address).start().await;
    for request in [
        "OPTIONS * HTTP/1.1\r\nhost: a.example\r\n\r\n",
        "OPTIONS / HTTP/1.1\r\nhost: a.example\r\nmax-forwards: 0\r\n\r\n",
    ] {
        let answer = gateway.exchange(request).await;
        assert_eq!(status(&answer), "204", "{answer}");
        assert_eq!(values(&answer, "allow").len(), 1);
        assert_eq!(gateway.outcome().await.error, None);
    }
    assert!(upstream.received_nothing());
    gateway.exchange("OPTIONS / HTTP/1.1\r\nhost: a.example\r\nmax-forwards: 3\r\n\r\n").await;
    assert_eq!(values(&upstream.received().await, "max-forwards"), ["2"]);
}

#[tokio::test]
async fn a_host_or_path_without_route_gets_404_and_the_connection_goes_on() {
    let upstream = Upstream::fixed(OK).await;
    let mut setup = setup(upstream.address);
    setup.client.certificate_names.push("b.example".to_owned());
    let mut gateway = setup.start().await;
    let answer =
        gateway.exchange(&format!("HEAD /x?secret HTTP/1.1\r\nhost: b.example:8443\r\n\r\n{GET}")).await;
    assert_eq!(status(&answer), "404");
    assert!(answer.contains("HTTP/1.1 200"), "{answer}");
    let outcome = gateway.outcome().await;
    assert_eq!(outcome.error, Some(ErrorKind::NoRoute));
    assert_eq!((outcome.host(), outcome.path()), ("b.example:8443", "/x"));
    assert_eq!(gateway.outcome().await.error, None);
    assert_eq!(gateway.summary().await.requests, 2);
}

#[tokio::test]
async fn too_large_a_head_gets_431() {
    let mut upstream = Upstream::fixed(OK).await;
    let gateway = setup(upstream.address).start().await;
    let request = format!("GET / HTTP/1.1\r\nhost: a.example\r\nx: {}\r\n\r\n", "y".repeat(17 << 10));
    assert_eq!(status(&gateway.exchange(&request).await), "431");
    assert!(upstream.received_nothing());
}
