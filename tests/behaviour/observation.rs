//! What an operator sees: an outcome line for each connection and each request, metrics, and readiness.

use std::io::Write;
use std::net::TcpStream;

use handfast_tests::{Authority, Client, Curl, DEADLINE, Gateway, Line, Refusal, Scene, eventually};

#[test]
fn every_connection_leaves_one_line_that_explains_it() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let mut session =
        Client::new().tls13().connect(gateway.address("main"), "a.example").expect("a handshake");
    for _ in 0..3 {
        session.get("/").expect("a response");
    }
    drop(session);
    let line = gateway.wait_for("the connection", |line| line.is("connection"));
    assert_eq!(line.text("listener"), "main");
    assert!(line.text("client").starts_with("127.0.0.1"), "{line}");
    assert_eq!(line.text("server_name"), "a.example");
    assert_eq!(line.text("verdict"), "certificate");
    assert_eq!(line.text("policy"), "server-name");
    assert_eq!(line.text("certificate"), "a.example");
    assert_eq!(line.text("alpn"), "http/1.1");
    assert!(!line.flag("resumed"));
    assert_eq!(line.number("requests"), 3);
    assert!(line.text("ja4").starts_with("t13d"), "{line}");
    assert_eq!(line.text("ja4").len(), 36);
    assert!(line.text("tls").contains("1.3"), "{line}");
    assert!(line.text("cipher").starts_with("TLS13_") || line.text("cipher").starts_with("TLS_"), "{line}");
    assert!(
        line.number("handshake_us") > 0 && line.number("policy_us") <= line.number("handshake_us"),
        "{line}"
    );
    for field in ["connection", "end", "generation"] {
        assert!(line.has(field), "{field} is missing in {line}");
    }
    assert_eq!(gateway.lines(|line| line.is("connection")).len(), 1);
}

#[test]
fn a_refused_connection_says_which_alert_it_got_and_why() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    Client::new().connect(gateway.address("main"), "unknown.example").expect_err("a refusal");
    let line = gateway.wait_for("the connection", |line| line.is("connection"));
    assert_eq!(line.text("verdict"), "reject");
    assert_eq!(line.text("alert"), "unrecognized_name");
    assert_eq!(line.text("policy"), "server-name");
    assert!(!line.text("reason").is_empty(), "{line}");
}

#[test]
fn a_connection_that_never_was_tls_names_the_newest_change_too() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    Client::new().connect(gateway.address("main"), "a.example").expect("a handshake");
    let good = gateway.wait_for("the handshake's line", |line| line.is("connection") && line.has("verdict"));
    let mut socket = TcpStream::connect(gateway.address("main")).expect("a connection");
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    let line = gateway.wait_for("the other line", |line| {
        line.is("connection") && line.text("end") == "client-hello-invalid"
    });
    assert_eq!(line.number("generation"), good.number("generation"), "{line}");
}

#[test]
fn the_alerts_of_the_tls_library_are_told_too() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&scene.config().listener("strict", "minimum-tls = \"1.3\""));
    let (main, strict) = (gateway.address("main"), gateway.address("strict"));
    let refusals = [
        (Client::new().alpn(&["imap"]).connect(main, "a.example"), "main", "no_application_protocol"),
        (Client::new().tls12().connect(strict, "a.example"), "strict", "protocol_version"),
    ];
    for (refusal, listener, alert) in refusals {
        assert_eq!(refusal.expect_err("a refusal"), Refusal::Alert(alert));
        // By listener: two workers may write their lines in either order.
        let ended = |line: &Line| line.is("connection") && line.text("listener") == listener;
        let line = gateway.wait_for("the connection", ended);
        assert_eq!((line.text("alert"), line.text("end")), (alert, "handshake-failed"), "{line}");
    }
    // curl trusts somebody else, and says so.
    let stranger = Authority::new("another authority");
    let transfer = Curl::new(&stranger, main).transfer("https://a.example/");
    assert_ne!(transfer.code, Some(0));
    let line = gateway.wait_for_nth(3, "the connection", |line| line.is("connection"));
    assert_eq!(line.text("alert"), "unknown_ca (received)", "{line}");
}

#[test]
fn a_client_that_is_too_old_is_told_that_it_is_the_version() {
    use std::io::{Read, Write};
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    for version in [1, 2] {
        let mut stream = std::net::TcpStream::connect(gateway.address("main")).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline is set");
        stream.write_all(&hello_of_before_tls_1_2(version, "a.example")).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("a proper end");
        // RFC 5246 appendix E.1: a fatal alert, protocol_version.
        assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70]);
    }
    let line = gateway.wait_for("the connection", |line| line.is("connection"));
    assert_eq!((line.text("verdict"), line.text("alert")), ("reject", "protocol_version"), "{line}");
    assert!(!line.text("reason").is_empty(), "{line}");
}

#[test]
fn every_request_leaves_one_line() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let response =
        Curl::new(&scene.authority, gateway.address("main")).http2().get("https://a.example/path?secret=1");
    assert_eq!(response.status, 200);
    let line = gateway.wait_for("the request", |line| line.is("request"));
    assert_eq!(line.text("method"), "GET");
    assert_eq!(line.text("host"), "a.example");
    assert_eq!(line.text("path"), "/path", "queries hold secrets");
    assert_eq!(line.number("status"), 200);
    assert_eq!(line.text("upstream"), "echo");
    assert!(line.number("duration_us") > 0);
    let connection = gateway.wait_for("the connection", |line| line.is("connection"));
    assert!(!line.to_string().contains("secret"), "{line}");
    assert!(connection.has("connection") && line.has("connection"));
}

#[test]
fn bytes_that_are_not_tls_leave_a_line_too() {
    use std::io::Write;
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let mut stream = std::net::TcpStream::connect(gateway.address("main")).expect("a connection");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").expect("sent");
    let line = gateway.wait_for("the connection", |line| line.is("connection"));
    assert_eq!(line.text("verdict"), "error");
}

#[test]
fn metrics_count_what_happened() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    Client::new().get(gateway.address("main"), "a.example", "/").expect("a response");
    Client::new().connect(gateway.address("main"), "unknown.example").expect_err("a refusal");
    gateway.wait_for_nth(2, "the connections", |line| line.is("connection"));
    let text = gateway.admin("/metrics").text();
    assert!(text.ends_with("# EOF\n"), "OpenMetrics ends so");
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(!names.is_empty());
    for name in &names {
        assert!(name.starts_with("handfast_") || name.starts_with("process_"), "{name}");
    }
    for name in ["handfast_connections", "handfast_handshakes", "handfast_requests", "handfast_policy_calls"]
    {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    let count = |name, labels: &[_]| gateway.metric(name, labels);
    assert_eq!(count("handfast_connections_total", &[("listener", "main")]), 2.0, "{text}");
    assert_eq!(count("handfast_handshakes_total", &[("outcome", "certificate")]), 1.0, "{text}");
    assert_eq!(count("handfast_handshakes_total", &[("outcome", "reject")]), 1.0, "{text}");
    assert_eq!(count("handfast_requests_total", &[("upstream", "echo"), ("status", "2xx")]), 1.0, "{text}");
    let calls = count("handfast_policy_calls_total", &[("policy", "server-name"), ("hook", "select")]);
    assert_eq!(calls, 2.0, "{text}");
}

#[test]
fn a_certificate_that_was_not_replaced_is_counted() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    scene.certificates.put_certificate("a.example", "not a certificate");
    Client::new().connect(gateway.address("main"), "a.example").expect("the last good pair");
    gateway.wait_for("the report", |line| line.is("certificate not replaced"));
    let labels = [("what", "certificate"), ("name", ""), ("outcome", "kept")];
    let failures = || gateway.metric("handfast_reloads_total", &labels);
    eventually("the failure to be counted", || (failures() >= 1.0).then_some(()));
}

/// Once, a reload that changed a source began to count anew.
#[test]
fn what_is_counted_of_certificates_goes_on_over_a_reload() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let pair = scene.authority.server(&["a.example"]);
    scene.certificates.put("a.example", &pair);
    Client::new().connect(gateway.address("main"), "a.example").expect("the new pair");
    gateway.wait_for("the replacement", |line| line.is("certificate replaced"));
    let count = || {
        let labels = [("what", "certificate"), ("outcome", "replaced")];
        gateway.metric("handfast_reloads_total", &labels)
    };
    eventually("it to be counted", || (count() == 1.0).then_some(()));
    let config = scene.config_with_source("tags = { team = \"edge\" }");
    gateway.reload(&config);
    assert_eq!(count(), 1.0);
}

#[test]
fn pairs_that_are_refused_are_counted_while_they_are() {
    let scene = Scene::new(&["a.example"]);
    scene.certificates.put_certificate("bad", "not a certificate");
    scene.certificates.put_key("bad", "not a key");
    let gateway = scene.start();
    let refused = || gateway.metric("handfast_certificates_refused", &[]);
    assert_eq!(refused(), 1.0);
    scene.certificates.put("bad", &scene.authority.server(&["bad.example"]));
    Client::new().connect(gateway.address("main"), "bad.example").expect("it is good now");
    assert_eq!(refused(), 0.0);
}

#[test]
fn last_good_pairs_are_counted_until_they_are_repaired() {
    let scene = Scene::new(&["a.example", "b.example"]);
    let gateway = scene.start();
    let kept = || gateway.metric("handfast_certificates_kept", &[]);
    assert_eq!(kept(), 0.0);
    scene.certificates.put_certificate("a.example", "not a certificate");
    Client::new().connect(gateway.address("main"), "a.example").expect("the last good pair");
    assert_eq!(kept(), 1.0);
    scene.certificates.put("a.example", &scene.authority.server(&["a.example"]));
    Client::new().connect(gateway.address("main"), "a.example").expect("it is good now");
    assert_eq!(kept(), 0.0);
}

#[test]
fn a_gateway_says_that_it_is_alive_and_ready() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    assert_eq!(gateway.admin("/healthz").status, 200);
    assert_eq!(gateway.admin("/readyz").status, 200);
    assert_eq!(gateway.admin("/nothing").status, 404);
}

#[test]
fn keys_do_not_reach_the_log() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let stranger = scene.authority.server(&["a.example"]);
    scene.certificates.put_key("a.example", &stranger.key_pem);
    Client::new().connect(gateway.address("main"), "a.example").expect("the last good pair");
    gateway.wait_for("the report", |line| line.is("certificate not replaced"));
    let log = gateway.log_text();
    for line in stranger.key_pem.lines().filter(|line| !line.starts_with('-')) {
        assert!(!log.contains(line));
    }
}

/// A ClientHello of TLS 1.0 (`minor` 1) or 1.1 (2), with a server name and two cipher suites of the time.
fn hello_of_before_tls_1_2(minor: u8, server_name: &str) -> Vec<u8> {
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).expect("a short field").to_be_bytes();
    let name = [&[0][..], &length(server_name.as_bytes()), server_name.as_bytes()].concat();
    let names = [&length(&name)[..], &name].concat();
    let extension = [&[0, 0][..], &length(&names), &names].concat();
    let body =
        [&[3, minor][..], &[7; 32], &[0, 0, 4, 0xc0, 0x14, 0, 0x35, 1, 0], &length(&extension), &extension]
            .concat();
    let message = [&[1, 0][..], &length(&body), &body].concat();
    [&[22, 3, 1][..], &length(&message), &message].concat()
}
