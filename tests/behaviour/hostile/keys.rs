//! A policy that keeps whatever clients send: a million keys take the room that the operator gave, and no more.

use handfast_tests::{Client, Gateway, Load, plugin};

use super::scene;

#[test]
fn a_million_keys_take_no_more_memory_than_was_given() {
    let scene = scene();
    let keys = "grants = [\"counter\", \"key-value\"]\ntimeout = \"2s\"
        key-value = { max-entries = 1000000, max-bytes = \"16MiB\" }";
    let config = scene.config().main_listener("policies = [\"keeper\"]").policy(
        "keeper",
        &plugin("guest-keeper"),
        keys,
    );
    let gateway = Gateway::start(&config);
    let address = gateway.address("main");
    let flood = |rounds| {
        let load = Load::start(2, move || Client::new().connect(address, "flood.example").map(drop));
        load.wait_for_rounds(rounds);
        for round in load.stop() {
            round.expect("a handshake");
        }
    };
    let before = gateway.memory();
    let good = Load::start(1, move || Client::new().get(address, "good.example", "/"));
    // 4,000 keys each.
    flood(250);
    let after = gateway.memory();
    good.wait_for_rounds(10);
    for response in good.stop() {
        assert_eq!(response.expect("a good handshake").status, 200);
    }
    let of = |name: &str| gateway.metric(name, &[("policy", "keeper")]);
    let (entries, bytes) = (of("handfast_policy_key_value_entries"), of("handfast_policy_key_value_bytes"));
    assert!(bytes <= f64::from(16 << 20) && entries > 70_000.0, "{entries} entries, {bytes} bytes");
    assert!(of("handfast_policy_key_value_evicted_total") > 900_000.0);
    // Beside the store: what 250 handshakes leave in the allocator and in the sandbox's slots.
    assert!(after < before + (16 << 10) + (24 << 10), "{before} KiB before, {after} KiB after");
}
