//! Bodies and trailers in both directions, whole and cut short.

use super::harness::*;
use crate::http::{End, ErrorKind};

#[tokio::test]
async fn a_chunked_request_is_framed_anew_and_its_declared_trailers_arrive() {
    let upstream = Upstream::scripted(|mut peer, _, heads| async move {
        let head = peer.head().await.unwrap();
        let body = peer.until("\r\n\r\n").await.unwrap();
        let _ = heads.send(head);
        let _ = heads.send(body);
        peer.send(OK).await;
    });
    let mut upstream = upstream.await;
    let mut gateway = setup(upstream.address).start().await;
    let answer = gateway
        .exchange(
            "POST / HTTP/1.1\r\nhost: a.example\r\ntrailer: x-sum, x-client-subject\r\nTransfer-Encoding: Chunked\r\n\r\n\
             3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 7\r\nx-client-subject: CN=mallory\r\n\r\n",
        )
        .await;
    assert_eq!(status(&answer), "200");
    assert_eq!(values(&upstream.received().await, "transfer-encoding"), ["chunked"]);
    let body = upstream.received().await;
    assert!(body.ends_with("0\r\nx-sum: 7\r\n\r\n"), "{body}");
    assert!(!body.contains("ext") && !body.contains("mallory"), "{body}");
    assert_eq!(gateway.outcome().await.bytes_in, 5);
}

#[tokio::test]
async fn a_get_with_a_body_keeps_it() {
    let upstream = Upstream::scripted(|mut peer, _, heads| async move {
        let _ = heads.send(peer.head().await.unwrap() + &peer.until("0\r\n\r\n").await.unwrap());
        peer.send(OK).await;
    });
    let mut upstream = upstream.await;
    let gateway = setup(upstream.address).start().await;
    let request =
        "GET / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    assert_eq!(status(&gateway.exchange(request).await), "200");
    assert!(upstream.received().await.ends_with("\r\n\r\n1\r\nx\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn response_trailers_reach_a_client_that_takes_them() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n";
    let mut upstream = Upstream::fixed(answer).await;
    let gateway = setup(upstream.address).start().await;
    let request = "GET / HTTP/1.1\r\nhost: a.example\r\nte: trailers\r\nconnection: te\r\n\r\n";
    let received = gateway.exchange(request).await;
    assert!(received.ends_with("2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n"), "{received}");
    let head = upstream.received().await;
    assert_eq!((values(&head, "te"), values(&head, "connection")), (vec!["trailers"], vec!["te"]));
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_when_the_upstream_takes_the_body() {
    let upstream = Upstream::scripted(|mut peer, _, heads| async move {
        let _ = heads.send(peer.head().await.unwrap());
        let _ = heads.send(peer.exactly(5).await);
        peer.send(OK).await;
    });
    let mut upstream = upstream.await;
    let gateway = setup(upstream.address).start().await;
    let mut client = gateway.connect().await;
    let head = "PUT / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
    client.send(head).await;
    assert_eq!(client.head().await.as_deref(), Some("HTTP/1.1 100 Continue\r\n\r\n"));
    client.send("hello").await;
    assert_eq!(status(&client.head().await.unwrap()), "200");
    assert!(values(&upstream.received().await, "expect").is_empty());
    assert_eq!(upstream.received().await, "hello");
    let mut misdirected = gateway.connect().await;
    misdirected.send(head.replace("a.example", "b.example")).await;
    assert_eq!(status(&misdirected.head().await.unwrap()), "421");
}

#[tokio::test]
async fn a_response_cut_short_never_looks_complete() {
    for cut in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ] {
        let upstream = Upstream::scripted(move |mut peer, _, _| async move {
            peer.head().await;
            peer.send(cut).await;
        })
        .await;
        let mut gateway = setup(upstream.address).start().await;
        let answer = gateway.exchange(GET).await;
        // What was there before the break arrives: once the client got nothing at all, though the log said 200.
        assert_eq!(status(&answer), "200");
        assert!(answer.contains("half"), "{answer}");
        assert!(!answer.contains("\r\n0\r\n"), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(!values(head, "content-length").contains(&body.len().to_string().as_str()), "{answer}");
        assert_eq!(gateway.outcome().await.error, Some(ErrorKind::ResponseCut), "{cut}");
        assert_eq!(gateway.summary().await.end, End::ResponseCut);
    }
}

#[tokio::test]
async fn a_response_that_lasts_until_the_close_arrives_whole() {
    let upstream = Upstream::scripted(|mut peer, _, _| async move {
        peer.head().await;
        peer.send("HTTP/1.0 200 OK\r\n\r\nuntil the end").await;
    })
    .await;
    let mut gateway = setup(upstream.address).start().await;
    let answer = gateway.exchange(GET).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(values(&answer, "transfer-encoding"), ["chunked"]);
    assert!(answer.ends_with("\r\nD\r\nuntil the end\r\n0\r\n\r\n"), "{answer}");
    assert_eq!(gateway.outcome().await.bytes_out, 13);
}

#[tokio::test]
async fn bodies_stream_both_ways_before_either_is_complete() {
    let upstream = Upstream::scripted(|mut peer, _, _| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for _ in 0..3 {
            let letter = peer.exactly(6).await;
            peer.send(letter).await;
        }
        peer.send("0\r\n\r\n").await;
    })
    .await;
    let gateway = setup(upstream.address).start().await;
    let mut client = gateway.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n").await;
    assert_eq!(status(&client.head().await.unwrap()), "200");
    for letter in ["1\r\na\r\n", "1\r\nb\r\n", "1\r\nc\r\n"] {
        client.send(letter).await;
        assert_eq!(client.exactly(6).await, letter);
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.exactly(5).await, "0\r\n\r\n");
}

#[tokio::test]
async fn large_bodies_pass_unharmed_and_the_connections_are_kept() {
    const SIZE: usize = 3 << 20;
    let upstream = Upstream::scripted(|mut peer, _, _| async move {
        while peer.head().await.is_some() {
            let body = peer.exactly(SIZE).await;
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n")).await;
            peer.send(body).await;
        }
    })
    .await;
    let gateway = setup(upstream.address).start().await;
    let mut client = gateway.connect().await;
    let body: String = ('a'..='z').cycle().take(SIZE).collect();
    for _ in 0..2 {
        client.send(format!("POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: {SIZE}\r\n\r\n")).await;
        client.send(&body).await;
        assert_eq!(status(&client.head().await.unwrap()), "200");
        assert!(client.exactly(SIZE).await == body);
    }
    assert_eq!(upstream.accepted(), 1);
}

#[tokio::test]
async fn a_client_that_breaks_off_its_body_does_not_complete_the_request() {
    let upstream = Upstream::scripted(|mut peer, _, heads| async move {
        let _ = heads.send(peer.rest().await);
    });
    let mut upstream = upstream.await;
    let mut gateway = setup(upstream.address).start().await;
    gateway
        .exchange("POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await;
    assert!(upstream.received().await.ends_with("3\r\nabc\r\n"));
    assert_eq!(gateway.outcome().await.error, Some(ErrorKind::ClientGone));
}

#[tokio::test]
async fn an_upstream_that_answers_early_is_heard_and_not_reused() {
    let upstream = Upstream::scripted(|mut peer, _, _| async move {
        peer.head().await;
        peer.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n").await;
        peer.rest().await;
    })
    .await;
    let gateway = setup(upstream.address).start().await;
    let mut client = gateway.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 1000000\r\n\r\nbegin").await;
    assert_eq!(status(&client.head().await.unwrap()), "413");
    assert_eq!(client.rest().await, "");
}
