//! Which certificate a client gets when only the embedded policy decides: the one for its server name that it can
//! verify.

use std::time::{SystemTime, UNIX_EPOCH};

use handfast_tests::client::openssl::s_client;
use handfast_tests::{
    Authority, CertificateFolder, Client, Config, Curl, Gateway, Key, Leaf, Line, Refusal, Scene, eventually,
};
use handfast_tests::{Pair, Upstream};
use rustls::SignatureScheme;

const RSA_ONLY: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256];

#[test]
fn each_server_name_gets_its_own_certificate() {
    let scene = Scene::new(&["a.example", "b.example"]);
    let gateway = scene.start();
    for client in [Client::new().tls12(), Client::new().tls13()] {
        for (name, pair) in ["a.example", "b.example"].into_iter().zip(&scene.pairs) {
            let session = client.connect(gateway.address("main"), name).expect("a handshake");
            assert_eq!(session.certificate(), pair.fingerprint(), "{name}");
        }
    }
}

#[test]
fn an_unknown_name_gets_the_alert_unrecognized_name() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    for client in [Client::new().tls12(), Client::new().tls13()] {
        let refusal = client.connect(gateway.address("main"), "unknown.example").expect_err("a refusal");
        assert_eq!(refusal, Refusal::Alert("unrecognized_name"));
    }
}

#[test]
fn a_client_without_a_server_name_gets_the_alert_unrecognized_name() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let refusal = Client::new().without_server_name().connect(gateway.address("main"), "a.example");
    assert_eq!(refusal.expect_err("a refusal"), Refusal::Alert("unrecognized_name"));
}

#[test]
fn the_default_certificate_answers_unknown_and_missing_names() {
    let scene = Scene::new(&["a.example", "b.example"]);
    let gateway = Gateway::start(&scene.config().main_listener("default-certificate = \"b.example\""));
    let address = gateway.address("main");
    let unknown = Client::new().connect(address, "unknown.example").expect("a handshake");
    let nameless = Client::new().without_server_name().connect(address, "a.example").expect("a handshake");
    let known = Client::new().connect(address, "a.example").expect("a handshake");
    assert_eq!(unknown.certificate(), scene.pairs[1].fingerprint());
    assert_eq!(nameless.certificate(), scene.pairs[1].fingerprint());
    assert_eq!(known.certificate(), scene.pairs[0].fingerprint());
}

#[test]
fn a_wildcard_covers_one_label_and_yields_to_the_exact_name() {
    let scene = Scene::new(&["exact.example"]);
    let wildcard = scene.authority.server(&["*.example"]);
    scene.certificates.put("wildcard", &wildcard);
    let gateway = scene.start();
    let connect = |name| Client::new().connect(gateway.address("main"), name);
    assert_eq!(connect("other.example").expect("a handshake").certificate(), wildcard.fingerprint());
    assert_eq!(connect("exact.example").expect("a handshake").certificate(), scene.pairs[0].fingerprint());
    assert_eq!(connect("two.labels.example").expect_err("a refusal"), Refusal::Alert("unrecognized_name"));
}

#[test]
fn letter_case_of_the_server_name_does_not_matter() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let finished = s_client(&scene.authority, gateway.address("main"), "A.Example", &[]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

#[test]
fn a_client_that_verifies_only_rsa_gets_the_rsa_chain_and_a_modern_one_the_ecdsa_chain() {
    let (gateway, _scene, ecdsa, rsa) = two_key_types();
    let address = gateway.address("main");
    let modern = Client::new().connect(address, "two.example").expect("a handshake");
    let old = Client::new().schemes(RSA_ONLY).connect(address, "two.example").expect("a handshake");
    let older = Client::new().tls12().schemes(RSA_ONLY).connect(address, "two.example").expect("a handshake");
    assert_eq!(modern.certificate(), ecdsa.fingerprint());
    assert_eq!(old.certificate(), rsa.fingerprint());
    assert_eq!(older.certificate(), rsa.fingerprint());
}

#[test]
fn openssl_sees_the_chain_of_the_key_type_that_it_asks_for() {
    let (gateway, scene, ..) = two_key_types();
    let address = gateway.address("main");
    let modern = s_client(&scene.authority, address, "two.example", &[]);
    let rsa = s_client(&scene.authority, address, "two.example", &["-sigalgs", "RSA-PSS+SHA256"]);
    assert!(modern.stdout.contains("Peer signature type: ECDSA"), "{}", modern.stdout);
    assert!(rsa.stdout.contains("Peer signature type: RSA-PSS"), "{}", rsa.stdout);
}

#[test]
fn a_client_that_can_verify_none_of_its_names_certificates_gets_handshake_failure() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let refusal = Client::new().schemes(RSA_ONLY).connect(gateway.address("main"), "a.example");
    assert_eq!(refusal.expect_err("a refusal"), Refusal::Alert("handshake_failure"));
}

#[test]
fn an_ed25519_certificate_is_served_to_clients_that_can_verify_it() {
    let scene = Scene::new(&[]);
    let pair = scene.authority.issue(Leaf::server(&["ed.example"]).key(Key::Ed25519));
    scene.certificates.put("ed", &pair);
    let gateway = scene.start();
    let session = Client::new().connect(gateway.address("main"), "ed.example").expect("a handshake");
    assert_eq!(session.certificate(), pair.fingerprint());
}

#[test]
fn the_whole_chain_is_sent() {
    let root = Authority::new("root");
    let pair = root.intermediate("intermediate").server(&["a.example"]);
    let (certificates, upstream) = (CertificateFolder::new(), Upstream::http1());
    certificates.put("a", &pair);
    let gateway = Gateway::start(&Config::serving(&certificates, upstream.address()));
    // curl knows the root only, and so needs the intermediate.
    let response = Curl::new(&root, gateway.address("main")).get("https://a.example/");
    assert_eq!(response.status, 200);
}

#[test]
fn every_layout_of_files_is_found() {
    let scene = Scene::new(&["plain.example"]);
    let pair = |name: &str| scene.authority.server(&[name]);
    let (combined, certbot, kubernetes) =
        (pair("combined.example"), pair("certbot.example"), pair("kube.example"));
    scene.certificates.put_combined("combined", &combined);
    scene.certificates.put_certbot("certbot", &certbot);
    scene.certificates.put_kubernetes("kubernetes", &kubernetes);
    // The rest of the table in docs/configuration.md: a name, and its files with what is in them.
    let others = [
        ("installed", vec![("installed/fullchain.pem", CHAIN), ("installed/key.pem", KEY)]),
        ("docker", vec![("docker/cert.pem", CHAIN), ("docker/key.pem", KEY)]),
        ("acme", vec![("a_ecc/fullchain.cer", CHAIN), ("a_ecc/acme.cer", CHAIN), ("a_ecc/acme.key", KEY)]),
        ("split", vec![("split.crt", CHAIN), ("split.crt.key", KEY)]),
        ("pem", vec![("pem.pem", CHAIN), ("pem.key", KEY)]),
        ("mkcert", vec![("mkcert.pem", CHAIN), ("mkcert-key.pem", KEY)]),
        ("haproxy", vec![("haproxy.pem", CHAIN), ("haproxy.pem.key", KEY)]),
        ("bundle", vec![("bundle.pem.ecdsa", BOTH)]),
        ("beside", vec![("beside.pem.rsa", CHAIN), ("beside.pem.rsa.key", KEY)]),
    ];
    let others = others.map(|(name, files)| {
        let pair = pair(&format!("{name}.example"));
        for (file, content) in files {
            scene.certificates.write(file, &content(&pair));
        }
        (name, pair)
    });
    let gateway = scene.start();
    let mut expected = vec![
        ("plain", &scene.pairs[0]),
        ("combined", &combined),
        ("certbot", &certbot),
        ("kube", &kubernetes),
    ];
    expected.extend(others.iter().map(|(name, pair)| (*name, pair)));
    for (name, pair) in expected {
        let session = Client::new().connect(gateway.address("main"), &format!("{name}.example"));
        assert_eq!(session.expect("a handshake").certificate(), pair.fingerprint(), "{name}");
    }
}

type Content = fn(&Pair) -> String;
const CHAIN: Content = |pair| pair.certificates_pem.clone();
const KEY: Content = |pair| pair.key_pem.clone();
const BOTH: Content = |pair| format!("{}{}", pair.key_pem, pair.certificates_pem);

#[test]
fn the_post_quantum_group_is_preferred_where_the_client_has_it() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let session = Client::new().connect(gateway.address("main"), "a.example").expect("a handshake");
    assert_eq!(session.group.as_deref(), Some("X25519MLKEM768"));
    let classical = Client::new().groups(&[rustls::crypto::aws_lc_rs::kx_group::X25519]);
    let session = classical.connect(gateway.address("main"), "a.example").expect("a handshake");
    assert_eq!(session.group.as_deref(), Some("X25519"));
}

#[test]
fn the_oldest_version_is_the_listeners_choice() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&scene.config().main_listener("minimum-tls = \"1.3\""));
    let address = gateway.address("main");
    let refusal = Client::new().tls12().connect(address, "a.example").expect_err("a refusal");
    assert_eq!(refusal, Refusal::Alert("protocol_version"));
    Client::new().tls13().connect(address, "a.example").expect("a handshake");
}

#[test]
fn a_client_without_a_common_protocol_gets_no_application_protocol() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let refusal = Client::new().alpn(&["imap"]).connect(gateway.address("main"), "a.example");
    assert_eq!(refusal.expect_err("a refusal"), Refusal::Alert("no_application_protocol"));
}

#[test]
fn a_key_that_others_can_read_is_refused_unless_the_source_allows_it() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new(&["open.example", "closed.example"]);
    let key = scene.certificates.path().join("open.example.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("a mode is set");
    let gateway = scene.start();
    let refusal = Client::new().connect(gateway.address("main"), "open.example").expect_err("a refusal");
    assert_eq!(refusal, Refusal::Alert("unrecognized_name"));
    Client::new().connect(gateway.address("main"), "closed.example").expect("a handshake");

    let path = scene.certificates.path();
    let allowing = Config::new()
        .certificates("files", path)
        .with_last("allow-readable-keys = true")
        .listener("main", "")
        .upstream("echo", scene.upstream.address(), "")
        .route("*", "/", "echo");
    let gateway = Gateway::start(&allowing);
    let session = Client::new().connect(gateway.address("main"), "open.example").expect("a handshake");
    assert_eq!(session.certificate(), scene.pairs[0].fingerprint());
}

#[test]
fn a_listener_can_answer_missing_and_unknown_names_by_itself() {
    let scene = Scene::new(&["a.example", "b.example"]);
    let keys =
        "default-certificate = \"b.example\"\nno-server-name = \"default\"\nunknown-server-name = \"reject\"";
    let gateway = Gateway::start(&scene.config().main_listener(keys));
    let address = gateway.address("main");
    let nameless = Client::new().without_server_name().connect(address, "a.example").expect("a handshake");
    assert_eq!(nameless.certificate(), scene.pairs[1].fingerprint());
    drop(nameless);
    let line = gateway.wait_for("the connection", |line| line.is("connection"));
    assert_eq!(line.text("policy"), "listener");
    assert_eq!(line.text("certificate"), "b.example");
    assert_eq!(line.text("reason"), "the client sent no server name");
    let refusal = Client::new().connect(address, "unknown.example").expect_err("a refusal");
    assert_eq!(refusal, Refusal::Alert("unrecognized_name"));
    let line = gateway.wait_for_nth(2, "the connection", |line| line.is("connection"));
    assert_eq!(line.text("policy"), "listener");
    assert_eq!(line.text("reason"), "no certificate has this server name");
    // Every other name is the policies' matter, and one that was just added is known.
    scene.certificates.put("c.example", &scene.authority.server(&["c.example"]));
    for name in ["a.example", "c.example"] {
        Client::new().connect(address, name).expect("a handshake");
    }
}

#[test]
fn a_certificate_that_expires_while_it_serves_makes_way_and_the_last_one_is_told_about() {
    let scene = Scene::new(&["a.example"]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let short = |name| scene.authority.issue(Leaf::server(&[name]).valid_until(now + 8));
    scene.certificates.put("b", &short("b.example"));
    scene.certificates.put("c", &short("c.example"));
    let wildcard = scene.authority.server(&["*.example"]);
    let gateway = Gateway::start(&scene.config().main_listener("default-certificate = \"a.example\""));
    let address = gateway.address("main");
    eventually("the end of the validity", || {
        let refusal = Client::new().connect(address, "b.example").err()?;
        (refusal == Refusal::Alert("certificate_expired")).then_some(())
    });
    let line = gateway.wait_for("the refusal", |line| line.is("connection") && line.has("alert"));
    assert_eq!(line.text("verdict"), "reject");
    assert_eq!(line.text("reason"), "the certificate b has expired");
    assert_eq!(line.text("passed_over"), "b");
    scene.certificates.put("wildcard", &wildcard);
    Client::new().connect(address, "d.example").expect("a handshake that finds the wildcard");
    let session = Client::new().connect(address, "c.example").expect("the next best");
    assert_eq!(session.certificate(), wildcard.fingerprint());
    let is_next_best = |line: &Line| {
        line.is("connection") && line.has("certificate") && line.text("server_name") == "c.example"
    };
    let line = gateway.wait_for("the line of the next best", is_next_best);
    assert_eq!((line.text("certificate"), line.text("passed_over")), ("wildcard", "c"));
}

#[test]
fn a_source_may_serve_what_has_expired_and_the_connections_line_says_so() {
    let scene = Scene::new(&["a.example"]);
    let old = scene.authority.issue(Leaf::server(&["old.example"]).expired());
    scene.certificates.put("old", &old);
    let config = scene.config_with_source("serve-expired = true");
    let gateway = Gateway::start(&config);
    for (name, expired) in [("a.example", None), ("old.example", Some(true))] {
        let session = Client::new().connect(gateway.address("main"), name).expect("a handshake");
        let pair = if expired.is_some() { &old } else { &scene.pairs[0] };
        assert_eq!(session.certificate(), pair.fingerprint());
        let is_its = |line: &Line| line.is("connection") && line.text("server_name") == name;
        let line = gateway.wait_for("its line", is_its);
        assert_eq!(line.has("expired"), expired.is_some(), "{name}");
        assert!(!line.has("passed_over"), "{name}");
    }
}

/// One name with a P-256 and an RSA certificate, of which the RSA one is newer.
fn two_key_types() -> (Gateway, Scene, Pair, Pair) {
    let scene = Scene::new(&[]);
    let ecdsa = scene.authority.server(&["two.example"]);
    let rsa = scene.authority.issue(Leaf::server(&["two.example"]).key(Key::Rsa2048).valid_in(2025, 2099));
    scene.certificates.put("two-ecdsa", &ecdsa);
    scene.certificates.put("two-rsa", &rsa);
    (scene.start(), scene, ecdsa, rsa)
}
