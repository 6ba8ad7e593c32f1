//! Policies: their verdicts, their order, what happens when one has none, and how they are replaced.
//!
//! `guest-probe` does what the first label of the server name says; `tests/guests/probe` has the table.

use std::fs;
use std::path::{Path, PathBuf};

use handfast_tests::{
    CertificateFolder, Client, Config, Curl, Gateway, Line, Load, Pair, Refusal, Scene, Session, plugin,
    upstream,
};
use tempfile::TempDir;

#[test]
fn a_policy_rejects_with_any_alert() {
    let probe = Probe::start("");
    for client in [Client::new().tls12(), Client::new().tls13()] {
        for (label, alert) in
            [("access-denied", "access_denied"), ("116", "certificate_required"), ("42", "bad_certificate")]
        {
            let refusal = client.connect(probe.gateway.address("main"), &format!("reject-{label}.example"));
            assert_eq!(refusal.expect_err("a refusal"), Refusal::Alert(alert));
        }
    }
    // The lines of connections on different workers are in no order.
    let line = probe.gateway.wait_for("the line of the first", |line| {
        line.is("connection") && line.text("server_name") == "reject-access-denied.example"
    });
    assert_eq!((line.text("verdict"), line.text("policy")), ("reject", "probe"));
    assert_eq!((line.text("alert"), line.text("reason")), ("access_denied", "told to reject"));
}

#[test]
fn a_policy_drops_a_connection_without_an_answer() {
    let probe = Probe::start("");
    assert_eq!(probe.connect("drop.example").expect_err("a refusal"), Refusal::Closed);
    assert_eq!(probe.connection().text("verdict"), "drop");
}

#[test]
fn a_policy_that_passes_leaves_the_choice_to_the_next() {
    let probe = Probe::start("");
    let session = probe.connect("pass.example").expect("a handshake");
    assert_eq!(session.certificate(), probe.wildcard.fingerprint());
    drop(session);
    let line = probe.connection();
    assert_eq!((line.text("verdict"), line.text("policy")), ("certificate", "server-name"));
}

#[test]
fn a_policy_chooses_by_default_and_by_tag() {
    let scene = Scene::new(&["default.example", "fallback.example"]);
    let tagged = scene.authority.server(&["elsewhere.example"]);
    let more = CertificateFolder::new();
    more.put("elsewhere", &tagged);
    let config = scene
        .config()
        .main_listener("policies = [\"probe\"]\ndefault-certificate = \"files:fallback.example\"")
        .certificates("more", more.path())
        .with_last("tags = { probe = \"blue\" }")
        .policy("probe", &plugin("guest-probe"), "");
    let gateway = Gateway::start(&config);
    let connect =
        |name| Client::new().connect(gateway.address("main"), name).expect("a handshake").certificate();
    assert_eq!(connect("default.example"), scene.pairs[1].fingerprint());
    assert_eq!(connect("tagged-blue.example"), tagged.fingerprint());
}

#[test]
fn a_policy_passes_a_connection_through_to_an_upstream_that_ends_tls_itself() {
    let scene = probe_scene();
    let behind = scene.authority.server(&["passthrough-behind.example"]);
    let address = upstream::tls(&behind, "from behind");
    let config = probe_config(&scene, "").upstream("behind", address, "");
    let gateway = Gateway::start(&config);
    let mut session =
        Client::new().connect(gateway.address("main"), "passthrough-behind.example").expect("a handshake");
    assert_eq!(session.certificate(), behind.fingerprint());
    assert_eq!(session.get("/").expect("a response").text(), "from behind");
    drop(session);
    let line = gateway.wait_for("the connection", |line| line.is("connection"));
    assert_eq!((line.text("verdict"), line.text("policy")), ("passthrough", "probe"));
}

#[test]
fn a_passthrough_to_an_upstream_that_does_not_exist_is_refused() {
    let probe = Probe::start("");
    let refusal = probe.connect("passthrough-nowhere.example").expect_err("a refusal");
    assert!(matches!(refusal, Refusal::Alert(_)), "{refusal:?}");
}

#[test]
fn a_passthrough_to_an_upstream_that_does_not_exist_yields_to_the_next_where_configured() {
    let probe = Probe::start("on-error = \"next\"");
    let session = probe.connect("passthrough-nowhere.example").expect("a handshake");
    assert_eq!(session.certificate(), probe.wildcard.fingerprint());
    drop(session);
    let line = probe.connection();
    assert_eq!((line.text("verdict"), line.text("policy")), ("certificate", "server-name"));
    assert_eq!(line.text("policy_errors"), "probe:invalid-verdict");
}

#[test]
fn a_connection_is_bound_to_its_server_name_where_policies_judged_it() {
    let scene = Scene::new(&[]);
    scene.certificates.put("both", &scene.authority.server(&["a.example", "b.example"]));
    let config = scene.config().listener("judged", "policies = [\"probe\"]").policy(
        "probe",
        &plugin("guest-probe"),
        "config = { select = \"pass\" }",
    );
    let gateway = Gateway::start(&config);
    for (listener, status) in [("main", 200), ("judged", 421)] {
        let mut session = Client::new().connect(gateway.address(listener), "a.example").expect("a handshake");
        assert_eq!(session.get("/").expect("a response").status, 200, "{listener}");
        session.send(b"GET / HTTP/1.1\r\nhost: b.example\r\n\r\n").expect("sent");
        assert_eq!(session.response().expect("a response").status, status, "{listener}");
    }
}

#[test]
fn the_first_policy_with_an_opinion_decides() {
    let scene = probe_scene();
    let rejecting = "config = { select = \"reject-access-denied\" }";
    let (passing, probe) = ("config = { select = \"pass\" }", plugin("guest-probe"));
    for order in ["\"first\", \"second\"", "\"second\", \"first\""] {
        let config = scene
            .config()
            .main_listener(&format!("policies = [{order}]"))
            .policy("first", &probe, passing)
            .policy("second", &probe, rejecting);
        let gateway = Gateway::start(&config);
        let refusal = Client::new().connect(gateway.address("main"), "any.example").expect_err("a refusal");
        assert_eq!(refusal, Refusal::Alert("access_denied"));
        assert_eq!(gateway.wait_for("the connection", |line| line.is("connection")).text("policy"), "second");
    }
}

#[test]
fn what_follows_an_opinion_is_not_asked() {
    let scene = probe_scene();
    let probe = plugin("guest-probe");
    let config = scene
        .config()
        .main_listener("policies = [\"probe\", \"second\"]")
        .policy("probe", &probe, "")
        .policy("second", &probe, "config = { select = \"reject-access-denied\" }");
    let gateway = Gateway::start(&config);
    let session = Client::new().connect(gateway.address("main"), "count.example").expect("a handshake");
    drop(session);
    gateway.wait_for("the connection", |line| line.is("connection"));
    assert_eq!(
        gateway.metric("handfast_policy_calls_total", &[("policy", "second"), ("hook", "select")]),
        0.0
    );
    assert_eq!(gateway.metric("handfast_policy_calls_total", &[("policy", "server-name")]), 0.0);
}

#[test]
fn a_policy_without_a_verdict_fails_closed() {
    let probe = Probe::start("");
    for label in ["panic", "unknown"] {
        let refusal = probe.connect(&format!("{label}.example")).expect_err("a refusal");
        assert_eq!(refusal, Refusal::Alert("internal_error"), "{label}");
    }
    let line = probe.connection();
    assert_eq!((line.text("verdict"), line.text("policy")), ("reject", "probe"));
}

#[test]
fn a_policy_without_a_verdict_yields_to_the_next_where_configured() {
    let probe = Probe::start("on-error = \"next\"");
    for label in ["panic", "unknown"] {
        let session = probe.connect(&format!("{label}.example")).expect("a handshake");
        assert_eq!(session.certificate(), probe.wildcard.fingerprint(), "{label}");
    }
    let line = probe.connection();
    assert_eq!((line.text("verdict"), line.text("policy")), ("certificate", "server-name"));
    assert!(line.text("policy_errors").contains("probe"), "the failure is not hidden: {line}");
}

#[test]
fn a_policy_is_told_about_the_connection_and_the_hello() {
    let probe = Probe::start("");
    drop(probe.connect("any.example").expect("a handshake"));
    let line = probe.connection();
    assert_eq!(line.text("reason"), format!("main 127.0.0.1 {}", line.text("ja4")));
    let said = probe.gateway.log_text();
    assert!(said.contains("server-name=Some(\\\"any.example\\\")"), "{said}");
}

#[test]
fn a_policy_gets_its_config_as_json() {
    let probe = Probe::start("config = { number = 1, list = [\"a\"], table = { yes = true } }");
    drop(probe.connect("config.example").expect("a handshake"));
    let reason: serde_json::Value =
        serde_json::from_str(probe.connection().text("reason")).expect("the config is JSON");
    assert_eq!(reason, serde_json::json!({ "number": 1, "list": ["a"], "table": { "yes": true } }));
}

#[test]
fn a_fresh_instance_remembers_nothing_and_a_reused_one_may() {
    let counts = |keys| {
        let probe = Probe::start(keys);
        for _ in 0..10 {
            drop(probe.connect("count.example").expect("a handshake"));
        }
        probe.gateway.wait_for_nth(10, "the connections", |line| line.is("connection"));
        let lines = probe.gateway.lines(|line| line.is("connection"));
        lines.iter().map(|line| line.text("reason").to_owned()).collect::<Vec<_>>()
    };
    assert!(counts("").iter().all(|reason| reason == "call 1 of this instance"));
    assert!(counts("instances = \"reuse\"").iter().any(|reason| reason != "call 1 of this instance"));
}

#[test]
fn a_reused_instance_that_trapped_is_not_used_again() {
    let probe = Probe::start("instances = \"reuse\"");
    for _ in 0..4 {
        drop(probe.connect("count.example").expect("a handshake"));
        probe.connect("panic.example").expect_err("a refusal");
    }
    drop(probe.connect("count.example").expect("a handshake"));
}

/// Once, it was: that there is no such certificate is known to the gateway only, and not to the sandbox.
#[test]
fn a_reused_instance_whose_answer_means_nothing_is_not_used_again() {
    let scene = probe_scene();
    let config = probe_config(&scene, "instances = \"reuse\"");
    let gateway = Gateway::start(&config);
    let connect = |name: &str| Client::new().connect(gateway.address("main"), name).map(drop);
    let mut calls = 0;
    let mut count = || {
        calls += 1;
        connect("count.example").expect("a handshake");
        let is_one = |line: &Line| line.is("connection") && line.text("server_name") == "count.example";
        gateway.wait_for_nth(calls, "the connection", is_one).text("reason").to_owned()
    };
    for unknown in ["unknown.example", "passthrough-nowhere.example"] {
        assert_eq!((count(), count()), ("call 1 of this instance".into(), "call 2 of this instance".into()));
        assert_eq!(connect(unknown).expect_err("a refusal"), Refusal::Alert("internal_error"));
    }
    assert_eq!(count(), "call 1 of this instance");
}

#[test]
fn a_policy_that_talks_too_much_is_cut_short() {
    let probe = Probe::start("");
    drop(probe.connect("chatter.example").expect("a handshake"));
    probe.connection();
    let lines = probe.gateway.lines(|line| line.to_string().contains("line "));
    assert!((1..=17).contains(&lines.len()), "{} lines", lines.len());
}

#[test]
fn a_policy_that_many_clients_make_talk_is_held_to_its_rate() {
    let probe = Probe::start("log-rate = 1");
    for _ in 0..10 {
        drop(probe.connect("any.example").expect("a handshake"));
    }
    probe.gateway.wait_for_nth(10, "the connections", |line| line.is("connection"));
    let said = || probe.gateway.lines(|line| line.text("target") == "handfast::policy").len();
    let dropped =
        probe.gateway.metric("handfast_policy_dropped_total", &[("policy", "probe"), ("what", "log-rate")]);
    // Three lines of each, of which ten come through at once and then one in a second.
    assert_eq!(said() as f64 + dropped, 30.0);
    assert!((10..30).contains(&said()), "{} lines", said());
    let told = probe.gateway.wait_for("the line that says so", |line| {
        line.text("message") == "policy logs more than its log-rate; lines are dropped"
    });
    assert_eq!((told.text("policy"), told.number("rate")), ("probe", 1));
}

#[test]
fn a_policy_may_keep_a_certificate_from_going_live() {
    let scene = Scene::new(&["good.example", "refused.example"]);
    let gateway = Gateway::start(&probe_config(&scene, "config = { select = \"pass\" }"));
    Client::new().connect(gateway.address("main"), "good.example").expect("a handshake");
    let refusal = Client::new().connect(gateway.address("main"), "refused.example").expect_err("a refusal");
    assert_eq!(refusal, Refusal::Alert("unrecognized_name"));
    let log = gateway.log_text();
    assert!(log.contains("no certificate for refused.example goes live"), "{log}");

    let wider = scene.authority.server(&["good.example", "refused-too.example"]);
    scene.certificates.put("good.example", &wider);
    let session = Client::new().connect(gateway.address("main"), "good.example").expect("a handshake");
    assert_eq!(session.certificate(), scene.pairs[0].fingerprint(), "the last good one stays");
}

#[test]
fn a_replaced_file_judges_the_next_hello() {
    let (probe, file) = Probe::start_from_copy("");
    drop(probe.connect("any.example").expect("a handshake"));
    for round in 1..=3 {
        replace(&file, &plugin("guest-trap"));
        assert_eq!(probe.connect("any.example").expect_err("a trap"), Refusal::Alert("internal_error"));
        replace(&file, &plugin("guest-probe"));
        drop(probe.connect("any.example").expect("a handshake"));
        let line =
            probe.gateway.wait_for_nth(2 * round, "the replacement", |line| line.is("policy replaced"));
        assert_eq!(line.text("policy"), "probe");
        assert!(!line.text("digest").is_empty(), "{line}");
    }
}

#[test]
fn where_no_handshake_is_to_wait_the_version_before_judges_until_the_new_one_is_compiled() {
    let (probe, file) = Probe::start_from_copy_waiting("0s", "");
    replace(&file, &plugin("guest-trap"));
    drop(probe.connect("any.example").expect("the verdict of the version before"));
    probe.gateway.wait_for("the replacement", |line| line.is("policy replaced"));
    assert_eq!(probe.connect("any.example").expect_err("a trap"), Refusal::Alert("internal_error"));
}

#[test]
fn a_file_that_is_no_policy_keeps_the_last_good_one() {
    let (probe, file) = Probe::start_from_copy("");
    let garbage = probe.gateway.folder().join("garbage.wasm");
    fs::write(&garbage, "not WebAssembly at all").expect("a file is written");
    let half = probe.gateway.folder().join("half.wasm");
    let whole = fs::read(plugin("guest-probe")).expect("a plugin is read");
    fs::write(&half, &whole[..whole.len() / 2]).expect("a file is written");
    for (count, bad) in [garbage, half, plugin("guest-wrong-world")].iter().enumerate() {
        replace(&file, bad);
        for _ in 0..3 {
            assert_eq!(
                probe.connect("reject-access-denied.example").expect_err("a refusal"),
                Refusal::Alert("access_denied")
            );
            drop(probe.connect("any.example").expect("a handshake"));
        }
        let line = probe.gateway.wait_for_nth(count + 1, "the report", |line| line.is("policy not replaced"));
        assert_eq!(line.text("policy"), "probe");
        assert!(!line.text("error").is_empty(), "{line}");
    }
    let reports = probe.gateway.lines(|line| line.is("policy not replaced"));
    assert_eq!(reports.len(), 3, "each failure is reported once");
}

#[test]
fn replacing_a_policy_costs_no_handshake() {
    let (probe, file) = Probe::start_from_copy("config = {}");
    let address = probe.gateway.address("main");
    let load = Load::start(2, move || Client::new().get(address, "any.example", "/"));
    // The same hooks in another file: a custom section more.
    let other = probe.gateway.folder().join("other.wasm");
    let bytes = [fs::read(plugin("guest-probe")).expect("a plugin is read"), b"\x00\x05\x04more".to_vec()];
    fs::write(&other, bytes.concat()).expect("a plugin is written");
    for _ in 0..5 {
        replace(&file, &other);
        load.wait_for_rounds(5);
        replace(&file, &plugin("guest-probe"));
        load.wait_for_rounds(5);
    }
    for response in load.stop() {
        assert_eq!(response.expect("no handshake fails").status, 200);
    }
    probe.gateway.wait_for_nth(5, "some replacements", |line| line.is("policy replaced"));
}

#[test]
fn a_config_that_the_policy_refuses_changes_nothing_on_reload() {
    let probe = Probe::start("");
    probe.gateway.write_config(&probe_config(&probe.scene, "config = { fail = \"no such luck\" }"));
    probe.gateway.sighup();
    let line = probe.gateway.wait_for("the refusal", |line| line.is("configuration not reloaded"));
    assert!(line.text("error").contains("no such luck"), "{line}");
    drop(probe.connect("any.example").expect("a handshake"));
}

#[test]
fn a_config_that_the_policy_refuses_keeps_the_gateway_from_starting() {
    let scene = probe_scene();
    let mut gateway = Gateway::spawn(&probe_config(&scene, "config = { fail = \"no such luck\" }"));
    assert_eq!(gateway.wait_exit().code(), Some(1));
    assert!(gateway.log_text().contains("no such luck"), "{}", gateway.log_text());
}

#[test]
fn the_example_policy_refuses_old_clients_for_the_names_it_is_told() {
    let scene = Scene::new(&["pay.example", "www.example"]);
    let config = scene.config().main_listener("policies = [\"custom\"]").policy(
        "custom",
        &plugin("custom-policy"),
        "config = { tls13-only = [\"pay.example\"] }",
    );
    let gateway = Gateway::start(&config);
    let address = gateway.address("main");
    let refusal = Client::new().tls12().connect(address, "pay.example").expect_err("a refusal");
    assert_eq!(refusal, Refusal::Alert("protocol_version"));
    Client::new().tls13().connect(address, "pay.example").expect("a handshake");
    Client::new().tls12().connect(address, "www.example").expect("a handshake");
    assert_eq!(Curl::new(&scene.authority, address).get("https://pay.example/").status, 200);
}

/// A gateway whose listener asks `guest-probe`, with one certificate for `*.example`.
struct Probe {
    gateway: Gateway,
    scene: Scene,
    wildcard: Pair,
    /// Holds the copy of the plugin, if there is one.
    _folder: Option<TempDir>,
}

impl Probe {
    #[track_caller]
    fn start(keys: &str) -> Self {
        Self::start_with(&plugin("guest-probe"), keys)
    }

    /// The policy is a copy of the plugin, for the test to replace.
    #[track_caller]
    fn start_from_copy(keys: &str) -> (Self, PathBuf) {
        // A handshake waits as long as compiling takes on a busy machine.
        Self::start_from_copy_waiting("30s", keys)
    }

    #[track_caller]
    fn start_from_copy_waiting(reload_wait: &str, keys: &str) -> (Self, PathBuf) {
        let folder = TempDir::new().expect("a scratch folder");
        let file = folder.path().join("policy.wasm");
        replace(&file, &plugin("guest-probe"));
        let probe = Self::start_with(&file, &format!("reload-wait = \"{reload_wait}\"\n{keys}"));
        (Self { _folder: Some(folder), ..probe }, file)
    }

    #[track_caller]
    fn start_with(plugin: &Path, keys: &str) -> Self {
        let scene = Scene::new(&[]);
        let wildcard = scene.authority.server(&["*.example"]);
        scene.certificates.put("wildcard", &wildcard);
        let config = scene.config().main_listener("policies = [\"probe\"]").policy("probe", plugin, keys);
        Self { gateway: Gateway::start(&config), scene, wildcard, _folder: None }
    }

    fn connect(&self, name: &str) -> Result<Session, Refusal> {
        Client::new().connect(self.gateway.address("main"), name)
    }

    /// The outcome line of the first connection.
    #[track_caller]
    fn connection(&self) -> Line {
        self.gateway.wait_for("the connection", |line| line.is("connection"))
    }
}

fn probe_scene() -> Scene {
    let scene = Scene::new(&[]);
    scene.certificates.put("wildcard", &scene.authority.server(&["*.example"]));
    scene
}

fn probe_config(scene: &Scene, keys: &str) -> Config {
    scene.config().main_listener("policies = [\"probe\"]").policy("probe", &plugin("guest-probe"), keys)
}

/// Puts a copy of a file in the place of another, by a rename.
fn replace(file: &Path, with: &Path) {
    let staged = file.with_extension("staged");
    fs::copy(with, &staged).expect("a plugin is copied");
    fs::rename(&staged, file).expect("a plugin is renamed");
}
