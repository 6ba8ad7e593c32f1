//! The end of the gateway's life.

use super::harness::*;
use crate::http::End;

#[tokio::test]
async fn a_request_under_way_is_finished_and_told_that_the_connection_closes() {
    let (release, released) = tokio::sync::watch::channel(false);
    let upstream = Upstream::scripted(move |mut peer, _, heads| {
        let mut released = released.clone();
        async move {
            let _ = heads.send(peer.head().await.unwrap());
            let _ = released.wait_for(|released| *released).await;
            peer.send(OK).await;
        }
    });
    let mut upstream = upstream.await;
    let mut gateway = setup(upstream.address).start().await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    upstream.received().await;
    gateway.drain.start();
    tokio::task::yield_now().await;
    release.send(true).unwrap();
    let answer = client.rest().await;
    assert!(answer.ends_with("ok"), "{answer}");
    assert_eq!(values(&answer, "connection"), ["close"]);
    assert_eq!(gateway.summary().await.end, End::Drained);
}

#[tokio::test]
async fn idle_connections_close_and_a_request_just_sent_is_still_answered() {
    let upstream = Upstream::fixed(OK).await;
    let mut gateway = setup(upstream.address).start().await;
    let mut idle = gateway.connect().await;
    let mut late = gateway.connect().await;
    for client in [&mut idle, &mut late] {
        client.send(GET).await;
        client.head().await.unwrap();
        client.exactly(2).await;
    }
    gateway.drain.start();
    late.send(GET).await;
    assert_eq!(values(&late.head().await.unwrap(), "connection"), ["close"]);
    assert_eq!(late.rest().await, "ok");
    assert_eq!(idle.rest().await, "");
    assert_eq!(gateway.summary().await.end, End::Drained);
    assert_eq!(gateway.summary().await.end, End::Drained);
}

#[tokio::test]
async fn http2_streams_under_way_are_finished_after_the_goaway() {
    let (release, released) = tokio::sync::watch::channel(false);
    let upstream = Upstream::scripted(move |mut peer, _, heads| {
        let mut released = released.clone();
        async move {
            let _ = heads.send(peer.head().await.unwrap());
            let _ = released.wait_for(|released| *released).await;
            peer.send(OK).await;
        }
    });
    let mut upstream = upstream.await;
    let mut gateway = setup(upstream.address).http2().start().await;
    let mut client = gateway.connect_http2().await;
    let request = http::Request::get("https://a.example/").body(empty()).unwrap();
    let answer = tokio::spawn(client.send_request(request));
    upstream.received().await;
    gateway.drain.start();
    release.send(true).unwrap();
    assert_eq!(text(answer.await.unwrap().unwrap()).await, "ok");
    assert_eq!(gateway.summary().await.end, End::Drained);
    assert!(client.is_closed());
}
