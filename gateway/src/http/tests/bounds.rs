//! What one client can make the gateway do at most.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;

use super::harness::*;
use crate::http::{End, ErrorKind};

fn get() -> http::Request<Full<Bytes>> {
    http::Request::get("https://a.example/").body(empty()).unwrap()
}

#[tokio::test]
async fn requests_beyond_the_upstream_connections_wait_and_then_get_503() {
    let upstream = Upstream::scripted(|mut peer, _, _| async move {
        peer.rest().await;
    })
    .await;
    let mut setup = setup(upstream.address).http2();
    setup.http.max_upstream_connections = 3;
    setup.upstream.response_timeout = Duration::from_millis(200);
    let gateway = setup.start().await;
    let mut client = gateway.connect_http2().await;
    let answers: Vec<_> = (0..10).map(|_| tokio::spawn(client.send_request(get()))).collect();
    let mut statuses = Vec::new();
    for answer in answers {
        statuses.push(soon(answer).await.unwrap().unwrap().status().as_u16());
    }
    assert!(statuses.contains(&504) && statuses.contains(&503), "{statuses:?}");
    // As one is given up, another may begin; never more than three at once, so never all ten.
    assert!(upstream.accepted() < 10, "{}", upstream.accepted());
}

#[tokio::test]
async fn requests_beyond_the_upstream_connections_are_served_in_turn() {
    let upstream = Upstream::fixed(OK).await;
    let mut setup = setup(upstream.address).http2();
    setup.http.max_upstream_connections = 2;
    let gateway = setup.start().await;
    let mut client = gateway.connect_http2().await;
    let answers: Vec<_> = (0..50).map(|_| tokio::spawn(client.send_request(get()))).collect();
    for answer in answers {
        assert_eq!(text(answer.await.unwrap().unwrap()).await, "ok");
    }
    assert!(upstream.accepted() <= 2, "{}", upstream.accepted());
}

#[tokio::test]
async fn a_client_that_gives_up_its_requests_again_and_again_is_cut_off() {
    let upstream = Upstream::scripted(|mut peer, _, heads| async move {
        if let Some(head) = peer.head().await {
            let _ = heads.send(head);
        }
        peer.rest().await;
    });
    let mut upstream = upstream.await;
    let mut gateway = setup(upstream.address).http2().start().await;
    let mut client = gateway.connect_http2().await;
    for _ in 0..2 * crate::http::ABANDONED {
        let request = tokio::spawn(client.send_request(get()));
        let Some(_) = upstream.received_unless(gateway.closed()).await else { break };
        request.abort();
        assert_eq!(gateway.outcome().await.error, Some(ErrorKind::ClientGone));
    }
    let summary = gateway.summary().await;
    assert_eq!(summary.end, End::Abuse);
    assert!(summary.requests <= crate::http::ABANDONED + 2, "{summary:?}");
}

#[tokio::test]
async fn resting_connections_are_bounded() {
    let upstream = Upstream::fixed(OK).await;
    let mut setup = setup(upstream.address).http2();
    setup.upstream.max_idle = 1;
    let gateway = setup.start().await;
    let mut client = gateway.connect_http2().await;
    for _ in 0..2 {
        let answers: Vec<_> = (0..4).map(|_| tokio::spawn(client.send_request(get()))).collect();
        for answer in answers {
            assert_eq!(text(answer.await.unwrap().unwrap()).await, "ok");
        }
    }
    assert!(upstream.accepted() >= 5, "{}", upstream.accepted());
}

#[tokio::test]
async fn responses_that_one_client_does_not_read_do_not_stop_those_of_others() {
    // All over one upstream connection, whose window was once that of sixteen streams.
    const BODY: Bytes = Bytes::from_static(&[b'x'; 256 << 10]);
    let upstream = Upstream::http2(|_| async { http::Response::new(Full::new(BODY)) }).await;
    let gateway = setup(upstream.address).http2().http2_upstream().start().await;
    let mut unwilling = gateway.connect_http2_with_window(1).await;
    let mut unread = Vec::new();
    for _ in 0..90 {
        unread.push(soon(unwilling.send_request(get())).await.unwrap());
    }
    let mut client = gateway.connect_http2().await;
    let response = soon(client.send_request(get())).await.unwrap();
    assert_eq!(text(response).await.len(), BODY.len());
    assert_eq!(upstream.accepted(), 1);
    drop(unread);
}
