//! Policies that loop, trap or eat memory: each costs its own handshake its verdict, and nobody else anything.
//!
//! Here with guests in Rust; [`calls`] has what only hand-written guests do in `select`, [`hooks`] the other hooks, [`keys`]
//! and [`outgoing_http`] what needs a grant, [`memory`] what many calls at once do to the memory that all share, and
//! [`files`] what is hostile before anything of it is called.

use std::fs;

use handfast_tests::{Client, Gateway, Load, Refusal, Scene, plugin};

mod calls;
mod files;
mod hooks;
mod keys;
mod memory;
mod outgoing_http;

/// Short, so that many loops fit into a test; a slow machine makes it longer, not wrong.
const TIMEOUT: &str = "timeout = \"100ms\"";

/// KiB that a gateway may grow by while it is attacked: its slots for instances fill up, and then nothing.
const GROWTH: u64 = 96 << 10;

#[test]
fn a_policy_that_loops_costs_only_its_own_handshakes() {
    hostile_beside_good("loop", "timeout");
}

#[test]
fn a_policy_that_traps_costs_only_its_own_handshakes() {
    hostile_beside_good("panic", "trap");
}

#[test]
fn a_policy_that_eats_memory_costs_only_its_own_handshakes() {
    hostile_beside_good("hog", "memory");
}

#[test]
fn hostile_policies_of_another_listener_cost_nothing() {
    let scene = scene();
    let config =
        ["guest-loop", "guest-trap", "guest-hog"].into_iter().fold(scene.config(), |config, name| {
            let keys = format!("policies = [\"{name}\"]");
            config.listener(name, &keys).policy(name, &plugin(name), TIMEOUT)
        });
    let gateway = Gateway::start(&config);
    let main = gateway.address("main");
    let good = Load::start(1, move || Client::new().get(main, "good.example", "/"));
    for name in ["guest-loop", "guest-trap", "guest-hog"] {
        for _ in 0..3 {
            let refusal =
                Client::new().connect(gateway.address(name), "good.example").expect_err("a refusal");
            assert_eq!(refusal, Refusal::Alert("internal_error"), "{name}");
        }
    }
    good.wait_for_rounds(5);
    for response in good.stop() {
        assert_eq!(response.expect("a good handshake").status, 200);
    }
    let log = gateway.log_text();
    assert!(log.contains("this policy panics on purpose"), "a trap is explained by its message: {log}");
}

#[test]
fn more_loops_at_once_than_workers_leave_the_workers_free() {
    let scene = scene();
    let config = scene.config().main_listener("policies = [\"probe\"]").policy(
        "probe",
        &plugin("guest-probe"),
        TIMEOUT,
    );
    let gateway = Gateway::start(&config);
    let address = gateway.address("main");
    let loops = Load::start(8, move || Client::new().connect(address, "loop.example").err());
    loops.wait_for_rounds(1);
    for _ in 0..10 {
        let response = Client::new().get(address, "good.example", "/").expect("a good handshake");
        assert_eq!(response.status, 200);
    }
    for refusal in loops.stop() {
        assert_eq!(refusal, Some(Refusal::Alert("internal_error")));
    }
}

#[test]
fn a_hostile_file_dropped_in_while_running_is_dropped_out_again() {
    let scene = scene();
    let file = scene.certificates.path().join("policy.wasm");
    let put = |name| {
        let staged = file.with_extension("staged");
        fs::copy(plugin(name), &staged).expect("a plugin is copied");
        fs::rename(&staged, &file).expect("a plugin is renamed");
    };
    put("guest-probe");
    let keys = format!("{TIMEOUT}\nreload-wait = \"30s\"");
    let config = scene.config().main_listener("policies = [\"probe\"]").policy("probe", &file, &keys);
    let gateway = Gateway::start(&config);
    let connect = || Client::new().connect(gateway.address("main"), "good.example").map(drop);
    connect().expect("a good policy");
    for hostile in ["guest-loop", "guest-hog", "guest-trap"] {
        put(hostile);
        assert_eq!(connect().expect_err("a refusal"), Refusal::Alert("internal_error"), "{hostile}");
        put("guest-probe");
        connect().expect("the good policy is back");
    }
}

/// Handshakes that make `guest-probe` misbehave and good ones on the same listener, at the same time: log and metrics say
/// what happened, and the gateway does not grow.
fn hostile_beside_good(label: &'static str, kind: &str) {
    let scene = scene();
    let config = scene.config().main_listener("policies = [\"probe\"]").policy(
        "probe",
        &plugin("guest-probe"),
        TIMEOUT,
    );
    let gateway = Gateway::start(&config);
    let address = gateway.address("main");
    Client::new().get(address, "good.example", "/").expect("a good handshake");
    let before = gateway.memory();
    let hostile = Load::start(2, move || Client::new().connect(address, &format!("{label}.example")).err());
    let good = Load::start(2, move || Client::new().get(address, "good.example", "/"));
    hostile.wait_for_rounds(10);
    good.wait_for_rounds(10);
    for response in good.stop() {
        assert_eq!(response.expect("a good handshake").status, 200);
    }
    for refusal in hostile.stop() {
        assert_eq!(refusal, Some(Refusal::Alert("internal_error")));
    }
    let after = gateway.memory();
    assert!(after < before + GROWTH, "{before} KiB before, {after} KiB after");
    let line = gateway.wait_for("a hostile handshake's line", |line| {
        line.is("connection") && line.text("server_name") == format!("{label}.example")
    });
    assert_eq!((line.text("verdict"), line.text("alert")), ("reject", "internal_error"));
    assert_eq!(line.text("policy_errors"), format!("probe:{kind}"), "{line}");
    let log = gateway.log_text();
    assert!(log.contains("policy had no verdict"), "{log}");
    let labels = [("policy", "probe"), ("hook", "select"), ("outcome", kind)];
    assert!(gateway.metric("handfast_policy_calls_total", &labels) >= 10.0, "no {kind} at /metrics");
}

fn scene() -> Scene {
    let scene = Scene::new(&[]);
    scene.certificates.put("wildcard", &scene.authority.server(&["*.example"]));
    scene
}
