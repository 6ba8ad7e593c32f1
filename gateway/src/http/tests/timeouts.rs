//! Clients and upstreams that take too long.

use std::time::Duration;

use super::harness::*;
use crate::http::{End, ErrorKind};

const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_client_that_sends_nothing_is_closed_without_a_word() {
    let upstream = Upstream::fixed(OK).await;
    for http2 in [false, true] {
        let mut setup = setup(upstream.address);
        setup.http.header_timeout = SHORT;
        let mut gateway = if http2 { setup.http2() } else { setup }.start().await;
        let mut client = gateway.connect().await;
        let received = soon(async {
            let mut bytes = Vec::new();
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut bytes).await;
            bytes
        })
        .await;
        assert!(!received.starts_with(b"HTTP"), "{received:?}");
        assert_eq!(gateway.summary().await.end, End::HeaderTimeout);
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_gets_408_on_a_new_and_on_a_kept_connection() {
    let upstream = Upstream::fixed(OK).await;
    let mut setup = setup(upstream.address);
    setup.http.header_timeout = SHORT;
    let mut gateway = setup.start().await;
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nho").await;
    assert_eq!(status(&client.rest().await), "408");
    assert_eq!(gateway.summary().await.end, End::HeaderTimeout);
    let mut client = gateway.connect().await;
    client.send(format!("{GET}G")).await;
    client.head().await.unwrap();
    assert!(client.rest().await.starts_with("okHTTP/1.1 408"));
    assert_eq!(gateway.summary().await.end, End::HeaderTimeout);
}

#[tokio::test]
async fn a_pipelined_head_has_its_time_from_the_end_of_the_request_before_it() {
    let (release, released) = tokio::sync::watch::channel(false);
    let upstream = Upstream::scripted(move |mut peer, _, _| {
        let mut released = released.clone();
        async move {
            while peer.head().await.is_some() {
                let _ = released.wait_for(|released| *released).await;
                peer.send(OK).await;
            }
        }
    })
    .await;
    let mut setup = setup(upstream.address);
    setup.http.header_timeout = SHORT;
    let mut gateway = setup.start().await;
    let mut client = gateway.connect().await;
    let (begun, rest) = GET.split_at(9);
    client.send(format!("{GET}{begun}")).await;
    // A second connection shows when the timeout has passed for a head that began no later than its own.
    let _silent = gateway.connect().await;
    assert_eq!(gateway.summary().await.end, End::HeaderTimeout);
    release.send(true).unwrap();
    client.head().await.unwrap();
    client.send(rest).await;
    assert_eq!(client.exactly(2).await, "ok");
    assert_eq!(status(&client.head().await.unwrap()), "200");
}

#[tokio::test]
async fn an_idle_connection_outlives_the_header_timeout_and_ends_with_the_idle_timeout() {
    let upstream = Upstream::fixed(OK).await;
    let mut setup = setup(upstream.address);
    setup.http.header_timeout = Duration::from_millis(50);
    setup.http.idle_timeout = Duration::from_millis(300);
    let mut gateway = setup.start().await;
    let started = std::time::Instant::now();
    let mut client = gateway.connect().await;
    client.send(GET).await;
    assert!(client.rest().await.ends_with("ok"));
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(gateway.summary().await.end, End::Idle);
}

#[tokio::test]
async fn an_idle_http2_connection_is_told_to_go_away() {
    let upstream = Upstream::fixed(OK).await;
    let mut setup = setup(upstream.address).http2();
    setup.http.idle_timeout = SHORT;
    let mut gateway = setup.start().await;
    let mut client = gateway.connect_http2().await;
    let request = http::Request::get("https://a.example/").body(empty()).unwrap();
    assert_eq!(text(client.send_request(request).await.unwrap()).await, "ok");
    assert_eq!(gateway.summary().await.end, End::Idle);
    assert!(client.is_closed());
}

#[tokio::test]
async fn a_request_body_that_stands_still_gets_408() {
    let upstream = Upstream::scripted(|mut peer, _, _| async move {
        peer.rest().await;
    })
    .await;
    let mut setup = setup(upstream.address);
    setup.http.body_timeout = SHORT;
    let mut gateway = setup.start().await;
    let mut client = gateway.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 5\r\n\r\nab").await;
    assert_eq!(status(&client.rest().await), "408");
    assert_eq!(gateway.outcome().await.error, Some(ErrorKind::ClientTimeout));
}

#[tokio::test]
async fn an_upstream_that_takes_no_more_of_the_body_gives_504() {
    let upstream = Upstream::scripted(|peer, _, _| async move {
        // Neither reads nor closes.
        std::future::pending::<()>().await;
        drop(peer);
    })
    .await;
    let mut setup = setup(upstream.address);
    setup.http.body_timeout = SHORT;
    let mut gateway = setup.start().await;
    let mut client = gateway.connect().await;
    let size = 64 << 20;
    client.send(format!("POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: {size}\r\n\r\n")).await;
    let (mut read, mut write) = client.stream.split();
    let upload = async {
        let block = vec![b'x'; 1 << 20];
        while tokio::io::AsyncWriteExt::write_all(&mut write, &block).await.is_ok() {}
    };
    let mut answer = [0; 12];
    let download = tokio::io::AsyncReadExt::read_exact(&mut read, &mut answer);
    tokio::select! {
        _ = soon(download) => {}
        () = upload => {}
    }
    assert_eq!(gateway.outcome().await.error, Some(ErrorKind::ResponseTimeout));
}

#[tokio::test]
async fn a_response_that_stands_still_is_cut_off() {
    let upstream = Upstream::scripted(|mut peer, _, _| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        peer.rest().await;
    })
    .await;
    let mut setup = setup(upstream.address);
    setup.http.body_timeout = SHORT;
    let mut gateway = setup.start().await;
    let answer = gateway.exchange(GET).await;
    assert!(answer.ends_with("half"), "{answer}");
    let outcome = gateway.outcome().await;
    assert_eq!((outcome.error, outcome.bytes_out), (Some(ErrorKind::ResponseCut), 4));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go() {
    let upstream = Upstream::scripted(|mut peer, _, _| async move {
        peer.head().await;
        peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 64 << 20)).await;
        let block = vec![b'x'; 1 << 20];
        while tokio::io::AsyncWriteExt::write_all(&mut peer.stream, &block).await.is_ok() {}
    })
    .await;
    let mut setup = setup(upstream.address);
    setup.http.body_timeout = SHORT;
    let mut gateway = setup.start().await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    assert_eq!(gateway.summary().await.end, End::WriteTimeout);
    assert_eq!(gateway.outcome().await.error, Some(ErrorKind::ClientGone));
}

#[tokio::test]
async fn an_http2_stream_that_is_not_read_is_reset_and_the_others_go_on() {
    let upstream = Upstream::scripted(|mut peer, _, _| async move {
        while let Some(head) = peer.head().await {
            let size = if head.starts_with("GET /big") { 32 << 20 } else { 2 };
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n")).await;
            let _ = tokio::io::AsyncWriteExt::write_all(&mut peer.stream, &vec![b'x'; size]).await;
        }
    })
    .await;
    let mut setup = setup(upstream.address).http2();
    setup.http.body_timeout = SHORT;
    let mut gateway = setup.start().await;
    let mut client = gateway.connect_http2().await;
    let big = http::Request::get("https://a.example/big").body(empty()).unwrap();
    let big = client.send_request(big).await.unwrap();
    let outcome = gateway.outcome().await;
    assert_eq!((outcome.path(), outcome.error), ("/big", Some(ErrorKind::ClientGone)));
    let small = http::Request::get("https://a.example/").body(empty()).unwrap();
    assert_eq!(text(client.send_request(small).await.unwrap()).await, "xx");
    drop(big);
}

/// Fits the queues of the HTTP/2 implementation with ease.
const SMALL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789";

#[tokio::test]
async fn an_http2_response_that_fits_every_queue_but_not_the_window_is_reset_too() {
    let upstream = Upstream::fixed(SMALL).await;
    let mut setup = setup(upstream.address).http2();
    setup.http.body_timeout = SHORT;
    let mut gateway = setup.start().await;
    for window in [1, 9] {
        let mut client = gateway.connect_http2_with_window(window).await;
        let request = http::Request::get("https://a.example/").body(empty()).unwrap();
        let unread = client.send_request(request).await.unwrap();
        assert_eq!(gateway.outcome().await.error, Some(ErrorKind::ClientGone));
        assert!(soon(http_body_util::BodyExt::collect(unread.into_body())).await.is_err());
        assert!(client.is_ready());
    }
}

#[tokio::test]
async fn an_http2_response_that_just_fits_the_window_is_delivered_before_it_is_read() {
    let upstream = Upstream::fixed(SMALL).await;
    let mut gateway = setup(upstream.address).http2().start().await;
    let mut client = gateway.connect_http2_with_window(10).await;
    let request = http::Request::get("https://a.example/").body(empty()).unwrap();
    let unread = client.send_request(request).await.unwrap();
    let outcome = gateway.outcome().await;
    assert_eq!((outcome.error, outcome.bytes_out), (None, 10));
    assert_eq!(text(unread).await, "0123456789");
}
