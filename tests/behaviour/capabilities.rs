//! What a policy may do by the operator's leave: count, and keep. Refused without the grant, bounded with it, and kept
//! over fresh instances, replaced plugins and reloads.

use std::fs;

use handfast_tests::{Client, Config, Gateway, Load, Refusal, Scene, eventually, handfast, plugin};
use tempfile::TempDir;

const GRANTS: &str = "grants = [\"counter\", \"key-value\"]";

#[test]
fn a_policy_without_its_grants_is_refused_with_the_line_to_add() {
    let scene = scene();
    let folder = TempDir::new().expect("a scratch folder");
    for keys in ["", "grants = [\"counter\"]"] {
        fs::write(folder.path().join("handfast.toml"), config(&scene, keys).text()).expect("it is written");
        let finished = handfast(folder.path(), &["check", "-c", "handfast.toml"]);
        assert_eq!(finished.code, Some(1), "{}", finished.stderr);
        let refused = "key-value@1.0.0`, which this policy was not granted";
        assert!(finished.stderr.contains(refused) || keys.is_empty(), "{}", finished.stderr);
        assert!(finished.stderr.contains(GRANTS), "the line to add: {}", finished.stderr);
    }
    let inspected =
        handfast(folder.path(), &["policy", "inspect", &plugin("guest-keeper").to_string_lossy()]);
    assert!(inspected.stdout.contains("grants     counter, key-value\n"), "{}", inspected.stdout);
}

#[test]
fn a_plugin_that_wants_more_than_it_was_granted_does_not_replace_one_that_did_not() {
    let scene = scene();
    let file = scene.certificates.path().join("policy.wasm");
    fs::copy(plugin("guest-probe"), &file).expect("a plugin is copied");
    let config = scene.config().main_listener("policies = [\"keeper\"]").policy(
        "keeper",
        &file,
        "reload-wait = \"30s\"",
    );
    let gateway = Gateway::start(&config);
    fs::copy(plugin("guest-keeper"), file.with_extension("staged")).expect("a plugin is copied");
    fs::rename(file.with_extension("staged"), &file).expect("a plugin is renamed");
    Client::new().connect(gateway.address("main"), "good.example").expect("the last good plugin judges");
    let line = gateway.wait_for("the refusal", |line| line.is("policy not replaced"));
    assert!(line.text("error").contains(GRANTS), "{line}");
}

#[test]
fn bounds_of_a_store_that_was_not_granted_are_a_mistake() {
    let scene = scene();
    let folder = TempDir::new().expect("a scratch folder");
    for (keys, said) in [
        ("key-value = { max-entries = 5 }", "was not granted"),
        ("grants = [\"key-value\"]\nkey-value = { max-entries = 0 }", "between 1 and"),
        ("grants = [\"key-value\"]\nkey-value = { max-bytes = \"1KiB\" }", "between 128KiB and"),
        ("grants = [\"counter\", \"counter\"]", "granted twice"),
        ("grants = [\"files\"]", "known are `\"counter\"`"),
        ("grants = [\"counters\"]", "did you mean `\"counter\"`?"),
        ("grants = [\"http\"]", "write `{ http = [\"HOST\"] }`"),
        ("grants = [{ https = [\"a.example\"] }]", "known are `\"counter\"`"),
        ("grants = [{ http = [\"a.example\"], counter = true }]", "this table is no grant"),
        ("grants = [5]", "expected a grant, found the number"),
        ("grants = \"counter\"", "expected a list"),
    ] {
        fs::write(folder.path().join("handfast.toml"), config(&scene, keys).text()).expect("it is written");
        let finished = handfast(folder.path(), &["check", "-c", "handfast.toml"]);
        assert_eq!(finished.code, Some(2), "{}", finished.stderr);
        assert!(finished.stderr.contains(said), "{said}: {}", finished.stderr);
    }
}

#[test]
fn a_rate_limit_holds_over_fresh_instances_replaced_plugins_and_reloads() {
    let scene = scene();
    let file = scene.certificates.path().join("policy.wasm");
    fs::copy(plugin("guest-keeper"), &file).expect("a plugin is copied");
    let config = |keys: &str| {
        let keys = format!("{GRANTS}\nreload-wait = \"30s\"\n{keys}");
        scene.config().main_listener("policies = [\"keeper\"]").policy("keeper", &file, &keys)
    };
    let gateway = Gateway::start(&config(""));
    let connect = || Client::new().connect(gateway.address("main"), "limit-4.example").map(drop);
    connect().expect("call 1");
    connect().expect("call 2");

    // Another file of the same policy: a custom section more.
    let mut bytes = fs::read(&file).expect("a plugin is read");
    bytes.extend(b"\x00\x05\x04more");
    fs::write(file.with_extension("staged"), &bytes).expect("a plugin is written");
    fs::rename(file.with_extension("staged"), &file).expect("a plugin is renamed");
    connect().expect("call 3");
    gateway.wait_for("the replacement", |line| line.is("policy replaced"));

    gateway.reload(&config("timeout = \"200ms\""));
    connect().expect("call 4");
    assert_eq!(connect().expect_err("call 5"), Refusal::Alert("access_denied"));
    let line =
        gateway.wait_for("the refusal", |line| line.is("connection") && line.text("verdict") == "reject");
    assert_eq!(line.text("reason"), "call 5");
    assert_eq!(gateway.metric("handfast_policy_key_value_entries", &[("policy", "keeper")]), 1.0);
    assert!(gateway.metric("handfast_policy_key_value_bytes", &[]) > 192.0);
}

#[test]
fn increments_of_all_workers_are_counted_and_a_claim_is_won_once() {
    let scene = scene();
    let gateway = Gateway::start(&config(&scene, GRANTS));
    let address = gateway.address("main");
    for name in ["limit-1000.example", "once.example"] {
        let load = Load::start(4, move || Client::new().connect(address, name).map(drop));
        load.wait_for_rounds(40);
        let rounds = load.stop();
        assert!(rounds.iter().all(Result::is_ok));
        let judged = |line: &handfast_tests::Line| line.is("connection") && line.text("server_name") == name;
        gateway.wait_for_nth(rounds.len(), "all connections", judged);
        let mut reasons: Vec<_> =
            gateway.lines(judged).iter().map(|line| line.text("reason").to_owned()).collect();
        let all = reasons.len();
        if name == "once.example" {
            let won = reasons.iter().filter(|reason| *reason == "first: Ok(true), now true").count();
            let lost = reasons.iter().filter(|reason| *reason == "first: Ok(false), now true").count();
            assert_eq!((won, lost), (1, all - 1), "{reasons:?}");
        } else {
            reasons.sort_unstable();
            reasons.dedup();
            assert_eq!(reasons.len(), all, "each call has a number of its own");
        }
    }
}

#[test]
fn a_window_ends() {
    let scene = scene();
    let gateway = Gateway::start(&config(&scene, GRANTS));
    let connect =
        || drop(Client::new().connect(gateway.address("main"), "brief.example").expect("a handshake"));
    connect();
    eventually("a window to begin anew", || {
        connect();
        let judged = gateway.lines(|line| line.is("connection"));
        let firsts = judged.iter().filter(|line| line.text("reason") == "call Ok(1)").count();
        (firsts >= 2).then_some(())
    });
}

#[test]
fn counters_of_a_policy_are_metrics_bounded_in_number() {
    let scene = scene();
    let gateway = Gateway::start(&config(&scene, GRANTS));
    let connect = |name| drop(Client::new().connect(gateway.address("main"), name).expect("a handshake"));
    let counted =
        |name| gateway.metric("handfast_policy_counter_total", &[("policy", "keeper"), ("name", name)]);
    connect("count-seen-it.example");
    connect("count-seen-it.example");
    assert_eq!(counted("seen_it"), 2.0);
    connect("names.example");
    assert_eq!(counted("name_0"), 1.0);
    let dropped =
        || gateway.metric("handfast_policy_dropped_total", &[("policy", "keeper"), ("what", "counter")]);
    assert_eq!(dropped(), 100.0 - 63.0);
    gateway.reload(&config(&scene, &format!("{GRANTS}\ntimeout = \"200ms\"")));
    assert_eq!((counted("seen_it"), dropped()), (2.0, 37.0), "a reload resets nothing");
    gateway.reload(&scene.config());
    assert_eq!(counted("seen_it"), 0.0, "and they go with their policy");
    let warned =
        gateway.lines(|line| line.text("policy") == "keeper" && line.text("rule").contains("64 counters"));
    assert_eq!(warned.len(), 1);
}

fn config(scene: &Scene, keys: &str) -> Config {
    scene.config().main_listener("policies = [\"keeper\"]").policy("keeper", &plugin("guest-keeper"), keys)
}

fn scene() -> Scene {
    let scene = Scene::new(&[]);
    scene.certificates.put("wildcard", &scene.authority.server(&["*.example"]));
    scene
}
