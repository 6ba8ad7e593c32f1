//! Client certificates: asked for per listener, verified natively, judged by `validate` policies, told to upstreams.

use std::fs;
use std::path::Path;

use handfast_tests::config::client_certificates;
use handfast_tests::{
    Authority, Client, Config, Curl, Gateway, Leaf, Line, Pair, Refusal, Response, Scene, plugin, repository,
};
use tempfile::TempDir;

#[test]
fn a_listener_that_requires_certificates_refuses_a_client_without_one() {
    let scene = Scene::new(&["a.example"]);
    let gateway = start(&scene, "require");
    let refusal =
        Client::new().tls13().get(gateway.address("main"), "a.example", "/").expect_err("a refusal");
    assert_eq!(refusal, Refusal::Alert("certificate_required"));
    let refusal =
        Client::new().tls12().get(gateway.address("main"), "a.example", "/").expect_err("a refusal");
    assert!(matches!(refusal, Refusal::Alert(_)), "{refusal:?}");
    assert_eq!(scene.upstream.requests(), [""; 0]);
}

#[test]
fn a_listener_that_requests_certificates_lets_both_kinds_of_client_in() {
    let scene = Scene::new(&["a.example"]);
    let gateway = start(&scene, "request");
    let identity = scene.authority.issue(Leaf::client("alice"));
    for client in
        [Client::new(), Client::new().identity(&identity), Client::new().tls12().identity(&identity)]
    {
        let response = client.get(gateway.address("main"), "a.example", "/").expect("a response");
        assert_eq!(response.status, 200);
    }
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused() {
    let scene = Scene::new(&["a.example"]);
    let stranger = Authority::new("another authority").issue(Leaf::client("mallory"));
    for mode in ["require", "request"] {
        let gateway = start(&scene, mode);
        for client in [Client::new().tls12(), Client::new().tls13()] {
            let client = client.identity(&stranger);
            let refusal = client.get(gateway.address("main"), "a.example", "/").expect_err("a refusal");
            assert_eq!(refusal, Refusal::Alert("unknown_ca"), "{mode}");
        }
    }
}

#[test]
fn an_expired_certificate_is_refused() {
    let scene = Scene::new(&["a.example"]);
    let gateway = start(&scene, "require");
    let expired = scene.authority.issue(Leaf::client("alice").expired());
    let refusal = Client::new().identity(&expired).get(gateway.address("main"), "a.example", "/");
    assert_eq!(refusal.expect_err("a refusal"), Refusal::Alert("certificate_expired"));
}

#[test]
fn a_server_certificate_is_no_client_certificate() {
    let scene = Scene::new(&["a.example"]);
    let gateway = start(&scene, "require");
    let wrong_purpose = scene.authority.server(&["a.example"]);
    let refusal = Client::new().identity(&wrong_purpose).get(gateway.address("main"), "a.example", "/");
    assert!(matches!(refusal, Err(Refusal::Alert(_))), "{refusal:?}");
}

#[test]
fn a_returning_client_is_verified_against_the_trust_anchors_of_now() {
    let scene = Scene::new(&["a.example"]);
    let others = Authority::new("another authority");
    let anchors =
        scene.certificates.path().parent().expect("a folder").join(format!("anchors-{}", std::process::id()));
    fs::write(&anchors, scene.authority.root_pem()).expect("the anchors are written");
    let keys =
        format!("client-certificates = {{ mode = \"require\", trust-anchors = \"{}\" }}", anchors.display());
    let config = scene.config().main_listener(&keys);
    let gateway = Gateway::start(&config);
    let identity = scene.authority.issue(Leaf::client("alice"));
    let client = Client::new().identity(&identity).resuming();
    for _ in 0..2 {
        client.get(gateway.address("main"), "a.example", "/").expect("a response");
    }
    fs::write(&anchors, others.root_pem()).expect("the anchors are written");
    gateway.reload(&config);
    let refusal = client.get(gateway.address("main"), "a.example", "/").expect_err("a refusal");
    assert!(matches!(refusal, Refusal::Alert(_)), "{refusal:?}");
    let _ = fs::remove_file(anchors);
}

#[test]
fn attributes_of_a_validated_client_reach_the_upstream() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&validating(&scene));
    let alice = scene.authority.issue(Leaf::client("alice").uri("spiffe://example/alice"));
    let response =
        Client::new().identity(&alice).get(gateway.address("main"), "a.example", "/").expect("a response");
    let attributes = client_fields(&response);
    let value =
        |name: &str| attributes.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    assert_eq!(value("x-client-common-name"), Some("alice"), "{attributes:?}");
    assert_eq!(value("x-client-uris"), Some("spiffe://example/alice"), "{attributes:?}");
    assert_eq!(value("x-client-fingerprint"), Some(alice.fingerprint().as_str()), "{attributes:?}");
    let curl = Curl::new(&scene.authority, gateway.address("main")).http2().identity(&alice);
    let over_http2 = client_fields(&curl.get("https://a.example/"));
    for attribute in attributes {
        assert!(over_http2.contains(&attribute), "{attribute:?} in {over_http2:?}");
    }
}

#[test]
fn a_policy_sees_the_leaf_and_nothing_that_nobody_verified() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&validating(&scene));
    let alice = scene.authority.issue(Leaf::client("alice"));
    let stranger = Authority::new("another authority").issue(Leaf::client("root"));
    let padded = Pair {
        certificates_pem: alice.certificates_pem.clone()
            + &stranger.certificates_pem
            + scene.authority.root_pem(),
        ..alice.clone()
    };
    for client in [Client::new().tls12(), Client::new().tls13()] {
        let client = client.identity(&padded).resuming();
        for _ in 0..2 {
            let response = client.get(gateway.address("main"), "a.example", "/").expect("a response");
            let attributes = client_fields(&response);
            for (name, value) in [("common-name", "alice"), ("chain-length", "1")] {
                let expected = (format!("x-client-{name}"), value.to_owned());
                assert!(attributes.contains(&expected), "{expected:?} in {attributes:?}");
            }
        }
    }
}

#[test]
fn the_line_of_a_validated_client_names_the_policy_and_what_it_told() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&validating(&scene).listener("open", ""));
    let alice = scene.authority.issue(Leaf::client("alice"));
    Client::new().identity(&alice).get(gateway.address("main"), "a.example", "/").expect("a response");
    let line = gateway.wait_for("the connection", |line| line.is("connection"));
    assert_eq!((line.text("policy"), line.text("validated_by")), ("server-name", "guard"));
    let names: Vec<&str> = line.text("attributes").split(',').collect();
    assert!(names.contains(&"common-name") && names.contains(&"fingerprint"), "{line}");
    assert!(!line.to_string().contains("alice"), "values are not for the log: {line}");
    Client::new().get(gateway.address("open"), "a.example", "/").expect("a response");
    let line = gateway.wait_for_nth(2, "the connection", |line| line.is("connection"));
    assert!(!line.has("validated_by") && !line.has("attributes"), "{line}");
}

#[test]
fn the_line_of_a_refused_client_has_the_alert_it_got() {
    let scene = Scene::new(&["a.example"]);
    let gateway = start(&scene, "require");
    let stranger = Authority::new("another authority").issue(Leaf::client("mallory"));
    let expired = scene.authority.issue(Leaf::client("alice").expired());
    let server = scene.authority.server(&["a.example"]);
    let mut count = 0;
    for version in [Client::tls12, Client::tls13] {
        let with = |pair| version(Client::new().identity(pair));
        for client in [version(Client::new()), with(&stranger), with(&expired), with(&server)] {
            let refusal = client.get(gateway.address("main"), "a.example", "/").expect_err("a refusal");
            count += 1;
            let line = gateway.wait_for_nth(count, "the connection", |line| line.is("connection"));
            let Refusal::Alert(alert) = refusal else { panic!("{refusal:?}") };
            assert_eq!(line.text("alert"), alert, "{line}");
            assert!(!line.text("error").is_empty(), "{line}");
        }
    }
}

#[test]
fn a_policy_refuses_a_verified_client_with_its_own_alert() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&validating(&scene));
    let refused = scene.authority.issue(Leaf::client("bob").organizational_unit("refused"));
    for client in [Client::new().tls12(), Client::new().tls13()] {
        let refusal = client.identity(&refused).get(gateway.address("main"), "a.example", "/");
        assert_eq!(refusal.expect_err("a refusal"), Refusal::Alert("access_denied"));
    }
    let line = gateway.wait_for("the outcome", |line| line.is("connection"));
    assert_eq!(line.text("verdict"), "reject");
    assert_eq!(line.text("policy"), "guard");
    assert_eq!(line.text("alert"), "access_denied");
    assert_eq!(scene.upstream.requests(), [""; 0]);
}

#[test]
fn a_returning_client_is_validated_again_and_keeps_its_attributes() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&validating(&scene));
    let alice = scene.authority.issue(Leaf::client("alice"));
    for client in [Client::new().tls12(), Client::new().tls13()] {
        let client = client.identity(&alice).resuming();
        let first = client.get(gateway.address("main"), "a.example", "/").expect("a response");
        let mut session = client.connect(gateway.address("main"), "a.example").expect("a handshake");
        assert!(session.resumed);
        let second = session.get("/").expect("a response");
        assert_eq!(client_fields(&first), client_fields(&second));
        assert!(!client_fields(&second).is_empty());
    }
}

#[test]
fn a_ticket_from_before_a_policy_does_not_pass_it_by() {
    let scene = Scene::new(&["a.example"]);
    let gateway = start(&scene, "require");
    let refused = scene.authority.issue(Leaf::client("refused"));
    let client = Client::new().identity(&refused).resuming();
    for _ in 0..2 {
        client.get(gateway.address("main"), "a.example", "/").expect("no policy objects yet");
    }
    gateway.reload(&validating(&scene));
    let refusal = client.get(gateway.address("main"), "a.example", "/").expect_err("a refusal");
    assert_eq!(refusal, Refusal::Alert("access_denied"));
}

#[test]
fn attributes_that_a_client_writes_itself_are_removed() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let curl = || Curl::new(&scene.authority, gateway.address("main")).header("x-client-name: root");
    for curl in [curl().http1(), curl().http2()] {
        let response = curl.header("X-Client-Anything: 1").get("https://a.example/");
        assert_eq!(client_fields(&response), []);
    }
}

/// At the start it is an error; a running gateway once took it, and everybody came in.
#[test]
fn no_policy_is_replaced_by_one_that_only_judges_certificates_which_nobody_is_asked_for() {
    let scene = Scene::new(&["a.example", "reject-access-denied.example"]);
    let file = scene.certificates.path().join("policy.wasm");
    fs::copy(plugin("guest-probe"), &file).expect("a plugin is copied");
    let config = |keys: &str| {
        let settings = "reload-wait = \"30s\"\nconfig = { common-names = [\"alice\"] }";
        let listener = format!("policies = [\"guard\"]\n{keys}");
        scene.config().main_listener(&listener).policy("guard", &file, settings)
    };
    let gateway = Gateway::start(&config(""));
    fs::copy(plugin("client-certificate"), file.with_extension("staged")).expect("a plugin is copied");
    fs::rename(file.with_extension("staged"), &file).expect("a plugin is renamed");
    let address = gateway.address("main");
    for _ in 0..2 {
        let refusal = Client::new().connect(address, "reject-access-denied.example").expect_err("a refusal");
        assert_eq!(refusal, Refusal::Alert("access_denied"), "the last good one judges");
    }
    let told = |line: &Line| line.is("policy not replaced");
    let line = gateway.wait_for("the refusal", told);
    assert!(line.text("error").contains("add [listener.client-certificates] to the listener"), "{line}");
    assert_eq!((line.text("file"), gateway.lines(told).len()), (file.to_str().expect("a path"), 1));

    // The same file, once it is good.
    gateway.reload(&config(&client_certificates("require", &scene.authority)));
    let get = |name: &str| {
        let identity = scene.authority.issue(Leaf::client(name));
        Client::new().tls12().identity(&identity).get(address, "reject-access-denied.example", "/")
    };
    assert_eq!(get("alice").expect("a response").status, 200);
    assert!(get("mallory").is_err(), "the new plugin judges");
}

/// Once, the new plugin took the old one's place without a word, and whoever that one had refused came in.
#[test]
fn a_plugin_that_lost_validate_is_taken_only_by_a_new_configuration_or_a_start() {
    let scene = Scene::new(&["a.example"]);
    let folder = TempDir::new().expect("a scratch folder");
    let (file, other) = (folder.path().join("policy.wasm"), folder.path().join("other.wasm"));
    let without = repository().join("plugins/server-name/dist/server-name.wasm");
    fs::copy(plugin("client-certificate"), &file).expect("a plugin is copied");
    fs::copy(&without, &other).expect("a plugin is copied");
    let config = |file: &Path, keys: &str| {
        let listener =
            format!("policies = [\"guard\"]\n{}", client_certificates("require", &scene.authority));
        let keys = format!("reload-wait = \"30s\"\n{keys}");
        scene.config().main_listener(&listener).policy("guard", file, &keys)
    };
    let names = "config = { common-names = [\"alice\"] }";
    let gateway = Gateway::start(&config(&file, names));
    let mallory = scene.authority.issue(Leaf::client("mallory"));
    let client = Client::new().tls12().identity(&mallory);
    let get = || client.get(gateway.address("main"), "a.example", "/");
    get().expect_err("a refusal");

    // With its settings it would be refused for those.
    gateway.write_config(&config(&other, names));
    gateway.sighup();
    let line = gateway.wait_for("the refusal", |line| line.is("configuration not reloaded"));
    assert!(line.text("error").contains("exports no `configure`"), "{line}");
    get().expect_err("a refusal");

    fs::copy(plugin("guest-probe"), file.with_extension("staged")).expect("a plugin is copied");
    fs::rename(file.with_extension("staged"), &file).expect("a plugin is renamed");
    gateway.reload(&config(&file, ""));
    get().expect("this one does not know who mallory is");
    fs::copy(&without, file.with_extension("staged")).expect("a plugin is copied");
    fs::rename(file.with_extension("staged"), &file).expect("a plugin is renamed");
    get().expect("the old one judges");
    let line = gateway.wait_for("the refusal", |line| line.is("policy not replaced"));
    let error = "it does not export `validate`, `admit`, as the plugin in use does";
    assert!(line.text("error").contains(error) && line.text("error").contains("restart"), "{line}");
    let kept = [("what", "policy"), ("name", "guard"), ("outcome", "kept")];
    assert_eq!(gateway.metric("handfast_reloads_total", &kept), 1.0);

    gateway.reload(&config(&other, ""));
    let line = gateway.wait_for("the warning", |line| line.is("policy"));
    let finding =
        "the plugin of the policy `guard` does not export `validate`, `admit`, as the one before did";
    assert_eq!(line.text("finding"), finding);
    get().expect("nobody judges any more");
}

fn start(scene: &Scene, mode: &str) -> Gateway {
    Gateway::start(&scene.config().main_listener(&client_certificates(mode, &scene.authority)))
}

/// Refuses clients whose unit or common name is `refused`.
fn validating(scene: &Scene) -> Config {
    let keys = format!("policies = [\"guard\"]\n{}", client_certificates("require", &scene.authority));
    // Its `select` passes, so that the embedded policy chooses the certificate.
    scene.config().main_listener(&keys).policy(
        "guard",
        &plugin("guest-probe"),
        "config = { select = \"pass\" }",
    )
}

/// The `x-client-*` fields that the upstream received.
fn client_fields(response: &Response) -> Vec<(String, String)> {
    assert_eq!(response.status, 200);
    let received: Vec<(String, String)> =
        serde_json::from_value(response.json()["headers"].clone()).expect("pairs of strings");
    received.into_iter().filter(|(name, _)| name.starts_with("x-client-")).collect()
}
