//! HTTP/2 on either side.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::harness::*;
use crate::http::ErrorKind;

fn get() -> http::Request<Full<Bytes>> {
    http::Request::get("https://a.example/x?y").body(empty()).unwrap()
}

#[tokio::test]
async fn an_http2_request_becomes_a_proper_http1_request() {
    let mut upstream = Upstream::fixed(OK).await;
    let mut gateway = setup(upstream.address).http2().start().await;
    let mut client = gateway.connect_http2().await;
    let mut request = get();
    for (name, value) in
        [("cookie", "a=1"), ("cookie", "b=2"), ("host", "elsewhere"), ("te", "trailers"), ("x-real-ip", "1")]
    {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.headers()["x-request-id"].len(), 32);
    assert_eq!(text(response).await, "ok");
    let head = upstream.received().await;
    assert!(head.starts_with("GET /x?y HTTP/1.1\r\n"), "{head}");
    assert_eq!(values(&head, "host"), ["a.example"]);
    assert_eq!(values(&head, "cookie"), ["a=1; b=2"]);
    assert_eq!(values(&head, "te"), ["trailers"]);
    assert!(values(&head, "x-real-ip").is_empty());
    assert_eq!(gateway.outcome().await.protocol(), "HTTP/2");
}

#[tokio::test]
async fn misdirected_and_unroutable_http2_requests_are_answered() {
    let mut upstream = Upstream::fixed(OK).await;
    let gateway = setup(upstream.address).http2().start().await;
    let mut client = gateway.connect_http2().await;
    let request = http::Request::get("https://b.example/").body(empty()).unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 421);
    assert!(response.headers().get("connection").is_none());
    assert!(text(response).await.contains("request id: "));
    let request = http::Request::head("https://b.example/").body(empty()).unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 421);
    assert_eq!(text(response).await, "");
    let request =
        http::Request::options("https://a.example/").header("max-forwards", "0").body(empty()).unwrap();
    assert_eq!(client.send_request(request).await.unwrap().status(), 204);
    let request = http::Request::get("https://a.example/").header("x_y", "1").body(empty()).unwrap();
    assert_eq!(client.send_request(request).await.unwrap().status(), 400);
    assert!(upstream.received_nothing());
}

#[tokio::test]
async fn a_body_of_unknown_length_is_chunked_for_an_http1_upstream() {
    let upstream = Upstream::scripted(|mut peer, _, heads| async move {
        let _ = heads.send(peer.head().await.unwrap() + &peer.until("0\r\n\r\n").await.unwrap());
        peer.send(OK).await;
    });
    let mut upstream = upstream.await;
    let gateway = setup(upstream.address).http2().start().await;
    let mut client = gateway.connect_http2().await;
    let (sender, body) = channel();
    let request = http::Request::post("https://a.example/").body(body).unwrap();
    let answer = tokio::spawn(client.send_request(request));
    sender.send(Ok(Frame::data("hello".into()))).unwrap();
    drop(sender);
    assert_eq!(text(answer.await.unwrap().unwrap()).await, "ok");
    let received = upstream.received().await;
    assert_eq!(values(&received, "transfer-encoding"), ["chunked"]);
    assert!(received.ends_with("5\r\nhello\r\n0\r\n\r\n"), "{received}");
}

#[tokio::test]
async fn trailers_pass_both_ways_between_http2_peers() {
    let mut upstream = Upstream::http2(|request| async move {
        let trailers = request.into_body().collect().await.unwrap().trailers().cloned();
        let mut echo = trailers.unwrap_or_default();
        echo.insert("grpc-status", "0".parse().unwrap());
        let frames = [Ok::<_, std::io::Error>(Frame::data(Bytes::from("reply"))), Ok(Frame::trailers(echo))];
        let (sender, body) = channel();
        for frame in frames {
            sender.send(frame).unwrap();
        }
        http::Response::new(body)
    })
    .await;
    let gateway = setup(upstream.address).http2().http2_upstream().start().await;
    let mut client = gateway.connect_http2().await;
    let (sender, body) = channel();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    trailers.insert("x-client-subject", "CN=mallory".parse().unwrap());
    sender.send(Ok(Frame::data("request".into()))).unwrap();
    sender.send(Ok(Frame::trailers(trailers))).unwrap();
    drop(sender);
    let request = http::Request::post("https://a.example/rpc").header("te", "trailers").body(body).unwrap();
    let response = soon(client.send_request(request)).await.unwrap();
    let collected = soon(response.into_body().collect()).await.unwrap();
    let trailers = collected.trailers().unwrap();
    assert_eq!(
        (&trailers["x-sum"], &trailers["grpc-status"]),
        (&"7".parse().unwrap(), &"0".parse().unwrap())
    );
    assert!(!trailers.contains_key("x-client-subject"));
    let seen = upstream.received().await;
    assert!(seen.contains("uri: http://a.example/rpc"), "{seen}");
    assert!(seen.contains("\"te\": \"trailers\""), "{seen}");
    assert!(!seen.contains("\"host\""), "{seen}");
}

#[tokio::test]
async fn http1_clients_reach_http2_upstreams_over_one_connection() {
    let upstream = Upstream::http2(|_| async { http::Response::new(Full::new(Bytes::from("ok"))) }).await;
    let gateway = setup(upstream.address).http2_upstream().start().await;
    let clients: Vec<_> = (0..8).map(|_| gateway.exchange(GET)).collect();
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.await);
    }
    assert!(answers.iter().all(|answer| answer.ends_with("\r\n\r\nok")), "{answers:?}");
    assert_eq!(upstream.accepted(), 1);
}

#[tokio::test]
async fn a_cut_response_resets_the_http2_stream() {
    let upstream = Upstream::scripted(|mut peer, _, _| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
    })
    .await;
    let mut gateway = setup(upstream.address).http2().start().await;
    let mut client = gateway.connect_http2().await;
    let response = client.send_request(get()).await;
    // The reset may overtake the head.
    if let Ok(response) = response {
        assert!(soon(response.into_body().collect()).await.is_err());
    }
    assert_eq!(gateway.outcome().await.error, Some(ErrorKind::ResponseCut));
    assert!(client.is_ready());
}

#[tokio::test]
async fn a_stream_that_an_http2_upstream_resets_without_error_is_still_cut() {
    // Frames by hand: SETTINGS, then for stream 1 HEADERS (:status 200), DATA "half", RST_STREAM(NO_ERROR).
    let upstream = Upstream::scripted(|mut peer, _, _| async move {
        peer.until("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        peer.send(b"\0\0\0\x04\0\0\0\0\0").await;
        // SETTINGS, then the request's HEADERS on stream 1: enough to look for its frame header's end.
        let mut seen = Vec::new();
        while !seen.windows(5).any(|frame| frame == [1, 5, 0, 0, 0] || frame == [1, 4, 0, 0, 0]) {
            if tokio::io::AsyncReadExt::read_buf(&mut peer.stream, &mut seen).await.unwrap_or(0) == 0 {
                return;
            }
        }
        peer.send(b"\0\0\0\x04\x01\0\0\0\0").await;
        peer.send(b"\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x04\0\0\0\0\0\x01half").await;
        peer.send(b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\0").await;
        let mut rest = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut peer.stream, &mut rest).await;
    })
    .await;
    let mut gateway = setup(upstream.address).http2_upstream().start().await;
    let answer = gateway.exchange(GET).await;
    assert!(!answer.contains("\r\n0\r\n"), "{answer}");
    assert_eq!(gateway.outcome().await.error, Some(ErrorKind::ResponseCut));
}

type Frames = mpsc::UnboundedSender<Result<Frame<Bytes>, std::io::Error>>;

fn channel() -> (Frames, impl http_body::Body<Data = Bytes, Error = std::io::Error> + Send + Unpin) {
    struct Receiver(mpsc::UnboundedReceiver<Result<Frame<Bytes>, std::io::Error>>);
    impl http_body::Body for Receiver {
        type Data = Bytes;
        type Error = std::io::Error;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            self.0.poll_recv(context)
        }
    }
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Receiver(receiver))
}
