//! Upgrades.

use super::harness::*;
use crate::http::End;

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nhost: a.example\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n\
                       sec-websocket-key: x\r\nsec-websocket-version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-accept: y\r\n\r\n";

#[tokio::test]
async fn a_websocket_carries_bytes_both_ways_until_it_is_closed() {
    let upstream = Upstream::scripted(|mut peer, _, heads| async move {
        let _ = heads.send(peer.head().await.unwrap());
        peer.send(format!("{SWITCH}first")).await;
        let line = peer.until("\n").await.unwrap();
        peer.send(line).await;
        let _ = heads.send(peer.rest().await);
    });
    let mut upstream = upstream.await;
    let mut gateway = setup(upstream.address).start().await;
    let mut client = gateway.connect().await;
    client.send(UPGRADE).await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert_eq!(values(&head, "connection"), ["upgrade"]);
    assert_eq!(values(&head, "upgrade"), ["websocket"]);
    assert_eq!(values(&head, "sec-websocket-accept"), ["y"]);
    assert_eq!(client.exactly(5).await, "first");
    client.send("ping\n").await;
    assert_eq!(client.exactly(5).await, "ping\n");
    client.finish().await;
    assert_eq!(client.rest().await, "");
    let sent = upstream.received().await;
    assert_eq!((values(&sent, "connection"), values(&sent, "upgrade")), (vec!["upgrade"], vec!["websocket"]));
    assert_eq!(upstream.received().await, "");
    let outcome = gateway.outcome().await;
    assert_eq!((outcome.status.unwrap().as_u16(), outcome.error), (101, None));
    assert_eq!((outcome.bytes_in, outcome.bytes_out), (5, 10));
    assert_eq!(gateway.summary().await.end, End::TunnelClosed);
}

#[tokio::test]
async fn a_silent_websocket_ends_with_the_idle_timeout() {
    let upstream = Upstream::scripted(|mut peer, _, _| async move {
        peer.head().await;
        peer.send(SWITCH).await;
        peer.rest().await;
    })
    .await;
    let mut setup = setup(upstream.address);
    setup.http.idle_timeout = std::time::Duration::from_millis(100);
    let mut gateway = setup.start().await;
    let mut client = gateway.connect().await;
    client.send(UPGRADE).await;
    client.head().await.unwrap();
    assert_eq!(client.rest().await, "");
    assert_eq!(gateway.summary().await.end, End::Idle);
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_response_and_the_connection_goes_on() {
    let upstream = Upstream::fixed(OK).await;
    let gateway = setup(upstream.address).start().await;
    let answer = gateway.exchange(&format!("{UPGRADE}{GET}")).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
}
