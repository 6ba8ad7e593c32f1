//! Bounds on what others may occupy: descriptors, places, memory for the log. Who reaches one waits or is turned away;
//! the gateway goes on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use handfast_tests::{Client, Config, DEADLINE, Gateway, Refusal, Scene, Session, eventually};

#[test]
fn a_log_that_nobody_reads_costs_lines_and_neither_time_nor_memory() {
    const ROUNDS: usize = 150;
    const REQUESTS: usize = 80;
    let scene = Scene::new(&["a.example"]);
    // Nothing is routed: the gateway answers by itself.
    let config = Config::new().certificates("files", scene.certificates.path()).listener("main", "");
    let gateway = Gateway::start(&config);
    let mut session = open(&gateway);
    assert_eq!(session.get("/").expect("a response").status, 404);
    gateway.leave_unread(true);
    let before = gateway.memory();
    let path = format!("/{}", "x".repeat(8 << 10));
    let request = format!("GET {path} HTTP/1.1\r\nhost: a.example\r\n\r\n");
    for _ in 0..ROUNDS {
        session.send(request.repeat(REQUESTS).as_bytes()).expect("sent");
        for _ in 0..REQUESTS {
            assert_eq!(session.response().expect("a response").status, 404);
        }
    }
    // 12,000 lines with whole paths would be 98 MiB, and as many as the queue holds 67 MiB.
    let grown = gateway.memory().saturating_sub(before);
    assert!(grown < 40 << 10, "{grown} KiB more");

    gateway.leave_unread(false);
    let line = gateway.wait_for("a line with a long path", |line| line.text("path").starts_with("/xxx"));
    let shown = line.text("path");
    assert!(shown.ends_with('…') && shown.len() < 300, "{shown}");
    let mut count = 0;
    eventually("lines to come through again", || {
        count += 1;
        let id = Client::new().get(gateway.address("main"), "a.example", &format!("/again/{count}"));
        id.expect("a response");
        gateway.lines(|line| line.text("path").starts_with("/again/")).pop()
    });
    let lines = gateway.lines(|line| line.is("request")).len();
    assert!(lines < ROUNDS * REQUESTS, "{lines} lines: nothing was held back");
}

#[test]
fn few_descriptors_mean_few_connections_and_a_line_that_says_so() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start_with_descriptors(&scene.config(), 100);
    let line = gateway.wait_for("the bound", |line| line.text("message").contains("fewer connections"));
    assert_eq!((line.number("max_connections"), line.number("descriptors")), (18, 100), "{line}");
    let address = gateway.address("main");
    let mut sessions: Vec<Session> = (0..18).map(|_| open(&gateway)).collect();
    // One more waits until another leaves; those that are there are served meanwhile.
    let waiting = std::thread::spawn(move || Client::new().get(address, "a.example", "/"));
    for session in &mut sessions {
        assert_eq!(session.get("/").expect("a response").status, 200);
    }
    assert_eq!(gateway.metric("handfast_connections_open", &[]), 18.0);
    drop(sessions);
    assert_eq!(waiting.join().expect("a client").expect("a response").status, 200);
}

#[test]
fn without_descriptors_the_gateway_neither_spins_nor_ends() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&scene.config().gateway("handshake-timeout = \"2s\""));
    let address = gateway.address("main");
    let mut session = open(&gateway);
    assert_eq!(session.get("/").expect("a response").status, 200);
    gateway.limit_descriptors(gateway.descriptors() + 1);
    // Both workers have connections waiting, of which one gets the last descriptor.
    let mut silent: Vec<TcpStream> = (0..32).map(|_| connect(address)).collect();
    gateway.wait_for("the complaint", |line| line.text("message").starts_with("cannot accept connections"));
    let before = gateway.processor_time();
    assert_eq!(session.get("/").expect("a response").status, 200, "who is there is served");
    // Two seconds, by the gateway's own clock.
    eventually("a silent client to be closed", || {
        silent.iter_mut().find_map(|stream| ended(stream).then_some(()))
    });
    let used = gateway.processor_time() - before;
    assert!(used < Duration::from_millis(500), "{used:?} of processor time while there was nothing to do");
    drop(silent);
    gateway.limit_descriptors(1024);
    assert_eq!(Client::new().get(address, "a.example", "/").expect("a response").status, 200);
    let complaints = gateway.lines(|line| line.text("message").starts_with("cannot accept connections"));
    assert!(complaints.len() < 40, "{} complaints", complaints.len());
}

#[test]
fn a_client_has_no_more_connections_than_it_may() {
    let scene = Scene::new(&["a.example"]);
    let gateway =
        Gateway::start(&scene.config().main_listener("max-connections-per-client = 2").listener("open", ""));
    let address = gateway.address("main");
    let mut sessions = [open(&gateway), open(&gateway)];
    for _ in 0..3 {
        let refusal = Client::new().connect(address, "a.example").expect_err("one too many");
        assert_eq!(refusal, Refusal::Closed);
    }
    let line = gateway.wait_for("the complaint", |line| line.is("too many connections of one client"));
    assert_eq!((line.text("listener"), line.text("client")), ("main", "127.0.0.1"), "{line}");
    assert_eq!(line.number("limit"), 2);
    // A connection is closed first and counted then.
    let counted = || gateway.metric("handfast_handshakes_total", &[("outcome", "over-limit")]);
    eventually("each to be counted", || (counted() == 3.0).then_some(()));
    assert_eq!(gateway.lines(|line| line.is("connection")).len(), 0, "no line for each");
    Client::new().connect(gateway.address("open"), "a.example").expect("the bound is the listener's own");
    for session in &mut sessions {
        assert_eq!(session.get("/").expect("a response").status, 200);
    }
    drop(sessions);
    eventually("a place to be free", || Client::new().get(address, "a.example", "/").ok());
}

#[test]
fn behind_a_proxy_the_clients_are_those_that_it_names() {
    let scene = Scene::new(&["a.example"]);
    let keys = "max-connections-per-client = 1\nproxy-protocol = [\"127.0.0.0/8\"]";
    let gateway = Gateway::start(&scene.config().main_listener(keys));
    let from = |client: &str, family: &str| {
        let header = format!("PROXY {family} {client} {client} 4711 443\r\n");
        Client::new().preface(header.as_bytes()).connect(gateway.address("main"), "a.example")
    };
    let _one = from("192.0.2.1", "TCP4").expect("a handshake");
    let _two = from("192.0.2.2", "TCP4").expect("another client");
    assert_eq!(from("192.0.2.1", "TCP4").expect_err("one too many"), Refusal::Closed);
    let _network = from("2001:db8::1", "TCP6").expect("a handshake");
    assert_eq!(from("2001:db8::2", "TCP6").expect_err("the same network"), Refusal::Closed);
    let _other = from("2001:db8:0:1::1", "TCP6").expect("another network");
}

#[test]
fn admin_peers_that_never_read_keep_nobody_out() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let address = gateway.admin_address();
    // More than are served at once.
    let peers: Vec<TcpStream> = (0..100)
        .map(|number| {
            let mut peer = connect(address);
            // Every other one asks, and takes no answer; the rest say nothing at all.
            if number % 2 == 0 {
                peer.write_all("GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100).as_bytes())
                    .expect("sent");
            }
            peer
        })
        .collect();
    assert_eq!(gateway.admin("/healthz").status, 200);
    assert!(gateway.admin("/metrics").text().ends_with("# EOF\n"));
    drop(peers);
}

fn open(gateway: &Gateway) -> Session {
    Client::new().connect(gateway.address("main"), "a.example").expect("a handshake")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline is set");
    stream
}

/// Whether the gateway has closed a connection on which nobody says anything.
fn ended(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("an option is set");
    match stream.read(&mut [0]) {
        Ok(0) => true,
        Ok(_) => panic!("the gateway spoke first"),
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}
