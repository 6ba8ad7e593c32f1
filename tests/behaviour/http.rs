//! HTTP through the gateway: what is forwarded, what is rebuilt, what is refused, and what a failure looks like.

use std::io::Read;
use std::sync::mpsc::channel;

use handfast_tests::client::http2::{Frame, Http2, kind};
use handfast_tests::pki::fingerprint;
use handfast_tests::upstream::{Nobody, answering, pattern, scripted};
use handfast_tests::{Client, Config, Curl, DEADLINE, Gateway, Scene, Session, Upstream};

const MEBIBYTE: u64 = 1024 * 1024;

#[test]
fn both_versions_reach_the_upstream_with_method_path_and_host() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let curl = || Curl::new(&scene.authority, gateway.address("main"));
    for (curl, version) in [(curl().http1(), "1.1"), (curl().http2(), "2")] {
        let transfer = curl.arguments(&["-X", "PUT"]).transfer("https://a.example/some/path?query=1");
        assert_eq!((transfer.code, transfer.version.as_str()), (Some(0), version));
        let json = transfer.response.expect("a response").json();
        assert_eq!(json["method"], "PUT");
        assert_eq!(json["uri"], "/some/path?query=1");
        assert_eq!(fields(&json, "host"), ["a.example"]);
    }
}

#[test]
fn an_http2_upstream_serves_both_versions_of_clients() {
    let scene = Scene::new(&["a.example"]);
    let upstream = Upstream::http2();
    let config = Config::new()
        .certificates("files", scene.certificates.path())
        .listener("main", "")
        .upstream("two", upstream.address(), "protocol = \"http2\"")
        .route("*", "/", "two");
    let gateway = Gateway::start(&config);
    let curl = || Curl::new(&scene.authority, gateway.address("main"));
    for curl in [curl().http1(), curl().http2()] {
        let json = curl.body(b"hello").get("https://a.example/x").json();
        assert_eq!(json["version"], "HTTP/2.0");
        assert_eq!(json["body_length"], 5);
    }
}

#[test]
fn large_bodies_stream_through_unchanged() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let body = pattern(8 * MEBIBYTE);
    let curl = || Curl::new(&scene.authority, gateway.address("main"));
    for (down, up, both) in
        [(curl().http1(), curl().http1(), curl().http1()), (curl().http2(), curl().http2(), curl().http2())]
    {
        let response = down.get(&format!("https://a.example/large/{}", body.len()));
        assert_eq!(fingerprint(&response.body), fingerprint(&body), "down");
        let json = up.body(&body).get("https://a.example/").json();
        assert_eq!(json["body_sha256"], fingerprint(&body), "up");
        let response = both.body(&body).get("https://a.example/mirror");
        assert_eq!(fingerprint(&response.body), fingerprint(&body), "both at once");
    }
}

#[test]
fn a_chunked_upload_needs_no_length() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let curl =
        Curl::new(&scene.authority, gateway.address("main")).http1().header("transfer-encoding: chunked");
    let json = curl.body(&pattern(100_000)).get("https://a.example/").json();
    assert_eq!(json["body_length"], 100_000);
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let mut session = open(&gateway, "a.example");
    session
        .send(b"POST / HTTP/1.1\r\nhost: a.example\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        .expect("sent");
    assert_eq!(session.response().expect("an interim response").status, 100);
    session.send(b"hello").expect("sent");
    assert_eq!(session.response().expect("a response").json()["body_length"], 5);
}

#[test]
fn a_head_response_keeps_its_length_and_has_no_body() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let response =
        Curl::new(&scene.authority, gateway.address("main")).arguments(&["--head"]).get("https://a.example/");
    assert_eq!(response.status, 200);
    assert!(response.header("content-length").is_some_and(|length| length != "0"), "{response:?}");
}

#[test]
fn trailers_are_forwarded() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let curl = || Curl::new(&scene.authority, gateway.address("main")).header("te: trailers");
    for curl in [curl().http1(), curl().http2()] {
        let response = curl.get("https://a.example/trailers");
        assert_eq!(response.body, pattern(13));
        assert_eq!(response.header("x-checksum"), Some("abc"), "{response:?}");
    }
}

#[test]
fn a_websocket_upgrade_becomes_a_tunnel() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let mut session = open(&gateway, "a.example");
    let request = "GET /upgrade HTTP/1.1\r\nhost: a.example\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    session.send(request.as_bytes()).expect("sent");
    let response = session.response().expect("a response");
    assert_eq!(response.status, 101);
    assert_eq!(response.header("upgrade"), Some("websocket"));
    for message in [&b"first"[..], &pattern(10_000)] {
        session.send(message).expect("sent");
        assert_eq!(session.read_exact(message.len()).expect("an echo"), message);
    }
}

#[test]
fn a_client_that_leaves_its_websocket_without_a_goodbye_is_what_the_line_blames() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let mut session = open(&gateway, "a.example");
    let request = "GET /upgrade HTTP/1.1\r\nhost: a.example\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    session.send(request.as_bytes()).expect("sent");
    assert_eq!(session.response().expect("a response").status, 101);
    // Its socket is closed, and close_notify is not sent.
    drop(session);
    let line = gateway.wait_for("the end of the tunnel", |line| line.is("request"));
    assert_eq!((line.number("status"), line.text("error")), (101, "client_gone"), "{line}");
}

#[test]
fn a_field_of_http2_that_begins_or_ends_with_white_space_is_refused() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let session = Client::new().alpn(&["h2"]).connect(gateway.address("main"), "a.example");
    let mut connection = Http2::begin(session.expect("a handshake")).expect("HTTP/2");
    let get = [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")];
    for (stream, value, good) in [(1, " a", false), (3, "a\t", false), (5, "a b", true)] {
        let fields: Vec<_> = get.into_iter().chain([("x-edge", value)]).collect();
        connection.request(stream, &fields).expect("sent");
        let head = connection.frame_where(|frame| frame.kind == kind::HEADERS).expect("a response");
        assert_eq!((head.stream, head.is_status_200()), (stream, good), "{value:?}");
    }
}

#[test]
fn an_upgrade_to_h2c_is_not_passed_on() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let mut session = open(&gateway, "a.example");
    let request = "GET /upgrade HTTP/1.1\r\nhost: a.example\r\nconnection: Upgrade, HTTP2-Settings\r\n\
                   upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    session.send(request.as_bytes()).expect("sent");
    assert_eq!(session.response().expect("a response").status, 400, "the upstream saw nothing to upgrade to");
}

#[test]
fn fields_of_one_hop_stay_there() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let mut session = open(&gateway, "a.example");
    let request = "GET / HTTP/1.1\r\nhost: a.example\r\nconnection: keep-alive, x-mine\r\nx-mine: 1\r\n\
                   keep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nte: gzip\r\nx-end: 1\r\n\r\n";
    session.send(request.as_bytes()).expect("sent");
    let json = session.response().expect("a response").json();
    for name in ["x-mine", "keep-alive", "proxy-connection", "te"] {
        assert_eq!(fields(&json, name), [""; 0], "{name}");
    }
    assert_eq!(fields(&json, "x-end"), ["1"]);

    let response = session.get("/connection-fields").expect("a response");
    assert_eq!(response.header("x-hop"), None);
    assert_eq!(response.header("keep-alive"), None);
    assert_eq!(response.header("x-end"), Some("1"));
}

#[test]
fn the_upstream_learns_who_asked_and_how() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let curl = || Curl::new(&scene.authority, gateway.address("main"));
    for curl in [curl().http1(), curl().http2()] {
        let json = curl
            .header("x-forwarded-proto: http")
            .header("x-forwarded-host: evil")
            .get("https://a.example/")
            .json();
        assert_eq!(fields(&json, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(fields(&json, "x-forwarded-proto"), ["https"]);
        assert_eq!(fields(&json, "x-forwarded-host"), ["a.example"]);
    }
}

#[test]
fn an_edge_does_not_believe_what_clients_say_about_forwarding() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let curl = Curl::new(&scene.authority, gateway.address("main")).header("x-forwarded-for: 192.0.2.1");
    let json = curl.get("https://a.example/").json();
    assert_eq!(fields(&json, "x-forwarded-for"), ["127.0.0.1"]);
}

#[test]
fn cookies_that_http2_split_are_joined() {
    let scene = Scene::new(&["a.example"]);
    let upstream = scene.upstream.address();
    let gateway = Gateway::start(&Config::serving(&scene.certificates, upstream));
    let session =
        Client::new().alpn(&["h2"]).connect(gateway.address("main"), "a.example").expect("a handshake");
    let mut connection = Http2::begin(session).expect("a preface is sent");
    let request = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "a.example"),
        (":path", "/"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
    ];
    connection.request(1, &request).expect("sent");
    let mut body = Vec::new();
    loop {
        let data = connection.frame_where(|frame| frame.kind == kind::DATA).expect("a body");
        body.extend(&data.payload);
        if data.ends_stream() {
            break;
        }
    }
    let json: serde_json::Value = serde_json::from_slice(&body).expect("a body of JSON");
    assert_eq!(fields(&json, "cookie"), ["a=1; b=2"]);
}

#[test]
fn a_host_without_a_route_gets_404() {
    let scene = Scene::new(&["a.example", "b.example"]);
    let config = Config::new()
        .certificates("files", scene.certificates.path())
        .listener("main", "")
        .upstream("echo", scene.upstream.address(), "")
        .route("a.example", "/api", "echo");
    let gateway = Gateway::start(&config);
    let status = |host: &str, path: &str| {
        Client::new().get(gateway.address("main"), host, path).expect("a response").status
    };
    assert_eq!(status("a.example", "/api"), 200);
    assert_eq!(status("a.example", "/api/v1"), 200);
    assert_eq!(status("a.example", "/apis"), 404);
    assert_eq!(status("a.example", "/"), 404);
    assert_eq!(status("b.example", "/api"), 404);
}

#[test]
fn the_longest_path_and_the_most_exact_host_win() {
    let scene = Scene::new(&[]);
    scene.certificates.put("wildcard", &scene.authority.server(&["*.example"]));
    let config = Config::new().certificates("files", scene.certificates.path()).listener("main", "");
    let upstreams: Vec<Upstream> = (0..4).map(|_| Upstream::http1()).collect();
    let names = ["any", "wild", "exact", "deep"];
    let config = names
        .iter()
        .zip(&upstreams)
        .fold(config, |config, (name, upstream)| config.upstream(name, upstream.address(), ""))
        .route("*", "/", "any")
        .route("*.example", "/", "wild")
        .route("a.example", "/", "exact")
        .route("a.example", "/deep", "deep");
    let gateway = Gateway::start(&config);
    for (host, path, expected) in
        [("b.example", "/1", "wild"), ("a.example", "/2", "exact"), ("a.example", "/deep/3", "deep")]
    {
        Client::new().get(gateway.address("main"), host, path).expect("a response");
        let request = format!("GET {path}");
        let seen: Vec<&str> = names
            .into_iter()
            .zip(&upstreams)
            .filter(|(_, upstream)| upstream.requests().contains(&request))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(seen, [expected], "{host}{path}");
    }
}

#[test]
fn a_host_that_the_connection_was_not_admitted_for_gets_421() {
    let scene = Scene::new(&["a.example", "b.example"]);
    let gateway = scene.start();
    let mut session = open(&gateway, "a.example");
    session.send(b"GET / HTTP/1.1\r\nhost: b.example\r\n\r\n").expect("sent");
    assert_eq!(session.response().expect("a response").status, 421);
    let session =
        Client::new().alpn(&["h2"]).connect(gateway.address("main"), "a.example").expect("a handshake");
    let mut connection = Http2::begin(session).expect("a preface is sent");
    connection.get(1, "b.example", "/").expect("sent");
    let head = connection.frame_where(|frame| frame.kind == kind::HEADERS).expect("a head");
    assert!(!head.is_status_200());
    assert_eq!(scene.upstream.requests(), [""; 0]);
}

#[test]
fn a_host_that_the_certificate_covers_may_share_the_connection() {
    let scene = Scene::new(&[]);
    scene.certificates.put("both", &scene.authority.server(&["a.example", "b.example"]));
    let gateway = scene.start();
    let mut session = open(&gateway, "a.example");
    for host in ["a.example", "b.example", "B.Example", "b.example:443"] {
        session.send(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).expect("sent");
        assert_eq!(session.response().expect("a response").status, 200, "{host}");
    }
}

#[test]
fn requests_that_could_be_read_in_two_ways_are_refused() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let requests = [
        ("no host", "GET / HTTP/1.1\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nhost: a.example\r\nhost: a.example\r\n\r\n"),
        ("an invalid host", "GET / HTTP/1.1\r\nhost: a.example/x@\r\n\r\n"),
        ("an absolute target of another host", "GET https://b.example/ HTTP/1.1\r\nhost: a.example\r\n\r\n"),
        ("an authority as target", "GET a.example:443 HTTP/1.1\r\nhost: a.example\r\n\r\n"),
        ("CONNECT", "CONNECT a.example:443 HTTP/1.1\r\nhost: a.example\r\n\r\n"),
        (
            "length and chunks",
            "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunked twice",
            "POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "two transfer codings",
            "POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "identity",
            "POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        ),
    ];
    for (what, request) in requests {
        let mut session = open(&gateway, "a.example");
        session.send(request.as_bytes()).expect("sent");
        let response = session.response().unwrap_or_else(|refusal| panic!("{what}: {refusal:?}"));
        assert!((400..=501).contains(&response.status) && response.status != 404, "{what}: {response:?}");
    }
    assert_eq!(scene.upstream.requests(), [""; 0]);
}

#[test]
fn an_upstream_that_refuses_connections_is_a_502() {
    let (scene, nobody) = (Scene::new(&["a.example"]), Nobody::new());
    let gateway = Gateway::start(&Config::serving(&scene.certificates, nobody.address()));
    let curl = || Curl::new(&scene.authority, gateway.address("main"));
    for curl in [curl().http1(), curl().http2()] {
        assert_eq!(curl.get("https://a.example/").status, 502);
    }
    let line = gateway.wait_for("the request", |line| line.is("request"));
    assert_eq!(line.number("status"), 502);
    assert!(!line.text("error").is_empty(), "{line}");
}

#[test]
fn an_upstream_that_does_not_speak_http_is_a_502() {
    let answers: [&[u8]; 5] = [
        b"",
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5x\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    ];
    for answer in answers {
        let scene = Scene::new(&["a.example"]);
        let gateway = Gateway::start(&Config::serving(&scene.certificates, answering(answer)));
        let response = Client::new().get(gateway.address("main"), "a.example", "/").expect("a response");
        assert_eq!(response.status, 502, "{}", String::from_utf8_lossy(answer));
    }
}

#[test]
fn an_upstream_that_does_not_answer_is_a_504() {
    let scene = Scene::new(&["a.example"]);
    let config = Config::new()
        .certificates("files", scene.certificates.path())
        .listener("main", "")
        .upstream("slow", scene.upstream.address(), "response-timeout = \"200ms\"")
        .route("*", "/", "slow");
    let gateway = Gateway::start(&config);
    let response = Client::new().get(gateway.address("main"), "a.example", "/hold").expect("a response");
    assert_eq!(response.status, 504);
}

#[test]
fn an_answer_that_breaks_off_is_not_passed_off_as_complete() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    for path in ["cut", "cut-chunked"] {
        let curl = || Curl::new(&scene.authority, gateway.address("main"));
        for curl in [curl().http1(), curl().http2()] {
            // Large enough that the half before the break is on its way when it comes.
            let transfer = curl.transfer(&format!("https://a.example/{path}/{}", 4 * MEBIBYTE));
            assert_eq!(transfer.response.map(|response| response.status), Some(200));
            assert_ne!(transfer.code, Some(0), "{path} over {}: curl took it for complete", transfer.version);
        }
    }
}

#[test]
fn a_pooled_connection_that_the_upstream_closed_costs_no_request() {
    let scene = Scene::new(&["a.example"]);
    // Promises to keep the connection and closes it after one answer.
    let address = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let gateway = Gateway::start(&Config::serving(&scene.certificates, address));
    let mut session = open(&gateway, "a.example");
    for _ in 0..20 {
        assert_eq!(session.get("/").expect("a response").status, 200);
    }
}

#[test]
fn upstream_connections_are_used_again() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let mut session = open(&gateway, "a.example");
    for _ in 0..20 {
        assert_eq!(session.get("/").expect("a response").status, 200);
    }
    assert_eq!(scene.upstream.connections(), 1);
}

#[test]
fn a_request_id_reaches_the_upstream_the_log_and_the_client_of_a_failure() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let json = Client::new().get(gateway.address("main"), "a.example", "/").expect("a response").json();
    let line = gateway.wait_for("the request", |line| line.is("request"));
    assert!(!line.text("request_id").is_empty(), "{line}");
    assert_eq!(fields(&json, "x-request-id"), [line.text("request_id")]);

    let nobody = Nobody::new();
    let gateway = Gateway::start(&Config::serving(&scene.certificates, nobody.address()));
    let response = Client::new().get(gateway.address("main"), "a.example", "/").expect("a response");
    let line = gateway.wait_for("the request", |line| line.is("request"));
    assert_eq!(response.header("x-request-id"), Some(line.text("request_id")));
    assert!(response.text().contains(line.text("request_id")), "{response:?}");
}

#[test]
fn a_client_that_closes_its_sending_side_still_gets_its_answer() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let mut session = open(&gateway, "a.example");
    session.send(b"GET /hold HTTP/1.1\r\nhost: a.example\r\n\r\n").expect("sent");
    session.close_sending();
    scene.upstream.wait_for_request("GET /hold");
    scene.upstream.release();
    assert_eq!(session.response().expect("a response").text(), "held");
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let mut session = open(&gateway, "a.example");
    let filler = "a".repeat(1024 * 1024);
    // Refused before all of it is read.
    let _ =
        session.send(format!("GET / HTTP/1.1\r\nhost: a.example\r\nx-filler: {filler}\r\n\r\n").as_bytes());
    if let Ok(response) = session.response() {
        assert_eq!(response.status, 431);
    }
    assert_eq!(scene.upstream.requests(), [""; 0]);
}

#[test]
fn what_the_http_library_refuses_leaves_one_line_and_is_counted() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let large = format!("GET /large?q HTTP/1.1\r\nhost: a.example\r\nx: {}\r\n\r\n", "x".repeat(40 << 10));
    let endless = format!("GET /{}", "x".repeat(40 << 10));
    let known = ("GET", "a.example", "/");
    let posted = ("POST", "a.example", "/");
    let cases = [
        (large.as_str(), 431, "head_too_large", ("GET", "a.example", "/large")),
        (endless.as_str(), 431, "head_too_large", ("GET", "", "/xxx")),
        ("GET / HTTP/9.9\r\nhost: a.example\r\n\r\n", 400, "bad_request", known),
        ("GET / HTTP/1.1\r\nhost: a.example\r\nx: \0\r\n\r\n", 400, "bad_request", known),
        ("GET / HTTP/1.1\r\nhost : a.example\r\n\r\n", 400, "bad_request", ("GET", "", "/")),
        ("G@T / HTTP/1.1\r\nhost: a.example\r\n\r\n", 400, "bad_request", ("", "a.example", "/")),
        ("POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 5x\r\n\r\n", 400, "bad_request", posted),
        ("POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: gzip\r\n\r\n", 400, "bad_request", posted),
        (
            "POST / HTTP/1.0\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n",
            400,
            "bad_request",
            posted,
        ),
    ];
    for (index, (request, status, error, (method, host, path))) in cases.into_iter().enumerate() {
        let mut session = open(&gateway, "a.example");
        // A request before it, so that it is told apart from what else is on the connection.
        if index % 2 == 1 {
            session.get("/before").expect("a response");
        }
        let shown = &request[..request.len().min(80)];
        session.send(request.as_bytes()).expect("sent");
        let response = session.response().unwrap_or_else(|refusal| panic!("{shown:?}: {refusal:?}"));
        assert_eq!(response.status, status, "{shown:?}");
        assert_eq!(session.read_to_end().expect("a proper end"), b"");
        let line = gateway.wait_for_nth(index + 1, shown, |line| line.is("request") && line.has("error"));
        assert_eq!((line.number("status"), line.text("error")), (u64::from(status), error), "{line}");
        assert_eq!((line.text("method"), line.text("host")), (method, host), "{line}");
        assert!(line.text("path").starts_with(path) && line.text("path").len() < 300, "{line}");
        assert!(!line.text("detail").is_empty() && !line.has("request_id"), "{line}");
        let connection = gateway.wait_for_nth(index + 1, "the connection", |line| line.is("connection"));
        assert_eq!(line.number("connection"), connection.number("connection"), "{connection}");
        assert_eq!(connection.number("requests"), 1 + index as u64 % 2, "{connection}");
        assert_eq!(connection.text("end"), "protocol_error");
    }
    assert_eq!(gateway.lines(|line| line.is("request") && line.has("error")).len(), cases.len());
    let refused = gateway.metric("handfast_requests_total", &[("upstream", ""), ("status", "4xx")]);
    assert_eq!(refused, cases.len() as f64);
}

#[test]
fn a_stream_that_http2_refuses_leaves_one_line_and_the_others_go_on() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(
        &scene.config().with("[http]\nmax-header-bytes = \"2KiB\"\nmax-concurrent-streams = 2"),
    );
    let session =
        Client::new().alpn(&["h2"]).connect(gateway.address("main"), "a.example").expect("a handshake");
    let mut connection = Http2::begin(session).expect("a preface is sent");
    connection.frame_where(|frame| frame.kind == kind::SETTINGS).expect("settings");
    let get = [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")];
    let refused =
        |count| gateway.wait_for_nth(count, "the refusal", |line| line.is("request") && line.has("error"));

    // A path is missing.
    connection.request(1, &get[..3]).expect("sent");
    let reset = connection.frame_where(|frame| frame.kind == kind::RST_STREAM).expect("a reset");
    assert_eq!((reset.stream, reset.payload.as_slice()), (1, &[0, 0, 0, 1][..]));
    let line = refused(1);
    assert_eq!((line.number("status"), line.text("error")), (0, "protocol_error"), "{line}");
    assert!(line.text("detail").contains("PROTOCOL_ERROR"), "{line}");
    assert_eq!(line.text("protocol"), "HTTP/2");

    let filler = "x".repeat(120);
    let fields: Vec<_> = get.into_iter().chain((0..20).map(|_| ("x-filler", filler.as_str()))).collect();
    connection.request(3, &fields).expect("sent");
    let head = connection.frame_where(|frame| frame.kind == kind::HEADERS).expect("a response");
    assert!(head.stream == 3 && !head.is_status_200());
    let line = refused(2);
    assert_eq!((line.number("status"), line.text("error")), (431, "head_too_large"), "{line}");

    for stream in [5, 7, 9] {
        connection.get(stream, "a.example", "/hold").expect("sent");
    }
    let reset =
        connection.frame_where(|frame| frame.kind == kind::RST_STREAM && frame.stream > 3).expect("a reset");
    assert_eq!((reset.stream, reset.payload.as_slice()), (9, &[0, 0, 0, 7][..]));
    let line = refused(3);
    assert_eq!((line.number("status"), line.text("error")), (0, "limit"), "{line}");
    scene.upstream.release();
    for _ in 0..2 {
        let head = connection.frame_where(|frame| frame.kind == kind::HEADERS).expect("a response");
        assert!(head.is_status_200(), "{head:?}");
    }
    drop(connection);
    let line = gateway.wait_for("the connection", |line| line.is("connection"));
    assert_eq!(line.number("requests"), 5, "{line}");
    assert_eq!(gateway.lines(|line| line.is("request")).len(), 5);
    for (class, count) in [("0xx", 2.0), ("4xx", 1.0), ("2xx", 2.0)] {
        assert_eq!(gateway.metric("handfast_requests_total", &[("status", class)]), count, "{class}");
    }
}

#[test]
fn a_connection_that_breaks_http2_leaves_one_line_for_that() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let begin = || {
        let session =
            Client::new().alpn(&["h2"]).connect(gateway.address("main"), "a.example").expect("a handshake");
        Http2::begin(session).expect("a preface is sent")
    };
    let data_on_no_stream = Frame { kind: kind::DATA, flags: 0, stream: 0, payload: b"x".to_vec() };
    let garbled_head = Frame { kind: kind::HEADERS, flags: 5, stream: 3, payload: vec![0xff; 30] };
    for (count, frame) in [data_on_no_stream, garbled_head].iter().enumerate() {
        let mut connection = begin();
        connection.get(1, "a.example", "/").expect("sent");
        connection.frame_where(|frame| frame.stream == 1 && frame.ends_stream()).expect("a response");
        connection.send(frame).expect("sent");
        connection.frame_where(|frame| frame.kind == kind::GOAWAY).expect("the connection is ended");
        let line =
            gateway.wait_for_nth(count + 1, "the refusal", |line| line.text("error") == "protocol_error");
        assert_eq!((line.text("message"), line.number("status")), ("request", 0), "{line}");
        assert!(!line.text("detail").is_empty(), "{line}");
        let connection = gateway.wait_for_nth(count + 1, "the connection", |line| line.is("connection"));
        assert_eq!((connection.text("end"), connection.number("requests")), ("protocol_error", 2));
    }
    // HTTP/1.1 where HTTP/2 was agreed on.
    let mut session =
        Client::new().alpn(&["h2"]).connect(gateway.address("main"), "a.example").expect("a handshake");
    session.send(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").expect("sent");
    gateway.wait_for_nth(3, "the refusal", |line| line.text("error") == "protocol_error");
    // The client ends a connection with an error of its own: no request was refused.
    let mut connection = begin();
    let mut farewell = vec![0; 8];
    farewell[7] = 2;
    connection.send(&Frame { kind: kind::GOAWAY, flags: 0, stream: 0, payload: farewell }).expect("sent");
    drop(connection);
    gateway.wait_for_nth(4, "the connections", |line| line.is("connection"));
    assert_eq!(gateway.lines(|line| line.text("error") == "protocol_error").len(), 3);
}

#[test]
fn an_endpoint_that_fails_is_passed_over() {
    let (scene, nobody) = (Scene::new(&["a.example"]), Nobody::new());
    let config = Config::new()
        .certificates("files", scene.certificates.path())
        .listener("main", "")
        .with(&format!(
            "[[upstream]]\nname = \"pair\"\nendpoints = [\"{}\", \"{}\"]",
            nobody.address(),
            scene.upstream.address()
        ))
        .route("*", "/", "pair");
    let gateway = Gateway::start(&config);
    for _ in 0..6 {
        let response = Client::new().get(gateway.address("main"), "a.example", "/").expect("a response");
        assert_eq!(response.status, 200);
    }
}

#[test]
fn a_client_that_leaves_ends_its_request_upstream() {
    for protocol in ["http/1.1", "h2"] {
        let scene = Scene::new(&["a.example"]);
        let (request, arrived) = channel();
        let (end, ended) = channel();
        // Takes the request and answers nothing.
        let address = scripted(move |mut stream| {
            let _ = stream.read(&mut [0]);
            let _ = request.send(());
            let _ = stream.read_to_end(&mut Vec::new());
            let _ = end.send(());
        });
        let config = Config::new()
            .certificates("files", scene.certificates.path())
            .listener("main", "")
            .upstream("mute", address, "response-timeout = \"1h\"")
            .route("*", "/", "mute");
        let gateway = Gateway::start(&config);
        let client = Client::new().alpn(&[protocol]);
        let mut session = client.connect(gateway.address("main"), "a.example").expect("a handshake");
        if protocol == "h2" {
            let mut connection = Http2::begin(session).expect("a preface is sent");
            connection.get(1, "a.example", "/").expect("sent");
            arrived.recv_timeout(DEADLINE).expect("the request reaches the upstream");
            drop(connection);
        } else {
            session.send(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").expect("sent");
            arrived.recv_timeout(DEADLINE).expect("the request reaches the upstream");
            drop(session);
        }
        assert!(ended.recv_timeout(DEADLINE).is_ok(), "{protocol}: the upstream goes on for nobody");
    }
}

#[track_caller]
fn open(gateway: &Gateway, name: &str) -> Session {
    Client::new().connect(gateway.address("main"), name).expect("a handshake")
}

/// The values of a field that the upstream received.
fn fields(json: &serde_json::Value, name: &str) -> Vec<String> {
    let received: Vec<(String, String)> =
        serde_json::from_value(json["headers"].clone()).expect("pairs of strings");
    received.into_iter().filter(|(found, _)| found == name).map(|(_, value)| value).collect()
}
