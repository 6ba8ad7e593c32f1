//! Connections that hyper does not hold while they are quiet. In these tests that is after two milliseconds, so that what
//! the others say of idle connections holds for them too.

use super::harness::*;
use crate::http::End;
use crate::http::session::QUIET;

/// Long enough to be put to rest; if it is not for once, the test asks for less than it could.
async fn pause() {
    tokio::time::sleep(5 * QUIET).await;
}

#[tokio::test]
async fn a_connection_at_rest_serves_as_if_nothing_had_been() {
    let upstream = Upstream::fixed(OK).await;
    let mut gateway = setup(upstream.address).start().await;
    let mut client = gateway.connect().await;
    let (first, second) = GET.split_at(7);
    for _ in 0..5 {
        pause().await;
        // An empty line before a request is passed over (RFC 9112 section 2.2), before and after the rest.
        client.send("\r\n").await;
        pause().await;
        client.send(first).await;
        pause().await;
        client.send(second).await;
        assert_eq!(status(&client.head().await.unwrap()), "200");
        assert_eq!(client.exactly(2).await, "ok");
        assert_eq!(gateway.outcome().await.error, None);
    }
    // Two at once.
    pause().await;
    client.send([GET, GET].concat()).await;
    for _ in 0..2 {
        assert_eq!(status(&client.head().await.unwrap()), "200");
        assert_eq!(client.exactly(2).await, "ok");
    }
    drop(client);
    let summary = gateway.summary().await;
    assert_eq!((summary.requests, summary.end), (7, End::Closed));
}

#[tokio::test]
async fn the_end_of_a_connection_at_rest_is_noticed() {
    let upstream = Upstream::fixed(OK).await;
    let mut gateway = setup(upstream.address).start().await;
    for is_reset in [false, true] {
        let mut client = gateway.connect().await;
        client.send(GET).await;
        client.head().await.unwrap();
        client.exactly(2).await;
        pause().await;
        if is_reset {
            socket2::SockRef::from(&client.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        }
        drop(client);
        let summary = gateway.summary().await;
        assert_eq!((summary.requests, summary.end), (1, End::Closed));
    }
}
