//! SIGTERM: what was begun is finished, nothing new is, and the exit code is 0.

use std::net::{SocketAddr, TcpStream};

use handfast_tests::client::http2::{Http2, kind};
use handfast_tests::{Client, Curl, Gateway, Scene, eventually};

#[test]
fn a_request_in_flight_is_answered_before_the_gateway_ends() {
    let scene = Scene::new(&["a.example"]);
    let mut gateway = scene.start();
    let address = gateway.address("main");
    let mut session = Client::new().connect(address, "a.example").expect("a handshake");
    session.send(b"GET /hold HTTP/1.1\r\nhost: a.example\r\n\r\n").expect("a request is sent");
    scene.upstream.wait_for_request("GET /hold");

    gateway.sigterm();
    gateway.wait_for("draining to begin", |line| line.is("draining"));
    eventually("new connections to be refused", || TcpStream::connect(address).err());

    scene.upstream.release();
    let response = session.response().expect("a response");
    assert_eq!((response.status, response.text().as_str()), (200, "held"));
    assert_eq!(response.header("connection"), Some("close"));
    assert_eq!(gateway.wait_exit().code(), Some(0));
    gateway.wait_for("the end", |line| line.is("stopped"));
}

#[test]
fn an_http2_connection_gets_goaway_and_finishes_its_streams() {
    let scene = Scene::new(&["a.example"]);
    let mut gateway = scene.start();
    let session =
        Client::new().alpn(&["h2"]).connect(gateway.address("main"), "a.example").expect("a handshake");
    let mut connection = Http2::begin(session).expect("a preface is sent");
    connection.get(1, "a.example", "/hold").expect("a request is sent");
    scene.upstream.wait_for_request("GET /hold");

    gateway.sigterm();
    connection
        .frame_where(|frame| frame.kind == kind::GOAWAY)
        .expect("GOAWAY comes while the stream is open");
    scene.upstream.release();
    let head =
        connection.frame_where(|frame| frame.kind == kind::HEADERS && frame.stream == 1).expect("a head");
    assert!(head.is_status_200(), "{head:?}");
    connection.frame_where(|frame| frame.stream == 1 && frame.ends_stream()).expect("the stream ends");
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

#[test]
fn idle_connections_do_not_hold_the_gateway() {
    let scene = Scene::new(&["a.example"]);
    let mut gateway = scene.start();
    let address = gateway.address("main");
    let mut used = Client::new().connect(address, "a.example").expect("a handshake");
    used.get("/").expect("a response");
    let mut unused = Client::new().connect(address, "a.example").expect("a handshake");
    let silent = TcpStream::connect(address).expect("a connection");
    gateway.sigterm();
    assert_eq!(gateway.wait_exit().code(), Some(0));
    assert_eq!(used.read_to_end().expect("a proper end"), b"");
    assert_eq!(unused.read_to_end().expect("a proper end"), b"");
    drop(silent);
}

#[test]
fn what_does_not_end_is_ended_at_the_drain_timeout() {
    let scene = Scene::new(&["a.example"]);
    let mut gateway = Gateway::start(&scene.config().gateway("drain-timeout = \"200ms\""));
    let mut session = Client::new().connect(gateway.address("main"), "a.example").expect("a handshake");
    session.send(b"GET /hold HTTP/1.1\r\nhost: a.example\r\n\r\n").expect("a request is sent");
    scene.upstream.wait_for_request("GET /hold");
    gateway.sigterm();
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

#[test]
fn connections_that_the_kernel_had_accepted_are_served() {
    let scene = Scene::new(&["a.example"]);
    let mut gateway = scene.start();
    let address = gateway.address("main");
    gateway.pause();
    let clients: Vec<_> =
        (0..8).map(|_| std::thread::spawn(move || Client::new().get(address, "a.example", "/"))).collect();
    eventually("the clients to be connected", || (established(address) == 8).then_some(()));
    gateway.sigterm();
    gateway.resume();
    for client in clients {
        assert_eq!(client.join().expect("a client").expect("a response").status, 200);
    }
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

#[test]
fn connections_that_wait_for_a_place_are_served_when_one_is_free() {
    let scene = Scene::new(&["a.example"]);
    let mut gateway = Gateway::start(&scene.config().gateway("max-connections = 1"));
    let address = gateway.address("main");
    let mut first = Client::new().connect(address, "a.example").expect("a handshake");
    assert_eq!(first.get("/").expect("a response").status, 200);
    let waiting: Vec<_> =
        (0..4).map(|_| std::thread::spawn(move || Client::new().get(address, "a.example", "/"))).collect();
    eventually("the clients to be connected", || (established(address) == 5).then_some(()));
    gateway.sigterm();
    for client in waiting {
        assert_eq!(client.join().expect("a client").expect("a response").status, 200);
    }
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

#[test]
fn a_draining_gateway_is_not_ready() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    assert_eq!(gateway.admin("/readyz").status, 200);
    let mut session = Client::new().connect(gateway.address("main"), "a.example").expect("a handshake");
    session.send(b"GET /hold HTTP/1.1\r\nhost: a.example\r\n\r\n").expect("a request is sent");
    scene.upstream.wait_for_request("GET /hold");
    gateway.sigterm();
    gateway.wait_for("draining to begin", |line| line.is("draining"));
    assert_eq!(gateway.admin("/readyz").status, 503);
    assert_eq!(gateway.admin("/healthz").status, 200);
    scene.upstream.release();
    assert_eq!(session.response().expect("a response").status, 200);
}

#[test]
fn a_download_that_has_begun_is_completed() {
    let scene = Scene::new(&["a.example"]);
    let mut gateway = scene.start();
    let address = gateway.address("main");
    let authority = &scene.authority;
    let length = 4 * 1024 * 1024;
    let response = std::thread::scope(|scope| {
        // Slow enough to be under way when the signal comes.
        let curl = Curl::new(authority, address).arguments(&["--limit-rate", "8M"]);
        let download = scope.spawn(move || curl.get(&format!("https://a.example/large/{length}")));
        scene.upstream.wait_for_request(&format!("GET /large/{length}"));
        gateway.sigterm();
        download.join().expect("curl ran")
    });
    assert_eq!(response.body.len(), length);
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

/// Connections to an address whose clients have been told that they are there, whether or not anybody accepted them:
/// the rows of proc_pid_net(5) with that local address and state 1.
fn established(address: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table of connections");
    let port = format!(":{:04X}", address.port());
    let matches = |row: &&str| {
        let mut columns = row.split_whitespace().skip(1);
        let local = columns.next().unwrap_or_default();
        local.ends_with(&port) && columns.nth(1) == Some("01")
    };
    table.lines().filter(matches).count()
}
