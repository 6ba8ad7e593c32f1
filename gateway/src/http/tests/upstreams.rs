//! Upstreams that fail, and connections to them.

use std::time::Duration;

use super::harness::*;
use crate::http::{ErrorKind, Routing};
use crate::{config, route};

#[tokio::test]
async fn requests_share_a_kept_upstream_connection() {
    let upstream = Upstream::fixed(OK).await;
    let gateway = setup(upstream.address).start().await;
    for _ in 0..3 {
        assert_eq!(gateway.exchange(&GET.repeat(3)).await.matches("HTTP/1.1 200").count(), 3);
    }
    assert_eq!(upstream.accepted(), 1);
}

#[tokio::test]
async fn a_dead_kept_connection_costs_a_safe_request_nothing() {
    // Each connection answers once, then ends when the second request has arrived: the moment that no check can see.
    let upstream = Upstream::scripted(|mut peer, number, heads| async move {
        peer.head().await;
        peer.send(OK).await;
        let second = peer.head().await;
        if number > 1 && second.is_some() {
            peer.send(OK).await;
        }
        let _ = heads.send(second.unwrap_or_default());
    });
    let mut upstream = upstream.await;
    let mut gateway = setup(upstream.address).start().await;
    let mut client = gateway.connect().await;
    for _ in 0..2 {
        client.send(GET).await;
        assert_eq!(status(&client.head().await.unwrap()), "200");
        client.exactly(2).await;
        assert_eq!(gateway.outcome().await.error, None);
    }
    assert_eq!(upstream.accepted(), 2);
    upstream.received().await;
}

#[tokio::test]
async fn a_dead_kept_connection_does_not_repeat_an_unsafe_request() {
    let upstream = Upstream::scripted(|mut peer, _, _| async move {
        peer.head().await;
        peer.send(OK).await;
        peer.head().await;
    })
    .await;
    let mut gateway = setup(upstream.address).start().await;
    let post = "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 1\r\n\r\nx";
    let answer = gateway.exchange(&format!("{GET}{post}")).await;
    assert!(answer.contains("HTTP/1.1 502"), "{answer}");
    assert_eq!(upstream.accepted(), 1);
    gateway.outcome().await;
    let outcome = gateway.outcome().await;
    assert_eq!(outcome.error, Some(ErrorKind::UpstreamBroken));
    assert!(outcome.detail.unwrap().contains(&upstream.address.to_string()));
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_at_rest_is_not_used() {
    let upstream = Upstream::scripted(|mut peer, _, heads| async move {
        peer.head().await;
        peer.send(OK).await;
        drop(peer);
        let _ = heads.send(String::new());
    });
    let mut upstream = upstream.await;
    let gateway = setup(upstream.address).start().await;
    for _ in 0..3 {
        let post = "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(status(&gateway.exchange(post).await), "200");
        upstream.received().await;
    }
    assert_eq!(upstream.accepted(), 3);
}

#[tokio::test]
async fn an_upstream_that_is_down_gives_502_and_another_endpoint_is_tried_first() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut gateway = setup(closed).start().await;
    let answer = gateway.exchange(GET).await;
    assert_eq!(status(&answer), "502");
    let outcome = gateway.outcome().await;
    assert_eq!(outcome.error, Some(ErrorKind::ConnectFailed));
    assert_eq!(outcome.endpoint.as_deref(), Some(&*closed.to_string()));

    let upstream = Upstream::fixed(OK).await;
    let mut two = setup(closed);
    two.upstream.endpoints.push(upstream.address.to_string());
    let gateway = two.start().await;
    for _ in 0..4 {
        assert_eq!(status(&gateway.exchange(GET).await), "200");
    }
}

#[tokio::test]
async fn a_name_is_resolved_and_an_unknown_one_gives_502() {
    let upstream = Upstream::fixed(OK).await;
    let mut named = setup(upstream.address);
    named.upstream.endpoints = vec![format!("localhost:{}", upstream.address.port())];
    assert_eq!(status(&named.start().await.exchange(GET).await), "200");
    let mut unknown = setup(upstream.address);
    unknown.upstream.endpoints = vec!["no-such-host.invalid:80".to_owned()];
    assert_eq!(status(&unknown.start().await.exchange(GET).await), "502");
}

#[tokio::test]
async fn what_is_no_proper_response_gives_502() {
    for broken in [
        "",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5x\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    ] {
        let upstream = Upstream::scripted(move |mut peer, _, _| async move {
            peer.head().await;
            peer.send(broken).await;
        })
        .await;
        let mut gateway = setup(upstream.address).start().await;
        let answer = gateway.exchange(GET).await;
        assert_eq!(status(&answer), "502", "{broken:?}");
        assert_eq!(gateway.outcome().await.error, Some(ErrorKind::UpstreamBroken));
    }
}

#[tokio::test]
async fn interim_responses_are_skipped() {
    let upstream = Upstream::fixed(
        "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    );
    let upstream = upstream.await;
    let answer = setup(upstream.address).start().await.exchange(GET).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_slow_upstream_gives_504_and_its_connection_is_not_used_again() {
    let upstream = Upstream::scripted(|mut peer, _, _| async move {
        peer.rest().await;
    })
    .await;
    let mut slow = setup(upstream.address);
    slow.upstream.response_timeout = Duration::from_millis(100);
    let mut gateway = slow.start().await;
    let answer = gateway.exchange(&GET.repeat(2)).await;
    assert_eq!(answer.matches("HTTP/1.1 504").count(), 2, "{answer}");
    assert_eq!(gateway.outcome().await.error, Some(ErrorKind::ResponseTimeout));
    assert_eq!(upstream.accepted(), 2);
}

#[tokio::test]
async fn a_new_configuration_reaches_the_connections_that_are_open() {
    let (old, new) = (Upstream::fixed(OK).await, Upstream::fixed(OK).await);
    let gateway = setup(old.address).start().await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    client.head().await.unwrap();
    client.exactly(2).await;

    let setup = setup(new.address);
    let routes = [config::Route {
        hosts: vec!["*".to_owned()],
        path: "/".to_owned(),
        upstream: std::sync::Arc::new(setup.upstream),
    }];
    let routing = Routing { routes: route::Routes::new(&routes), http: setup.http };
    *gateway.routing.lock().unwrap() = std::sync::Arc::new(routing);
    client.send(GET).await;
    client.head().await.unwrap();
    assert_eq!((old.accepted(), new.accepted()), (1, 1));
}
