//! Clients that take their time: each phase has a deadline, and a client that waits costs the others nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use handfast_tests::{Client, DEADLINE, Gateway, Scene};

#[test]
fn a_client_that_sends_nothing_is_closed_at_the_deadline() {
    let scene = Scene::new(&["a.example"]);
    let gateway = short_handshakes(&scene);
    assert_eq!(read_all(&mut connect(gateway.address("main"))), b"");
    let line = gateway.wait_for("the outcome", |line| line.is("connection"));
    assert_eq!(line.text("verdict"), "error");
}

#[test]
fn half_a_client_hello_is_closed_at_the_deadline() {
    let scene = Scene::new(&["a.example"]);
    let gateway = short_handshakes(&scene);
    let hello = Client::new().hello("a.example");
    for length in [1, 5, hello.len() / 2, hello.len() - 1] {
        let mut stream = connect(gateway.address("main"));
        stream.write_all(&hello[..length]).expect("the gateway reads");
        assert_eq!(read_all(&mut stream), b"", "after {length} bytes");
    }
}

#[test]
fn a_client_that_drips_its_hello_gains_no_time() {
    let scene = Scene::new(&["a.example"]);
    let gateway = short_handshakes(&scene);
    let mut stream = connect(gateway.address("main"));
    // A record of 16 KiB, whose handshake message claims as much: the dripping could go on for long.
    let mut bytes = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc];
    bytes.resize(5 + 0x4000, 0);
    stream.set_read_timeout(Some(std::time::Duration::from_millis(10))).expect("a deadline is set");
    // The pace is this loop's read timeout; the test ends when the gateway closes, whenever that is.
    let ended = bytes
        .iter()
        .any(|byte| stream.write_all(&[*byte]).is_err() || matches!(stream.read(&mut [0]), Ok(0)));
    assert!(ended, "the gateway took all {} bytes", bytes.len());
}

#[test]
fn a_handshake_that_stops_after_the_hello_is_closed_at_the_deadline() {
    let scene = Scene::new(&["a.example"]);
    let gateway = short_handshakes(&scene);
    let mut stream = connect(gateway.address("main"));
    stream.write_all(&Client::new().hello("a.example")).expect("the gateway reads");
    assert!(!read_all(&mut stream).is_empty(), "the gateway's flight comes before the end");
    gateway.wait_for("the outcome", |line| line.is("connection") && line.text("server_name") == "a.example");
}

#[test]
fn silent_clients_do_not_keep_others_from_their_handshakes() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let address = gateway.address("main");
    let silent: Vec<TcpStream> = (0..100).map(|_| connect(address)).collect();
    for _ in 0..8 {
        assert_eq!(Client::new().get(address, "a.example", "/").expect("a response").status, 200);
    }
    drop(silent);
}

#[test]
fn a_request_head_that_does_not_end_is_cut_off() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&scene.config().with("[http]\nheader-timeout = \"300ms\""));
    for head in ["", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: a.example\r\n"] {
        let mut session = Client::new().connect(gateway.address("main"), "a.example").expect("a handshake");
        session.send(head.as_bytes()).expect("the gateway reads");
        let answer = session.read_to_end().expect("a proper end");
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 408 "),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(scene.upstream.requests(), [""; 0]);
}

#[test]
fn a_request_head_that_is_cut_off_leaves_a_line_with_the_id_the_client_got() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&scene.config().with("[http]\nheader-timeout = \"300ms\""));
    let mut session = Client::new().connect(gateway.address("main"), "a.example").expect("a handshake");
    session.send(b"GET /half HTTP/1.1\r\nhost: a.ex").expect("the gateway reads");
    let response = session.response().expect("a response");
    assert_eq!(response.status, 408);
    let line = gateway.wait_for("the request", |line| line.is("request"));
    assert_eq!((line.number("status"), line.text("error")), (408, "client_timeout"), "{line}");
    assert_eq!((line.text("method"), line.text("path")), ("GET", "/half"), "{line}");
    assert_eq!(response.header("x-request-id"), Some(line.text("request_id")), "{line}");
    assert_eq!(gateway.metric("handfast_requests_total", &[("status", "4xx")]), 1.0);
    // A client that said nothing asked for nothing.
    let mut silent = Client::new().connect(gateway.address("main"), "a.example").expect("a handshake");
    assert_eq!(silent.read_to_end().expect("a proper end"), b"");
    gateway.wait_for_nth(2, "the connections", |line| line.is("connection"));
    assert_eq!(gateway.lines(|line| line.is("request")).len(), 1);
}

#[test]
fn an_http2_client_that_sends_nothing_is_closed() {
    let scene = Scene::new(&["a.example"]);
    let gateway =
        Gateway::start(&scene.config().with("[http]\nheader-timeout = \"300ms\"\nidle-timeout = \"300ms\""));
    let client = Client::new().alpn(&["h2"]);
    let mut session = client.connect(gateway.address("main"), "a.example").expect("a handshake");
    session.read_to_end().expect("a proper end");
}

#[test]
fn an_idle_connection_is_closed() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&scene.config().with("[http]\nidle-timeout = \"300ms\""));
    let mut session = Client::new().connect(gateway.address("main"), "a.example").expect("a handshake");
    assert_eq!(session.get("/").expect("a response").status, 200);
    assert_eq!(session.read_to_end().expect("a proper end"), b"");
}

#[test]
fn a_body_that_stops_coming_is_given_up() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&scene.config().with("[http]\nbody-timeout = \"300ms\""));
    let mut session = Client::new().connect(gateway.address("main"), "a.example").expect("a handshake");
    session
        .send(b"POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 100\r\n\r\nonly this")
        .expect("sent");
    let answer = session.read_to_end().expect("a proper end");
    let status = String::from_utf8_lossy(&answer).into_owned();
    assert!(status.is_empty() || status.starts_with("HTTP/1.1 408 "), "{status}");
}

fn short_handshakes(scene: &Scene) -> Gateway {
    Gateway::start(&scene.config().gateway("handshake-timeout = \"300ms\""))
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline is set");
    stream
}

/// Everything up to the end, however abrupt.
fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return all,
            Ok(count) => all.extend(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("the gateway did not close: {error}"),
        }
    }
}
