//! What reaches the other side, field by field.

use super::harness::*;

#[tokio::test]
async fn the_upstream_sees_our_word_about_the_client_and_nothing_hop_by_hop() {
    let mut upstream = Upstream::fixed(OK).await;
    let gateway = setup(upstream.address).start().await;
    gateway
        .exchange(
            "GET /p/./q?x=%2e HTTP/1.1\r\nHost: A.example:8443\r\nConnection: keep-alive, X-Secret\r\nX-Secret: 1\r\n\
             Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nTE: gzip\r\n\
             Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\n\
             X-Forwarded-Proto: http\r\nX-Forwarded-Port: 1\r\nX-Real-IP: 1.2.3.4\r\nX-Client-Subject: CN=mallory\r\n\
             X-Client-Other: 1\r\nX-Request-Id: mine\r\nCookie: a=1\r\nCookie: b=2\r\nAccept: */*\r\n\r\n",
        )
        .await;
    let head = upstream.received().await;
    assert!(head.starts_with("GET /p/q?x=%2e HTTP/1.1\r\n"), "{head}");
    for (name, expected) in [
        ("host", "A.example:8443"),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "A.example:8443"),
        ("x-client-subject", "CN=alice"),
        ("cookie", "a=1; b=2"),
        ("accept", "*/*"),
    ] {
        assert_eq!(values(&head, name), [expected], "{name} in {head}");
    }
    for gone in [
        "connection",
        "x-secret",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "upgrade",
        "http2-settings",
        "forwarded",
        "x-forwarded-port",
        "x-real-ip",
        "x-client-other",
        "via",
        "transfer-encoding",
        "content-length",
    ] {
        assert!(values(&head, gone).is_empty(), "{gone} in {head}");
    }
    let id = values(&head, "x-request-id");
    assert_eq!(id.len(), 1);
    assert_eq!(id[0].len(), 32);
}

#[tokio::test]
async fn the_client_sees_the_response_without_the_upstreams_connection() {
    let mut upstream = Upstream::fixed(
        "HTTP/1.1 201 Whatever\r\nconnection: keep-alive, x-inner\r\nx-inner: 1\r\nkeep-alive: timeout=5\r\n\
         upgrade: h2c\r\nproxy-authenticate: Basic\r\nx-request-id: theirs\r\nserver: app\r\ncontent-length: 2\r\n\
         content-length: 2\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\r\nok",
    )
    .await;
    let gateway = setup(upstream.address).start().await;
    let answer = gateway.exchange(GET).await;
    let id = values(&upstream.received().await, "x-request-id").join(" ");
    assert_eq!(values(&answer, "x-request-id"), [id]);
    assert_eq!(values(&answer, "content-length"), ["2"]);
    assert_eq!(values(&answer, "set-cookie"), ["a=1", "b=2"]);
    assert_eq!(values(&answer, "server"), ["app"]);
    for gone in ["x-inner", "keep-alive", "upgrade", "proxy-authenticate"] {
        assert!(values(&answer, gone).is_empty(), "{gone} in {answer}");
    }
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
}

#[tokio::test]
async fn an_absolute_target_that_agrees_with_host_is_forwarded_in_origin_form() {
    let mut upstream = Upstream::fixed(OK).await;
    let gateway = setup(upstream.address).start().await;
    gateway.exchange("GET https://a.example/x?y HTTP/1.1\r\nhost: A.Example\r\n\r\n").await;
    assert!(upstream.received().await.starts_with("GET /x?y HTTP/1.1\r\n"));
}

#[tokio::test]
async fn empty_requests_with_a_meaningful_body_say_so() {
    let mut upstream = Upstream::fixed(OK).await;
    let gateway = setup(upstream.address).start().await;
    gateway.exchange("POST / HTTP/1.1\r\nhost: a.example\r\n\r\n").await;
    assert_eq!(values(&upstream.received().await, "content-length"), ["0"]);
    gateway.exchange("GET / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 0\r\n\r\n").await;
    assert!(values(&upstream.received().await, "content-length").is_empty());
}

#[tokio::test]
async fn head_and_304_keep_their_content_length_and_have_no_body() {
    let upstream = Upstream::scripted(|mut peer, _, _| async move {
        while let Some(head) = peer.head().await {
            let status = if head.starts_with("HEAD") { "200 OK" } else { "304 Not Modified" };
            peer.send(format!("HTTP/1.1 {status}\r\ncontent-length: 1234\r\n\r\n")).await;
        }
    })
    .await;
    let gateway = setup(upstream.address).start().await;
    let answer = gateway.exchange(&format!("{}{GET}", GET.replace("GET", "HEAD"))).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n"), "{answer}");
    assert!(answer.contains("\r\n\r\nHTTP/1.1 304 Not Modified\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    assert_eq!(upstream.accepted(), 1);
}
