//! HTTP/1.1 clients that leave, wholly or half, while they are answered.

use tokio::sync::watch;

use super::harness::*;
use crate::http::{End, ErrorKind};

/// Of a POST. More than is read ahead.
const BODY: usize = 16 << 10;

/// Answers once it is released. A connection that ends before that is told as a head `gone`.
async fn patient() -> (Upstream, watch::Sender<bool>) {
    let (release, released) = watch::channel(false);
    let upstream = Upstream::scripted(move |mut peer, _, heads| {
        let mut released = released.clone();
        async move {
            while let Some(head) = peer.head().await {
                if head.starts_with("POST") {
                    peer.exactly(BODY).await;
                }
                let _ = heads.send(head);
                let released = async { released.wait_for(|released| *released).await.is_ok() };
                tokio::select! {
                    biased;
                    _ = released => peer.send(OK).await,
                    _ = peer.head() => {
                        let _ = heads.send("gone".to_owned());
                    }
                }
            }
        }
    });
    (upstream.await, release)
}

#[tokio::test]
async fn a_client_that_is_reset_takes_its_upstream_connection_with_it() {
    for ahead in ["", "GET /next HTTP/1.1\r\nho", GET] {
        let (mut upstream, _release) = patient().await;
        let mut gateway = setup(upstream.address).start().await;
        let mut client = gateway.connect().await;
        client.send(GET).await;
        upstream.received().await;
        client.send(ahead).await;
        client.stream.set_zero_linger().unwrap();
        drop(client);
        assert_eq!(upstream.received().await, "gone");
        assert_eq!(gateway.summary().await.end, End::ConnectionLost);
        let outcome = gateway.outcome().await;
        assert_eq!((outcome.error, outcome.status), (Some(ErrorKind::ClientGone), None));
    }
}

#[tokio::test]
async fn a_client_that_only_stops_sending_is_answered() {
    let (mut upstream, release) = patient().await;
    let mut gateway = setup(upstream.address).start().await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    upstream.received().await;
    client.finish().await;
    release.send(true).unwrap();
    assert!(client.rest().await.ends_with("\r\n\r\nok"));
    assert_eq!(gateway.summary().await.end, End::Closed);
    assert_eq!(gateway.outcome().await.error, None);
}

#[tokio::test]
async fn requests_sent_while_another_is_answered_wait_their_turn() {
    let (mut upstream, release) = patient().await;
    let gateway = setup(upstream.address).start().await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    upstream.received().await;
    client.send(format!("POST /long HTTP/1.1\r\nhost: a.example\r\ncontent-length: {BODY}\r\n\r\n")).await;
    client.send("x".repeat(BODY)).await;
    client.send("GET /last HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n").await;
    client.finish().await;
    release.send(true).unwrap();
    let answers = client.rest().await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    assert!(upstream.received().await.starts_with("POST /long"));
    assert!(upstream.received().await.starts_with("GET /last"));
}
