//! Resumed handshakes: they happen, they are judged, and a ticket opens no door that its own handshake did not.

use handfast_tests::client::openssl::{s_client, s_client_sending};
use handfast_tests::config::client_certificates;
use handfast_tests::{Authority, Client, Gateway, Leaf, Refusal, Scene};

#[test]
fn a_returning_client_resumes_on_every_worker() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    for client in [Client::new().tls12().resuming(), Client::new().tls13().resuming()] {
        let mut resumed = Vec::new();
        for _ in 0..8 {
            let mut session = client.connect(gateway.address("main"), "a.example").expect("a handshake");
            resumed.push(session.resumed);
            // Tickets of TLS 1.3 come after the handshake, ahead of the response.
            assert_eq!(session.get("/").expect("a response").status, 200);
        }
        assert_eq!(resumed, [false, true, true, true, true, true, true, true]);
    }
}

#[test]
fn a_client_that_says_nothing_after_the_handshake_gets_its_ticket() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let client = Client::new().tls13().resuming();
    for resumed in [false, true] {
        let mut session = client.connect(gateway.address("main"), "a.example").expect("a handshake");
        assert_eq!(session.resumed, resumed);
        session.ticket().expect("a ticket");
    }
}

#[test]
fn a_resumed_handshake_is_judged_like_any_other() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let client = Client::new().resuming();
    for _ in 0..2 {
        client.get(gateway.address("main"), "a.example", "/").expect("a response");
    }
    let line = gateway.wait_for("a resumed connection", |line| line.is("connection") && line.flag("resumed"));
    assert_eq!(line.text("verdict"), "certificate");
    assert_eq!(line.text("policy"), "server-name");
    assert_eq!(line.text("certificate"), "a.example");
}

#[test]
fn a_certificate_that_is_gone_is_not_resumed() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let client = Client::new().resuming();
    client.get(gateway.address("main"), "a.example", "/").expect("a response");
    scene.certificates.put("a.example", &scene.authority.server(&["b.example"]));
    Client::new().connect(gateway.address("main"), "b.example").expect("the new name is served");
    let refusal = client.connect(gateway.address("main"), "a.example").expect_err("the old name is not");
    assert_eq!(refusal, Refusal::Alert("unrecognized_name"));
}

#[test]
fn a_ticket_from_an_open_listener_opens_none_that_requires_a_certificate() {
    let scene = Scene::new(&["a.example"]);
    let keys = client_certificates("require", &scene.authority);
    let gateway = Gateway::start(&scene.config().listener("strict", &keys));
    for client in [Client::new().tls12().resuming(), Client::new().tls13().resuming()] {
        client.get(gateway.address("main"), "a.example", "/").expect("a response");
        let refusal = client.get(gateway.address("strict"), "a.example", "/").expect_err("a refusal");
        assert!(
            matches!(refusal, Refusal::Alert("certificate_required" | "handshake_failure")),
            "{refusal:?}"
        );
    }
}

#[test]
fn a_ticket_does_not_cross_from_one_set_of_trust_anchors_to_another() {
    let scene = Scene::new(&["a.example"]);
    let others = Authority::new("another authority");
    let config = scene
        .config()
        .listener("ours", &client_certificates("require", &scene.authority))
        .listener("theirs", &client_certificates("require", &others));
    let gateway = Gateway::start(&config);
    let identity = scene.authority.issue(Leaf::client("alice"));
    let client = Client::new().identity(&identity).resuming();
    client.get(gateway.address("ours"), "a.example", "/").expect("a response");
    let refusal = client.get(gateway.address("theirs"), "a.example", "/").expect_err("a refusal");
    assert!(matches!(refusal, Refusal::Alert(_)), "{refusal:?}");
    let mut session = client.connect(gateway.address("ours"), "a.example").expect("a handshake");
    assert_eq!(session.get("/").expect("a response").status, 200);
}

#[test]
fn a_ticket_does_not_resume_under_another_server_name() {
    let scene = Scene::new(&["a.example", "b.example"]);
    let gateway = scene.start();
    let address = gateway.address("main");
    let ticket = gateway.folder().join("ticket.pem").display().to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        for (name, resumes) in [("a.example", true), ("b.example", false)] {
            // The request keeps s_client there until the tickets have come.
            let request = "GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n";
            let first = s_client_sending(
                &scene.authority,
                address,
                "a.example",
                &[version, "-sess_out", &ticket],
                request,
            );
            assert_eq!(first.code, Some(0), "{}", first.stderr);
            let second = s_client(&scene.authority, address, name, &[version, "-sess_in", &ticket]);
            assert_eq!(second.stdout.contains("\nReused, "), resumes, "{version} {name}: {}", second.stdout);
        }
    }
}
